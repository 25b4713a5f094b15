"""Tables as Python keeps them: whatever the types and indexes, the same panel."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demandcast.errors import SchemaError, ShapeError
from demandcast.frames import from_wide, read_panel
from demandcast.local.naive import SeasonalNaive
from demandcast.panel.panel import Panel

N = 6  # days
DAYS = pd.date_range("2024-01-01", periods=N)
UNITS = [3.0, 0.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0]
LONG = pd.DataFrame({"item": ["7"] * N + ["12"] * N, "date": [*DAYS, *DAYS], "units": UNITS})
WIDE = pd.DataFrame({"7": UNITS[:N], "12": UNITS[N:]}, index=DAYS)


def same(panel: Panel, key: tuple[str, ...] = ("item",), first: str = "2024-01-01") -> None:
    assert panel.schema.key == key
    assert [panel.key(i).split("/")[-1] for i in range(panel.n_series)] == ["7", "12"]
    assert panel.target.tolist() == UNITS
    assert panel.history_times(0)[0] == np.datetime64(first)


INDEXED: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("named MultiIndex", lambda: LONG.set_index(["item", "date"]), ("item",)),
    ("MultiIndex, time first", lambda: LONG.set_index(["date", "item"]), ("item",)),
    ("nameless MultiIndex", lambda: LONG.set_index(["item", "date"]).rename_axis([None, None]), ("series",)),
    ("nameless MultiIndex of three", lambda: LONG.assign(shop="x").set_index(["shop", "item", "date"])
     .rename_axis([None] * 3), ("level 1", "level 2")),
    ("series under a MultiIndex", lambda: LONG.set_index(["item", "date"])["units"], ("item",)),
    ("nameless series under a MultiIndex", lambda: LONG.set_index(["item", "date"])["units"].rename(None), ("item",)),
    ("nameless times", lambda: LONG.set_index("date").rename_axis(None), ("item",)),
    ("named times", lambda: LONG.set_index("date"), ("item",)),
    ("index of items", lambda: LONG.set_index("item"), ("item",)),
    ("nameless index of items", lambda: LONG.set_index("item").rename_axis(None), ("series",)),
    ("index that numbers the rows", lambda: LONG.set_axis(range(5, 5 + 2 * N)), ("item",)),
    ("index that is a column too", lambda: LONG.set_axis(LONG["item"]), ("item",)),
    ("PeriodIndex", lambda: LONG.set_index(pd.PeriodIndex(LONG["date"], freq="D")).drop(columns="date"), ("item",)),
    ("periods in a column", lambda: LONG.assign(date=LONG["date"].dt.to_period("D")), ("item",)),
    ("periods in a MultiIndex", lambda: LONG.assign(date=LONG["date"].dt.to_period("D")).set_index(["item", "date"]),
     ("item",)),
    ("wide, axis named", lambda: WIDE.rename_axis(columns="item"), ("item",)),
    ("wide, axis of no key's word", lambda: WIDE.rename_axis(columns="flavour"), ("flavour",)),
    ("wide, axis and index named", lambda: WIDE.rename_axis(index="day", columns="sku"), ("sku",)),
    ("wide, axis of two names", lambda: pd.concat({"x": WIDE}, axis=1, names=["shop", "item"]), ("shop", "item")),
    ("wide, axis of two nameless", lambda: pd.concat({"x": WIDE}, axis=1), ("level 1", "level 2")),
    ("wide of nullable numbers", lambda: WIDE.astype("Int64").rename_axis(columns="item"), ("item",)),
    ("wide under periods", lambda: WIDE.to_period("D").rename_axis(columns="item"), ("item",)),
    ("wide, unnamed", lambda: WIDE, ("series",)),
    ("wide by date", lambda: WIDE.T, ("series",)),
    ("wide by date, items named", lambda: WIDE.T.rename_axis("item"), ("item",)),
    ("wide by period", lambda: WIDE.to_period("D").T.rename_axis("item"), ("item",)),
    ("dict of columns", lambda: {c: list(LONG[c]) for c in LONG}, ("item",)),
    ("dict of arrays", lambda: {c: LONG[c].to_numpy() for c in LONG}, ("item",)),
    ("rows that are dicts", lambda: LONG.to_dict("records"), ("item",)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "key"), [c[1:] for c in INDEXED], ids=[c[0] for c in INDEXED])
def test_what_stands_in_an_index_is_a_column(make: Callable[[], Any], key: tuple[str, ...]) -> None:
    source = make()
    before = source.copy() if hasattr(source, "copy") else source
    same(read_panel(source), key)
    if isinstance(source, pd.DataFrame):
        pd.testing.assert_frame_equal(source, before)  # nothing of the caller's is changed


@pytest.mark.parametrize(
    ("freq", "name", "first"),
    [("M", "MS", "2024-01-01"), ("Q", "QS-JAN", "2024-01-01"), ("Y", "YS-JAN", "2024-01-01"),
     ("W-SUN", "W-MON", "2024-01-01"), ("D", "D", "2024-01-01"), ("h", "h", "2024-01-01")],
)  # fmt: skip
def test_periods_are_their_first_moment(freq: str, name: str, first: str) -> None:
    index = pd.period_range("2024-01-01", periods=N, freq=freq)
    panel = read_panel(pd.DataFrame({"units": UNITS[:N]}, index=index))
    assert panel.schema.freq == name
    assert panel.history_times(0)[0] == np.datetime64(first)


def test_columns_of_several_measures_are_no_series() -> None:
    frame = LONG.iloc[:N].assign(price=2.0).pivot_table(index="date", values=["units", "price"])
    frame.columns.name = "measure"
    assert read_panel(frame, known="price").target.tolist() == UNITS[:N]


@pytest.mark.parametrize("source", [[], [1, 2], {"a": [1], "b": [1, 2]}, 7, object()])
def test_what_is_no_table_is_refused(source: Any) -> None:
    with pytest.raises((SchemaError, Exception), match=r"table|list of paths") as caught:
        read_panel(source)
    assert "demandcast.errors" in str(type(caught.value))


# Types by roles

KEYS: dict[str, Callable[[pd.Series], Any]] = {
    "text": lambda c: c, "string": lambda c: c.astype("string"), "category": lambda c: c.astype("category"),
    "integer": lambda c: c.astype(int), "Int64": lambda c: c.astype(int).astype("Int64"),
    "uint8": lambda c: c.astype("uint8"), "categories of integers": lambda c: c.astype(int).astype("category"),
    "arrow": lambda c: c.astype("string[pyarrow]"), "object": lambda c: c.astype(object),
}  # fmt: skip
TIMES: dict[str, Callable[[pd.Series], Any]] = {
    "datetime": lambda c: c, "seconds": lambda c: c.astype("datetime64[s]"), "date": lambda c: c.dt.date,
    "text": lambda c: c.dt.strftime("%Y-%m-%d"), "string": lambda c: c.dt.strftime("%Y-%m-%d").astype("string"),
    "category": lambda c: c.dt.strftime("%Y-%m-%d").astype("category"), "period": lambda c: c.dt.to_period("D"),
    "figures": lambda c: c.dt.strftime("%Y%m%d").astype(int), "zone": lambda c: c.dt.tz_localize("Europe/Berlin"),
    "timestamps": lambda c: c.astype(object),
}  # fmt: skip
NUMBERS: dict[str, Callable[[pd.Series], Any]] = {
    "float64": lambda c: c, "float32": lambda c: c.astype("float32"), "float16": lambda c: c.astype("float16"),
    "integer": lambda c: c.astype(int), "int8": lambda c: c.astype("int8"), "uint16": lambda c: c.astype("uint16"),
    "Int64": lambda c: c.astype(int).astype("Int64"), "Float64": lambda c: c.astype("Float64"),
    "Decimal": lambda c: c.map(lambda v: Decimal(str(v))), "object": lambda c: c.astype(object),
    "text": lambda c: c.map("{:.1f}".format), "arrow": lambda c: c.astype("int64[pyarrow]"),
}  # fmt: skip
FLAGS: dict[str, Callable[[pd.Series], Any]] = {
    **{name: NUMBERS[name] for name in ("float64", "integer", "Int64", "Decimal", "int8")},
    "bool": lambda c: c.astype(bool), "boolean": lambda c: c.astype("boolean"),
    "words": lambda c: c.map({1.0: "yes", 0.0: "no"}), "object": lambda c: c.astype(bool).astype(object),
}  # fmt: skip
CONTAINERS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda f: f, "index": lambda f: f.set_index(["item", "date"]),
    "arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"), "shuffled": lambda f: f.iloc[::-1],
}  # fmt: skip


def pick(table: dict[str, Any]) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(table))


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    key=pick(KEYS), time=pick(TIMES), target=pick(NUMBERS), known=pick(FLAGS), static=pick(KEYS), box=pick(CONTAINERS)
)  # fmt: skip
def test_every_type_in_every_role_gives_the_same_panel(
    key: str, time: str, target: str, known: str, static: str, box: str
) -> None:
    flags = pd.Series([1.0, 0.0, 0.0, 1.0] * 3)
    frame = pd.DataFrame(
        {
            "item": KEYS[key](LONG["item"]), "date": TIMES[time](LONG["date"]), "units": NUMBERS[target](LONG["units"]),
            "promo": FLAGS[known](flags), "kind": KEYS[static](LONG["item"]),
        }
    )  # fmt: skip
    if box == "arrow" and (time == "period" or target == "Decimal" or known == "Decimal"):
        box = "pandas"  # which pandas does not convert
    panel = read_panel(CONTAINERS[box](frame), known="promo", static="kind")
    order = np.argsort([panel.key(i) != "7" for i in range(2)])
    panel = panel.select(order).compact()
    same(panel, first=str(panel.freq.times(panel.starts[:1])[0]))
    assert panel.known[:, 0].tolist() == flags.tolist()
    assert panel.freq.name == "D"
    assert panel.static_codes[:, 0].tolist() != [0, 0]


@pytest.mark.parametrize("number", [np.int64(2), np.int8(2), np.uint16(2), 2])
def test_numpy_numbers_are_arguments(number: Any) -> None:
    panel = read_panel(LONG)
    model = SeasonalNaive(horizon=number, period=number, seed=number).fit(panel)
    for levels in (np.float64(0.5), np.float32(0.5), 0.5, [np.float64(0.5)], np.array([0.5])):
        frame = model.predict(panel, levels=levels, n_samples=number).to_frame()
        assert frame.shape == (4, 4)
    assert panel.drop_last(number).n_steps == 2 * (N - 2)


@pytest.mark.parametrize("box", [list, tuple, np.array, pd.Index, pd.Series, pl.Series])
def test_columns_are_named_by_any_list(box: Callable[[list[str]], Any]) -> None:
    same(read_panel(LONG, key=box(["item"]), known=box(["units"])[:0], target=np.str_("units")))


@pytest.mark.parametrize(
    "times", [[*DAYS], DAYS, DAYS.to_numpy(), DAYS.strftime("%d.%m.%Y").to_list(), DAYS.to_series()]
)
@pytest.mark.parametrize("keys", [["7", "12"], [7, 12], {"shop": ["x", "x"], "item": ["7", "12"]}])
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16])
def test_an_array_with_a_column_a_series_is_a_panel(times: Any, keys: Any, dtype: Any) -> None:
    panel = from_wide(WIDE.to_numpy().astype(dtype), times=times, keys=keys)
    same(panel, ("shop", "item") if isinstance(keys, dict) else ("series",))


def test_a_frame_with_a_column_a_series_is_a_panel() -> None:
    same(from_wide(WIDE), ("series",))
    same(from_wide(pl.from_pandas(WIDE.reset_index(names="when")), times="when"), ("series",))
    steps = from_wide(np.array([[1.0, np.nan], [2.0, 3.0]]), times=[4, 5], target="units")
    assert (steps.schema.freq, steps.schema.target) == ("1", "units")
    assert steps.keys["series"].to_list() == [0, 1]
    assert np.isnan(steps.history(1)[0])


@pytest.mark.parametrize(
    ("unit", "freq", "shown"),
    [
        ("Y", "YS-JAN", "2020-01-01 .. 2025-01-01"),
        ("M", "MS", "2020-01-01 .. 2020-06-01"),
        ("D", "D", "2020-01-01 .. 2020-01-06"),
        ("h", "h", "2020-01-01 .. 2020-01-01T05"),
        ("m", "min", "2020-01-01 .. 2020-01-01T00:05"),
        ("s", "s", "2020-01-01 .. 2020-01-01T00:00:05"),
        ("ns", "ns", ""),
    ],
)
def test_times_of_every_unit_of_numpy_are_read(unit: str, freq: str, shown: str) -> None:
    first = np.datetime64("2020-01-01").astype(f"datetime64[{unit}]")
    days = 10**9 if unit == "ns" else 1  # a grid of nanoseconds is none of ours
    panel = from_wide(np.arange(12.0).reshape(6, 2), times=first + days * np.arange(6))
    assert panel.schema.freq == ("s" if unit == "ns" else freq)
    assert shown in repr(panel)


@pytest.mark.parametrize(
    "options",
    [{}, {"times": DAYS[:3]}, {"times": DAYS, "keys": ["a"]}, {"times": DAYS, "keys": {}}],
)
def test_an_array_of_another_shape_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="one time a row and one key a column"):
        from_wide(WIDE.to_numpy(), **options)
    with pytest.raises(ShapeError, match="give \\(steps, series\\)"):
        from_wide(np.zeros(3), **options)
