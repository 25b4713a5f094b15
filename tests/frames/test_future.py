"""Tables of the steps ahead: complete or not, of the same series or of new ones."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.cli.main import main
from demandcast.errors import DataError
from demandcast.frames import extend, read_panel
from demandcast.local.naive import SeasonalNaive
from demandcast.panel.panel import Note, Panel

START = date(2024, 1, 1)
LAST = 28  # days of history
NAN = float("nan")


def day(i: int) -> date:
    return START + timedelta(days=i)


def history(items: str = "ab") -> pl.DataFrame:
    rows = [(k, day(i), float(i), 10.0, "fair") for k in items for i in range(LAST)]
    return pl.DataFrame(rows, schema=["item", "date", "units", "price", "event"], orient="row")


def ahead(**given: dict[int, Any]) -> pl.DataFrame:
    """Prices by item and days ahead, None for an empty cell."""
    rows = [(k, day(LAST + i), p) for k, steps in given.items() for i, p in steps.items()]
    kinds = {"item": pl.String, "date": pl.Date, "price": pl.Float64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def note(panel: Panel, kind: str) -> Note:
    (found,) = [n for n in panel.notes if n.kind == kind]
    return found


def prices(panel: Panel, i: int) -> list[float]:
    first = panel.begins[i] + panel.lengths[i]
    values: list[float] = panel.known[first : panel.begins[i] + panel.extents[i], 0].tolist()
    return values


FULL = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
GAPS = [  # what series a has ahead, what that becomes by "last" and by "missing", and the steps counted
    ("complete", FULL, [1, 2, 3, 4], [1, 2, 3, 4], 0),
    ("a closed day", {0: 1.0, 1: 2.0, 3: 4.0}, [1, 2, 2, 4], [1, 2, NAN, 4], 1),
    ("the first day", {1: 2.0, 2: 3.0, 3: 4.0}, [10, 2, 3, 4], [NAN, 2, 3, 4], 1),
    ("the last days", {0: 1.0, 1: 2.0}, [1, 2, 2, 2], [1, 2, NAN, NAN], 2),
    ("all but one", {2: 3.0}, [10, 10, 3, 3], [NAN, NAN, 3, NAN], 3),
    ("an empty cell", {0: 1.0, 1: None, 2: 3.0, 3: 4.0}, [1, 1, 3, 4], [1, NAN, 3, 4], 1),
    ("an empty cell first", {0: None, 1: 2.0, 2: 3.0, 3: 4.0}, [10, 2, 3, 4], [NAN, 2, 3, 4], 1),
    ("a nan", {0: NAN, 1: 2.0, 2: 3.0, 3: NAN}, [10, 2, 3, 3], [NAN, 2, 3, NAN], 2),
]


@pytest.mark.parametrize(
    ("given", "last", "missing", "count"), [c[1:] for c in GAPS], ids=[c[0] for c in GAPS]
)
@pytest.mark.parametrize("inside", [False, True])
def test_steps_ahead_without_covariates_are_treated_by_a_rule(
    given: dict[int, Any], last: list[float], missing: list[float], count: int, *, inside: bool
) -> None:
    table, future = history(), ahead(a=given, b=FULL)
    if inside:  # rows of the table whose target is empty
        table = pl.concat([table, future], how="diagonal")
    options: dict[str, Any] = {"known": "price", "future": None if inside else future}
    for rule, wanted in (("last", last), ("missing", missing)):
        panel = read_panel(table, **options, future_gaps=rule)
        np.testing.assert_array_equal(prices(panel, 0), wanted)
        assert prices(panel, 1) == [1, 2, 3, 4]
        if count:
            found = note(panel, "future gaps")
            assert (found.count, found.series, found.severity) == (count, 1, "warning")
            assert "series a at 2024-01-" in found.example
    if count:
        with pytest.raises(DataError, match=r"series a at 2024-01-.*future_gaps='last'"):
            read_panel(table, **options, future_gaps="error")
    else:
        read_panel(table, **options, future_gaps="error")


def test_a_category_is_carried_on_as_numbers_are() -> None:
    panel = read_panel(history("a"), known="event")
    rows = [("a", day(LAST), None), ("a", day(LAST + 2), "fair"), ("a", day(LAST + 3), None)]
    future = pl.DataFrame(rows, schema=["item", "date", "event"], orient="row")
    assert prices(extend(panel, future), 0) == [1, 1, 1, 1]
    missing = prices(extend(panel, future, future_gaps="missing"), 0)
    np.testing.assert_array_equal(missing, [0, NAN, 1, 0])


def test_a_calendar_without_sundays_serves_a_table_of_all_days() -> None:
    days = [day(LAST + i) for i in range(14) if day(LAST + i).weekday() != 6]
    future = pl.DataFrame({"date": days, "price": np.arange(float(len(days)))})
    panel = read_panel(history(), known="price", future=future)
    assert prices(panel, 0) == prices(panel, 1) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11]
    assert note(panel, "future gaps").count == 2


def test_a_whole_series_without_a_row_ahead_is_refused_by_every_rule() -> None:
    for rule in ("last", "missing", "error"):
        with pytest.raises(
            DataError, match=r"1 series of the panel are not in the future table.* b;"
        ):
            read_panel(history(), known="price", future=ahead(a=FULL), future_gaps=rule)


# New items


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (FULL, [1, 2, 3, 4]),
        (
            {-3: 9.0, 0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0},
            [1, 2, 3, 4],
        ),  # no row before lies in its history
        ({2: 3.0, 3: 4.0}, [3, 3, 3, 4]),  # launched in two days
    ],
)
def test_a_series_of_the_future_table_only_is_a_new_item(
    steps: dict[int, float], wanted: list[float]
) -> None:
    future = ahead(a=FULL, b=FULL, new=steps)
    panel = read_panel(history(), known="price", future=future)
    assert panel.keys["item"].to_list() == ["a", "b", "new"]
    assert panel.lengths.tolist() == [LAST, LAST, 0]
    assert prices(panel, 2) == wanted
    assert "series new" in note(panel, "new items").example
    frame = SeasonalNaive(horizon=4).fit(panel).predict(panel).to_frame()
    assert frame.filter(pl.col("item") == "new")["date"].to_list() == [
        day(LAST + i) for i in range(4)
    ]


def test_a_panel_that_is_forecast_keeps_to_its_own_series() -> None:
    panel = read_panel(history(), known="price").select(["a"])
    longer = extend(panel, ahead(a=FULL, b=FULL, new=FULL))
    assert longer.keys["item"].to_list() == ["a"]
    assert extend(panel, ahead(a=FULL, new=FULL), new_items=True).n_series == 2


def test_series_that_were_left_out_are_no_new_items() -> None:
    alive = history().with_columns(pl.col("units") + 1)
    long = pl.concat(
        [alive.with_columns(pl.col("date").dt.offset_by(f"-{28 * k}d")) for k in range(5)]
    )
    old = long.filter((pl.col("item") == "a") & (pl.col("date") < day(-80))).with_columns(
        item=pl.lit("old")
    )
    total = (
        pl.concat([long, old])
        .group_by("date")
        .agg(pl.col("units").sum(), pl.col("price").first(), pl.col("event").first())
    )
    table = pl.concat([long, old, total.with_columns(item=pl.lit("Total"))], how="diagonal")
    future = ahead(a=FULL, b=FULL, old=FULL, Total=FULL, new=FULL)
    panel = read_panel(table, known="price", future=future)
    assert panel.keys["item"].to_list() == ["a", "b", "new"]


@pytest.mark.parametrize("where", ["future", "static_table"])
def test_a_new_item_has_the_static_values_that_a_table_gives_it(where: str) -> None:
    statics = pl.DataFrame(
        {"item": ["a", "b", "new"], "kind": ["tea", "nuts", "nuts"], "weight": [1.5, 2.5, 3.5]}
    )
    future = ahead(a=FULL, b=FULL, new=FULL)
    table: Any = history().join(statics, on="item")
    options: dict[str, Any] = {"static": ["kind", "weight"]}
    if where == "future":
        future = future.join(statics, on="item")
    else:
        table, options["static_table"] = history(), statics
    panel = read_panel(table, known="price", future=future, **options)
    assert panel.static_codes[:, 0].tolist() == [2, 1, 1]
    assert panel.static_reals[:, 0].tolist() == [1.5, 2.5, 3.5]
    bare = read_panel(history().join(statics, on="item"), known="price", static=["kind", "weight"],
                      future=ahead(a=FULL, b=FULL, new=FULL))  # fmt: skip
    assert bare.static_codes[:, 0].tolist() == [2, 1, 0]
    assert np.isnan(bare.static_reals[2, 0])


def test_the_command_line_forecasts_a_new_item(tmp_path: Path) -> None:
    history().write_csv(tmp_path / "sales.csv")
    ahead(a=FULL, b={0: 1.0}, new=FULL).write_csv(tmp_path / "future.csv")
    out, run = tmp_path / "out.csv", str(tmp_path / "run")
    known = ["--future", str(tmp_path / "future.csv"), "--out", str(out)]
    table = str(tmp_path / "sales.csv")
    options = ["--known", "price", "--horizon", "4", "--model", "seasonal_naive", "--save", run]
    assert main(["forecast", table, *options, *known]) == 0
    assert pl.read_csv(out)["item"].value_counts(sort=True).rows() == [
        ("a", 4),
        ("b", 4),
        ("new", 4),
    ]
    assert main(["predict", run, table, *known, "--force"]) == 0
    assert pl.read_csv(out)["item"].n_unique() == 3
    assert main(["predict", run, table, *known, "--force", "--future-gaps", "error"]) == 2
