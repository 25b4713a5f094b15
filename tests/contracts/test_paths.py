"""Mean, quantiles and paths of a method are of one distribution, and sums of its paths hold their levels.

Sums are tested on stationary demand, 250 series of 120 steps: where nothing moves, the share of sums below
the level's quantile of the paths' sums is the level. Ties are broken at random (randomised PIT), so that
counts can be calibrated too.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from demandcast import registry
from demandcast.forecast.forecast import Forecast
from demandcast.frames import read_panel
from demandcast.local.base import LocalForecaster
from demandcast.panel.panel import Panel

HORIZON, STEPS, SERIES, PATHS = 8, 120, 250, 200
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
LOCAL = [n for n, kind in registry.classes().items() if issubclass(kind, LocalForecaster)]
SUMS = (1, 4, 8)  # steps summed

# Room below and above each level. Two standard errors of 250 series are 0.063, 0.05, 0.038, 0.028 and 0.013; the
# least of 9 shares is taken, and the lumpy draw lies above its mean for all. The rest is what 120 values do not tell of their distribution.
USUAL = ((0.12, 0.125, 0.105, 0.09, 0.055), (0.15, 0.09, 0.06, 0.05, 0.01))
WIDE = (0.3, 0.2, 0.1, 0.05, 0.01)
BOUNDS = {
    # a random walk, on demand that keeps its level: too wide by definition, never too narrow
    **dict.fromkeys(("last_value", "drift", "seasonal_naive"), (USUAL[0], WIDE)),
    # no whole numbers: a median between 0 and the smallest demand lies above many zeros
    "window_average": (USUAL[0], (0.3, *USUAL[1][1:])),
    # a normal law, on skewed counts: its median is too high and its tail too short
    "local_level": ((*USUAL[0][:4], 0.08), (0.32, 0.11, *USUAL[1][2:])),
    # sizes are jittered, as in its paper, which raises them by half a unit
    "willemain": (USUAL[0], WIDE),
    # no value above the largest ever seen, of 30 values or of some 24 demands
    "empirical": ((0.12, 0.135, 0.13, 0.11, 0.115), USUAL[1]),
    **dict.fromkeys(("renewal", "viswanathan_zhou"), ((0.12, 0.125, 0.1, 0.095, 0.04), USUAL[1])),
    # bands are as wide as one horizon of the group tells, and their tail is that of few errors
    "level_shape": ((0.15, 0.11, 0.13, 0.14, 0.13), (0.13, 0.155, 0.1, 0.05, 0.01)),
}


@cache
def worlds() -> dict[str, Panel]:
    """Stationary demand of several kinds; levels differ from series to series."""
    rng = np.random.default_rng(0)
    shape = (SERIES, STEPS + HORIZON)
    level = rng.lognormal(0, 0.3, (SERIES, 1))
    demand = {
        "negative_binomial": rng.negative_binomial(1, 1 / (1 + 3 * level), shape),
        "intermittent": rng.poisson(0.4 * level, shape),
        "lumpy": (rng.random(shape) < 0.2) * (1 + rng.negative_binomial(1, 0.15, shape)),
    }
    return {name: panel_of(values) for name, values in demand.items()}


def panel_of(values: NDArray[np.int64]) -> Panel:
    series, steps = np.indices(values.shape)
    frame = pl.DataFrame(
        {"unique_id": series.ravel(), "ds": steps.ravel(), "y": values.ravel() * 1.0}
    )
    return read_panel(frame, freq="1").drop_last(HORIZON)


def forecast_of(name: str, panel: Panel) -> Forecast:
    model = registry.create(name, horizon=HORIZON)
    return model.fit(panel).predict(panel, levels=LEVELS, n_samples=PATHS)


def level_reached(samples: NDArray[np.float32], came: NDArray[np.float32]) -> NDArray[np.float64]:
    """The level at which each value came among its samples (n, S), ties broken at random, (n,)."""
    below, upto = (
        (compare(samples, came[:, None])).mean(1) for compare in (np.less, np.less_equal)
    )
    return np.asarray(below + (upto - below) * np.random.default_rng(1).random(len(came)))


@pytest.mark.parametrize("name", LOCAL)
def test_paths_are_of_the_forecast_and_their_sums_hold_their_levels(name: str) -> None:
    wrong = []
    for world, panel in worlds().items():
        if name == "routed":  # its forecasts are those of methods tested here; to choose takes long
            if world != "intermittent":
                continue
            panel = panel.select(np.arange(20))
        forecast = forecast_of(name, panel)
        assert forecast.samples is not None
        check_one_distribution(forecast)
        if name in ("routed", "zero"):  # by which nothing is forecast, whatever comes
            continue
        below, above = np.array(BOUNDS.get(name, USUAL))
        came = panel.future_target(HORIZON)
        for steps in SUMS:
            reached = level_reached(forecast.samples[..., :steps].sum(2), came[:, :steps].sum(1))
            held = (reached[:, None] <= np.array(LEVELS)).mean(0)
            if ((held < LEVELS - below) | (held > LEVELS + above)).any():
                wrong.append(f"{world}, sums of {steps}: {held.round(3)} for {LEVELS}")
    assert not wrong, "\n".join(wrong)


def check_one_distribution(forecast: Forecast) -> None:
    """Assert that mean and quantiles are those of the paths, within the sampling error of the paths."""
    assert forecast.samples is not None
    samples = forecast.samples.astype(np.float64)  # (n, S, H)
    # the paths of a series share their level, so that its steps count little
    error = samples.mean(2).std(1) / np.sqrt(PATHS)
    room = 4 * np.sqrt((error**2).sum()) / len(error) + 0.01 * samples.mean()
    assert abs(forecast.mean.mean() - samples.mean()) <= room
    for place, level in enumerate(LEVELS):
        at = forecast.quantiles[:, None, :, place]
        slack = 1e-4 * (1 + np.abs(at))  # float32
        below, upto = (samples < at - slack).mean(), (samples <= at + slack).mean()
        assert below - 0.02 < level < upto + 0.02, f"{level} is that of {below:.3f} to {upto:.3f}"
