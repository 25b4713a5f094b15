"""Which column is what: as the user says, else by the usual words, and each guess is told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from demandcast.errors import SchemaError
from demandcast.panel.panel import Note

TIME = [
    "ds",
    "timestamp",
    "date",
    "datetime",
    "time",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "hour",
    "period",
    "step",
    "t",
    "order_date",
    "sales_date",
    "sale_date",
    "transaction_date",
    "datum",
    "fecha",
]
TARGET = [
    "y",
    "target",
    "demand",
    "sales",
    "units",
    "units_sold",
    "unit_sales",
    "quantity",
    "quantity_sold",
    "qty",
    "sold",
    "sales_quantity",
    "value",
    "volume",
    "count",
    "amount",
    "orders",
    "revenue",
    "turnover",
    "load",
    "consumption",
]
WHOLE_KEY = ("unique_id", "series_id", "ts_id", "time_series_id", "key", "series")
KEY = [
    "id",
    "item",
    "product",
    "sku",
    "article",
    "material",
    "part",
    "store",
    "shop",
    "outlet",
    "location",
    "site",
    "warehouse",
    "depot",
    "region",
    "customer",
    "client",
    "channel",
    "market",
    "meter",
    "sensor",
    "zone",
]
KEY_ENDINGS = ("", "_id", "_code", "_no", "_nr", "_nbr", "_number", "_name", "_key")
DATE_NAME = re.compile(r"\d{4}-\d{2}(-\d{2})?([ T]\d{2}:\d{2}(:\d{2})?)?")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The columns of a table by what they are for; `key` is empty where the table is one series."""

    key: tuple[str, ...]
    time: str
    target: str
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    available: str | None = None
    melt: tuple[str, ...] = ()  # wide tables: the columns that hold values
    melt_names_times: bool = False  # their names are times, not series

    @property
    def columns(self) -> list[str]:
        """The columns to read from the table, each once."""
        own = [*self.key, *self.known, *self.past, *self.static]
        own += [self.available] if self.available else []
        if self.melt_names_times:
            return [*own, *self.melt]
        if self.melt:
            return [self.time, *(c for c in own if c not in self.key), *self.melt]
        return [*own, self.time, self.target]


def find_roles(
    types: Mapping[str, pl.DataType],
    *,
    key: Sequence[str] | None,
    time: str | None,
    target: str | None,
    known: Sequence[str],
    past: Sequence[str],
    static: Sequence[str],
    available: str | None,
    wide: bool | None,
) -> tuple[Roles, list[Note]]:
    """Settle every role; what is guessed is a Note of kind "guess".

    Raises:
        SchemaError: A column does not exist, has two roles, or a role cannot be guessed.
    """
    given = [*(key or ()), *known, *past, *static, *(c for c in (time, available) if c)]
    named = [*given, *([target] if target and not wide else [])]
    for column in named:
        if column not in types:
            raise SchemaError(f"there is no column {column!r}{nearest(column, types)}")
    twice = sorted({c for c in named if named.count(c) > 1})
    if twice:
        raise SchemaError(
            f"column {twice[0]!r} is given two roles; name it in only one of key, time, target, "
            "known, past, static and available"
        )
    free = [c for c in types if c not in named]
    dated = [c for c in free if DATE_NAME.fullmatch(c)]
    shared: dict[str, Any] = {
        "known": tuple(known), "past": tuple(past), "static": tuple(static),
        "available": available,
    }  # fmt: skip
    if wide is not False and time is None and len(dated) >= 2:
        keys = tuple(key) if key is not None else tuple(c for c in free if c not in dated)
        for made in ("time", target or "value"):
            if made in types:
                raise SchemaError(
                    f"column {made!r} of a wide table has the name that its times or values get; "
                    "rename it, pass another target=..., or give wide=False"
                )
        roles = Roles(
            key=keys, time="time", target=target or "value", melt=tuple(dated),
            melt_names_times=True, **shared,
        )  # fmt: skip
        action = f"the names of {len(dated):,} columns are times: read as a wide table, a row a series of key {list(keys)}"
        return roles, [_guess(len(dated), action, "wide=False")]
    notes: list[Note] = []
    if time is None:
        time = _guess_time(types, free)
        free.remove(time)
        notes.append(_guess(1, f"column {time!r} is taken as the time", "time=..."))
    numeric = [c for c in free if types[c].is_numeric()]
    if wide is None and key is None and target is None and len(numeric) >= 2:
        plain = not _words(free, TARGET) and not _guess_key(free)
        wide = plain and len(numeric) == len(free)
        if wide:
            action = f"{len(free):,} columns of numbers beside the time: read as a wide table, a column a series"
            notes.append(_guess(len(free), action, "wide=False, or name key=... and target=..."))
    if wide:
        return _wide(types, free, time, target, key, shared), notes
    if target is None:
        target = _guess_target(types, free, numeric)
        free.remove(target)
        notes.append(_guess(1, f"column {target!r} is taken as the target", "target=..."))
    if key is None:
        key = _guess_key(free)
        if key:
            notes.append(_guess(len(key), f"columns {list(key)} are taken as the key", "key=[...]"))
    if not key:
        action = 'no key column: the table is read as one series, key "series" = "all"'
        notes.append(_guess(0, action, "key=[...]"))
    roles = Roles(key=tuple(key), time=time, target=target, **shared)
    return roles, notes


def melt(table: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """A wide table as a long one: one row a series and step.

    Raises:
        SchemaError: A cell is no number.
    """
    if not roles.melt:
        return table
    for column in roles.melt:
        parsed = table[column].cast(pl.Float64, strict=False)
        bad = (parsed.is_null() & table[column].is_not_null()).arg_true()
        if len(bad):
            raise SchemaError(
                f"column {column!r} of a wide table holds {table[column][bad[0]]!r} in row "
                f"{bad[0] + 1:,}, which is no number; mend it, or give wide=False"
            )
    numbers = table.with_columns(pl.col(c).cast(pl.Float64) for c in roles.melt)
    names = roles.time if roles.melt_names_times else roles.key[0]
    index = [c for c in table.columns if c not in roles.melt]
    return numbers.unpivot(
        on=list(roles.melt), index=index, variable_name=names, value_name=roles.target
    )


def nearest(word: str, known: Collection[str]) -> str:
    """What the user may have meant, as the end of a sentence."""
    folded = {str(k).lower(): str(k) for k in known}
    near = difflib.get_close_matches(word.lower(), list(folded), 1, 0.5)
    listed = ", ".join(repr(str(k)) for k in list(known)[:12]) + (
        ", ..." if len(known) > 12 else ""
    )
    return (f"; did you mean {folded[near[0]]!r}?" if near else ";") + f" There are: {listed}"


def _wide(
    types: Mapping[str, pl.DataType],
    free: list[str],
    time: str,
    target: str | None,
    key: Sequence[str] | None,
    shared: dict[str, Any],
) -> Roles:
    if key:
        raise SchemaError(
            f"a wide table has no key column, but key={list(key)}; its columns are the series: "
            "leave key out, or give wide=False"
        )
    for column in free:
        if not types[column].is_numeric():
            raise SchemaError(
                f"column {column!r} of a wide table holds {types[column]}, but each column beside "
                f"the time {time!r} is a series of numbers; drop it, or give wide=False"
            )
    for made in ("series", target or "value"):
        if made in types and (made not in free or made == target):
            raise SchemaError(
                f"column {made!r} of a wide table has the name that the gathered series get; "
                "rename it, pass another target=..., or give wide=False"
            )
    if not free:
        raise SchemaError(f"a wide table needs a column of numbers beside the time {time!r}")
    return Roles(
        key=("series",),
        time=time,
        target=target or "value",
        melt=tuple(free),
        **shared,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def _words(columns: Sequence[str], words: Sequence[str]) -> list[str]:
    """The columns that bear one of the words, in the order of the words."""
    return [c for word in words for c in columns if _plain(c) == word]


def _guess_time(types: Mapping[str, pl.DataType], free: Sequence[str]) -> str:
    dates = [c for c in free if types[c] == pl.Date or types[c] == pl.Datetime]
    endings = [c for c in free if _plain(c).endswith(("_date", "_time", "_timestamp"))]
    if len(dates) > 1 and not _words(dates, TIME):
        raise SchemaError(f"columns {dates} all hold times; name one: time={dates[0]!r}")
    found = _words(dates, TIME) or dates or _words(free, TIME) or endings
    if not found:
        raise SchemaError(
            f"no column is plainly the time among {list(free)[:12]}; name it: time='...'"
        )
    return found[0]


def _guess_target(
    types: Mapping[str, pl.DataType], free: Sequence[str], numeric: Sequence[str]
) -> str:
    found = _words(free, TARGET)
    left = [c for c in numeric if c not in _guess_key(free)]
    if not found and len(left) == 1:
        found = left
    if not found:
        raise SchemaError(
            f"no column is plainly the target among {list(free)[:12]}; name it: target='...'"
        )
    return found[0]


def _guess_key(free: Sequence[str]) -> tuple[str, ...]:
    whole = _words(free, WHOLE_KEY)
    if whole:
        return (whole[0],)
    words = {word + ending for word in KEY for ending in KEY_ENDINGS}
    return tuple(c for c in free if _plain(c) in words)


def _guess(count: int, action: str, option: str) -> Note:
    return Note(
        kind="guess", count=count, series=0, example="", action=f"{action}; {option} changes it"
    )
