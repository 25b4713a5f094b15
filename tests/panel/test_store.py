"""A panel in a folder is the same panel, read where it lies; half a store is none."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.errors import ConfigError, FileError, mend, way
from demandcast.frames import examples, read_panel
from demandcast.panel import panel as panel_module
from demandcast.panel.panel import Note, Panel
from demandcast.saved import digest_of


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = examples.retail(n_items=8, n_days=60, seed=1).frame
    frame = frame.with_columns(
        in_stock=pl.int_range(pl.len()) % 9 != 0,
        size=pl.lit(1.5),
        category=pl.lit("food"),
        day=pl.col("date").cast(pl.String),
    ).drop("date")
    panel = read_panel(
        frame, key="item", time="day", target="units", known=["price"], past=["promo"],
        static=["category", "size"], available="in_stock",
    )  # fmt: skip
    panel.target[::7] = np.nan
    return panel.drop_last(7)


@pytest.fixture
def stored(panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """Read from a store, in parts of two series."""
    monkeypatch.setattr(panel_module, "BLOCK_ROWS", 120)
    panel.to_store(tmp_path / "sales.store")
    return read_panel(tmp_path / "sales.store")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, pl.DataFrame):
        return one.equals(other) and one.schema == other.schema
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        )
    return bool(one == other)


def test_what_was_written_is_read(panel: Panel, stored: Panel) -> None:
    assert stored.is_mapped
    assert not panel.is_mapped
    for field in fields(Panel):
        assert same(getattr(panel, field.name), getattr(stored, field.name)), field.name
    assert not stored.target.flags.writeable


def test_notes_keep_their_ways(panel: Panel, tmp_path: Path) -> None:
    """As the command line needs them, to write options; an argument for the reader to choose stays open."""
    ways = (
        way("no demand", gaps="zero"),
        mend(freq="D", decimal=None),
        way(key=...),
        way(call="f()"),
    )
    note = Note(kind="gaps", count=2, series=1, example="a", done="kept; pass", ways=ways)
    replace(panel, notes=(note,)).to_store(tmp_path / "sales.store")
    (stored,) = Panel.from_store(tmp_path / "sales.store").notes
    assert stored == note
    assert stored.ways[2].arguments[0][1] is ...


def test_notes_of_format_2_are_read(panel: Panel, tmp_path: Path) -> None:
    """It had no ways, only their words."""
    note = Note(kind="gaps", count=2, series=1, example="a", done="kept", ways=(way(gaps="zero"),))
    replace(panel, notes=(note,)).to_store(tmp_path / "sales.store")
    path = tmp_path / "sales.store" / "panel.json"
    facts = json.loads(path.read_text())
    del facts["digest"]
    facts["format"] = 2
    facts["panel"]["notes"] = [{**note.to_dict(), "mend": []}]
    path.write_text(json.dumps({**facts, "digest": digest_of(facts)}))
    (stored,) = Panel.from_store(tmp_path / "sales.store").notes
    assert str(stored) == str(note)


def test_every_operation_gives_what_it_gives_in_memory(panel: Panel, stored: Panel) -> None:
    assert len(list(stored.parts())) == 4
    for of in (
        lambda p: p.n_observed(),
        lambda p: p.floors(),
        lambda p: p.whole_numbers(),
        lambda p: p.padded_history(20),
        lambda p: p.future_target(7),
        lambda p: p.history(3),
        lambda p: p.profile(),
        lambda p: p.ends(),
        lambda p: p.drop_last(5).n_observed(),
        lambda p: p.truncate("2022-02-01").padded_history(4),
        lambda p: p.select([5, 1, 1, 7]).n_observed(),
        lambda p: p.select([5, 1, 1, 7]).drop_last(3).profile(),
        lambda p: repr(p),
    ):
        assert same(of(panel), of(stored))
    ours, theirs = panel.summary(), stored.summary()
    assert ours.pop("mean") == pytest.approx(theirs.pop("mean"))
    assert ours == theirs


@pytest.mark.parametrize("name", ["deepar", "nhits", "seasonal_naive", "croston", "lstnet"])
def test_methods_forecast_from_it(name: str, panel: Panel, stored: Panel) -> None:
    hyper: dict[str, Any] = {}
    if name in ("deepar", "nhits", "lstnet"):
        hyper = {"context": 14, "max_steps": 4, "batch_size": 8, "rho": 0.5}
    ours = registry.create(name, horizon=7, **hyper).fit(panel).predict(panel)
    theirs = registry.create(name, horizon=7, **hyper).fit(stored).predict(stored)
    # means of covariates come of parts: equal but for rounding
    np.testing.assert_allclose(ours.quantiles, theirs.quantiles, rtol=1e-4, atol=1e-4)


def test_a_backtest_runs_on_it(stored: Panel, panel: Panel) -> None:
    models = [dc.local.SeasonalNaive(horizon=7)]
    boards = [dc.backtest(models, p, folds=2).leaderboard() for p in (panel, stored)]
    columns = [c for c in boards[0].columns if "seconds" not in c]
    assert boards[0].select(columns).equals(boards[1].select(columns))


def test_a_part_of_a_store_is_a_store_of_its_own(stored: Panel, tmp_path: Path) -> None:
    some = stored.select([6, 2]).drop_last(10)
    some.to_store(tmp_path / "some")
    back = read_panel(str(tmp_path / "some"))
    assert len(back.target) == some.extents.sum()
    assert same(back.padded_history(30), some.padded_history(30))
    assert same(back.future_target(17), some.future_target(17))  # what is held out is kept too
    assert back.keys.equals(some.keys)


def test_panels_of_many_kinds_come_back(tmp_path: Path) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 9), eager=True)
    frame = pl.DataFrame({"shop": [3] * 9, "art": ["ä/b"] * 9, "date": days, "y": range(9)})
    frame = frame.with_columns(pl.col("art").cast(pl.Categorical))
    panels = {
        "two keys": read_panel(frame, key=["shop", "art"]),
        "steps": read_panel(pl.DataFrame({"ds": range(9), "y": range(9)}), key=[]),
        "zone": read_panel(
            frame.with_columns(
                pl.col("date").cast(pl.Datetime).dt.replace_time_zone("Europe/Berlin")
            )
        ),
    }
    for name, panel in panels.items():
        panel.to_store(tmp_path / name)
        back = read_panel(tmp_path / name)
        for field in fields(Panel):
            assert same(getattr(panel, field.name), getattr(back, field.name)), (name, field.name)
        ours, theirs = (dc.local.LastValue(horizon=2).fit(p).predict(p) for p in (panel, back))
        assert ours.to_frame().equals(theirs.to_frame())


def test_a_store_is_not_written_over_by_accident(
    panel: Panel, stored: Panel, tmp_path: Path
) -> None:
    path = tmp_path / "sales.store"
    with pytest.raises(FileError, match="overwrite=True"):
        panel.to_store(path)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileError, match="is not a store"):
        panel.to_store(tmp_path / "other", overwrite=True)
    before = stored.padded_history(9)
    stored.select([0]).to_store(path, overwrite=True)  # from the very files that it replaces
    assert read_panel(path).n_series == 1
    assert same(stored.padded_history(9), before)  # still open, still what it was
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "sales.store"]


def test_a_write_that_fails_leaves_nothing(
    panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(
        FileError, match=r"not saved: .*: no space left on device; the store was not written"
    ):
        panel.to_store(tmp_path / "sales.store")
    assert not list(tmp_path.iterdir())


DAMAGES = {
    "no facts": lambda store: (store / "panel.json").unlink(),
    "facts cut": lambda store: (store / "panel.json").write_text('{"format": 1, "sch'),
    "values cut": lambda store: _cut(store / "target.npy"),
    "no covariates": lambda store: (store / "known.npy").unlink(),
    "another array": lambda store: shutil.copy(store / "past.npy", store / "target.npy"),
    "keys cut": lambda store: _cut(store / "keys.parquet"),
    "other keys": lambda store: pl.DataFrame({"item": ["a"]}).write_parquet(store / "keys.parquet"),
    "pickled": lambda store: np.save(
        store / "begins.npy", np.array([{}], dtype=object), allow_pickle=True
    ),
    "later": lambda store: (store / "panel.json").write_text('{"format": 99}'),
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_refused(damage: str, panel: Panel, tmp_path: Path) -> None:
    panel.to_store(tmp_path / "sales.store")
    DAMAGES[damage](tmp_path / "sales.store")
    said = "format 99" if damage == "later" else "damaged or was not written to its end.*to_store"
    with pytest.raises(FileError, match=said):
        read_panel(tmp_path / "sales.store")


def test_roles_and_rules_are_those_of_the_first_reading(stored: Panel, tmp_path: Path) -> None:
    path = tmp_path / "sales.store"
    with pytest.raises(ConfigError, match="leave key, gaps out"):
        read_panel(path, key="item", gaps="zero", known=[])


def test_a_future_table_is_laid_behind_it(stored: Panel, panel: Panel, tmp_path: Path) -> None:
    days = [f"2022-02-{day}" for day in range(23, 29)] + ["2022-03-01"]
    future = stored.keys.join(pl.DataFrame({"day": days}), how="cross").with_columns(
        price=2.5, promo=pl.lit(1)
    )
    ours = dc.frames.extend(replace(panel, extents=panel.lengths), future)
    theirs = dc.frames.extend(replace(stored, extents=stored.lengths), future)
    for field in fields(Panel):
        assert same(getattr(ours, field.name), getattr(theirs, field.name)), field.name


def test_names_and_series_of_a_part_stay_together(stored: Panel) -> None:
    parts = list(stored.parts())
    assert pl.concat([p.keys for p in parts]).equals(stored.keys)
    assert not any(p.is_mapped for p in parts)
    assert np.array_equal(np.concatenate([p.target for p in parts]), stored.target, equal_nan=True)
    assert stored.rows() == slice(0, len(stored.target))
    whole = replace(stored, target=np.array(stored.target), known=np.array(stored.known))
    assert len(list(whole.parts(120))) == len(parts)
