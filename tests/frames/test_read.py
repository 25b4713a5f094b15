"""Tables of every shape become the same panel, and what was done to them is told."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demandcast.frames import check, extend, read_panel
from demandcast.frames.source import open_table
from demandcast.panel.panel import Note, Panel

NAN = float("nan")
DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in range(10)]
LONG = pl.DataFrame(
    {
        "store": [7] * 10 + [3] * 6,
        "item": ["b"] * 10 + ["a"] * 6,
        "date": DAYS + DAYS[4:],
        "units": [float(i % 7) for i in range(16)],
    }
)


def note(panel: Panel, kind: str) -> Note:
    (found,) = [n for n in panel.notes if n.kind == kind]
    return found


def same(left: Panel, right: Panel) -> None:
    for name in ("target", "begins", "extents", "lengths", "starts", "known"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def daily(values: list[Any], **columns: Any) -> pl.DataFrame:
    times = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(len(values))]
    return pl.DataFrame({"ds": times, "y": values, **columns})


def test_keys_keep_type_and_order_and_values_their_place() -> None:
    panel = read_panel(LONG)
    assert panel.keys.equals(pl.DataFrame({"store": [7, 3], "item": ["b", "a"]}))
    assert panel.schema.key == ("store", "item")
    assert (panel.schema.time, panel.schema.target, panel.schema.freq) == ("date", "units", "D")
    assert panel.lengths.tolist() == [10, 6]
    assert panel.history(1).tolist() == LONG["units"][10:].to_list()
    assert panel.history_times(1)[0] == np.datetime64("2024-01-05")
    assert panel.time_dtype == pl.Date


def test_arrays_are_ours_contiguous_and_writable() -> None:
    frame = LONG.with_columns(price=1.0, load=2.0, stock=True, size=2.5, kind=pl.lit("x"))
    panel = read_panel(
        frame,
        target="units",
        known="price",
        past="load",
        static=["size", "kind"],
        available="stock",
    )
    kinds = {
        "target": "float32", "known": "float32", "past": "float32", "available": "bool",
        "begins": "int64", "extents": "int64", "lengths": "int64", "starts": "int64",
        "static_codes": "int64", "static_reals": "float32",
    }  # fmt: skip
    for name, kind in kinds.items():
        array = getattr(panel, name)
        assert array.dtype == kind, name
        assert array.flags.writeable, name
        assert array.flags.c_contiguous, name
    panel.target[:] = -1
    assert LONG["units"].min() == 0


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(LONG.height)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    panel = read_panel(LONG[order], freq="D").select([0, 1])
    straight = read_panel(LONG)
    back = [panel.keys.rows().index(key) for key in straight.keys.rows()]
    for i, j in enumerate(back):
        np.testing.assert_array_equal(panel.history(j), straight.history(i))
        assert panel.starts[j] == straight.starts[i]


def test_rows_out_of_order_are_told_but_interleaved_series_are_not() -> None:
    assert note(read_panel(LONG[[1, 0, *range(2, 16)]]), "unsorted").count == 1
    assert not [n for n in read_panel(LONG.sort("date")).notes if n.kind == "unsorted"]


def test_every_source_gives_the_same_panel(tmp_path: Path) -> None:
    LONG.write_csv(tmp_path / "a.csv")
    LONG.write_parquet(tmp_path / "a.parquet")
    LONG[:9].write_parquet(tmp_path / "part_1.parquet")
    LONG[9:].write_parquet(tmp_path / "part_2.parquet")
    index = LONG.to_pandas().set_index("date")
    sources = [
        tmp_path / "a.csv", str(tmp_path / "a.parquet"), str(tmp_path / "part_*.parquet"),
        [tmp_path / "part_1.parquet", tmp_path / "part_2.parquet"],
        LONG.lazy(), LONG.to_pandas(), LONG.to_arrow(), index,
    ]  # fmt: skip
    for source in sources:
        same(read_panel(source), read_panel(LONG))


def test_of_parquet_only_the_columns_needed_are_read(tmp_path: Path) -> None:
    LONG.with_columns(other=1).write_parquet(tmp_path / "a.parquet")
    plan = open_table(tmp_path / "a.parquet").frame.select("units").explain()
    assert "1/5" in plan
    assert "'other'" in note(read_panel(tmp_path / "a.parquet"), "unused").action


def test_wide_tables_are_long_ones() -> None:
    long = LONG.filter(pl.col("date") >= DAYS[4])
    wide = long.pivot("item", index="date", values="units")
    panel = read_panel(wide)
    same(panel, read_panel(long.drop("store")))
    assert panel.keys["series"].to_list() == ["b", "a"]
    assert "wide" in " ".join(n.action for n in panel.notes)
    by_date = long.pivot("date", index=["store", "item"], values="units")
    panel = read_panel(by_date)
    same(panel, read_panel(long))
    assert panel.keys.rows() == [(7, "b"), (3, "a")]


def test_usual_names_are_known_and_said() -> None:
    for names in (
        ("unique_id", "ds", "y"),
        ("item_id", "timestamp", "target"),
        ("SKU", "Order Date", "Qty"),
    ):
        columns = dict(zip(("item", "date", "units"), names, strict=True))
        panel = read_panel(LONG.drop("store").rename(columns))
        assert (*panel.schema.key, panel.schema.time, panel.schema.target) == names
        guesses = [n.action for n in panel.notes if n.kind == "guess"]
        assert all(any(name in guess for guess in guesses) for name in names)


def test_a_table_without_key_is_one_series() -> None:
    panel = read_panel(daily([1.0, 2.0, 3.0]))
    assert panel.keys.rows() == [("all",)]
    assert panel.schema.key == ("series",)
    assert any("one series" in n.action for n in panel.notes)


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-30", "2024-01-31", "2024-02-01"],
        ["2024/1/30", "2024/1/31", "2024/2/1"],
        ["20240130", "20240131", "20240201"],
        ["30.01.2024", "31.01.2024", "01.02.2024"],
        ["30/01/2024", "31/01/2024", "01/02/2024"],
        ["01/30/2024", "01/31/2024", "02/01/2024"],
        ["2024-01-30T00:00:00", "2024-01-31T00:00:00.000", "2024-02-01 00:00"],
        ["30-Jan-2024", "31-Jan-2024", "01-Feb-2024"],
    ],
)
def test_text_of_many_formats_is_read(texts: list[str]) -> None:
    panel = read_panel(pl.DataFrame({"ds": texts, "y": [1, 2, 3]}))
    days = np.array(["2024-01-30", "2024-01-31", "2024-02-01"], "datetime64[us]")
    np.testing.assert_array_equal(panel.history_times(0), days)


@pytest.mark.parametrize(
    ("texts", "freq"),
    [
        (["2024-01", "2024-02", "2024-04"], "MS"),
        (["2023Q3", "2023Q4", "2024-Q1"], "QS-JAN"),
        (["2020-04-01", "2021-04-01", "2022-04-01"], "YS-APR"),
        (["2024-01-05", "2024-01-12", "2024-01-26"], "W-FRI"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "ME"),
        (["2024-01-01 00:00", "2024-01-01 00:15", "2024-01-01 00:45"], "15min"),
    ],
)
def test_frequencies_are_inferred_over_gaps(texts: list[str], freq: str) -> None:
    assert read_panel(pl.DataFrame({"ds": texts, "y": [1, 2, 3]})).schema.freq == freq


def test_whole_numbers_can_be_dates_or_steps() -> None:
    for times, freq, dtype in (
        ([20240130, 20240131, 20240201], "D", pl.Date),
        ([202311, 202312, 202401], "MS", pl.Date),
        ([2022, 2023, 2024], "1", pl.Int64),
        ([0, 7, 14], "7", pl.Int64),
    ):
        panel = read_panel(pl.DataFrame({"ds": times, "y": [1, 2, 3]}))
        assert (panel.schema.freq, panel.time_dtype) == (freq, dtype)
        assert panel.history(0).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("rule", "value"), [("sum", 5.0), ("mean", 2.5), ("first", 2.0), ("last", 3.0)]
)
def test_duplicates_follow_their_rule(rule: str, value: float) -> None:
    frame = daily([1.0, 2.0, 4.0])
    panel = read_panel(pl.concat([frame, frame[1:2].with_columns(y=3.0)]), duplicates=rule)
    assert panel.history(0).tolist() == [1.0, value, 4.0]
    assert note(panel, "duplicates").count == 1
    assert "2024-01-02" in note(panel, "duplicates").example


def test_a_sum_of_nothing_observed_is_not_observed() -> None:
    frame = daily([1.0, None, 4.0])
    panel = read_panel(pl.concat([frame, frame[1:2]]), duplicates="sum")
    np.testing.assert_array_equal(panel.history(0), [1, NAN, 4])


@pytest.mark.parametrize(("rule", "value"), [("missing", NAN), ("zero", 0.0)])
def test_gaps_follow_their_rule_and_empty_cells_stay_unknown(rule: str, value: float) -> None:
    frame = daily([1.0, 2.0, 3.0, None, 5.0])[[0, 2, 3, 4]]
    panel = read_panel(frame, gaps=rule, freq="D")
    np.testing.assert_array_equal(panel.history(0), [1, value, 3, NAN, 5])
    assert note(panel, "gaps").count == 1
    assert "2024-01-01" in note(panel, "gaps").example
    assert note(panel, "missing").count == 1
    assert "2024-01-04" in note(panel, "missing").example


@pytest.mark.parametrize(("rule", "value"), [("keep", -2.0), ("zero", 0.0), ("missing", NAN)])
def test_negative_values_follow_their_rule(rule: str, value: float) -> None:
    panel = read_panel(daily([1.0, -2.0, 3.0]), negative=rule)
    np.testing.assert_array_equal(panel.history(0), [1, value, 3])
    assert note(panel, "negative").count == 1


def test_infinite_values_can_be_missing_and_text_can_be_numbers() -> None:
    panel = read_panel(daily(["1", "inf", " 2.5"]), infinite="missing")
    np.testing.assert_array_equal(panel.history(0), [1, NAN, 2.5])
    assert note(panel, "infinite").count == 1
    assert note(panel, "text").count == 3


def test_series_with_nothing_to_say_are_told() -> None:
    values = {"a": [0.0] * 10, "b": [4.0] * 10, "c": [None] * 10, "d": [1.0, 2.0] * 5}
    frames = [
        daily(v).with_columns(unique_id=pl.lit(k), y=pl.Series(v, dtype=pl.Float64))
        for k, v in values.items()
    ]
    panel = read_panel(pl.concat([*frames, frames[3][:2].with_columns(unique_id=pl.lit("e"))]))
    warnings = {n.kind: n.example for n in panel.notes if n.severity == "warning"}
    assert warnings == {
        "all zero": "series a", "constant": "series b", "all missing": "series c", "short": "series e",
    }  # fmt: skip


# Known ahead

PRICED = daily([1.0, 2.0, 3.0, None, None], price=[5.0, 6.0, 7.0, 8.0, 9.0])


def test_rows_behind_the_last_target_are_the_future_where_covariates_are_known() -> None:
    panel = read_panel(PRICED, known="price")
    assert panel.lengths.tolist() == [3]
    assert panel.extents.tolist() == [5]
    assert panel.known[:, 0].tolist() == [5, 6, 7, 8, 9]
    assert note(panel, "future").count == 2


def test_rows_at_the_end_without_a_target_in_any_series_are_steps_to_forecast() -> None:
    assert read_panel(PRICED).lengths.tolist() == [3]
    late = PRICED.with_columns(item=pl.lit("late"), y=pl.Series([1.0, 2.0, 3.0, 4.0, None]))
    panel = read_panel(pl.concat([PRICED.with_columns(item=pl.lit("early")), late], how="diagonal"))
    assert panel.lengths.tolist() == [
        4,
        4,
    ]  # where another series has its value, one is not observed
    assert panel.extents.tolist() == [5, 5]


def test_a_future_table_is_like_rows_of_the_main_one() -> None:
    joined = read_panel(PRICED, known="price")
    same(read_panel(PRICED[:3], known="price", future=PRICED[3:].drop("y")), joined)
    same(extend(read_panel(PRICED[:3], known="price"), PRICED[3:]), joined)
    same(extend(read_panel(PRICED[:4], known="price"), PRICED[3:]), joined)  # a step given anew


def test_a_future_table_finds_each_series_and_keeps_what_was_held_out() -> None:
    two = LONG.with_columns(price=pl.col("units") + 1)
    panel = read_panel(two, known="price").drop_last(2)
    days = [DAYS[-1] + timedelta(days=i) for i in (-1, 0, 1)]
    future = pl.DataFrame(
        {
            "item": ["a", "b"] * 3,
            "store": [3, 7] * 3,
            "date": [d for d in days for _ in "ab"],
            "price": np.arange(6.0),
        }
    )
    longer = extend(panel, future)
    np.testing.assert_array_equal(longer.future_target(3), [[1, 2, NAN], [0, 1, NAN]])
    for i, prices in enumerate(([1, 3, 5], [0, 2, 4])):
        begin = longer.begins[i] + longer.lengths[i]
        assert longer.known[begin : begin + 3, 0].tolist() == prices
    np.testing.assert_array_equal(longer.history(0), panel.history(0))
    assert panel.extents.tolist() == [10, 6]


def test_steps_ahead_without_a_row_are_told() -> None:
    panel = read_panel(PRICED[[0, 1, 2, 4]], known="price")
    assert panel.extents.tolist() == [5]
    assert note(panel, "future gaps").count == 1


def test_a_calendar_holds_for_every_series() -> None:
    calendar = pl.DataFrame(
        {"date": [*DAYS, DAYS[-1] + timedelta(days=1)], "price": np.arange(11.0)}
    )
    longer = extend(read_panel(LONG.with_columns(price=0.0), known="price"), calendar)
    assert longer.extents.tolist() == [11, 7]
    assert longer.known[[10, 17], 0].tolist() == [10, 10]


def test_text_known_ahead_becomes_one_covariate_a_value() -> None:
    frame = daily([1.0, 2.0, 3.0], event=["none", "xmas", None])
    panel = read_panel(frame, known="event")
    assert panel.known_names == ("event=none", "event=xmas")
    assert panel.known.tolist() == [[1, 0], [0, 1], [0, 0]]
    future = pl.DataFrame(
        {"ds": [datetime(2024, 1, 4), datetime(2024, 1, 5)], "event": ["xmas", "easter"]}
    )
    longer = extend(panel, future)
    assert longer.known[3:].tolist() == [[0, 1], [0, 0]]
    assert "event=easter" in note(longer, "new category").example


def test_booleans_are_numbers_and_availability_is_kept() -> None:
    frame = daily([1.0, 0.0, 3.0], promo=[True, None, False], stock=[1, 0, None])[[0, 1, 2]]
    panel = read_panel(frame, past="promo", available="stock")
    np.testing.assert_array_equal(panel.past[:, 0], [1, NAN, 0])
    assert panel.available is not None
    assert panel.available.tolist() == [True, False, True]


# Static


def test_static_columns_are_categories_or_numbers() -> None:
    frame = LONG.with_columns(
        size=pl.col("store") * 1.5, kind="item", floor=pl.col("store"), area=pl.col("store") * 1000
    )
    panel = read_panel(frame, static=["size", "kind", "floor", "area"])
    assert panel.vocabularies == {"kind": ("a", "b"), "floor": ("3", "7")}
    assert panel.static_codes.tolist() == [[2, 2], [1, 1]]
    assert panel.static_real_names == ("size", "area")
    assert panel.static_reals.tolist() == [[10.5, 7000], [4.5, 3000]]


def test_a_static_table_may_name_some_of_the_key_and_lack_series() -> None:
    panel = read_panel(
        LONG, static_table=pl.DataFrame({"item": ["a", "z"], "kind": ["new", "old"], "m": [1.5, 2]})
    )
    assert panel.vocabularies == {"kind": ("new",)}
    assert panel.static_codes.tolist() == [[0], [1]]
    np.testing.assert_array_equal(panel.static_reals, [[NAN], [1.5]])
    assert note(panel, "static").example == "series 7/b"
    assert panel.schema.static == ("kind", "m")


# Time zones


def test_hours_of_a_zone_count_in_utc_through_both_clock_changes() -> None:
    for start in (datetime(2024, 3, 30), datetime(2024, 10, 26)):
        begin = pl.Series([start]).dt.replace_time_zone("UTC")[0]
        instants = pl.Series("ds", [begin + timedelta(hours=i) for i in range(60)])
        local = instants.dt.convert_time_zone("Europe/Berlin")
        values = np.arange(60.0)
        stated = read_panel(pl.DataFrame({"ds": local, "y": values}))
        assert stated.time_zone == "Europe/Berlin"
        assert stated.schema.freq == "h"
        walls = pl.DataFrame({"ds": local.dt.replace_time_zone(None), "y": values})
        given = read_panel(walls, time_zone="Europe/Berlin")
        same(stated, given)
        np.testing.assert_array_equal(
            given.history_times(0), instants.dt.replace_time_zone(None).to_numpy()
        )
    assert note(given, "doubled hour").count == 2


def test_a_reading_that_the_clock_skips_is_left_out_and_told() -> None:
    times = [datetime(2024, 3, 31) + timedelta(hours=i) for i in range(5)]
    panel = read_panel(pl.DataFrame({"ds": times, "y": range(5)}), time_zone="Europe/Berlin")
    assert panel.history(0).tolist() == [0, 1, 3, 4]
    assert note(panel, "lost hour").example == "2024-03-31 02:00:00"


def test_days_of_a_zone_stay_days() -> None:
    local = pl.Series("ds", [datetime(2024, 3, 29) + timedelta(days=i) for i in range(5)])
    aware = local.dt.replace_time_zone("Europe/Berlin")
    for column, zone in ((aware, None), (aware.dt.convert_time_zone("UTC"), "Europe/Berlin")):
        panel = read_panel(pl.DataFrame({"ds": column, "y": range(5)}), time_zone=zone)
        assert panel.schema.freq == "D"
        assert panel.time_zone == "Europe/Berlin"
        np.testing.assert_array_equal(panel.history_times(0), local.to_numpy())


def test_offsets_are_read_as_instants() -> None:
    texts = ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T02:00:00Z"]
    panel = read_panel(pl.DataFrame({"ds": texts, "y": [1, 2, 3]}))
    assert panel.history(0).tolist() == [1, 2, 3]
    assert panel.time_zone == "UTC"


# The report


def test_check_tells_the_fault_and_what_else_there_is() -> None:
    frame = daily([1.0, -2.0, 3.0])
    report = check(pl.concat([frame, frame[:1]]))
    assert not report.ok
    assert report.panel is None
    assert [n.severity for n in report.findings][:2] == ["error", "warning"]
    assert {"data", "duplicates", "negative"} <= {n.kind for n in report.findings}
    table = report.to_frame()
    assert table.columns == ["severity", "kind", "count", "series", "example", "action"]
    assert table.height == len(report.findings)
    content = json.loads(report.to_json())
    assert content["ok"] is False
    assert len(content["findings"]) == table.height


def test_check_of_a_good_table_holds_its_panel() -> None:
    report = check(LONG)
    assert report.ok
    assert report.panel is not None
    assert json.loads(report.to_json())["panel"]["series"] == 2
    assert "2 series" in str(report)


def test_tables_are_read_without_torch() -> None:
    code = "import sys, demandcast.frames.examples; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_none_names_no_columns() -> None:
    table = pl.DataFrame({"k": ["a"] * 6, "t": range(6), "y": range(6)})
    panel = read_panel(
        table, key="k", time="t", target="y", freq="1", known=None, past=None, static=None
    )
    assert (panel.known_names, panel.past_names) == ((), ())
