"""Gradient-boosted trees: one ensemble for each quantile level, over all series, cutoffs and steps.

Ke et al., "LightGBM: a highly efficient gradient boosting decision tree", NeurIPS 2017, with the pinball
loss. Global and direct: a row is a series, a cutoff and a step ahead (see `table`), so that one set of
trees forecasts every step from what is known at the cutoff. The target is in units of the series' scale
and, where zeros are rare, counted from the mean of the last seasons at the same place: trees cannot go on
with a trend, but they can learn departures from what moves with it. The mean is that of the distribution
which the quantiles describe.

Some rows are learned from with their history hidden, but for a step or four: so items that are new are
forecast too, by their static attributes and the scale of items like them (see `like`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingExtraError,
    NotFittedError,
)
from demandcast.files import printable
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, MEAN_WEIGHTS, interpolate_quantiles
from demandcast.forecaster import Learning
from demandcast.panel.panel import Panel
from demandcast.progress import Bar
from demandcast.saved import Saved, Saving
from demandcast.settings import (
    COUNT,
    SEED,
    SHARE,
    WEIGHT,
    MethodSettings,
    check_levels,
    setting,
    whole_number,
)
from demandcast.trees.like import Likeness
from demandcast.trees.table import NEW, FeatureTable, count_columns
from demandcast.trees.text import check_text, trees_of
from demandcast.typed import build, convert
from demandcast.windows.features import FeatureForecaster, Features

TREES_FILE = "trees.json"
GRID = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)  # levels with trees of their own
FEWER = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)  # for hurried fits: six tenths of the time
MIN_TREES = 20  # trees of each level, whatever the time
FASTEST = 0.2  # learning rate of the fewest trees
RARE = 0.01  # share of zeros up to which the target is counted from the last seasons
SMOOTH = 0.1  # of a series' scale: width over which the smoothed loss bends
FLATTEST = 0.3  # curvature of the smoothed loss, at least: bounds a step far from the quantile
ROWS = 100_000  # of a table made at once in prediction
MAX_ROWS = 200_000  # learned from by default
ROWS_A_VALUE, FEWEST_ROWS = (
    8,
    20_000,
)  # with more rows, small panels gain nothing; benchmarks/accuracy/rows.py


@dataclass(frozen=True, kw_only=True)
class LightGBMConfig(MethodSettings):
    """Hyper-parameters of the trees."""

    trees: int = setting(150, COUNT)  # of each quantile level
    learning_rate: float = setting(0.06, WEIGHT)
    leaves: int = setting(31, whole_number(2))  # of one tree, at most
    least: int = setting(40, COUNT)  # rows in a leaf, at least
    columns: float = setting(0.6, WEIGHT)  # share of the columns that each tree may read
    levels: tuple[float, ...] = GRID  # quantile levels with trees of their own
    # learned from, drawn from all series, cutoffs and steps; None: see `count_rows`
    rows: int | None = setting(None, COUNT)
    # a row weighs scale^rho: 1 suits errors summed over series, 0 errors averaged
    rho: float = setting(0.5, SHARE)
    # share of the rows whose history is hidden, for items that are new
    cold: float = setting(0.1, SHARE)
    base: bool | None = (
        None  # count the target from the last seasons' mean; None: where zeros are rare
    )
    monotone: dict[str, int] | None = None  # known covariate -> -1: more of it never sells more; 1
    seed: int = setting(0, SEED)

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        object.__setattr__(self, "levels", check_levels(self.levels))
        super().__post_init__()
        signs = self.monotone or {}
        if not isinstance(signs, dict) or any(v not in (-1, 1) for v in signs.values()):
            raise ConfigError(
                f"monotone is {signs!r}; give covariates with -1 or 1, as in monotone={{'price': -1}}"
            )
        if len(self.levels) < 2:
            raise ConfigError(f"levels are {list(self.levels)}; name two or more")


class LightGBM(FeatureForecaster[LightGBMConfig]):
    """Quantiles by gradient-boosted trees; needs the `trees` extra."""

    name = "lightgbm"
    exact_alone = True
    learning = Learning.TREES
    portfolio = 200
    length = "trees"
    requires = ("lightgbm", "trees")
    for_new_items = True
    summary = "gradient-boosted trees, one ensemble a quantile (Ke et al. 2017)"
    takes = "target, known, past, static"
    gives = "quantiles"
    learned = ("boosters", "features")
    Config = LightGBMConfig

    def __init__(self, horizon: int | None = None, *, h: int | None = None, **hyper: Any) -> None:
        super().__init__(horizon, h=h, **hyper)
        self.based = False
        self.unit = 1.0
        self.grown, self.rate = 0, 0.0  # trees of each level, and the learning rate of the last
        self.boosters: dict[str, str] | None = None  # level -> LightGBM's own text
        self.likeness: Likeness | None = None
        self.periods: tuple[int, ...] = (1,)
        self.windows: tuple[int, ...] = (1,)

    def fit(self, panel: Panel, *, seconds: float | None = None, progress: bool = True) -> LightGBM:
        """Fit trees to rows drawn over the history of every series; an earlier fit is discarded.

        Args:
            panel: What to learn from.
            seconds: The time there is: with less than all trees want, fewer are grown at a higher
                learning rate, as many of each level.
            progress: Show a bar, on stderr.

        Raises:
            MissingExtraError: LightGBM is not installed.
            DataError: No series has two observed steps.
        """
        lightgbm = _lightgbm()
        began = time.perf_counter()
        panel = panel.mask_unavailable()
        panel = panel.select(
            Draws.of(panel.keys, self.config.seed).order()
        )  # rows come in its order
        longest = int(panel.lengths.max())
        self.features, self.likeness = Features.of(panel, ()), None
        for name in self.config.monotone or {}:
            if name not in self.features.known:
                raise ConfigError(
                    f"monotone names {name!r}, which is no numeric covariate known ahead; there are "
                    f"{', '.join(map(repr, self.features.known)) or 'none'}"
                )
        self.periods = tuple(p for p in panel.freq.periods if 2 * p <= longest) or (1,)
        self.windows = _windows(self.periods, self.horizon, longest)
        table = self._table(panel)
        self.likeness = table.likeness
        rng = np.random.default_rng(self.config.seed)
        rows = self.config.rows or count_rows(panel)
        series, cutoffs, ahead = _draw_rows(panel, self.horizon, rows, rng)
        reach = np.where(
            rng.random(len(series)) < self.config.cold,
            np.minimum(rng.integers(0, NEW, len(series)), cutoffs),
            cutoffs,
        )
        came = panel.target[panel.begins[series] + cutoffs + ahead - 1].astype(np.float64)
        rare = bool((came == 0).mean() < RARE)
        self.based = rare if self.config.base is None else self.config.base
        scale = table.scale(series, cutoffs, reach)
        self.unit = table.unit = float(np.median(scale))
        target = came - table.base(series, cutoffs, ahead, reach) if self.based else came
        data = lightgbm.Dataset(
            table.rows(series, cutoffs, ahead, reach),
            label=target / scale,
            weight=(scale / scale.mean()) ** self.config.rho,
            categorical_feature=table.categorical or "auto",
            params=self._options(),
            free_raw_data=False,
        )
        seconds_left = None if seconds is None else seconds - (time.perf_counter() - began)
        self.boosters = self._grow(lightgbm, data, seconds_left, progress)
        return self

    def _grow(
        self, lightgbm: Any, data: Any, seconds: float | None, progress: bool
    ) -> dict[str, str]:
        """Grow trees for every level, a round of one each at a time, and return them as LightGBM's text."""
        kinds: dict[str, dict[str, Any]] = {
            f"{level:g}": {"objective": "quantile", "alpha": level} for level in self.config.levels
        }
        data.construct()
        began, n_trees = time.perf_counter(), self.config.trees
        signs = self._signs()
        if signs is not None:  # LightGBM's own quantile loss moves leaves after the constraint
            kinds = {name: {"objective": "none", "monotone_constraints": signs} for name in kinds}
        losses = {
            name: {} if signs is None else {"fobj": smooth_pinball(level)}
            for name, level in zip(kinds, self.config.levels, strict=True)
        }
        growing = {
            name: lightgbm.Booster(self._options() | kind, data) for name, kind in kinds.items()
        }
        self.grown, self.rate = 0, self.config.learning_rate
        with Bar(
            total=n_trees, desc=self.name, unit="round of trees", disable=not progress, file=sys.stderr, leave=False,
        ) as bar:  # fmt: skip
            while self.grown < n_trees:
                for name, booster in growing.items():
                    booster.update(**losses[name])
                self.grown += 1
                bar.update()
                if seconds is not None and self.grown == 2:
                    affordable = int(2 * seconds / (time.perf_counter() - began))
                    n_trees = min(n_trees, max(MIN_TREES, affordable))
                    total_rate = self.config.trees * self.config.learning_rate
                    bar.total = n_trees
                    self.rate = max(self.rate, min(FASTEST, total_rate / n_trees))
                    for booster in growing.values() if n_trees < self.config.trees else ():
                        booster.reset_parameter({"learning_rate": self.rate})
                if (
                    seconds is not None
                    and self.grown >= MIN_TREES
                    and time.perf_counter() > began + seconds
                ):
                    break
        return {name: trees_of(booster.model_to_string()) for name, booster in growing.items()}

    def _signs(self) -> list[int] | None:
        """Return the sign constraint of each column, or None without any.

        A covariate has two columns: its value at the step, and its change since the season before.
        """
        if not self.config.monotone:
            return None
        assert self.features is not None
        known = list(self.features.known)
        width = count_columns(self.features, self.periods, self.windows)
        first = width - len(self.features.past) - 2 * len(known)
        signs = [0] * width
        for name, sign in self.config.monotone.items():
            place = first + known.index(name)
            signs[place] = signs[place + len(known)] = sign
        return signs

    def outputs(self) -> list[str]:
        """Return the names of its ensembles: the levels."""
        return [f"{level:g}" for level in self.config.levels]

    def as_trained(self) -> dict[str, Any]:
        """Return hyper-parameters by which a fit without a clock grows as many trees as this one did."""
        if not self.grown:
            return self.hyperparameters()
        return self.hyperparameters() | {"trees": self.grown, "learning_rate": self.rate}

    def _options(self) -> dict[str, Any]:
        c = self.config
        return {
            "learning_rate": c.learning_rate, "num_leaves": c.leaves, "min_data_in_leaf": c.least,
            "feature_fraction": c.columns, "max_bin": 127, "min_data_per_group": c.least,
            "seed": c.seed, "deterministic": True, "force_row_wise": True, "verbosity": -1,
            "feature_pre_filter": False,
        }  # fmt: skip

    def _table(self, panel: Panel) -> FeatureTable:
        assert self.features is not None
        return FeatureTable(
            panel, self.features, self.horizon, self.periods, self.windows, self.unit, self.likeness
        )

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Interpolate between the levels that have trees of their own, for every series.

        Beyond the outermost, the quantile function goes on as an exponential of the last piece's
        slope. The mean is the integral of all of it.
        """
        assert self.boosters is not None
        levels = ask.levels
        lightgbm = _lightgbm()
        table = self._table(panel)
        grown = [
            lightgbm.Booster(model_str=self.boosters[f"{level:g}"]) for level in self.config.levels
        ]
        floors = panel.floors()
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        room = max(1, ROWS // self.horizon)
        for start in range(0, panel.n_series, room):
            block = np.arange(start, min(start + room, panel.n_series))
            series = np.repeat(block, self.horizon)
            cutoffs = panel.lengths[series]
            ahead = np.tile(np.arange(1, self.horizon + 1), len(block))
            rows, scale = table.rows(series, cutoffs, ahead), table.scale(series, cutoffs)
            base = table.base(series, cutoffs, ahead) if self.based else np.zeros(len(rows))
            predictions = [base + scale * np.asarray(booster.predict(rows)) for booster in grown]
            grid = np.sort(np.stack(predictions, -1), -1)  # quantiles never cross
            quantiles = interpolate_quantiles(grid, self.config.levels, (*levels, *MEAN_LEVELS))
            quantiles = np.maximum(quantiles, floors[series, None])
            part = (len(block), self.horizon)
            draft.quantiles[block] = quantiles[:, : len(levels)].reshape(*part, -1)
            draft.mean[block] = (quantiles[:, len(levels) :] @ MEAN_WEIGHTS).reshape(part)
            never = block[table.never_sold(block, panel.lengths[block])]
            draft.quantiles[never], draft.mean[never] = 0.0, 0.0
        return draft

    def _write(self, run: Saving) -> dict[str, Any]:
        if self.boosters is None or self.features is None or self.likeness is None:
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) before save")
        run.add(TREES_FILE, json.dumps(self.boosters))
        facts = _Facts(
            features=self.features,
            periods=self.periods,
            windows=self.windows,
            based=self.based,
            unit=self.unit,
            level=self.likeness.level,
            effects=[e.tolist() for e in self.likeness.effects],
            together=[(k, v) for k, v in self.likeness.together.items()],
            grown=self.grown,
            rate=self.rate,
        )
        return {"trees": asdict(facts)}

    @classmethod
    def restore(cls, run: Saved) -> LightGBM:
        """Return the model of a saved run; see `demandcast.load`.

        LightGBM's own reader sees its text only after every number in it was checked.
        """
        model = cls(
            **asdict(build(LightGBMConfig, run.facts["hyperparameters"], "hyperparameters"))
        )
        facts = build(_Facts, run.facts["trees"], "trees")
        model.features = facts.features
        model.periods, model.windows = facts.periods, facts.windows
        model.based, model.unit = facts.based, facts.unit
        effects = tuple(map(np.array, facts.effects))
        model.likeness = Likeness(facts.level, effects, dict(facts.together), np.ones(0))
        model.grown, model.rate = facts.grown, facts.rate
        sizes = (*facts.periods, *facts.windows)
        fits = len(effects) == len(facts.features.vocabularies) and all(facts.effects)
        if not facts.periods or min(sizes) < 1 or not fits:
            raise ValueError("its periods, windows and effects are not those of a fit")
        width = count_columns(facts.features, facts.periods, facts.windows)
        path = run.file(TREES_FILE)
        try:
            texts = convert(json.loads(path.read_bytes()), dict[str, str], TREES_FILE)
            if [*texts] != model.outputs():
                raise ValueError(f"it has trees of {', '.join(texts):.60}")
            for text in texts.values():
                check_text(text, width)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{printable(path)} is damaged ({error}); save the run again, or take it from a copy"
            ) from error
        model.boosters = texts
        return model


@dataclass(frozen=True)
class _Facts:
    """The part of a saved `LightGBM` that is not its trees."""

    features: Features
    periods: tuple[int, ...]
    windows: tuple[int, ...]
    based: bool
    unit: float
    level: float
    effects: list[list[float]]
    together: list[tuple[tuple[int, ...], float]]
    grown: int
    rate: float


def smooth_pinball(level: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return the derivatives of the pinball loss smoothed by a logistic curve (Fernandes, Guerre and Horta, 2021).

    LightGBM refuses constraints with its own, whose leaves it sets to quantiles after it has grown them.
    """

    def derivatives(forecast: Any, data: Any) -> tuple[Any, Any]:
        share = 1 / (1 + np.exp(np.clip((data.get_label() - forecast) / SMOOTH, -50, 50)))
        weight = data.get_weight()
        weight = 1.0 if weight is None else weight
        curvature = np.maximum(share * (1 - share) / SMOOTH, FLATTEST)
        return (share - level) * weight, curvature * weight

    return derivatives


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError(
            "lightgbm is not installed; pip install 'demandcast[trees]'"
        ) from error
    return lightgbm


def _windows(periods: tuple[int, ...], horizon: int, longest: int) -> tuple[int, ...]:
    """Return the widths of the windows that are averaged: short ones, the seasons, the horizon, and a long
    one.
    """
    widths = {3, 7, horizon, 2 * horizon, *periods, 4 * periods[0]}
    return tuple(sorted(w for w in widths if 1 < w <= max(2, longest)))


def count_rows(panel: Panel) -> int:
    """Return how many rows to learn from.

    Each observed value is the target of as many rows as there are steps ahead. These rows are alike, so that many of
    them cost time and tell little.
    """
    return min(MAX_ROWS, max(FEWEST_ROWS, ROWS_A_VALUE * int(panel.n_observed().sum())))


def _draw_rows(
    panel: Panel, horizon: int, rows: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw series, cutoffs and steps ahead with an observed value, at most `rows` of them.

    Cutoffs begin where a third of the history or one horizon is known, whichever is less.
    """
    first = np.maximum(1, np.minimum(horizon, panel.lengths // 3))
    room = np.maximum(panel.lengths - first, 0)  # cutoffs of each series
    if not room.sum():
        raise DataError(
            "no series has two steps of history, so there is nothing to learn from; "
            "use 'seasonal_naive', or wait for more history"
        )
    cumulative = np.concatenate([[0], np.cumsum(room)])
    total = int(cumulative[-1]) * horizon
    flat = np.arange(total) if total <= rows else rng.integers(0, total, rows)
    place, ahead = flat // horizon, flat % horizon + 1
    series = np.searchsorted(cumulative, place, side="right") - 1
    cutoffs = first[series] + place - cumulative[series]
    inside = cutoffs + ahead <= panel.lengths[series]
    series, cutoffs, ahead = series[inside], cutoffs[inside], ahead[inside]
    observed = ~np.isnan(panel.target[panel.begins[series] + cutoffs + ahead - 1])
    if not observed.any():
        raise DataError(
            "no value was observed after the first step of any series, so there is nothing to learn "
            "from; use 'seasonal_naive', or wait for more history"
        )
    return series[observed], cutoffs[observed], ahead[observed]
