"""Base classes of all methods: fit, predict and save."""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, final

import numpy as np
import polars as pl

from demandcast.errors import ConfigError, DataError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forks import check_fork
from demandcast.frames.future import extend
from demandcast.frames.steps_ahead import require_known
from demandcast.panel.concatenate import concatenate, is_alike
from demandcast.panel.panel import Panel
from demandcast.progress import Bar
from demandcast.saved import Saved, Saving, saving
from demandcast.settings import (
    MethodSettings,
    as_python,
    check_horizon,
    check_names,
    signature_of,
    whole,
)
from demandcast.typed import build

if TYPE_CHECKING:
    from typing_extensions import Self  # of `typing` from Python 3.11 on

FORMAT = 2  # of saved runs


class Learning(str, Enum):
    """What a method learns, and so what a fit costs."""

    LOCAL = "local"  # nothing in `fit`: each series is forecast from its own history
    PRETRAINED = "pretrained"  # nothing in `fit`: weights ship with the package
    TREES = "trees"  # an ensemble of trees over all series
    TUNED = "tuned"  # pretrained weights, trained on with the panel
    NETWORK = "network"  # weights of its own over all series, step by step
    BLEND = "blend"  # other methods, and weights of them

    @property
    def learns(self) -> bool:
        """Whether `fit` learns, which costs time."""
        return self not in (Learning.LOCAL, Learning.PRETRAINED)


class Demand(Enum):
    """What kind of history a method is for."""

    ANY = "any"
    SLOW = "slow movers"  # counts with many zeros
    SMOOTH = "smooth"  # few zeros


class Forecaster(ABC):
    """A method with its hyper-parameters, cheap to make; `fit` always starts fresh."""

    name: ClassVar[str]  # as on the command line: "deepar"
    summary: ClassVar[str]  # one line: what it is, with its source
    takes: ClassVar[str]  # what it uses of a panel: "target", or "target, known, past, static"
    gives: ClassVar[str]  # "quantiles", or "paths and quantiles"
    learning: ClassVar[Learning] = Learning.LOCAL
    suits: ClassVar[Demand] = Demand.ANY
    portfolio: ClassVar[int | None] = None  # place among the methods that `auto` tries; None: none
    space: ClassVar[
        Mapping[str, object]
    ] = {}  # what `tune` searches: a range, or a list of choices
    length: ClassVar[str | None] = None  # the hyper-parameter that says how long it is trained
    requires: ClassVar[tuple[str, str] | None] = None  # a package, and our extra that installs it
    for_new_items: ClassVar[bool] = False  # learns to forecast items without a history
    aliases: ClassVar[dict[str, str]] = {}  # other names of hyper-parameters -> their own
    pools: ClassVar[bool] = False  # `predict` learns from all series of the panel it is given
    exact_alone: ClassVar[bool] = (
        False  # a series has the same forecast alone and among others, to the bit
    )
    horizon: int
    origin: dict[str, Any] | None = None  # how the command that fitted it was called; saved with it

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "portfolio" not in vars(cls):  # a variant of a method has no place by inheritance
            cls.portfolio = None

    def as_trained(self) -> dict[str, Any]:
        """Return hyper-parameters by which another fit trains as long as this one did."""
        return self.hyperparameters()

    @classmethod
    @abstractmethod
    def defaults(cls) -> dict[str, Any]:
        """Return every hyper-parameter but the horizon, with its default."""

    @abstractmethod
    def hyperparameters(self) -> dict[str, Any]:
        """Return every hyper-parameter by its Python name; they make an equal model again."""

    @final
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every hyper-parameter by its name, the horizon too; scikit-learn's name for `hyperparameters`.

        Args:
            deep: Of no effect; scikit-learn passes it.
        """
        return self.hyperparameters()

    @final
    def set_params(self, **params: Any) -> Self:
        """Change hyper-parameters, and return the forecaster; what it had learned is gone.

        Args:
            **params: As in the constructor, their other names too.

        Raises:
            ConfigError: There is no such hyper-parameter, or it has no such value; nothing is changed then.
        """
        known = self.hyperparameters()
        names = {"h": "horizon", **self.aliases}
        changed = {names.get(name, name): value for name, value in params.items()}
        self.__dict__ = type(self)(**{**known, **changed}).__dict__
        return self

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted forecaster with the same hyper-parameters, for `sklearn.base.clone`."""
        return type(self)(**self.hyperparameters())

    @abstractmethod
    def fit(self, panel: Panel) -> Forecaster:
        """Learn from the history of every series; returns itself."""

    @final
    def predict(
        self,
        panel: Panel,
        *,
        future: object = None,
        levels: Sequence[float] | float = DEFAULT_LEVELS,
        n_samples: int | None = None,
        progress: bool = False,
    ) -> Forecast:
        """Forecast every series of the panel from its last step.

        Args:
            panel: What is known; may hold other series or later steps than the one fitted on.
            future: Covariates known ahead, for the steps after the panel: a path or a frame with
                the key, time and known columns. None where the panel already reaches that far.
            levels: Quantile levels, increasing, each in (0, 1); one may stand by itself.
            n_samples: Joint paths to draw and keep; None for the method's own habit: networks that
                draw paths keep 200 where there is room, other methods none.
            progress: Show a bar, on stderr, where the method takes long enough for one.

        Raises:
            NotFittedError: The method learns in `fit`, and that was not called.
            ConfigError: The levels do not increase inside (0, 1), `n_samples` is below 1, or the
                method draws no paths.
            DataError: `panel` is not a Panel, or lacks what the method reads; known covariates do
                not reach over the horizon.
            SchemaError: The columns of `future` are not those of the panel.
        """
        check_fork(f"{self.name}.predict")
        ask = self._ask(levels, n_samples, progress)
        panel = self._ready(panel, future)
        return self._to_forecast(panel, self._forecast(panel, ask), ask)

    @final
    def predict_each(
        self,
        panels: Sequence[Panel],
        *,
        levels: Sequence[float] | float = DEFAULT_LEVELS,
        n_samples: int | None = None,
    ) -> list[Forecast]:
        """Forecast several panels; each forecast equals that of `predict` on its panel, to the bit.

        A method whose forecasts do not depend on the other series (`exact_alone`) forecasts panels with the same
        columns and frequency in one pass, which is faster for many small panels.

        Args:
            panels: Each as `predict` takes it, with the covariates known ahead.
            levels, n_samples: As in `predict`.

        Returns:
            A forecast for each panel, in their order.

        Raises:
            Those of `predict`, of the first panel that has one.
        """
        if not self.exact_alone or len(panels) < 2:
            return [self.predict(panel, levels=levels, n_samples=n_samples) for panel in panels]
        check_fork(f"{self.name}.predict_each")
        ask = self._ask(levels, n_samples, progress=False)
        ready = [self._ready(panel, None) for panel in panels]
        groups: list[list[int]] = []
        for i, panel in enumerate(ready):
            alike = next((g for g in groups if is_alike(ready[g[0]], panel)), None)
            if alike is None:
                groups.append([i])
            else:
                alike.append(i)
        forecasts: dict[int, Forecast] = {}
        for group in groups:
            draft = self._forecast(concatenate([ready[i] for i in group]), ask)
            edges = np.cumsum([0, *[ready[i].n_series for i in group]])
            for i, first, last in zip(group, edges[:-1], edges[1:], strict=True):
                forecasts[i] = self._to_forecast(ready[i], draft.between(first, last), ask)
        return [forecasts[i] for i in range(len(panels))]

    @final
    def _ask(self, levels: Sequence[float] | float, n_samples: int | None, progress: bool) -> Ask:
        """Check the arguments of a prediction."""
        ask = Ask.parse(levels, n_samples, progress)
        if ask.n_samples is not None and "paths" not in self.gives:
            raise ConfigError(
                f"{self.name} forecasts quantiles and draws no paths; leave n_samples out, or use "
                "models.DeepAR for joint paths",
                option="n_samples",
                found=n_samples,
                expected="None",
            )
        return ask

    @final
    def _to_forecast(self, panel: Panel, draft: Draft, ask: Ask) -> Forecast:
        """Return the forecast of a draft: nothing below 0 where a series never was, within bounds, in order."""
        floors = panel.floors()  # 0 where a series was never negative
        for values in (draft.quantiles, draft.mean, draft.samples):
            if values is not None:
                np.maximum(values, floors.reshape(-1, *[1] * (values.ndim - 1)), out=values)
        return Forecast.of(
            panel, ask.levels, draft.quantiles, draft.mean,
            samples=draft.samples, events=draft.events, model=self.name, forecaster=self,
        )  # fmt: skip

    @final
    def fitted(
        self,
        panel: Panel,
        *,
        steps: int | None = None,
        levels: Sequence[float] | float = DEFAULT_LEVELS,
        progress: bool = True,
    ) -> pl.DataFrame:
        """Forecast steps of the past with the fitted model: fitted values, in-sample.

        Each step is forecast from at most `horizon` steps before, by `predict` on the panel as it
        was then. What was learned in `fit` has seen these steps, so the errors are smaller than those
        of the future: `backtest` measures those.

        Args:
            panel: The panel fitted on, or any that `predict` takes.
            steps: How many of the last steps to go over, a multiple of the horizon or not; None for all
                that have a step before them.
            levels: Quantile levels, as in `predict`.
            progress: Show a bar, on stderr.

        Returns:
            One row a series and step, the series in the panel's order: the key, time, `ahead` (steps
            from the last one known, 1 to `horizon`), `actual` (null where nothing was observed),
            "mean" and a column a level. Ours move aside, as in `Forecast.to_frame`, where a key is
            called so.

        Raises:
            DataError: No series has more than one step.
            ConfigError, NotFittedError: As `predict`.
        """
        check_panel(panel)
        longest = int(panel.lengths.max(initial=0))
        if longest < 2:
            raise DataError(
                "no series has more than one step, so there is none to forecast from another"
            )
        most = longest - 1 if steps is None else min(whole("steps", steps, least=1), longest - 1)
        ahead = np.arange(1, self.horizon + 1)
        parts = []
        with Bar(
            range(self.horizon, most + self.horizon, self.horizon),
            desc=f"{self.name} fitted", disable=not progress, leave=False, file=sys.stderr,
        ) as bar:  # fmt: skip
            for back in bar:
                begin = np.minimum(
                    np.minimum(back, most), panel.lengths - 1
                )  # steps before the last
                covered = begin - (back - self.horizon)
                reached = np.flatnonzero(covered > 0)
                known = replace(panel, lengths=panel.lengths - begin).select(reached)
                forecast = self.predict(known, levels=levels)
                extra_columns = pl.DataFrame(
                    {
                        "ahead": np.tile(ahead, known.n_series),
                        "actual": known.future_target(self.horizon).ravel(),
                    }
                ).with_columns(pl.col("actual").fill_nan(None))
                frame = forecast.to_frame()
                place = len(panel.keys.columns) + 1
                for at, column in enumerate(extra_columns.rename(forecast.column)):
                    frame.insert_column(place + at, column)
                parts.append(frame.filter((ahead <= covered[reached, None]).ravel()))
        table = pl.concat(reversed(parts))
        ranks = panel.keys.with_row_index("__series")
        if not panel.keys.columns:
            return table
        return (
            table.join(ranks, on=panel.keys.columns, how="left", maintain_order="left")
            .sort("__series", maintain_order=True)
            .drop("__series")
        )

    @final
    def _ready(self, panel: Panel, future: object) -> Panel:
        """Prepare a panel for forecasting: columns as at the fit, known covariates added."""
        check_panel(panel)
        self._check_fitted()
        panel = self.align(panel)
        if "available" not in self.takes:
            panel = panel.mask_unavailable()
        if future is not None:
            panel = extend(panel, future)
        self._check_readable(panel)
        return panel

    def _check_fitted(self) -> None:  # noqa: B027  many methods learn nothing in `fit`
        """Refuse to forecast before `fit`, if the method learns there."""

    def _check_readable(self, panel: Panel) -> None:
        """Refuse a panel that lacks what the method reads, or known covariates that end before the horizon."""
        if "known" in self.takes:
            require_known(panel, panel.known_names, self.horizon)

    @abstractmethod
    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast a panel that was prepared; `predict` does everything else.

        What a series was never below and the order of quantiles are seen to by `predict`; a mean
        must already be that of a distribution that stops there.
        """

    def align(self, panel: Panel) -> Panel:
        """Return a newer panel with its columns as at the fit: numbers, categories, and which there are."""
        return panel

    def save(self, path: str | Path) -> None:
        """Write a folder that `demandcast.load` reads: JSON and safetensors, never a pickle.

        Over an older run the folder holds the old one or the new one whole, whenever the save is cut
        off. Other files in the folder stay.

        Args:
            path: The folder, made where it is missing.

        Raises:
            NotFittedError: There is nothing to save yet.
            FileError: It cannot be written there.
        """
        with saving(path, what=f"the fitted {self.name}") as run:
            self.save_into(run)

    def save_into(self, run: Saving) -> None:
        """Write the files of a saved run; see `save`."""
        facts = self._write(run)
        parameters = {"hyperparameters": self.hyperparameters(), "origin": self.origin}
        run.finish({"format": FORMAT, "model": self.name, **parameters, **facts})

    def _write(self, run: Saving) -> Mapping[str, object]:
        """Write what was learned into files, and return what else the manifest has to hold."""
        return {}

    @classmethod
    def restore(cls, run: Saved) -> Forecaster:
        """Return the forecaster of a saved run; see `demandcast.load`."""
        hyper = run.facts["hyperparameters"]
        kind: Any = cls
        restored: Forecaster = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in hyper.items()}
        )
        return restored

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters().items())})"


C = TypeVar("C", bound=MethodSettings)


class ConfiguredForecaster(Forecaster, Generic[C]):
    """A method whose hyper-parameters are a frozen dataclass; signature, help and --set follow from it."""

    Config: type[C]
    config: C

    def __init__(
        self, horizon: int | None = None, *, h: int | None = None, **hyper: object
    ) -> None:
        for alias, name in self.aliases.items():
            if alias in hyper and name in hyper:
                raise ConfigError(
                    f"{alias} is another name for {name}; give one of them",
                    option=alias,
                    expected=f"one of {alias} and {name}",
                )
            if alias in hyper:
                hyper[name] = hyper.pop(alias)
        check_names(self.name, hyper, [field.name for field in fields(self.Config)])
        hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in as_python(hyper).items()}
        self.horizon = check_horizon(horizon, h)
        self.config = self.Config(horizon=self.horizon, **hyper)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "Config"):
            cls.__signature__ = signature_of(cls.Config)  # type: ignore[attr-defined]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return every hyper-parameter but the horizon, with its default."""
        return {f.name: f.default for f in fields(cls.Config) if f.name != "horizon"}

    def hyperparameters(self) -> dict[str, Any]:
        return asdict(self.config)

    @classmethod
    def from_hyperparameters(cls, facts: object) -> Self:
        """Return an unfitted forecaster by hyper-parameters from JSON, each checked by its type."""
        return cls(**asdict(build(cls.Config, facts, "hyperparameters")))

    @classmethod
    def restore(cls, run: Saved) -> Forecaster:
        """Return the forecaster of a saved run; see `demandcast.load`."""
        return cls.from_hyperparameters(run.facts["hyperparameters"])

    def __repr__(self) -> str:
        defaults = self.defaults()
        hyper = self.hyperparameters()
        changed = {k: v for k, v in hyper.items() if defaults.get(k, object()) != v}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


def check_panel(panel: object) -> None:
    """Refuse an object that is no panel, and name the call that makes one."""
    if not isinstance(panel, Panel):
        raise DataError(
            f"a panel is wanted, not {type(panel).__name__}; make one with "
            "demandcast.read_panel(table, key=..., time=..., target=...)",
            option="panel",
            found=type(panel).__name__,
            expected="a Panel",
        )


def fit(model: Any, panel: Panel, *, progress: bool, **training: Any) -> Any:
    """Fit a method, with a progress bar if it has one, and return the fitted one."""
    if "progress" in inspect.signature(model.fit).parameters:
        training["progress"] = progress
    return model.fit(panel, **training)
