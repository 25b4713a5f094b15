"""Windows of all series at once: who stands where, what is masked, and which stamps are drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.errors import DataError
from demandcast.panel.panel import Panel
from demandcast.windows.features import Features
from demandcast.windows.multivariate_window import MultivariateSource, StampSampler

HORIZON, CONTEXT = 3, 5


@pytest.fixture
def panel() -> Panel:
    """Three series that begin and end at different steps; one has a hole."""
    spans = {"b": range(2, 20), "a": range(14), "c": range(6, 20)}
    rows = [
        {"unique_id": key, "ds": step, "y": 100.0 * i + step}
        for i, (key, steps) in enumerate(spans.items())
        for step in steps
        if (key, step) != ("c", 12)
    ]
    return dc.read_panel(pl.DataFrame(rows))


def source_of(panel: Panel, fitted_on: Panel | None = None, **options: bool) -> MultivariateSource:
    features = Features.of(fitted_on or panel, (), series=True)
    sizes = {"context": CONTEXT, "horizon": HORIZON, "scaling": "standard"}
    return MultivariateSource(panel, features, **sizes, **options)  # type: ignore[arg-type]


def at(panel: Panel, i: int, stamp: int) -> float:
    step = stamp - int(panel.starts[i])
    return float(panel.history(i)[step]) if 0 <= step < panel.lengths[i] else float("nan")


def test_every_value_stands_under_its_stamp(panel: Panel) -> None:
    source = source_of(panel)
    series = torch.tensor([1, 2, 0, 1])  # the last context begins before the first stamp
    cutoffs = torch.tensor([9, 4, 16, 3])
    limits = cutoffs + torch.tensor([3, 2, 0, 1])
    window = source.windows(series, cutoffs, limits)
    for row in range(4):
        cutoff = int(panel.starts[series[row]] + cutoffs[row])
        limit = int(panel.starts[series[row]] + limits[row])
        for i in range(panel.n_series):
            past = [at(panel, i, cutoff - CONTEXT + s) for s in range(CONTEXT)]
            if (row, i) == (2, 1):  # of a, which has ended, one value is left: filled from before
                past = [
                    past[0],
                    *(at(panel, i, cutoff - 2 * CONTEXT + s) for s in range(1, CONTEXT)),
                ]
            seen = ~np.isnan(past)
            assert window.past_observed[row, :, i].tolist() == seen.tolist()
            np.testing.assert_array_equal(
                window.past_target[row, :, i].numpy()[seen], np.array(past)[seen]
            )
            assert window.level[row, 0, i].item() == pytest.approx(
                np.mean(np.array(past)[seen]) if seen.any() else 0
            )
            ahead = [
                at(panel, i, s) if s < limit else np.nan for s in range(cutoff, cutoff + HORIZON)
            ]
            seen = ~np.isnan(ahead)
            assert window.future_observed[row, :, i].tolist() == seen.tolist()
            np.testing.assert_array_equal(
                window.future_target[row, :, i].numpy()[seen], np.array(ahead)[seen]
            )


@pytest.mark.parametrize("extra", [1, 2])
def test_the_last_extra_steps_tell_no_scale(panel: Panel, extra: int) -> None:
    """Scale, level and what is filled up are those of a window that ends so much earlier."""
    features = Features.of(panel, (), series=True)
    whole = MultivariateSource(panel, features, context=CONTEXT, horizon=HORIZON, scaling="standard")  # fmt: skip
    short = MultivariateSource(panel, features, context=CONTEXT - extra, horizon=HORIZON, scaling="standard")  # fmt: skip
    series = torch.tensor([1, 1, 0, 2])
    cutoffs = torch.tensor([6, 12, 17, 9])  # in the second a has ended, in the last c has its hole
    window = whole.windows(series, cutoffs, cutoffs + HORIZON, extra=extra)
    earlier = short.windows(series, cutoffs - extra, cutoffs)
    counts = slice(0, CONTEXT - extra)
    for name in ("scale", "level", "has_scale"):
        torch.testing.assert_close(getattr(window, name), getattr(earlier, name))
    assert torch.equal(window.past_observed[:, counts], earlier.past_observed)
    assert torch.equal(window.past_target[:, counts], earlier.past_target)


@pytest.mark.parametrize(
    "told", [5, 6]
)  # values of a before its zeros, from 100 at the first stamp
@pytest.mark.parametrize("extra", [0, 2])
def test_a_scale_that_zeros_do_not_tell_comes_from_before(
    panel: Panel, told: int, extra: int
) -> None:
    target = panel.target.copy()
    begin = int(panel.begins[1])
    target[begin + told : begin + 14] = 0
    source = source_of(replace(panel, target=target))
    cutoffs, context = torch.tensor([told + 7]), CONTEXT - extra
    window = source.windows(torch.tensor([1]), cutoffs, cutoffs, extra=extra)
    assert not window.past_target[0, :, 1].any()
    # the last context that has a value other than 0 ends with it
    last = [100.0 + step for step in range(told - context, told)]
    expected = max(float(np.std(last)), np.mean(last) / context)
    assert window.scale[0, 0, 1].item() == pytest.approx(expected, rel=1e-5)


def test_windows_are_joined_and_divided_with_the_series_they_are_asked_for(panel: Panel) -> None:
    source = source_of(panel)
    series, cutoffs = torch.tensor([1, 2, 0]), torch.tensor([9, 4, 16])
    whole = source.windows(series, cutoffs, cutoffs)
    parts = [source.windows(series[[i]], cutoffs[[i]], cutoffs[[i]]) for i in range(3)]
    joined = type(whole).join(parts)
    for name in ("past_target", "scale", "place", "row", "step", "stamp"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    last = whole.part(slice(1, 3))
    assert last.row[:, 0].tolist() == [0, 1]
    assert last.place.tolist() == [2, 0]
    assert torch.equal(last.past_target, whole.past_target[1:])
    assert whole[2].place.tolist() == [0]
    assert whole.answerable.tolist() == [True] * 3
    early = source.windows(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    assert early.answerable.tolist() == [False]  # b has not begun
    assert source.sizes.series == 3
    assert source.sizes.features == whole.features.shape[-1]


def test_what_could_not_be_bought_is_a_bound(panel: Panel) -> None:
    available = np.ones(len(panel.target), np.bool_)
    available[panel.begins[1] + 9] = False
    source = source_of(replace(panel, available=available))
    window = source.windows(torch.tensor([1]), torch.tensor([8]), torch.tensor([12]))
    assert window.future_censored[0].nonzero().tolist() == [[1, 1]]
    assert not window.past_censored.any()
    later = source.windows(torch.tensor([1]), torch.tensor([10]), torch.tensor([12]))
    assert later.past_censored[0].nonzero().tolist() == [[CONTEXT - 1, 1]]


def test_places_go_by_keys_whatever_the_order(panel: Panel) -> None:
    straight, mixed = source_of(panel), source_of(panel.select([2, 0, 1]), fitted_on=panel)
    assert torch.equal(straight.grid.nan_to_num(), mixed.grid.nan_to_num())
    assert mixed.places.tolist() == [2, 0, 1]
    part = source_of(panel.select([2]), fitted_on=panel)
    assert part.grid[:, :2].isnan().all()
    assert not part.grid[:, 2].isnan().all()


def test_new_series_are_named(panel: Panel) -> None:
    key = panel.key(1)
    with pytest.raises(DataError, match=rf"series {key} \(1 in all\) was not there at fit"):
        source_of(panel, fitted_on=panel.select([0, 2]))


def test_each_series_is_forecast_from_its_own_end(panel: Panel) -> None:
    window = source_of(panel).latest(torch.arange(3))
    ends = panel.ends() + 1
    assert len(window) == len(set(ends))  # one window for all that end alike
    assert window.step.tolist() == [0, 1, 2]
    for i in range(3):
        row = int(window.row[i, 0])
        assert (window.row[i] == row).all()
        for j in range(3):  # of the others, nothing behind this series' end
            past = [at(panel, j, s) for s in range(int(ends[i]) - CONTEXT, int(ends[i]))]
            if np.isnan(past).all():  # series a ended a whole context before
                past = [at(panel, j, int(panel.ends()[j]) - s) for s in range(CONTEXT)][::-1]
            assert window.past_observed[row, :, j].tolist() == (~np.isnan(past)).tolist()
            assert window.past_target[row, -1, j] == past[-1]
    assert not window.future_observed.any()


def test_single_steps_come_from_windows_that_end_earlier(panel: Panel) -> None:
    window = source_of(panel, single_step=True).latest(torch.tensor([0]))
    assert window.row.tolist() == [[0, 1, 2]]
    assert window.step.tolist() == [0, 0, 0]
    end = int(panel.ends()[0])
    assert [at(panel, 0, end - back) for back in (2, 1, 0)] == window.past_target[:, -1, 0].tolist()


def test_the_calendar_of_a_window_is_that_of_its_stamps() -> None:
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 1), "1d", eager=True)
    panel = dc.read_panel(pl.DataFrame({"unique_id": "a", "ds": days, "y": range(len(days))}))
    window = source_of(panel).windows(torch.tensor([0]), torch.tensor([10]), torch.tensor([20]))
    stamps = panel.starts[0] + 10 + np.arange(-CONTEXT, HORIZON)
    np.testing.assert_array_equal(window.features[0].numpy(), panel.freq.calendar(stamps))


@pytest.mark.parametrize("held_out", [0, 4])
def test_stamps_are_drawn_as_often_as_series_stand_there(panel: Panel, held_out: int) -> None:
    sampler = StampSampler(panel, horizon=HORIZON, held_out=held_out)
    series, cutoffs, limits = sampler.draw(20_000, torch.Generator().manual_seed(0))
    assert not series.any()
    stamps = Counter((cutoffs + int(panel.starts[0])).tolist())
    end = 20 - held_out
    assert set((limits + int(panel.starts[0])).tolist()) == {end}
    wanted = Counter(
        stamp
        for i in range(3)
        for stamp in range(
            int(panel.starts[i]) + 1, min(int(panel.ends()[i]) + 1, end) - HORIZON + 1
        )
    )
    assert set(stamps) == set(wanted)
    assert sampler.n_windows == len(wanted)
    for stamp, count in wanted.items():
        assert stamps[stamp] / 20_000 == pytest.approx(count / wanted.total(), abs=0.01)


def test_a_series_of_two_values_is_learned_from_once(panel: Panel) -> None:
    """Its one cutoff has a value before and one after; a series of one value has none."""
    lengths = np.array([2, 14, 1])
    sampler = StampSampler(replace(panel, lengths=lengths), horizon=HORIZON, held_out=0)
    _, cutoffs, _ = sampler.at(torch.arange(sampler.n_windows))
    stamps = (cutoffs + int(panel.starts[0])).tolist()
    assert stamps == list(range(1, 14 - HORIZON + 1))  # b stands at 3, where a does too
    drawn = Counter((sampler.draw(20_000, torch.Generator().manual_seed(0))[1] + 2).tolist())
    for stamp in stamps:
        assert drawn[stamp] / 20_000 == pytest.approx((1 + (stamp == 3)) / 12, abs=0.01)


def test_what_is_too_short_to_learn_from_is_said(panel: Panel) -> None:
    with pytest.raises(DataError, match="19 are held out"):
        StampSampler(panel, horizon=HORIZON, held_out=19)
