"""ZeroShot: a forecast of any panel without training, by the pretrained network that ships here.

Ours; its paper is docs/models/zero_shot.md. What the network is stands in `demandcast.pretrained.zero_shot_network`;
this is what a user holds: no weights are fitted, any panel is forecast, and `fine_tune` goes on learning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import interpolate_quantiles
from demandcast.forecaster import ConfiguredForecaster, Learning, check_panel
from demandcast.panel.panel import Panel
from demandcast.pretrained.fine_tune import Expand, fine_tune
from demandcast.pretrained.inputs import histories
from demandcast.pretrained.neighbours import neighbours_help, with_neighbours
from demandcast.pretrained.paths import draw_paths
from demandcast.pretrained.weights import load_shipped, read_network
from demandcast.pretrained.zero_shot_network import PRETRAINED_LEVELS
from demandcast.saved import Saved, Saving
from demandcast.settings import MethodSettings, setting, whole_number
from demandcast.train.budget import Budget
from demandcast.train.checkpoint import pack
from demandcast.train.training import Training, TrainingLog
from demandcast.typed import build, convert

F = TypeVar("F", bound=np.floating)
TUNED = "weights.safetensors"
CELLS = 1 << 17  # steps of context in one batch of prediction
ASKED = 64  # steps ahead at once
SHARES = interpolate_quantiles(
    np.eye(len(PRETRAINED_LEVELS)), PRETRAINED_LEVELS, [(i + 0.5) / 400 for i in range(400)]
).mean(-1)
# of each quantile in the mean


@dataclass(frozen=True, kw_only=True)
class ZeroShotConfig(MethodSettings):
    """Hyper-parameters of the pretrained network."""

    # steps of history read, at most; up to 2,048
    context: int = setting(1024, whole_number(1, 2048))
    # how long `fit` goes on learning from its panel: "2m", "30s", "500 steps"; None: not at all
    tune: str | float | None = None
    # whether a step reads the known covariates of the steps before and after it too; None: `fit` decides on
    # windows that it holds out, and without `fit` it does not
    neighbours: bool | None = None
    seed: int = setting(0, whole_number(0, 2**62))  # of paths and of fine-tuning

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        super().__post_init__()
        if self.tune is not None:
            Budget.parse(self.tune)


class ZeroShot(ConfiguredForecaster[ZeroShotConfig]):
    """The pretrained network: `fit` trains nothing, `predict` forecasts any panel.

    Attributes:
        neighbours: Whether the known covariates of the steps before and after are read; see `fit`.

    Reads the target, covariates known ahead and, where the item could not be bought, that the target there
    says nothing. `fine_tune` goes on learning from a panel of the user's own.
    """

    name = "zero_shot"
    learning = Learning.PRETRAINED
    portfolio = 10
    summary = "a small network pretrained on synthetic demand: no training, works offline"
    takes = "target, known, available"
    gives = "paths and quantiles"

    Config = ZeroShotConfig

    def __init__(
        self, horizon: int | None = None, *, h: int | None = None, **hyper: object
    ) -> None:
        super().__init__(horizon, h=h, **hyper)
        self.tuned: TrainingLog | None = None  # of fine-tuning, if there was one
        self.improved = False  # whether what it learned was kept
        self.pretrained = load_shipped()
        self.neighbours = bool(self.config.neighbours)

    @property
    def _expand(self) -> Expand | None:
        return with_neighbours if self.neighbours else None

    def fit(self, panel: Panel, *, progress: bool = True) -> ZeroShot:
        """Reset to the weights that ship with the package, and fine-tune them if `tune` asks for it.

        With known covariates it also decides, unless `neighbours` does, whether those of the steps before and
        after are read: where that forecasts the last two horizons better by 2 %.

        Args:
            panel: What to learn from, if anything is learned.
            progress: Show a bar of the learning, on stderr.

        Raises:
            DataError: `panel` is not a Panel.
        """
        check_panel(panel)
        self.pretrained, self.tuned, self.improved = load_shipped(), None, False
        config = self.config
        self.neighbours = (
            neighbours_help(
                self.pretrained,
                panel,
                context=config.context,
                horizon=self.horizon,
                seed=config.seed,
            )
            if config.neighbours is None
            else config.neighbours
        )
        return (
            self
            if self.config.tune is None
            else self.fine_tune(panel, self.config.tune, progress=progress)
        )

    def fine_tune(
        self,
        panel: Panel,
        budget: str | float = "2m",
        *,
        learning_rate: float = 5e-4,
        batch_size: int = 64,
        progress: bool = True,
    ) -> ZeroShot:
        """Train the current weights further on a panel.

        The last horizon is held out; weights that do worse on it than those before are not kept.

        Args:
            panel: What to learn from.
            budget: How long: "2m", "30s", seconds as a number, or "500 steps", which repeats to the bit.
            learning_rate: Of its beginning; it falls to a hundredth.
            batch_size: Windows in a step.
            progress: Show a bar, on stderr.

        Raises:
            DataError: No series is longer than the horizon and one step more.
        """
        check_panel(panel)
        asked = Training(learning_rate=learning_rate, batch_size=batch_size, seed=self.config.seed)
        network, self.tuned = fine_tune(
            self.pretrained, panel, Budget.parse(budget), context=self.config.context, horizon=self.horizon,
            asked=asked, progress=progress, expand=self._expand,
        )  # fmt: skip
        self.pretrained, self.improved = network, network is not self.pretrained
        return self

    def grid(self, panel: Panel) -> NDArray[np.float32]:
        """Forecast quantiles at `PRETRAINED_LEVELS` of every series, not yet bounded at 0: (N, H, levels)."""
        quantiles = np.empty((panel.n_series, self.horizon, len(PRETRAINED_LEVELS)), np.float32)
        order = np.argsort(-panel.lengths, kind="stable")  # the longest first, in smaller batches
        while len(order):
            longest = min(self.config.context, int(panel.lengths[order[0]]))
            size = max(1, CELLS // (longest + 4 * min(self.horizon, ASKED)))
            rows, order = order[:size], order[size:]
            ends = panel.lengths[rows]
            batch = histories(panel, rows, ends, ends, self.config.context, self.horizon)
            batch = with_neighbours(batch) if self.neighbours else batch
            for ahead in torch.split(torch.arange(1, self.horizon + 1), ASKED):
                with torch.inference_mode():
                    part = self.pretrained(batch, ahead)[0]
                quantiles[rows, int(ahead[0]) - 1 : int(ahead[-1])] = part.numpy()
        return quantiles

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast quantiles, and paths through them in the rank order of each series' own past."""
        floors = panel.floors()[:, None, None]
        grid = np.maximum(self.grid(panel), floors)
        quantiles = interpolate_quantiles(grid, PRETRAINED_LEVELS, ask.levels).astype(np.float32)
        whole = panel.whole_numbers()[:, None, None]
        quantiles = np.where(whole, round_counts(quantiles), quantiles)
        samples = None
        if ask.n_samples is not None:
            draws = Draws.of(panel.keys, self.config.seed)
            samples = draw_paths(panel, grid, ask.n_samples, self.config.context, draws)
            samples = np.where(whole, round_counts(samples), samples)
        mean = (grid @ SHARES).astype(np.float32)
        return Draft(quantiles, mean, samples)

    def _write(self, run: Saving) -> dict[str, object]:
        if self.tuned is not None:
            shape = {"shape": asdict(self.pretrained.shape)}
            run.add(TUNED, pack(self.pretrained.state_dict(), shape))
        training = None if self.tuned is None else asdict(self.tuned)
        return {"training": training, "improved": self.improved, "neighbours": self.neighbours}

    @classmethod
    def restore(cls, run: Saved) -> ZeroShot:
        """Return the model of a saved run; see `demandcast.load`."""
        facts = run.facts
        model = cls.from_hyperparameters(facts["hyperparameters"])
        if facts["training"] is not None:
            model.pretrained = read_network(run.file(TUNED))
            model.tuned = build(TrainingLog, facts["training"], "training")
            model.improved = convert(facts["improved"], bool, "improved")
        model.neighbours = convert(facts.get("neighbours", model.neighbours), bool, "neighbours")
        return model


def round_counts(values: NDArray[F]) -> NDArray[F]:
    """Round to whole numbers, up from six tenths: the mean of a count's quantiles lies high."""
    rounded: NDArray[F] = np.floor(values + 0.4)
    return rounded
