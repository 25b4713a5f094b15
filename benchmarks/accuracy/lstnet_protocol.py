"""LSTNet and TPA-LSTM on exchange rates by the protocol of their papers, beside the last value.

60 / 20 / 20 % in time order; a network for each of h = 3, 6, 12, 24 forecasts the value h steps ahead
alone, from every cutoff whose target lies in the last fifth; the first three fifths are learned from.
RSE and CORR over that block. Unlike the papers' code, no scale is taken from the file as a whole.

python benchmarks/accuracy/lstnet_protocol.py --data ../shared/data --seeds 0,1,2,3,4
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from script import arguments, integers, parse, publish

import demandcast as dc
from demandcast import registry
from demandcast.cli.options import hyperparameters
from demandcast.evaluate.multivariate_metrics import corr, rse
from demandcast.models.multivariate import MultivariateForecaster

HORIZONS = (3, 6, 12, 24)
PAPER: dict[str, Any] = {
    "single_step": True, "scaling": "mean_abs", "batch_size": 32, "learning_rate": 1e-3, "max_steps": 100,
}  # fmt: skip
SUBTRACTED: dict[str, Any] = {**PAPER, "scaling": "standard", "last_value": True}
HARDLY: dict[str, Any] = {**SUBTRACTED, "learning_rate": 1e-6}
LSTNET = {"context": 64, "skip": 24, "ar": 24}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "TPA-LSTM": ("tpa_lstm", {**PAPER, "context": 24}),
    "TPA-LSTM, last value subtracted": ("tpa_lstm", {**SUBTRACTED, "context": 24}),
    "TPA-LSTM, the same, hardly learned": ("tpa_lstm", {**HARDLY, "context": 24}),
    "LSTNet": ("lstnet", {**PAPER, **LSTNET}),
    "LSTNet, last value subtracted": ("lstnet", {**SUBTRACTED, **LSTNET}),
    "LSTNet, the same, hardly learned": ("lstnet", {**HARDLY, **LSTNET}),
    "LSTNet-Attn": ("lstnet", {**PAPER, **LSTNET, "skip": 0, "attention": True}),
}
PUBLISHED = {  # RSE and CORR, as reprinted by Wu et al., "Connecting the Dots", KDD 2020, table 2
    "LSTNet": ((0.0226, 0.9735), (0.0280, 0.9658), (0.0356, 0.9511), (0.0449, 0.9354)),
    "TPA-LSTM": ((0.0174, 0.9790), (0.0241, 0.9709), (0.0341, 0.9564), (0.0444, 0.9381)),
    "MTGNN": ((0.0194, 0.9786), (0.0259, 0.9708), (0.0349, 0.9551), (0.0456, 0.9372)),
}


def load(data: Path) -> dc.Panel:
    frame = pl.read_parquet(data / "exchange_rate.parquet")
    return dc.read_panel(frame.unpivot(index="ds", variable_name="unique_id", value_name="y"))


def block(panel: dc.Panel, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values of some rows, (targets, series)."""
    return np.stack([panel.history(i)[targets] for i in range(panel.n_series)], 1)


def forecasts(
    model: MultivariateForecaster, panel: dc.Panel, targets: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The median of each target from the cutoff `horizon` steps before it, (targets, series)."""
    network, source, _ = model.build(panel)
    medians = []
    with torch.inference_mode():
        for rows in np.array_split(targets, max(1, len(targets) // 256)):
            cutoffs = torch.from_numpy(rows - model.horizon + 1)
            window = source.windows(torch.zeros_like(cutoffs), cutoffs, cutoffs)
            params = network(window)[:, -1]  # (targets, series, params)
            scale = window.scale[:, 0]
            medians.append(network.likelihood.quantile(params, scale, torch.tensor([0.5]))[..., 0])
    return torch.cat(medians).numpy()


def measure(
    label: str, horizon: int, seed: int, panel: dc.Panel, part: str, settings: list[str]
) -> dict[str, Any]:
    length = int(panel.lengths[0])
    learned, valid = int(0.6 * length), int(0.8 * length)
    targets = np.arange(valid, length) if part == "test" else np.arange(learned, valid)
    actual, began = block(panel, targets), time.perf_counter()
    if label == "last value":
        forecast = block(panel, targets - horizon)
    else:
        name, hyper = CONFIGS[label]
        hyper = {**hyper, **hyperparameters([name], settings, seed=seed)[name]}
        model = registry.create(name, horizon=horizon, **hyper)
        assert isinstance(model, MultivariateForecaster)
        model.fit(panel.drop_last(length - learned), progress=False)
        forecast = forecasts(model, panel, targets)
    return {
        "model": label,
        "horizon": horizon,
        "seed": seed,
        "rse": rse(actual, forecast),
        "corr": corr(actual, forecast),
        "seconds": time.perf_counter() - began,
    }


def summary(found: pl.DataFrame) -> pl.DataFrame:
    """One row a model, the mean over seeds, and the published rows below."""
    rows = []
    for label in found["model"].unique(maintain_order=True):
        row: dict[str, Any] = {"model": label}
        for horizon in HORIZONS:
            some = found.filter(pl.col("model") == label, pl.col("horizon") == horizon)
            low, high = some["rse"].min(), some["rse"].max()
            row[f"RSE {horizon}"] = f"{some['rse'].mean():.4f}" if len(some) else ""
            if len(some) > 1:
                row[f"RSE {horizon}"] += f" ({low:.4f} to {high:.4f})"
            row[f"CORR {horizon}"] = f"{some['corr'].mean():.4f}" if len(some) else ""
        rows.append(row)
    for label, scores in PUBLISHED.items():
        row = {"model": f"{label}, published"}
        for horizon, (error, likeness) in zip(HORIZONS, scores, strict=True):
            row |= {f"RSE {horizon}": f"{error:.4f}", f"CORR {horizon}": f"{likeness:.4f}"}
        rows.append(row)
    return pl.DataFrame(rows)


def main() -> None:
    parser = arguments(__doc__, seeds="0,1,2,3,4", settings=True)
    parser.add_argument("--models", default=";".join(CONFIGS), help="of the table, by semicolons")
    parser.add_argument("--horizons", default="3,6,12,24", help="by commas")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    given = parse(parser, "exchange_rate.parquet")
    panel, rows = load(given.data), []
    for label in ("last value", *(m for m in given.models.split(";") if m in CONFIGS)):
        for horizon in map(int, given.horizons.split(",")):
            for seed in integers(given.seeds) if label != "last value" else (0,):
                rows.append(measure(label, horizon, seed, panel, given.part, given.set))
                print(rows[-1], file=sys.stderr, flush=True)
    publish(given, summary(pl.DataFrame(rows)))


if __name__ == "__main__":
    main()
