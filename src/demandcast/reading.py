"""Options for reading a table: named columns and rules. The commands derive their options from these fields.

Kept apart from `frames/`, so that `--help` imports no table library.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from demandcast.errors import ConfigError, SchemaError
from demandcast.settings import one_of

DECIMALS = (".", ",")


def _help(text: str, metavar: str) -> dict[str, Any]:
    """Return field metadata with the `--help` text of an option."""
    return {"help": text, "metavar": metavar}


def _switch(text: str, flags: str) -> dict[str, Any]:
    return {"help": text, "flags": flags}


def _rule(text: str, *choices: str) -> dict[str, Any]:
    return {"help": f"{text}: {', '.join(choices)}.", "metavar": "RULE", "choices": choices}


@dataclass(frozen=True, kw_only=True)
class NamedColumns:
    """Columns and frequency that a caller of `read_panel` names; None where they are guessed."""

    key: tuple[str, ...] | None = field(
        default=None, metadata=_help("Name a series: store,item. Guessed.", "COLUMNS")
    )
    time: tuple[str, ...] | None = field(
        default=None, metadata=_help("The time, or its parts: year,month. Guessed.", "COLUMNS")
    )
    target: str | None = field(default=None, metadata=_help("What to forecast. Guessed.", "COLUMN"))
    freq: str | None = field(
        default=None, metadata=_help("5min h D B D-exSUN W-SUN MS QS YS, or 1. Inferred.", "STEP")
    )
    known: tuple[str, ...] = field(
        default=(), metadata=_help("Covariates known ahead: price,promo.", "COLUMNS")
    )
    past: tuple[str, ...] = field(
        default=(), metadata=_help("Covariates known to the last step only.", "COLUMNS")
    )
    static: tuple[str, ...] = field(
        default=(), metadata=_help("One value a series: category.", "COLUMNS")
    )
    available: str | None = field(
        default=None,
        metadata=_help("0 where it could not be bought, or a share: in_stock.", "COLUMN"),
    )

    @classmethod
    def check(cls, **arguments: Any) -> NamedColumns:
        """Return the arguments of `read_panel` as names of columns.

        Raises:
            SchemaError: One is no name, or no list of names.
        """
        key, time = (
            None if arguments[name] is None else _names(name, arguments[name])
            for name in ("key", "time")
        )
        known, past, static = (
            _names(name, arguments[name]) for name in ("known", "past", "static")
        )
        target, available = (_name(name, arguments[name]) for name in ("target", "available"))
        return cls(
            key=key, time=time, target=target, freq=arguments["freq"], known=known, past=past, static=static,
            available=available,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Rules by which `read_panel` reads a table.

    Each field is an argument of `read_panel` and an option of the commands too.

    Attributes:
        sql: A query to read in place of a source.
        connect: Address of the database of `sql`: "sqlite:///sales.db", "postgresql://user:password@host/database".
            Drivers of ADBC read it (extra `sql`). Its credentials are never printed or saved.
        to: A coarser step, to which rows are added up: "W-MON" for weeks that begin on Monday, "MS".
        gaps: Steps without a row: "missing" (not observed), "zero" or "error".
        duplicates: Rows of one series and time: "error", "sum", "mean", "first" or "last".
        negative: Negative targets: "keep", "zero", "missing" or "error".
        infinite: Infinite numbers: "error" or "missing".
        text: Cells of the target that are no number, as "-": "error", "missing" or "zero".
        ended: Series that ended long before the others: "skip" leaves them out, "forecast" forecasts them from the
            common end, as not observed since, and "keep" from their own.
        totals: Series that are named as a total and are the sum of others: "leave_out" or "keep".
        future_gaps: Steps ahead without a known covariate: "last" (as the step before), "missing" or "error".
        covariates: A second table with covariates by series and time, of the past and ahead: those of `known` that
            the first table has not, or all of its columns. Without key columns it holds for every series. It may have
            a row a period, as promotions from a first to a last day, which is spread over the steps it touches.
        static_table: A table with one row a series.
        time_zone: The place whose clock wrote the times, as "Europe/Berlin". Steps below a day then count in UTC.
        wide: True for a table with a column a series, False for a long one; None decides by the columns.
        encoding: Of a text file: "cp1252", "gb18030"; found if None.
        sheet: Of a workbook; found if None.
        decimal: The decimal sign of numbers in text, "." or ","; found in each column if None.
        day_first: Whether 01/02/2024 is the first of February; found in the column if None.
    """

    sql: str | None = field(
        default=None, metadata=_help("Read a query in place of DATA: select ...", "QUERY")
    )
    connect: str | None = field(
        default=None, repr=False,
        metadata=_help("Of --sql: sqlite:///a.db. Or in DEMANDCAST_CONNECT.", "URL"),
    )  # fmt: skip
    to: str | None = field(
        default=None, metadata=_help("Add rows up to a coarser step: W-MON, MS.", "STEP")
    )
    gaps: str = field(
        default="missing", metadata=_rule("Steps without a row", "missing", "zero", "error")
    )
    duplicates: str = field(
        default="error", metadata=_rule("Rows of one time", "error", "sum", "mean", "first", "last")
    )
    negative: str = field(
        default="keep", metadata=_rule("Negative values", "keep", "zero", "missing", "error")
    )
    infinite: str = field(default="error", metadata=_rule("Infinite values", "error", "missing"))
    text: str = field(
        default="error", metadata=_rule("Targets that are no number", "error", "missing", "zero")
    )
    ended: str = field(
        default="skip",
        metadata=_rule("Series that ended before the others", "skip", "forecast", "keep"),
    )
    totals: str = field(
        default="leave_out",
        metadata=_rule("Series that are the sum of others", "leave_out", "keep"),
    )
    future_gaps: str = field(
        default="last", metadata=_rule("Steps ahead without covariates", "last", "missing", "error")
    )
    covariates: Any = field(
        default=None, metadata=_help("A second table of covariates, by time or by periods.", "FILE")
    )
    static_table: Any = field(
        default=None, metadata=_help("One row a series, for --static.", "FILE")
    )
    time_zone: str | None = field(
        default=None, metadata=_help("Where the clock stood: Europe/Berlin.", "ZONE")
    )
    wide: bool | None = field(
        default=None,
        metadata=_switch("A column a series, or a row a value.", "--wide/--long"),
    )
    encoding: str | None = field(
        default=None, metadata=_help("Of a text file: cp1252, gb18030. Found.", "NAME")
    )
    sheet: str | None = field(default=None, metadata=_help("Of a workbook. Found.", "NAME"))
    decimal: str | None = field(
        default=None, metadata=_help("The decimal sign of numbers, . or a comma. Found.", "SIGN")
    )
    day_first: bool | None = field(
        default=None,
        metadata=_switch("How 01/02/2024 is meant. Found.", "--day-first/--month-first"),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            if "choices" in option.metadata:
                one_of(option.name, getattr(self, option.name), option.metadata["choices"])
        if self.decimal is not None:
            one_of("decimal", self.decimal, DECIMALS)

    def override(self, options: Mapping[str, Any]) -> Reading:
        """Return the reading with other values of some options.

        Raises:
            ConfigError: There is no such option, or it has no such value.
        """
        names = [option.name for option in fields(self)]
        for name in options:
            if name not in names:
                every = [*(column.name for column in fields(NamedColumns)), "future", *names]
                near = difflib.get_close_matches(name, every, n=1, cutoff=0.0)[0]
                raise ConfigError(
                    f"read_panel has no option {name!r}; did you mean {near!r}? There are: {', '.join(every)}",
                    option=name, found=name,
                ).suggest(near)  # fmt: skip
        return replace(self, **options)


def options_at_fit(origin: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of `read_panel` that a saved run was fitted with; none if Python saved it.

    Args:
        origin: How the command that fitted the run was called; see `Forecaster.origin`.
    """
    table = (origin or {}).get("table")
    options = table.get("options") if isinstance(table, Mapping) else None
    return dict(options) if isinstance(options, Mapping) else {}


def _names(option: str, columns: Any) -> tuple[str, ...]:
    if columns is None:
        return ()
    single = isinstance(columns, str) or not isinstance(columns, Iterable)
    names = [columns] if single else list(columns)
    if isinstance(columns, Mapping) or not all(isinstance(name, str) for name in names):
        raise SchemaError(
            f"{option} is {columns!r}; give a column name, or a list of them",
            option=option, found=columns, expected="a column name, or a list of them",
        )  # fmt: skip
    return tuple(map(str, names))


def _name(option: str, column: Any) -> str | None:
    if column is not None and not isinstance(column, str):
        raise SchemaError(
            f"{option} is {column!r}; give one column name, as in {option}='units'",
            option=option, found=column, expected="one column name",
        )  # fmt: skip
    return None if column is None else str(column)
