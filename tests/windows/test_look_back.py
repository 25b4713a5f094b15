"""Contexts that say nothing: where their values and their scale come from, and what they never see."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.errors import SchemaError
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.windows.features import Features, _column_moments, mean_sizes
from demandcast.windows.multivariate_window import MultivariateSource
from demandcast.windows.window import Window
from demandcast.windows.window_source import FEWEST_VALUES, WindowSource, season_of

CONTEXT, HORIZON, LENGTH, LAGS = 14, 7, 120, (1, 7)
SCALINGS = ("mean_abs", "one_plus_mean", "standard", "max", "none")


def panel_of(*histories: np.ndarray) -> Panel:
    rows = [
        (f"s{i}", datetime(2024, 1, 1) + timedelta(days=d), None if np.isnan(v) else float(v))
        for i, values in enumerate(histories)
        for d, v in enumerate(values)
    ]
    schema = {"key": pl.String, "time": pl.Datetime, "y": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return dc.read_panel(frame, key="key", time="time", target="y", freq="D", gaps="missing")


def history(level: float = 128.0) -> np.ndarray:
    week = 1 + 0.3 * np.sin(np.arange(LENGTH) * 2 * np.pi / 7)
    values: np.ndarray = (level * week * np.random.default_rng(1).lognormal(0, 0.1, LENGTH)).round()
    return values


def closed(first: int, last: int, value: float = np.nan) -> np.ndarray:
    values = history()
    values[first:last] = value
    return values


def source_of(panel: Panel, scaling: str = "standard", context: int = CONTEXT) -> WindowSource:
    features = Features.of(panel, LAGS, takes=())
    return WindowSource(panel, features, context=context, horizon=HORIZON, scaling=scaling)


def window_of(panel: Panel, cutoff: int, limit: int | None = None, **options: int) -> Window:
    """The window of every series at a cutoff."""
    series = torch.arange(panel.n_series)
    at = torch.full_like(series, cutoff)
    return source_of(panel).windows(
        series, at, at if limit is None else torch.full_like(series, limit), **options
    )


@pytest.mark.parametrize("gap", [14, 20, 21, 60, 100])
def test_an_empty_context_is_read_whole_weeks_earlier(gap: int) -> None:
    values = closed(LENGTH - gap, LENGTH)
    window = window_of(panel_of(values), LENGTH)
    back = gap // 7 * 7
    earlier = values[LENGTH - CONTEXT - back : LENGTH - back]
    seen = ~np.isnan(earlier)
    assert seen.sum() == CONTEXT - gap % 7
    assert window.past_observed[0].tolist() == seen.tolist()
    np.testing.assert_array_equal(window.past_target[0, seen], earlier[seen])
    assert float(window.level) == pytest.approx(earlier[seen].mean())
    assert float(window.scale) == pytest.approx(earlier[seen].std(), rel=1e-5)
    week_ago = window.lags[0, CONTEXT, 1]  # of the first step ahead
    expected = earlier[CONTEXT - 7] if seen[CONTEXT - 7] else float(window.level)
    assert float(week_ago) == pytest.approx(expected)


def test_a_context_shorter_than_a_week_ends_at_the_last_value() -> None:
    values = closed(LENGTH - 20, LENGTH)
    panel = panel_of(values)
    window = source_of(panel, context=3).latest(torch.arange(1))
    np.testing.assert_array_equal(window.past_target[0], values[LENGTH - 23 : LENGTH - 20])


@pytest.mark.parametrize("own", [1, FEWEST_VALUES - 1, FEWEST_VALUES])
def test_few_values_keep_their_place_and_get_company(own: int) -> None:
    values = closed(LENGTH - 20, LENGTH)
    values[LENGTH - own :] = 100.0
    window = window_of(panel_of(values), LENGTH)
    assert window.past_target[0, -own:].tolist() == [100.0] * own
    if own == FEWEST_VALUES:  # enough: left as it is
        assert window.past_observed.sum() == own
        return
    earlier = values[LENGTH - CONTEXT - 14 : LENGTH - 20]  # up to the last one before the context
    np.testing.assert_array_equal(window.past_target[0, : len(earlier)], earlier)
    assert window.past_observed.sum() == own + len(earlier)
    assert float(window.level) == pytest.approx(np.mean([*earlier, *[100.0] * own]))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_zeros_keep_their_place_and_take_an_earlier_scale(scaling: str) -> None:
    zeros = closed(LENGTH - 20, LENGTH, 0.0)
    window = source_of(panel_of(zeros), scaling).latest(torch.arange(1))
    assert not window.past_target.any()
    assert window.past_observed.all()
    earlier = zeros[LENGTH - CONTEXT - 14 : LENGTH - 14]  # its first eight values are not 0
    expected = {
        "mean_abs": np.abs(earlier).mean(),
        "max": np.abs(earlier).max(),
        "standard": earlier.std(),
        "one_plus_mean": 1.0,
        "none": 1.0,
    }
    assert float(window.scale) == pytest.approx(expected[scaling], rel=1e-5)
    assert bool(window.has_scale)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_series_without_a_value_has_no_scale(scaling: str) -> None:
    panel = panel_of(np.full(LENGTH, np.nan), history(), np.zeros(LENGTH))
    source = source_of(panel, scaling)
    window = source.latest(torch.arange(3))
    constant = scaling in ("one_plus_mean", "none")
    assert window.answerable.tolist() == [False, True, constant]
    assert window.scale[~window.has_scale].tolist() == [1.0] * (2 - constant)
    assert window.static_reals[0].tolist() == [0.0]  # its log(scale) is like any other's


def test_nothing_from_the_cutoff_on_tells_the_scale() -> None:
    values, cutoff = closed(40, 70), 65
    clean = window_of(panel_of(values, values), cutoff)
    spoiled = values.copy()
    spoiled[cutoff:] = 1e6
    after = window_of(panel_of(spoiled, spoiled), cutoff)
    for name in ("past_target", "past_observed", "scale", "level", "lags"):
        assert torch.equal(getattr(clean, name), getattr(after, name)), name
    np.testing.assert_array_equal(clean.past_target[0, :10], values[30:40])


def test_steps_of_later_forks_do_not_count_and_stay_in_their_place() -> None:
    values, extra = closed(40, 70), 4
    window = window_of(panel_of(values), 73, limit=80, extra=extra)  # the first fork knows up to 69
    first = CONTEXT - extra
    np.testing.assert_array_equal(window.past_target[0, first + 1 :], values[70:73])
    spoiled = values.copy()
    spoiled[70:] *= 1000
    other = window_of(panel_of(spoiled), 73, limit=80, extra=extra)
    assert torch.equal(window.scale, other.scale)
    assert torch.equal(window.past_target[:, :first], other.past_target[:, :first])
    assert window.past_observed[0, :first].any()


def test_stock_outs_move_with_the_values_they_bound() -> None:
    values = closed(LENGTH - 14, LENGTH)
    panel = panel_of(values)
    available = np.ones(LENGTH, np.bool_)
    available[LENGTH - 20] = False
    available[LENGTH - 3] = False  # in the gap: bounds nothing
    window = window_of(replace(panel, available=available), LENGTH)
    assert window.past_censored[0].nonzero().tolist() == [[14 - 6]]


def test_all_series_at_once_are_read_as_each_alone() -> None:
    panel = panel_of(
        closed(LENGTH - 20, LENGTH), history(3.0), closed(50, LENGTH), closed(90, LENGTH, 0.0)
    )
    features = Features.of(panel, (), series=True)
    sizes = {"context": CONTEXT, "horizon": HORIZON, "scaling": "standard"}
    for end in (LENGTH, 100, 72):
        cutoffs = torch.full((4,), end)
        alone = source_of(panel).windows(torch.arange(4), cutoffs, cutoffs)
        joint = MultivariateSource(
            panel, features, **sizes
        ).windows(  # type: ignore[arg-type]
            torch.tensor([1]), cutoffs[:1], cutoffs[:1]
        )
        for name in ("past_target", "past_observed", "scale", "level", "has_scale"):
            found = getattr(joint, name)[0].T  # (series, steps)
            torch.testing.assert_close(getattr(alone, name), found, msg=f"{name} at {end}")


def test_what_is_known_to_the_cutoff_only_is_measured_up_to_there() -> None:
    panel = panel_of(history(), history())
    past = np.random.default_rng(0).normal(3, 2, (len(panel.target), 1)).astype(np.float32)
    panel = replace(panel, past=past, past_names=("visits",)).drop_last(10)
    spoiled = past.copy()
    spoiled[[*range(LENGTH - 10, LENGTH), *range(2 * LENGTH - 10, 2 * LENGTH)]] = 1e6
    first, second = (Features.of(replace(panel, past=p), ()).past for p in (past, spoiled))
    assert first == second
    assert first["visits"][0] == pytest.approx(3, abs=0.5)


def test_moments_of_parts_are_those_of_all_rows() -> None:
    """A store is read part by part; parts may be of any length, without a value, or constant."""
    rng = np.random.default_rng(0)
    columns = rng.normal(3, 5, (60, 3)).astype(np.float32)
    columns[rng.random(60) < 0.2, 1] = np.nan
    columns[:, 0] /= 500  # a small deviation is one, too
    columns[:, 2] = 7
    columns[40:45, 0] = np.nan
    parts = [columns[:1], columns[1:40], columns[40:45], columns[45:]]
    found = _column_moments(parts, ("all", "some", "same"))
    assert list(found) == ["all", "some", "same"]
    for i, (mean, deviation, gaps) in enumerate(found.values()):
        assert mean == pytest.approx(np.nanmean(columns[:, i]), rel=1e-5)
        assert deviation == pytest.approx(np.nanstd(columns[:, i]) if i < 2 else 1.0, rel=1e-5)
        assert gaps == bool(np.isnan(columns[:, i]).any())
    assert _column_moments(parts, ()) == {}


def test_sizes_of_small_series_survive_huge_ones_before_them() -> None:
    panel = panel_of(np.full(50, 1e15), np.full(50, 1e-9), np.full(50, np.nan))
    mixed = panel.select([2, 1, 0])
    np.testing.assert_allclose(mean_sizes(mixed, mixed.lengths), [0, 1e-9, 1e15], rtol=1e-6)
    assert Features.of(panel, ()).scale[0] == pytest.approx(np.log(1e3), rel=1e-6)


@pytest.mark.parametrize("cutoff", [1, 5, LENGTH - 1, LENGTH])
def test_each_step_has_its_own_age_and_day_of_the_calendar(cutoff: int) -> None:
    """From a context that begins before its series to a horizon behind the longest one."""
    panel = panel_of(history())
    source = WindowSource(
        panel, Features.of(panel, ()), context=CONTEXT, horizon=HORIZON, scaling="standard"
    )
    at = torch.tensor([cutoff])
    features = source.gather(torch.tensor([0]), at, at).features[0]
    steps = np.arange(cutoff - CONTEXT, cutoff + HORIZON)
    ages = np.log10(2 + np.maximum(steps, 0)) - 2
    np.testing.assert_allclose(features[:, -1], ages, atol=1e-6)
    calendar = panel.freq.calendar(panel.starts[0] + steps)
    np.testing.assert_array_equal(features[:, :-1], calendar)


def test_seasons_fit_a_context_that_is_as_long() -> None:
    day = Frequency.parse("D")
    assert [season_of(day, n) for n in (1, 6, 7, 8)] == [1, 1, 7, 7]


def test_series_and_values_that_were_not_there_at_the_fit_have_code_0() -> None:
    panel = panel_of(history(), history(9.0), history(3.0))
    panel = replace(
        panel, vocabularies={"kind": ("a", "b")}, static_codes=np.array([[2], [0], [1]])
    )  # the second has no kind
    features = Features.of(panel.select([0, 1]), (), series=True)
    assert features.codes(panel.select([0, 1])).tolist() == [[2, 1], [0, 2]]
    assert features.codes(panel).tolist() == [[2, 1], [0, 2], [1, 0]]
    newer = replace(panel, vocabularies={"kind": ("b", "c")}).select([2, 1, 0])
    assert features.codes(newer).tolist() == [[2, 0], [0, 2], [0, 1]]


@pytest.mark.parametrize("role", ["freq", "known", "past", "static", "size"])
def test_a_panel_that_lacks_what_was_fitted_is_refused_by_its_column(role: str) -> None:
    panel = panel_of(history())
    rows = np.zeros((len(panel.target), 1), np.float32)
    panel = replace(
        panel, known=rows, known_names=("price",), past=rows, past_names=("visits",),
        vocabularies={"kind": ("a",)}, static_codes=np.ones((1, 1), np.int64),
        static_reals=np.ones((1, 1), np.float32), static_real_names=("weight",),
    )  # fmt: skip
    features = Features.of(panel, (), series=True)
    features.check(panel)
    other: dict[str, Any] = {
        "freq": {"schema": replace(panel.schema, freq="h")},
        "known": {"known": rows[:, :0], "known_names": ()},
        "past": {"past": rows[:, :0], "past_names": ()},
        "static": {"vocabularies": {}, "static_codes": np.ones((1, 0), np.int64)},
        "size": {"static_reals": np.ones((1, 0), np.float32), "static_real_names": ()},
    }
    said = {"freq": "steps of 'D'", "known": "known.*'price'", "past": "past.*'visits'"}
    said |= {"static": "static.*'kind'", "size": "static.*'weight'"}
    with pytest.raises(SchemaError, match=said[role]):
        features.check(replace(panel, **other[role]))


@pytest.mark.parametrize("cutoff", [5, 60])
def test_covariates_are_read_standardised_within_what_may_be_known(cutoff: int) -> None:
    """Known ones over the whole window, past ones up to the cutoff, 0 outside the series and in gaps."""
    panel = panel_of(history(), history(3.0))
    rng = np.random.default_rng(0)
    known = rng.normal(5, 3, (2 * LENGTH, 1)).astype(np.float32)
    past = rng.normal(-2, 4, (2 * LENGTH, 1)).astype(np.float32)
    past[LENGTH + cutoff - 2] = np.nan  # a gap, two steps before the cutoff of the second series
    panel = replace(panel, known=known, known_names=("price",), past=past, past_names=("visits",))
    source = WindowSource(
        panel, Features.of(panel, ()), context=CONTEXT, horizon=HORIZON, scaling="standard"
    )
    at = torch.tensor([cutoff])
    window = source.gather(torch.tensor([1]), at, at)
    steps = np.arange(cutoff - CONTEXT, cutoff + HORIZON)
    inside, rows = steps >= 0, LENGTH + np.maximum(steps, 0)
    prices = np.where(inside, (known[rows, 0] - known.mean()) / known.std(), 0)
    np.testing.assert_allclose(window.features[0, :, -1], prices, atol=1e-5)
    seen = (inside & ~np.isnan(past[rows, 0]))[:CONTEXT]
    visits = (past[rows[:CONTEXT], 0] - np.nanmean(past)) / np.nanstd(past)
    np.testing.assert_allclose(window.past_features[0, :, 0], np.where(seen, visits, 0), atol=1e-5)
    assert window.past_features[0, :, 1].tolist() == seen.tolist()  # the flag of a column with gaps
    assert source.sizes.past_features == window.past_features.shape[-1]
    assert source.sizes.features == window.features.shape[-1]
    assert source.sizes.reals == window.static_reals.shape[-1]
