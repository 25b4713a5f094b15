"""Alarms of spikes: the extreme-value memory, and GRUs with cross-entropy and with squared error.

Simulated daily demand with a weekly season and heavy-tailed spikes on 3 % of the days, each announced six
days before. `shared`: by one pattern of four days, the same for all items. `own`: by a pattern of the
item's own, one of four, while the three others come and go without a spike; so what a pattern means
has to be remembered from the item's past.

All learn from the same windows with the same GRU, steps and rate, in one run. An alarm is raised
above the odds that give the best F1 on cutoffs before those that are scored.

python benchmarks/accuracy/extreme_events.py --seeds 0,1,2,3,4
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from script import arguments, integers, publish, table
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import demandcast as dc
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.extreme_value_memory import (
    ExtremeValueMemory,
    ExtremeValueMemoryConfig,
)
from demandcast.models.network import Network
from demandcast.windows.window import Window

ITEMS, DAYS, HORIZON = 40, 900, 7
TUNED, SCORED = (
    12,
    20,
)  # cutoffs, a horizon apart: for the alarm's threshold, and for the score
SHARE, SHAPE, LEAD = (
    0.03,
    4,
    6,
)  # days with a spike; days of a pattern, and from its end to the spike
HYPER: dict[str, Any] = {
    "context": 84, "high": 1 - SHARE, "max_steps": 400, "learning_rate": 1e-2
}  # fmt: skip
SPAN = {"span": 12}  # days of a remembered window: a pattern and the days to its spike


def simulate(kind: str, seed: int) -> tuple[dc.Panel, NDArray[np.bool_]]:
    """A panel of demand, and which of its days are spikes, (items, days)."""
    rng = np.random.default_rng(seed)
    n = 1 if kind == "shared" else 4
    patterns = np.ones((n, SHAPE))
    while len(np.unique(patterns, axis=0)) < n or (patterns == 1).all(1).any():
        patterns = rng.choice([0.6, 1.0, 1.4], (n, SHAPE))
    begin = SHARE * n / (1 - SHARE * n * (SHAPE - 1))  # a pattern leaves no room for another in it
    day, frames = np.arange(DAYS), []
    spikes = np.zeros((ITEMS, DAYS), bool)
    for item in range(ITEMS):
        factor, own, free = np.ones(DAYS), rng.integers(n), 0
        for start in np.flatnonzero(rng.random(DAYS) < begin):
            if start >= free:
                free = start + SHAPE
                shown = rng.integers(n)
                factor[start:free] = patterns[shown][: DAYS - start]
                if shown == own and free + LEAD - 1 < DAYS:
                    spikes[item, free + LEAD - 1] = True
        factor[spikes[item]] = 3 + rng.pareto(2.5, spikes[item].sum())
        week = 1 + 0.3 * np.sin(2 * np.pi * (day + rng.integers(7)) / 7)
        units = 20 * rng.lognormal(0, 0.5) * week * factor * rng.lognormal(0, 0.1, DAYS)
        frames.append(pl.DataFrame({"item": f"{item:02}", "day": day, "units": units.round(1)}))
    date = pl.lit(datetime(2020, 1, 1)).dt.offset_by(pl.concat_str("day", pl.lit("d")))
    panel = dc.read_panel(
        pl.concat(frames).with_columns(day=date), key="item", time="day", target="units"
    )
    return panel, spikes


@dataclass(frozen=True, kw_only=True)
class GRUConfig(DirectConfig):
    max_steps: int = ExtremeValueMemoryConfig.max_steps
    batch_size: int = ExtremeValueMemoryConfig.batch_size
    learning_rate: float = ExtremeValueMemoryConfig.learning_rate
    hidden: int = ExtremeValueMemoryConfig.hidden
    decoded: int = ExtremeValueMemoryConfig.decoded
    high: float = 0.95
    low: float = 0.05
    squared: bool = False  # learn the value, and raise the alarm where it is high


class GRUNetwork(Network[GRUConfig]):
    """The memory network without its memory: one output a step, its odds or its value."""

    def __init__(self, plan: Plan[GRUConfig], sizes: Any, likelihood: Any) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        hidden, decoded, horizon = config.hidden, config.decoded, config.horizon
        self.inlet = nn.Linear(2 + sizes.features + sizes.past_features, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.out = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(hidden, horizon * decoded),
            nn.ReLU(),
            nn.Unflatten(1, (horizon, decoded)),
        )
        self.known = nn.Linear(decoded + sizes.features, decoded)
        self.last = nn.Linear(decoded, 1)

    def forward(self, window: Window) -> Tensor:
        context = self.plan.context
        x = self.scale_context(window)[..., None]
        seen = window.past_observed[..., None].to(x.dtype)
        read = torch.cat([x, seen, window.features[:, :context], window.past_features], -1)
        now = self.gru(torch.tanh(self.inlet(read)))[0][:, -1]
        ahead = torch.cat([self.out(now), window.features[:, context:]], -1)
        last: Tensor = self.last(torch.relu(self.known(ahead)))[..., 0]
        return last

    def loss(self, window: Window) -> Tensor:
        said, truth = self(window), window.future_target
        if self.config.squared:
            cost = (said - (truth - window.level) / window.scale).square()
        else:
            high = (truth > self.above(window)).to(said.dtype)
            cost = binary_cross_entropy_with_logits(said, high, reduction="none")
        return (cost * window.future_observed).sum() / window.future_observed.sum().clamp(min=1)

    def above(self, window: Window) -> Tensor:
        return torch.quantile(window.past_target, self.config.high, dim=1, keepdim=True)

    def predict(self, window: Window, levels: Tensor, *_: Any) -> tuple[Tensor, Tensor, None]:
        mean = self(window) * window.scale + window.level
        return mean[..., None].expand(-1, -1, len(levels)), mean, None

    def events(self, window: Window) -> tuple[Tensor, Tensor]:
        """A number that rises with the odds; of the value, its place above the threshold."""
        above, said = self.above(window), self(window)
        if self.config.squared:
            said = said - (above - window.level) / window.scale
        odds = torch.sigmoid(said)
        return torch.stack([odds, torch.zeros_like(odds)], -1), torch.cat([above, above], -1)


class GRU(NeuralForecaster[GRUConfig]):
    name, summary, takes, gives = "gru", "a GRU", "target", "odds"
    Config = GRUConfig
    Net = GRUNetwork
    scaling = "standard"


def alarms(model: NeuralForecaster[Any], panel: dc.Panel, cutoffs: range) -> NDArray[np.float32]:
    """Odds of a spike, (cutoffs, items, horizon), from each cutoff that many horizons before the end."""
    found = []
    for back in cutoffs:
        events = model.predict(panel.drop_last(back * HORIZON)).events
        assert events is not None
        found.append(events.p_high)
    return np.stack(found)


def f1(alarm: NDArray[np.bool_], spike: NDArray[np.bool_]) -> float:
    return 2 * float((alarm & spike).sum()) / max(1.0, float(alarm.sum() + spike.sum()))


def auc(odds: NDArray[np.float32], spike: NDArray[np.bool_]) -> float:
    """The chance that a spike has the higher odds, ties halved."""
    _, place, count = np.unique(odds.ravel(), return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    up = spike.ravel()
    pairs = up.sum() * (~up).sum()
    return float((rank[up].sum() - up.sum() * (up.sum() + 1) / 2) / pairs)


def score(kind: str, seed: int, settings: dict[str, Any]) -> pl.DataFrame:
    panel, spikes = simulate(kind, seed)
    known = panel.drop_last((TUNED + SCORED) * HORIZON)
    tuned, scored = range(SCORED + TUNED, SCORED, -1), range(SCORED, 0, -1)

    def truth(cutoffs: range) -> NDArray[np.bool_]:
        ends = [DAYS - back * HORIZON for back in cutoffs]
        return np.stack([spikes[:, end : end + HORIZON] for end in ends])

    rows = []
    for name, model in (
        (
            "extreme_value_memory",
            ExtremeValueMemory(HORIZON, seed=seed, **HYPER | SPAN | settings),
        ),
        ("gru, cross-entropy", GRU(HORIZON, seed=seed, **HYPER)),
        ("gru, squared error", GRU(HORIZON, seed=seed, squared=True, **HYPER)),
    ):
        began = time.perf_counter()
        model.fit(known, progress=False)
        fitted = time.perf_counter() - began
        odds, spike = alarms(model, panel, tuned), truth(tuned)
        levels = np.unique(np.quantile(odds, np.linspace(0.5, 0.999, 400)))
        best = max(levels, key=lambda level: f1(odds > level, spike))
        odds, spike = alarms(model, panel, scored), truth(scored)
        rows.append((kind, seed, name, f1(odds > best, spike), auc(odds, spike), float(best),
                     float(odds.mean()), float(spike.mean()), fitted))  # fmt: skip
    columns = [
        "spikes",
        "seed",
        "model",
        "f1",
        "auc",
        "alarm_above",
        "mean_odds",
        "share",
        "fit_seconds",
    ]
    return pl.DataFrame(rows, schema=columns, orient="row")


def main() -> None:
    parser = arguments(__doc__, seeds="0,1,2,3,4")
    parser.add_argument("--kinds", default="shared,own", help="by commas")
    parser.add_argument("--set", action="append", default=[], help="name=number, of the memory")
    given = parser.parse_args()
    settings = {
        name: float(v) if "." in v else int(v) for name, v in (s.split("=") for s in given.set)
    }
    parts = []
    for kind in given.kinds.split(","):
        for seed in integers(given.seeds):
            parts.append(score(kind, seed, settings))
            print(table(parts[-1]), file=sys.stderr, flush=True)
    rows = pl.concat(parts)
    means = rows.group_by("spikes", "model", maintain_order=True).agg(
        pl.col("f1").mean(), f1_deviation=pl.col("f1").std(), auc=pl.col("auc").mean()
    )
    publish(given, means, rows)


if __name__ == "__main__":
    main()
