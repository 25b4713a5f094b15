"""Statistics of real panels beside those of synthetic demand of the same frequency.

python benchmarks/pretrain/compare.py --data ../shared/data

The 10, 50 and 90 % quantiles over series of the share of zeros, ADI, CV2, autocorrelation at one step and at one
season, mean change at one step over the mean, slope of the spectrum, and a tail index (the 99 % quantile of the
distance from the median over its mean).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))
from script import arguments, parse
from tasks import TASKS

from demandcast.synthetic import draw
from evaluate import PUBLIC

NAMES = ("zeros", "adi", "cv2", "acf 1", "acf season", "change", "slope", "tail")


def statistics(y: np.ndarray, period: int) -> np.ndarray:
    """One row a series: (series, statistics)."""
    rows = []
    for x in y:
        x = x[~np.isnan(x)].astype(float)
        if len(x) < 12 or not x.any():
            continue
        demand = x[x != 0]
        z = x - x.mean()
        var = (z * z).mean() + 1e-12

        def acf(lag: int, z: np.ndarray = z, var: float = var) -> float:
            return float((z[lag:] * z[:-lag]).mean() / var) if lag < len(z) // 2 else np.nan

        power = np.abs(np.fft.rfft(z))[1:] ** 2 + 1e-9
        f = np.arange(1, len(power) + 1)
        slope = np.polyfit(np.log(f), np.log(power), 1)[0]
        apart = np.abs(x - np.median(x))
        rows.append(
            (
                (x == 0).mean(), len(x) / len(demand), demand.var() / demand.mean() ** 2, acf(1),
                acf(period) if period > 1 else np.nan, np.abs(np.diff(x)).mean() / np.abs(x).mean(),
                slope, np.quantile(apart, 0.99) / (apart.mean() + 1e-12),
            )
        )  # fmt: skip
    return np.array(rows)


def show(name: str, y: np.ndarray, period: int) -> None:
    found = statistics(y, period)
    cells = []
    for i, label in enumerate(NAMES):
        if np.isnan(found[:, i]).all():
            continue
        low, mid, high = np.nanquantile(found[:, i], [0.1, 0.5, 0.9])
        cells.append(f"{label} {low:.2f} {mid:.2f} {high:.2f}")
    print(f"{name:24s}", " | ".join(cells), flush=True)


def main() -> None:
    given = parse(arguments(__doc__))
    g = torch.Generator().manual_seed(5)
    drawn = [draw(g, 1000, 256 + 32, horizon=32, covariates=c) for c in (True, False)]
    for period in (24, 7, 52, 12):
        y = [
            np.where(np.arange(256) < 256 - int(n), np.nan, row[:256])
            for d in drawn
            for row, p, n in zip(d.target.numpy(), d.periods[:, 0], d.history, strict=True)
            if int(p) == period and int(n) > 48
        ]
        show(f"synthetic, {period}", np.array(y), period)
    for name in PUBLIC:
        panel = TASKS[name].load(given.data).drop_last(TASKS[name].horizon)
        panel = panel.select(np.random.default_rng(0).permutation(panel.n_series)[:400])
        show(name, panel.padded_history(256), panel.freq.period)


if __name__ == "__main__":
    main()
