"""Measure the coverage of `uber_lstm`'s 90 % intervals on rolling days of ten customers' electricity.

Three forecasts: hourly, 24 hours ahead from 28 midnights; the sums of those days, by joint paths; and daily sums
as a table of their own, one day ahead. Two baselines put a normal interval around the same network's
forecast: from each customer's residuals in training, and from held-out residuals by customer and step.

The interval score is the width plus 2 / .1 times the distance of values outside, in units of each customer's
mean; lower is better.

python benchmarks/accuracy/uber.py --data ../shared/data --seeds 0,1,2
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from script import arguments, integers, parse, publish, table

import demandcast as dc
from demandcast.models.uber_lstm import UberLSTM, UberLSTMNetwork

FOLDS, LEVELS, SCORE = 28, (0.05, 0.95), 1.6449
NAME = "electricity_10clients_2014"
Floats = NDArray[np.floating[Any]]


def load(data: Path, every: str) -> dc.Panel:
    frame = pl.read_parquet(data / f"{NAME}.parquet").select("ds", pl.col("^client.*$"))
    long = frame.unpivot(index="ds", variable_name="unique_id", value_name="y")
    if every == "1d":  # an hour ends at its stamp: midnight belongs to the day before
        day = (pl.col("ds") - pl.duration(hours=1)).dt.truncate("1d")
        long = long.group_by("unique_id", day.alias("ds"), maintain_order=True).agg(
            pl.col("y").sum()
        )
    return dc.read_panel(long)


def plain(model: UberLSTM, panel: dc.Panel, back: list[int]) -> tuple[Floats, Floats]:
    """Forecasts without dropout from so many steps before the end, and what came: (cutoffs, N, horizon)."""
    network, source, _ = model.build(panel)
    assert isinstance(network, UberLSTMNetwork)
    series = torch.arange(panel.n_series)
    ends, told, came = source.lengths[series], [], []
    for steps in back:
        with torch.inference_mode():
            window = source.windows(series, ends - steps, ends)
            forecast, _ = network(window)
            _, mean, deviation = network.standardise(window)
            told.append(
                network.inverse_transform(mean + forecast * deviation, window.scale).numpy()
            )
        came.append(torch.where(window.future_observed, window.future_target, torch.nan).numpy())
    return np.stack(told), np.stack(came)


def judged(low: Floats, high: Floats, came: Floats, unit: Floats) -> tuple[float, float, float]:
    """Coverage, mean interval score and mean width of (folds, N, steps), in units (N,)."""
    width = high - low
    outside = np.maximum(low - came, 0) + np.maximum(came - high, 0)
    score = (width + 2 / 0.1 * outside) / unit[:, None]
    held = (low <= came) & (came <= high)
    return float(held.mean()), float(score.mean()), float((width / unit[:, None]).mean())


def score(panel: dc.Panel, horizon: int, label: str, seed: int) -> list[tuple[Any, ...]]:
    known = panel.drop_last(FOLDS * horizon)
    model = UberLSTM(horizon, seed=seed)
    model.fit(known, progress=False)
    config: Any = model.plan.config
    folds = [panel.drop_last((FOLDS - i) * horizon) for i in range(FOLDS)]
    came = np.stack([part.future_target(horizon) for part in folds])
    forecasts = [model.predict(part, levels=LEVELS) for part in folds]
    unit = np.nanmean(known.padded_history(int(known.lengths.max())), 1)
    learned = list(
        range(config.noise + horizon, int(known.lengths.min()) - config.context, horizon)
    )
    inside, truth = plain(model, known, learned)
    held, heard = plain(model, known, list(range(horizon, config.noise + 1, horizon)))
    told, _ = plain(model, panel, [(FOLDS - i) * horizon for i in range(FOLDS)])

    def rows(
        name: str, pieces: list[tuple[str, Floats, Floats]], truth: Floats, unit: Floats
    ) -> None:
        for kind, low, high in pieces:
            found.append((label + name, seed, kind, *judged(low, high, truth, unit)))

    found: list[tuple[Any, ...]] = []
    single = np.nanstd(truth - inside, axis=(0, 2))[:, None]
    step = np.nanstd(heard - held, axis=0)
    quantiles = np.stack([f.quantiles for f in forecasts])
    rows("", [
        ("uber_lstm", quantiles[..., 0], quantiles[..., 1]),
        ("normal, training residuals", told - SCORE * single, told + SCORE * single),
        ("normal, held-out residuals by step", told - SCORE * step, told + SCORE * step),
    ], came, unit)  # fmt: skip
    if horizon > 1:
        paths = np.stack(
            [
                np.quantile(f.samples.sum(-1), LEVELS, axis=1)
                for f in forecasts
                if f.samples is not None
            ]
        )
        total, whole = told.sum(-1, keepdims=True), came.sum(-1, keepdims=True)
        once = np.nanstd((truth - inside).sum(-1), axis=0)[:, None]
        later = np.nanstd((heard - held).sum(-1), axis=0)[:, None]
        rows(", sum of the day", [
            ("uber_lstm", paths[:, 0, :, None], paths[:, 1, :, None]),
            ("normal, training residuals", total - SCORE * once, total + SCORE * once),
            ("normal, held-out residuals by step", total - SCORE * later, total + SCORE * later),
        ], whole, unit * horizon)  # fmt: skip
    return found


def main() -> None:
    parser = arguments(__doc__, seeds="0")
    given = parse(parser, f"{NAME}.parquet")
    rows: list[tuple[Any, ...]] = []
    columns = ["forecast", "seed", "interval", "coverage_90", "interval_score", "width"]
    for seed in integers(given.seeds):
        rows += score(load(given.data, "1h"), 24, "hours", seed)
        rows += score(load(given.data, "1d"), 1, "days", seed)
        print(table(pl.DataFrame(rows, schema=columns, orient="row")), file=sys.stderr, flush=True)
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    means = frame.group_by("forecast", "interval", maintain_order=True).agg(
        pl.col("coverage_90", "interval_score", "width").mean()
    )
    publish(given, means, frame)


if __name__ == "__main__":
    main()
