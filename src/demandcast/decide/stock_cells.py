"""The cells of a table of items: its rows matched to the series by key, every number checked by item and column."""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.decide.interval import Doubles, Ints
from demandcast.errors import ConfigError, DataError, SchemaError, Way, way
from demandcast.frames.numerals import OR_A_RULE, parse_numbers
from demandcast.frames.opened import Table


def name_of(keys: pl.DataFrame, i: int) -> str:
    return "/".join(map(str, keys.row(i)))


def key_columns(keys: pl.DataFrame, table: pl.DataFrame, what: str) -> list[str]:
    """Return the key columns, all of which a stock table needs; none for a single series without a name."""
    if keys.rows() == [("all",)] and keys.columns == ["series"] and "series" not in table.columns:
        if table.height > 1:
            raise DataError(
                f"{what} has {table.height} rows, but there is one series; keep one row"
            )
        return []
    for column in keys.columns:
        if column not in table.columns:
            near = difflib.get_close_matches(column, table.columns, 1, 0.6)
            hint = f"; rename {near[0]!r} to it" if near else f"; its columns are {table.columns}"
            raise SchemaError(f"{what} has no key column {column!r}{hint}")
    return list(keys.columns)


def match_rows(keys: pl.DataFrame, table: pl.DataFrame, on: list[str]) -> Ints:
    """Return the row of the stock table of each series, (N,)."""
    if not on:
        return np.zeros(1, np.int64)
    own = table.select(pl.col(on).cast(pl.String))
    wanted = keys.select(pl.col(on).cast(pl.String))
    empty = own.select(pl.any_horizontal(pl.all().is_null()).alias("empty"))["empty"]
    if empty.any():
        raise DataError(
            f"row {int(empty.arg_true()[0]) + 1:,} of the stock table has no key; fill it, or drop the row"
        )
    twice = own.is_duplicated()
    if twice.any():
        first = own.row(int(twice.arg_true()[0]))
        rows = own.with_row_index("__row").filter(
            pl.all_horizontal(pl.col(c) == v for c, v in zip(on, first, strict=True))
        )["__row"]
        raise DataError(
            f"the stock table has {len(rows)} rows for item {'/'.join(first)}, among them rows "
            f"{rows[0] + 1:,} and {rows[1] + 1:,}; keep one row an item"
        )
    strange = own.join(wanted, on=on, how="anti", maintain_order="left")
    rows_of_keys = wanted.join(
        own.with_row_index("__row"), on=on, how="left", maintain_order="left"
    )["__row"]  # fmt: skip
    absent = rows_of_keys.is_null()
    names = ["/".join(row) for row in wanted.filter(absent).rows()]
    if strange.height:
        name = "/".join(strange.row(0))
        near = difflib.get_close_matches(
            name, names or ["/".join(r) for r in wanted.head(20_000).rows()], 1, 0.7
        )
        hint = f" (the nearest is {near[0]!r})" if near else ""
        raise DataError(
            f"the stock table has item {name!r}, of which there is no forecast{hint}; {strange.height:,} such rows. Write "
            "its key as in the table of demand, drop the row, or read the table of demand with",
            series=name, ways=[way("the item ended long before the others", ended="forecast")],
        )  # fmt: skip
    if absent.any():
        raise DataError(
            f"item {names[0]!r} has no row in the stock table ({len(names):,} items have none); add a row for each, with "
            "on_hand 0 where there is no stock"
        )
    return rows_of_keys.to_numpy().astype(np.int64)


class Cells:
    """The columns of a table, item by item, as checked numbers."""

    def __init__(
        self, table: pl.DataFrame, opened: Table, names: list[str], what: str = "the stock table"
    ) -> None:
        self.table, self.opened, self.names, self.what = table, opened, names, what
        self.notes: list[str] = []

    def numbers(
        self,
        column: str,
        default: float | None = None,
        *,
        least: float = -math.inf,
        above: float = -math.inf,
        most: float = math.inf,
        below: float = math.inf,
        whole: bool = False,
        needed: bool = True,
    ) -> Doubles:
        """Return one column, (N,); empty cells and an absent column get the default."""
        n = self.table.height
        missing = np.nan if default is None else float(default)
        if column not in self.table.columns:
            if default is None and needed:
                raise self._absent(column)
            return np.full(n, missing)
        values = self._parse(column)
        strange = ~np.isfinite(values) & ~np.isnan(values)
        if strange.any():
            raise self.wrong(column, values, strange, "a number")
        empty = np.isnan(values)
        if empty.any() and default is None and needed:
            i = int(np.argmax(empty))
            is_stock = column == "on_hand"
            fill = (
                "with 0 where there is none" if is_stock else "with a number, or give one for all:"
            )
            raise DataError(
                f"item {self.names[i]} has no {column} in {self.what} ({int(empty.sum()):,} cells are empty or NaN); fill "
                f"the cell {fill}",
                column=column, series=self.names[i], ways=[] if is_stock else [Way(((column, ...),))],
            )  # fmt: skip
        bad = ~empty & ((values < least) | (values <= above) | (values > most) | (values >= below))
        if bad.any():
            raise self.wrong(column, values, bad, _range(least, above, most, below))
        if whole and (part := ~empty & (values != np.floor(values))).any():
            raise self.wrong(column, values, part, "a whole number of steps")
        return np.where(empty, missing, values)

    def texts(self, column: str, default: Any = None) -> list[Any]:
        """Return one column as text or lists, one entry an item; the default, or None, where a cell is empty."""
        if column not in self.table.columns:
            return [default] * self.table.height
        cells = self.table[column]
        if isinstance(cells.dtype, pl.Datetime):
            cells = cells.cast(pl.Date)
        if not isinstance(cells.dtype, pl.List):
            cells = cells.cast(pl.String)
        values = (None if isinstance(v, str) and not v.strip() else v for v in cells.to_list())
        return [default if value is None else value for value in values]

    def wrong(self, column: str, values: Doubles, bad: NDArray[np.bool_], wanted: str) -> DataError:
        i = int(np.argmax(bad))
        negative = column == "on_hand" and values[i] < 0
        hint = ", or say that demand waits:" if negative else ""
        return DataError(
            f"{column} of item {self.names[i]} is {values[i]:g} in {self.what} ({int(bad.sum()):,} such cells); it is "
            f"{wanted}: mend the cell{hint}",
            column=column, series=self.names[i], found=float(values[i]), expected=wanted,
            ways=[way(lost_sales=False)] if negative else [],
        )  # fmt: skip

    def _absent(self, column: str) -> SchemaError | ConfigError:
        if column == "lead_time":
            return ConfigError(
                "the lead time, the steps that pass before an order can be sold, is not known; add a column "
                "lead_time to the stock table, or give",
                option="lead_time",
                ways=[way(lead_time=2)],
            )
        near = difflib.get_close_matches(column, self.table.columns, 1, 0.5)
        hint = (
            f"; is it {near[0]!r}? rename it" if near else f"; its columns are {self.table.columns}"
        )
        return SchemaError(f"{self.what} has no column {column!r}{hint}")

    def _parse(self, column: str) -> Doubles:
        cells = self.table[column]
        if cells.dtype in (pl.Categorical, pl.Enum):
            cells = cells.cast(pl.String)
        if cells.dtype == pl.String:

            def item(row: int) -> str:
                return f"item {self.names[row]}"

            try:
                cells, notes = parse_numbers(
                    cells, f"{self.what}'s", hints=self.opened.hints, where=item
                )
            except DataError as error:
                message = error.message.removesuffix(OR_A_RULE)
                raise DataError(message, column=error.column, found=error.found) from None
            self.notes += [note.action for note in notes]
        if cells.dtype == pl.Boolean or not (
            cells.dtype.is_numeric() or cells.dtype.is_decimal() or cells.dtype == pl.Null
        ):
            raise SchemaError(f"{self.what}'s {column!r} holds {cells.dtype}; it must hold numbers")
        return np.asarray(cells.cast(pl.Float64).fill_null(np.nan).to_numpy(), np.float64)


def _range(least: float, above: float, most: float, below: float) -> str:
    if below == 1:
        return "a share between 0 and 1, such as 0.95 (1 would need endless stock)"
    lower = (
        f"above {above:g}"
        if above > -math.inf
        else f"{least:g} or more"
        if least > -math.inf
        else ""
    )
    return f"{lower}, and at most {most:g}" if most < math.inf else lower
