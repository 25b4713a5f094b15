"""Scale the paths of items to forecasts of their total, where that would have paid in the past.

A season that all items share, such as the weeks before Christmas, hides in the noise of one item and shows in their
total. The items' paths are multiplied at every step ahead by one factor,

    factor[h] = (total forecast directly[h] / sum of the items' means[h]) ** strength

The direct forecast is the geometric mean of those of `MEMBERS`. The strength is 0, 1/2 or 1: the one with the least
quantile loss of the items' demand over the horizon, at earlier cutoffs of the same panel. It is 0 unless the loss falls
by `GAIN`, so a panel without a shared season keeps its forecast to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from demandcast import registry
from demandcast.decide.rules import fractile
from demandcast.draws.arrays import Draws
from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import Forecaster, Learning, fit
from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
MEMBERS = ("zero_shot", "level_shape", "seasonal_naive")  # forecast the total
STRENGTHS = (0.0, 0.5, 1.0)
LEVELS = (0.5, 0.7, 0.8, 0.9)  # of demand over the horizon, whose loss is compared
TRIALS = 6  # earlier cutoffs, one horizon apart
SCORED = 1_000  # items forecast at each of them, at most
PATHS = 100  # of each
FEWEST = 20  # items that share a season
LIMIT = 4.0  # largest factor, and the inverse of the least
GAIN = 0.01  # of the loss
Ahead = Callable[[Panel], Forecast]


def forecast_items(
    model: Forecaster, panel: Panel, n_samples: int, *, progress: bool = False
) -> tuple[Forecast, str]:
    """Forecast a panel with paths, and scale those of a pretrained model to the total where that pays.

    Other models are left as they are: to try them at earlier cutoffs each would be fitted anew, and one that was fitted
    to the whole panel knows what came. So is a pretrained model that was fine-tuned.

    Returns:
        The forecast and a note on what was done; "" if scaling was not tried.
    """
    forecast = model.predict(panel, n_samples=n_samples, progress=progress)
    if model.learning is not Learning.PRETRAINED or getattr(model, "tuned", None) is not None:
        return forecast, ""
    return scale_to_total(forecast, panel, lambda known: model.predict(known, n_samples=PATHS))


def scale_to_total(forecast: Forecast, panel: Panel, ahead: Ahead) -> tuple[Forecast, str]:
    """Return the forecast, scaled where that would have paid, and a note on what was done.

    Args:
        forecast: Of the panel, with paths.
        panel: The panel of the forecast.
        ahead: Forecasts an earlier state of the panel, with paths and the same horizon, from that state alone.
    """
    current = panel.ends() == panel.ends().max(initial=0)
    if int(current.sum()) < FEWEST:
        return forecast, f"not scaled to the total: fewer than {FEWEST} items"
    strength, losses = _choose_strength(panel.select(current), forecast.horizon, ahead)
    if losses is None:
        return forecast, "not scaled to the total: the history is too short to try it"
    change = losses[strength] / losses[0.0] - 1
    if not strength:
        return forecast, "not scaled to the total: no gain at earlier cutoffs"
    factor = np.ones(forecast.mean.shape)
    factor[current] = _factors(panel.select(current), forecast.mean[current]) ** strength
    note = (
        f"scaled to the total forecast directly, strength {strength:g} (factors {factor[current].min():.2f} to "
        f"{factor[current].max():.2f}): loss {change:+.1%} at earlier cutoffs"
    )
    return scale(forecast, panel, factor), note


def scale(forecast: Forecast, panel: Panel, factor: Doubles) -> Forecast:
    """Multiply mean and paths by a factor for each step, (N, H); counts are rounded at random and keep their mean."""
    assert forecast.samples is not None
    paths = forecast.samples * factor[:, None].astype(np.float32)
    whole, moved = panel.whole_numbers(), (factor != 1).any(1)
    rows = np.flatnonzero(whole & moved)
    if len(rows):
        draws = Draws.of(panel.keys, 0).select(rows).at("scaled")
        paths[rows] = np.floor(paths[rows] + draws.uniform(paths[rows].shape))
    quantiles = np.quantile(paths, forecast.levels, axis=1).transpose(1, 2, 0)
    quantiles = np.where(moved[:, None, None], quantiles, forecast.quantiles).astype(np.float32)
    mean = (forecast.mean * factor).astype(np.float32)
    return replace(forecast, samples=paths, quantiles=quantiles, mean=mean, events=None)


def _choose_strength(
    panel: Panel, horizon: int, ahead: Ahead
) -> tuple[float, dict[float, float] | None]:
    """Return the strength with the least loss at earlier cutoffs, and all losses; None without such cutoffs."""
    items = np.sort(Draws.of(panel.keys, 0).at("scored").order()[:SCORED])
    chosen = panel.select(items)
    trials = min(TRIALS, int(np.median(chosen.lengths)) // (2 * horizon))
    losses = dict.fromkeys(STRENGTHS, 0.0)
    seen = 0
    for trial in range(1, trials + 1):
        begun = chosen.lengths > trial * horizon
        known = chosen.select(begun).drop_last(trial * horizon)
        came = known.future_target(horizon, available=True).astype(np.float64).sum(1)
        observed = ~np.isnan(came)
        if int(observed.sum()) < FEWEST:
            continue
        seen += 1
        trial_forecast = ahead(known)
        assert trial_forecast.samples is not None
        factor = _factors(known, trial_forecast.mean)
        for strength in STRENGTHS:
            sums = (trial_forecast.samples[observed] * factor[:, None] ** strength).sum(2)
            losses[strength] += _loss(sums, came[observed])
    if not seen or losses[0.0] <= 0:
        return 0.0, None
    best = min(STRENGTHS, key=lambda strength: losses[strength])
    return (best if losses[best] < (1 - GAIN) * losses[0.0] else 0.0), losses


def _loss(sums: Doubles, came: Doubles) -> float:
    """Return the quantile loss of sums over the horizon (N, S) at `LEVELS`, added up over items."""
    loss = 0.0
    for level in LEVELS:
        error = came - fractile(sums, np.full(len(sums), level))
        loss += float(np.maximum(level * error, (level - 1) * error).sum())
    return loss


def _factors(panel: Panel, mean: NDArray[np.float32]) -> Doubles:
    """Return direct total forecast / sum of the items' means, (1, H); 1 where either is not above 0."""
    horizon = mean.shape[1]
    total = panel.total()
    direct = np.ones(horizon)
    for name in MEMBERS:
        model: Forecaster = registry.create(name, horizon=horizon)
        fit(model, total, progress=False)
        direct *= np.maximum(model.predict(total).mean[0].astype(np.float64), 0) ** (
            1 / len(MEMBERS)
        )
    own = mean.astype(np.float64).sum(0)
    usable = (direct > 0) & (own > 0)
    ratio = np.where(usable, direct, 1) / np.where(usable, own, 1)
    return np.clip(ratio, 1 / LIMIT, LIMIT)[None]
