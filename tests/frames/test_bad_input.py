"""Every kind of bad input ends in an error of ours that names the place and the mend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from demandcast.errors import (
    ConfigError,
    DataError,
    DemandcastError,
    FileError,
    FrequencyError,
    SchemaError,
)
from demandcast.frames import check, read_panel

DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in range(10)]


def table(**columns: Any) -> pl.DataFrame:
    """Two series of ten days, with columns replaced or added."""
    base = {
        "item": ["a"] * 10 + ["b"] * 10,
        "date": DAYS * 2,
        "units": [float(i) for i in range(20)],
    }
    return pl.DataFrame({**base, **columns}, strict=False)


def with_row(**values: Any) -> pl.DataFrame:
    """The table with row 5 (series a, 2024-01-05) changed."""
    frame = table()
    row = pl.int_range(pl.len()) == 4
    return frame.with_columns(
        pl.when(row).then(pl.lit(v)).otherwise(pl.col(c)).alias(c) for c, v in values.items()
    )


def hours(n: int, doubled: int) -> pl.DataFrame:
    """One series of hours in which one reading comes twice."""
    times = [datetime(2024, 10, 27) + timedelta(hours=i) for i in range(n)]
    return pl.DataFrame({"ds": [*times[: doubled + 1], *times[doubled:]], "y": [1.0] * (n + 1)})


def ahead(**columns: Any) -> pl.DataFrame:
    """A price for three days behind the table, for both series."""
    days = [DAYS[-1] + timedelta(days=i) for i in (1, 2, 3)]
    base = {"item": ["a"] * 3 + ["b"] * 3, "date": days * 2, "price": [1.0] * 6}
    return pl.DataFrame({**base, **columns}, strict=False)


def priced(**columns: Any) -> pl.DataFrame:
    return table(price=[2.0] * 20, **columns)


KNOWN = {"known": "price"}
STATIC = pl.DataFrame({"item": ["a", "b"], "size": [1.5, 2.5]})
Case = tuple[str, Callable[[], Any], dict[str, Any], type[DemandcastError], list[str]]
CASES: list[Case] = [
    # columns and roles
    ("key unknown", table, {"key": "itm"}, SchemaError, ["'itm'", "did you mean 'item'"]),
    ("time unknown", table, {"time": "dat"}, SchemaError, ["'dat'", "did you mean 'date'"]),
    ("target unknown", table, {"target": "unit"}, SchemaError, ["'unit'", "did you mean 'units'"]),
    ("known unknown", priced, {"known": "prize"}, SchemaError, ["did you mean 'price'"]),
    ("past unknown", priced, {"past": ["pric"]}, SchemaError, ["did you mean 'price'"]),
    ("static unknown", table, {"static": "colour"}, SchemaError, ["'colour'", "the columns are"]),
    ("available unknown", table, {"available": "stock"}, SchemaError, ["'stock'", "the columns are"]),
    ("two roles", priced, {"known": "price", "past": "price"}, SchemaError, ["'price'", "two roles"]),
    ("no time", lambda: table(date=["soon", "later"] * 10).rename({"date": "x"}), {}, SchemaError,
     ["no column is plainly the time", "time="]),
    ("two times", lambda: table(shipped=DAYS * 2).rename({"date": "ordered"}), {}, SchemaError,
     ["'ordered', 'shipped'", "time="]),
    ("no target", lambda: priced().rename({"units": "x"}), {}, SchemaError,
     ["no column is plainly the target", "target="]),
    ("no rows", lambda: table().clear(), {}, DataError, ["no rows"]),
    ("no columns", pl.DataFrame, {}, SchemaError, ["time="]),
    ("not a table", lambda: 7, {}, SchemaError, ["int", "is no table"]),
    ("no file", lambda: "absent.csv", {}, FileError, ["no file at absent.csv"]),
    ("target a list", table, {"target": ["units"]}, SchemaError, ["['units']", "one column name"]),
    ("known a number", table, {"known": 5}, SchemaError, ["5", "a list of them"]),
    ("two columns of one name", lambda: pd.DataFrame([[1, 2]], columns=["y", "y"]), {}, SchemaError,
     ["'y' 2 times", "rename"]),
    # keys
    ("key empty", lambda: with_row(item=None), {}, DataError, ["'item'", "row 5", "fill_null"]),
    ("key not a number", lambda: table(item=[1.0] * 9 + [float("nan")] + [2.0] * 10), {}, DataError,
     ["'item'", "row 10"]),
    ("key a list", lambda: table(item=[["a"]] * 20), {}, SchemaError, ["'item'", "List"]),
    # times
    ("time empty", lambda: with_row(date=None), {}, DataError, ["'date'", "row 5", "drop"]),
    ("time no date", lambda: table(date=["2024-01-01"] * 19 + ["soon"]), {}, DataError,
     ["'soon'", "row 20", "ISO"]),
    ("time not in the calendar", lambda: table(date=["2024-02-30"] * 20), {}, DataError,
     ["'2024-02-30'", "row 1"]),
    ("day or month", lambda: table(date=["01/02/2024", "02/02/2024"] * 10), {}, DataError,
     ["'01/02/2024'", "day and month", "ISO"]),
    ("day and month", lambda: table(date=["13/02/2024", "02/13/2024"] * 10), {}, DataError,
     ["13/02/2024", "02/13/2024", "ISO"]),
    ("some offsets", lambda: table(date=["2024-01-01 00:00+01:00", "2024-01-01 01:00"] * 10), {},
     DataError, ["+01:00", "offset"]),
    ("time true or false", lambda: table(date=[True, False] * 10), {}, SchemaError,
     ["'date'", "Boolean", "time="]),
    ("time a fraction", lambda: table(date=[i / 2 for i in range(20)]), {}, SchemaError,
     ["'date'", "0.5", "row 2"]),
    ("weeks that the year has not", lambda: table(date=list(range(202444, 202454)) * 2), {}, DataError,
     ["202453", "ISO weeks"]),
    ("months without a year", lambda: table(month=[1, 2, 3, 4, 5] * 4).drop("date"), {}, SchemaError,
     ["'month'", "without their year", "time=["]),
    ("a year beyond belief", lambda: table(date=[f"0{y}-01-01" for y in range(100, 120)]), {}, DataError,
     ["0100-01-01", "row 1", "1900 to 2100"]),
    ("time zone unknown", table, {"time_zone": "Europe/Berln"}, SchemaError,
     ["'Europe/Berln'", "Europe/Berlin"]),
    ("time zone of steps", lambda: table(date=list(range(10)) * 2), {"time_zone": "UTC"},
     SchemaError, ["whole steps", "time_zone"]),
    # the grid
    ("same time twice", lambda: with_row(date=DAYS[5]), {}, DataError,
     ["1 rows", "series a at 2024-01-06", "duplicates='sum'"]),
    ("key column forgotten", table, {"key": []}, DataError, ["10 rows", "key="]),
    ("clock change", lambda: hours(24, 2), {}, DataError, ["02:00", "time_zone="]),
    ("no regular step", lambda: pl.DataFrame(
        {"ds": [datetime(2024, 1, 1), datetime(2024, 1, 1, 3, 7, 11), datetime(2024, 1, 2, 5, 1, 2),
                datetime(2024, 1, 9, 5, 1, 3)], "y": [1.0] * 4}), {},
     FrequencyError, ["no regular grid", "freq="]),
    ("one row a series", lambda: table(item=list(range(20))), {"key": "item"}, FrequencyError,
     ["no series has two times", "freq="]),
    ("row numbers in place of a key", lambda: table(item=list(range(20))), {}, DataError,
     ["'item' is different in every row", "key="]),
    ("freq unknown", table, {"freq": "dayly"}, FrequencyError, ["'dayly'", "daily"]),
    ("freq does not fit", table, {"freq": "W-MON"}, FrequencyError,
     ["series a at 2024-01-02", "'W-MON'"]),
    ("freq of steps for dates", table, {"freq": "1"}, FrequencyError, ["'date' holds dates"]),
    ("freq of dates for steps", lambda: table(date=list(range(10)) * 2), {"freq": "D"},
     FrequencyError, ["'date' holds whole numbers", "freq='1'"]),
    ("stray time", lambda: with_row(date=date(9999, 12, 31)), {}, DataError,
     ["row 5", "9999-12-31", "stray"]),
    ("stray time of this age", lambda: with_row(date=date(2099, 12, 31)), {"freq": "min"}, FrequencyError,
     ["series a", "2099-12-31", "stray"]),
    ("steps absent", lambda: table().filter(pl.int_range(20) != 4), {"gaps": "error"}, DataError,
     ["1 steps", "series a at 2024-01-04", "gaps='missing'"]),
    # values
    ("target text", lambda: table(units=["many"] * 20), {}, DataError,
     ["'many'", "row 1", "another column"]),
    ("target mixed", lambda: table(units=["1"] * 19 + ["12a"]), {}, DataError, ["'12a'", "row 20"]),
    ("target mixed in pandas", lambda: table().to_pandas().assign(units=[1, "x"] * 10), {},
     DataError, ["'units'", "'x'", "row 2"]),
    ("target dates", lambda: table(units=DAYS * 2), {"target": "units"}, SchemaError,
     ["'units'", "Date", "numbers"]),
    ("target infinite", lambda: with_row(units=float("inf")), {}, DataError,
     ["'units'", "row 5", "infinite='missing'"]),
    ("target too large", lambda: with_row(units=1e300), {}, DataError, ["3.4e38", "row 5"]),
    ("target negative", lambda: with_row(units=-3.0), {"negative": "error"}, DataError,
     ["-3", "series a at 2024-01-05", "negative='zero'"]),
    ("target all missing", lambda: table(units=[None] * 20), {"target": "units"}, DataError,
     ["no value at all", "target="]),
    # covariates
    ("known infinite", lambda: table(price=[1.0] * 19 + [float("inf")]), KNOWN, DataError,
     ["'price'", "row 20"]),
    ("known dates", lambda: table(price=DAYS * 2), KNOWN, SchemaError, ["'price'", "Date"]),
    ("known a text of many values", lambda: pl.concat(
        [table(price=[f"p{i}{j}" for i in range(20)], item=[f"{j}a"] * 10 + [f"{j}b"] * 10)
         for j in range(4)]), KNOWN, SchemaError, ["'price'", "80 distinct"]),
    ("available a number", lambda: table(stock=list(range(20))), {"available": "stock"}, SchemaError,
     ["'stock'", "1/0", "like 2"]),
    ("static changes", lambda: table(size=[1.0] * 9 + [2.0] * 11), {"static": "size"}, SchemaError,
     ["'size'", "series a", "1.0 and 2.0", "past="]),
    ("static dates", lambda: table(size=[DAYS[0]] * 20), {"static": "size"}, SchemaError,
     ["'size'", "Date"]),
    ("static infinite", lambda: table(size=[float("inf")] * 20), {"static": "size"}, DataError,
     ["'size'", "infinite"]),
    ("static table without key", table, {"static_table": STATIC.rename({"item": "it"})}, SchemaError,
     ["['item']", "rename"]),
    ("static table without column", table, {"static_table": STATIC, "static": "sise"}, SchemaError,
     ["'sise'", "did you mean 'size'"]),
    ("static table with a key twice", table, {"static_table": pl.concat([STATIC, STATIC])},
     SchemaError, ["series a", "unique"]),
    ("static table of other keys", table,
     {"static_table": STATIC.with_columns(item=pl.lit("z") + pl.col("item"))}, SchemaError,
     ["no series", "the same way"]),
    ("static table of other key types", table,
     {"static_table": pl.DataFrame({"item": [[1], [2]], "size": [1.5, 2.5]})}, SchemaError,
     ["item", "String"]),
    ("static in both tables", lambda: table(size=[1.5] * 20),
     {"static": "size", "static_table": STATIC}, SchemaError, ["'size'", "drop one"]),
    # wide tables
    ("wide with text", lambda: table().select("date", "units", "item"), {"wide": True}, SchemaError,
     ["'item'", "wide=False"]),
    ("wide with key", table, {"wide": True, "key": "item"}, SchemaError, ["no key column", "wide=False"]),
    ("wide with a reserved name", lambda: table(series=[1.0] * 20).select("date", "units", "series"),
     {"wide": True, "known": "series"}, SchemaError, ["'series'", "rename"]),
    ("wide without columns", lambda: table().select("date"), {"wide": True}, SchemaError,
     ["column of numbers"]),
    ("wide by date with text", lambda: pl.DataFrame(
        {"item": ["a", "b"], "2024-01-01": ["1", "x"], "2024-01-02": [1, 2]}), {}, DataError,
     ["'2024-01-01'", "'x'", "row 2"]),
    ("wide by date with a reserved name", lambda: pl.DataFrame(
        {"value": ["a", "b"], "2024-01-01": [3, 4], "2024-01-02": [1, 2]}), {}, SchemaError,
     ["'value'", "rename"]),
    # options
    ("gaps rule", table, {"gaps": "fill"}, ConfigError, ["'fill'", " zero"]),
    ("duplicates rule", table, {"duplicates": "drop"}, ConfigError, ["'drop'", " sum"]),
    ("negative rule", table, {"negative": "clip"}, ConfigError, ["'clip'", "keep"]),
    ("future gaps rule", table, {"future_gaps": "zero"}, ConfigError, ["'zero'", " last"]),
    ("future gaps in the table", lambda: priced(units=[*range(8), None, None] * 2).filter(pl.col("date") != DAYS[8]),
     {**KNOWN, "future_gaps": "error"}, DataError, ["2 steps ahead of 2 series", "series a at 2024-01-09", "'last'"]),
    ("infinite rule", table, {"infinite": "zero"}, ConfigError, ["'zero'", " missing"]),
    # covariates after the last step
    ("future of another key", priced, {**KNOWN, "future": ahead().rename({"item": "Item"})}, SchemaError,
     ["'Item'", "'item'", "rename"]),
    ("future without known", table, {"future": ahead()}, SchemaError, ["known="]),
    ("future without column", priced, {**KNOWN, "future": ahead().rename({"price": "prize"})},
     SchemaError, ["'price'", "did you mean 'prize'"]),
    ("future without series", priced, {**KNOWN, "future": ahead().head(3)}, DataError,
     ["1 series", "of them b"]),
    ("future over history", priced, {**KNOWN, "future": ahead(date=DAYS[-3:] * 2)}, DataError,
     ["series a at 2024-01-08", "after the last step"]),
    ("future with a hole", priced, {**KNOWN, "future": ahead().gather_every(2), "future_gaps": "error"}, DataError,
     ["series a at 2024-01-12", "every step"]),
    ("future too late", priced, {**KNOWN, "future_gaps": "error", "future": ahead().filter(pl.col("date") > DAYS[-1] + timedelta(days=1))},
     DataError, ["series a at 2024-01-11"]),
    ("future twice", priced, {**KNOWN, "future": pl.concat([ahead(), ahead()])}, DataError,
     ["repeat", "series a at 2024-01-11"]),
    ("future of steps", priced, {**KNOWN, "future": ahead(date=[11, 12, 13] * 2)}, FrequencyError,
     ["'date'", "as in the main table"]),
    ("future off the grid", priced,
     {**KNOWN, "future": ahead().cast({"date": pl.Datetime}).with_columns(pl.col("date").dt.offset_by("1h"))},
     FrequencyError, ["01:00", "'D'"]),
    ("future empty", priced, {**KNOWN, "future": ahead().clear()}, DataError, ["no rows"]),
    ("future without its key", priced, {**KNOWN, "future": ahead(item=[None] * 6)}, DataError,
     ["'item'", "row 1"]),
    ("future of before", priced, {**KNOWN, "future": pl.DataFrame({"date": DAYS, "price": [1.0] * 10})},
     DataError, ["series a", "last step"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "options", "error", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_bad_input_names_the_place_and_the_mend(
    source: Callable[[], Any],
    options: dict[str, Any],
    error: type[DemandcastError],
    words: list[str],
) -> None:
    with pytest.raises(error) as caught:
        read_panel(source(), **options)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "__" not in message  # names of ours are no help to the user

    report = check(source(), **options)
    assert not report.ok
    assert report.findings[0].severity == "error"
    assert report.findings[0].action == message


def test_there_are_enough_kinds_of_bad_input() -> None:
    assert len({case[0] for case in CASES}) == len(CASES) >= 45


def test_pandas_columns_of_any_mixture_are_refused_by_name() -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024", periods=3), "y": [1, {"a": 2}, 3]})
    with pytest.raises(DataError, match=r"'y'.*row 2"):
        read_panel(frame)


@pytest.mark.parametrize("header", ["item,date,units", "a,b,c", "date"])
def test_a_file_of_only_a_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "sales.csv"
    path.write_text(header + "\n")
    with pytest.raises(FileError, match=r"sales\.csv has a header line but no rows"):
        read_panel(path)
    assert [f.severity for f in check(path).findings] == ["error"]


def test_a_series_off_every_grid_is_named_by_its_key() -> None:
    start = datetime(2024, 1, 1)
    odd = [start + timedelta(hours=i, seconds=i * i) for i in range(10)]
    even = [start + timedelta(hours=i) for i in range(10)]
    frame = table(item=["a"] * 10 + ["corner shop"] * 10, date=even + odd)
    with pytest.raises(FrequencyError, match="series corner shop"):
        read_panel(frame)
