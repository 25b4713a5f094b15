"""A second table of covariates, and newer tables in the encoding of the first."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.errors import DataError, SchemaError
from demandcast.frames import extend, read_panel
from demandcast.panel.align import align
from demandcast.panel.panel import Panel

START = date(2024, 1, 1)


def days(count: int, first: int = 0) -> list[date]:
    return [START + timedelta(days=first + i) for i in range(count)]


SALES = pl.DataFrame(
    {"item": ["a"] * 20 + ["b"] * 20, "date": days(20) * 2, "units": [float(i) for i in range(40)]}
)


def test_a_calendar_gives_the_past_and_the_steps_ahead(tmp_path: Path) -> None:
    calendar = pl.DataFrame({"date": days(27), "promo": [i % 2 for i in range(27)]})
    calendar.write_csv(tmp_path / "promotions.csv")
    for source in (calendar, tmp_path / "promotions.csv"):
        panel = read_panel(SALES, known="promo", covariates=source)
        assert panel.schema.known == ("promo",)
        assert (panel.extents - panel.lengths).tolist() == [7, 7]
        for i in (0, 1):
            begin = panel.begins[i]
            assert panel.known[begin : begin + 27, 0].tolist() == [i % 2 for i in range(27)]
    assert read_panel(SALES, covariates=calendar).schema.known == ("promo",)


def test_prices_by_item_are_joined_by_key_and_time_in_any_order() -> None:
    prices = pl.DataFrame(
        {"item": ["b"] * 23 + ["a"] * 23, "date": days(23) * 2, "price": [2.0] * 23 + [1.0] * 23}
    ).sample(fraction=1.0, shuffle=True, seed=1)
    panel = read_panel(SALES, known="price", covariates=prices)
    assert panel.known[: panel.extents[0], 0].tolist() == [1.0] * 23
    assert panel.known[panel.begins[1] :, 0].tolist() == [2.0] * 23


def test_days_that_the_second_table_lacks_are_missing_and_said() -> None:
    calendar = pl.DataFrame({"date": days(10), "promo": [1] * 10})
    panel = read_panel(SALES, known="promo", covariates=calendar)
    assert np.isnan(panel.known[10:20, 0]).all()
    assert any(n.kind == "covariates" and n.severity == "warning" for n in panel.notes)


@pytest.mark.parametrize(
    ("table", "options", "error", "words"),
    [
        (pl.DataFrame({"day": days(3), "promo": [1] * 3}), {}, SchemaError, "no column 'date'"),
        (pl.DataFrame({"date": days(3), "promo": [1] * 3}), {"known": "price"}, SchemaError, "no column 'price'"),
        (pl.DataFrame({"date": [START] * 2, "promo": [1, 2]}), {}, DataError, "share their series and time"),
        (pl.DataFrame({"date": days(3), "units": [1] * 3}), {"known": "units"}, SchemaError, "in the table and in"),
    ],
)  # fmt: skip
def test_a_second_table_that_does_not_fit_is_refused(
    table: pl.DataFrame, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_panel(SALES, covariates=table, **options)


def test_a_column_of_another_table_names_the_way_to_it() -> None:
    with pytest.raises(SchemaError, match=r"no column 'promo'.*covariates="):
        read_panel(SALES, known="promo")


# Newer tables


def aligned(panel: Panel, like: Panel) -> Panel:
    return align(
        panel, known=like.known_names, past=like.past_names, vocabularies=list(like.vocabularies),
        reals=like.static_real_names,
    )  # fmt: skip


def with_promo(words: list[Any]) -> pl.DataFrame:
    return SALES.with_columns(promo=pl.Series([words[i % len(words)] for i in range(40)]))


def test_a_category_that_is_absent_is_0_and_can_come_ahead() -> None:
    old = read_panel(with_promo(["none", "leaflet", "tv"]), known="promo")
    new = read_panel(with_promo(["none", "leaflet"]), known="promo")
    panel = aligned(new, old)
    assert set(old.known_names) <= set(panel.known_names)
    tv = panel.known_names.index("promo=tv")
    assert not panel.known[:, tv].any()
    ahead = pl.DataFrame({"date": days(2, 20), "promo": ["tv", "none"]})
    longer = extend(panel, ahead)
    assert longer.known[20:22, tv].tolist() == [1, 0]
    assert any(n.kind == "encoding" for n in panel.notes)
    assert aligned(old, old) is old


def test_numbers_and_text_of_one_column_are_the_same_values() -> None:
    words = read_panel(with_promo(["1", "2", "x"]), known="promo")
    numbers = read_panel(with_promo([1, 2]), known="promo")
    panel = aligned(numbers, words)
    one, two = (panel.known_names.index(f"promo={w}") for w in "12")
    assert panel.known[:4, one].tolist() == [1, 0, 1, 0]
    assert panel.known[:4, two].tolist() == [0, 1, 0, 1]
    back = aligned(words, numbers)
    np.testing.assert_array_equal(
        back.known[:3, back.known_names.index("promo")], [1.0, 2.0, np.nan]
    )


def test_statics_keep_the_kind_they_had_at_the_fit() -> None:
    def panel(a: Any, b: Any) -> Panel:
        frame = SALES.with_columns(cluster=pl.Series([a] * 20 + [b] * 20))
        return read_panel(frame, static="cluster")

    small, large = panel(3, 5), panel(3, 1205)
    as_codes = aligned(large, small)
    assert as_codes.vocabularies == {"cluster": ("3", "1205")}
    assert as_codes.static_codes[:, 0].tolist() == [1, 2]
    assert as_codes.static_real_names == ()
    as_reals = aligned(small, large)
    assert as_reals.static_reals[:, 0].tolist() == [3, 5]
    assert as_reals.vocabularies == {}


# Periods, as promotions are kept


def sold(step: str, count: int) -> pl.DataFrame:
    first = date(2024, 1, 1)
    days = pl.date_range(first, first + timedelta(days=40 * count), step, eager=True)[:count]
    rows = [(k, d, 1.0) for k in "ab" for d in days]
    return pl.DataFrame(rows, schema=["item", "date", "units"], orient="row")


def spell(**columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(columns)


JAN = {"start": ["2024-01-03", "2024-01-08"], "end": ["2024-01-04", "2024-01-12"]}
PERIODS = [  # periods, the step of the table, covariates by step of the first series, and those ahead
    ("for all series", JAN, "1d", [0, 0, 1, 1, 0, 0, 0, 1, 1, 1], [1, 1]),
    ("by item", {"item": ["a", "b"], **JAN}, "1d", [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0]),
    ("of one day", {"start": ["2024-01-03"], "end": ["2024-01-03"]}, "1d", [0, 0, 1, 0, 0, 0, 0, 0, 0, 0], []),
    ("German words and dates", {"von": ["31.01.2023", "03.01.2024"], "bis": ["01.02.2023", "04.01.2024"]}, "1d",
     [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], []),
    ("valid from", {"valid_from": ["2024-01-03"], "valid_to": ["2024-01-11"]}, "1d",
     [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [1]),
    ("with a discount", {**JAN, "discount": [20.0, 30.0]}, "1d", [0, 0, 20, 20, 0, 0, 0, 30, 30, 30], [30, 30]),
    ("that meet", {"start": ["2024-01-01", "2024-01-03"], "end": ["2024-01-02", "2024-01-04"], "off": [1.0, 2.0]},
     "1d", [1, 1, 2, 2, 0, 0, 0, 0, 0, 0], []),
    ("the same twice", {k: [v[0], v[0]] for k, v in JAN.items()}, "1d", [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], []),
    ("in weeks", {"start": ["2024-01-14"], "end": ["2024-01-15"]}, "1w", [0, 1, 1, 0, 0, 0, 0, 0, 0, 0], []),
    ("in months", {"start": ["2024-03-31"], "end": ["2024-04-02"]}, "1mo", [0, 0, 1, 1, 0, 0, 0, 0, 0, 0], []),
    ("that reach ahead in months", {"start": ["2024-10-15"], "end": ["2024-12-24"]}, "1mo",
     [0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [1, 1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "step", "inside", "beyond"), [c[1:] for c in PERIODS], ids=[c[0] for c in PERIODS]
)
@pytest.mark.parametrize("text", [False, True])
def test_periods_hold_for_the_steps_that_they_touch(
    spans: dict[str, list[Any]],
    step: str,
    inside: list[int],
    beyond: list[int],
    *,
    text: bool,
    tmp_path: Path,
) -> None:
    source: Any = spell(**spans)
    if text:
        source.write_csv(tmp_path / "promotions.csv")
        source = tmp_path / "promotions.csv"
    panel = read_panel(sold(step, 10), covariates=source)
    (name,) = panel.schema.known
    assert name == next(
        iter(set(spans) - {"item", "start", "end", "von", "bis", "valid_from", "valid_to"}),
        "promotion",
    )
    found = panel.known[panel.begins[0] : panel.begins[0] + panel.extents[0], 0]
    assert found.tolist() == [*inside, *beyond]
    assert panel.lengths.tolist() == [10, 10]


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ({"start": ["2024-01-03"], "end": ["2024-01-01"]}, ["ends before it begins", "row 1", "'start'"]),
        ({"start": ["2024-01-03", "2024-01-04"], "end": ["2024-01-05", "2024-01-06"], "off": [1.0, 2.0]},
         ["overlap and differ", "2024-01-04"]),
        ({"start": ["2024-01-03"], "end": ["soon"]}, ["'end'", "'soon'"]),
    ],
)  # fmt: skip
def test_periods_that_cannot_be_are_refused(spans: dict[str, list[Any]], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_panel(sold("1d", 10), covariates=spell(**spans))
    for word in words:
        assert word in str(caught.value)
