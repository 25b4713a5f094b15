"""From a network to a forecaster: hyper-parameters in, fit, predict and save out.

A model's own file holds its config and its network; what is the same for all of them is here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from demandcast import likelihoods
from demandcast.errors import CheckpointError, ConfigError, NotFittedError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Events, Forecast
from demandcast.forecaster import (
    Forecaster,
    check_horizon,
    check_levels,
    check_names,
    signature_of,
)
from demandcast.frames.future import extend
from demandcast.likelihoods.base import Likelihood
from demandcast.panel.panel import Panel
from demandcast.train.allocator import keep_heap
from demandcast.train.checkpoint import read_tensors, write_atomically, write_tensors
from demandcast.train.loop import Training, TrainingLog, train
from demandcast.train.throughput.bare import Subject
from demandcast.train.throughput.doctor import Doctor, say
from demandcast.train.throughput.report import Diagnosis
from demandcast.windows.features import Features
from demandcast.windows.multivariate import StampSampler
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window import Sizes, Window, WindowSource

log = logging.getLogger("demandcast")
FORMAT = 1
KEPT_PATHS = 50_000_000  # sample values a forecast keeps unless it is asked for more: 200 MB
ROWS = 1 << 15  # series x paths in one batch of prediction


@dataclass(frozen=True, kw_only=True)
class NeuralConfig(Training):
    """What every neural forecaster can be told."""

    horizon: int  # steps forecast
    context: int | None = None  # steps read; None: by the frequency and the horizon
    likelihood: str = "auto"
    scaling: str = "auto"  # mean_abs, one_plus_mean (counts), standard, none; by the context
    lags: tuple[int, ...] | None = None  # None: by the frequency; () for none
    series_embedding: bool = False  # a learned vector for each series; new ones take an unknown's
    rho: float = 0.5  # windows are drawn with P ~ scale^rho
    validation: int = 0  # last steps of the history watched for early stopping, not learned from
    device: str = "auto"  # cpu, cuda, mps; auto takes the best there is

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        for name in ("horizon", "max_steps", "batch_size", "patience", "validate_every"):
            _require(isinstance(getattr(self, name), int) and getattr(self, name) >= 1, self, name,
                     "a whole number, 1 or more")  # fmt: skip
        for name in ("context", "epochs"):
            value = getattr(self, name)
            _require(value is None or (isinstance(value, int) and value >= 1), self, name,
                     "a whole number, 1 or more")  # fmt: skip
        for name in ("learning_rate", "clip"):
            _require(getattr(self, name) > 0, self, name, "above 0")
        for name in ("rho", "average", "warmup"):
            _require(0 <= getattr(self, name) <= 1, self, name, "between 0 and 1")
        _require(self.validation >= 0, self, "validation", "0 or more steps")
        _require(all(lag >= 1 for lag in self.lags or ()), self, "lags", "steps back, 1 or more")

    @property
    def held_out(self) -> int:
        """Last steps of the history that training leaves out, or does so at first."""
        return self.validation


@dataclass(frozen=True, kw_only=True)
class DirectConfig(NeuralConfig):
    """What the models that forecast all steps at once can be told."""

    lags: tuple[int, ...] | None = ()  # not read
    rho: float = 0.0  # every window alike: the more series are learned from, the less they overfit
    batch_size: int = 128
    dropout: float = 0.1


def _require(holds: bool, config: NeuralConfig, name: str, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {getattr(config, name)!r}; it is {wanted}")


class Network(nn.Module):
    """A map from a window to the parameters of a likelihood, and the loss that trains it.

    A direct model forecasts all steps at once: its `forward` takes a window to parameters (batch,
    horizon, params) and is all it has. The others bring a `loss` and a `predict` of their own.
    """

    done: float = 1.0  # share of the training that lies behind, for losses with phases

    def __init__(self, config: Any, sizes: Sizes, likelihood: Likelihood, freq: str) -> None:
        super().__init__()
        self.config, self.sizes, self.likelihood, self.freq = config, sizes, likelihood, freq

    def scaled(self, window: Window) -> Tensor:
        """The context with its level taken off, in units of the scale: (batch, context)."""
        return (window.past_target - window.level) / window.scale

    def lifted(self, window: Window, params: Tensor, base: Tensor) -> Tensor:
        """Parameters around a base forecast (batch, horizon), scaled as the context is."""
        return self.likelihood.lift(params, base + window.level / window.scale)

    def loss(self, window: Window) -> Tensor:
        """Mean loss of the observed steps of a batch of windows, a scalar.

        Windows without one observed value in their context have no scale, and do not count.
        """
        params = self(window)  # (batch, horizon, params)
        observed = window.future_observed & window.past_observed.any(1, keepdim=True)
        loss = self.likelihood.loss(
            params,
            window.future_target,
            window.scale.expand(observed.shape),
            observed=observed,
            censored=window.future_censored,
        )  # (batch, horizon)
        return loss.sum() / observed.sum().clamp(min=1)

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Quantiles (batch, horizon, levels), mean (batch, horizon), paths (batch, paths, horizon)."""
        params: Tensor = self(window)  # (batch, horizon, params)
        scale = window.scale.expand(params.shape[:-1])
        quantiles = self.likelihood.quantile(params, scale, levels)
        return quantiles, self.likelihood.mean(params, scale), None

    def events(self, window: Window) -> tuple[Tensor, Tensor] | None:
        """For networks that warn of extremes, how likely high and low ones are.

        Returns probabilities (batch, horizon, 2) and the thresholds (batch, 2), in the user's units.
        """
        return None


class NeuralForecaster(Forecaster):
    """A network with its training and prediction; subclasses name their parts and nothing else."""

    Config: ClassVar[type[NeuralConfig]]
    Net: ClassVar[type[Network]]
    samples_paths: ClassVar[bool] = False
    rows: ClassVar[int] = ROWS
    context_floor: ClassVar[int] = 0  # steps read where the histories are three times as long
    forks: ClassVar[bool] = False  # forecasts from several cutoffs of one window in training
    scaling: ClassVar[str] = "mean_abs"  # where the user does not say; counts have their own

    def __init__(self, horizon: int | None = None, *, h: int | None = None, **hyper: Any) -> None:
        known = [f.name for f in fields(self.Config)]
        for alias, name in self.aliases.items():
            if alias in hyper and name in hyper:
                raise ConfigError(f"{alias} is another name for {name}; give one of them")
            if alias in hyper:
                hyper[name] = hyper.pop(alias)
        check_names(self.name, hyper, known)
        if isinstance(hyper.get("lags"), list):
            hyper["lags"] = tuple(hyper["lags"])
        self.config = self.Config(horizon=check_horizon(horizon, h), **hyper)
        self.horizon = self.config.horizon
        self.network: Network | None = None
        self.features: Features | None = None
        self.settled: NeuralConfig | None = None  # the config with every "auto" decided
        self.log: TrainingLog | None = None
        self.diagnosis: Diagnosis | None = None  # of the last fit that was asked for one

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "Config"):
            return
        cls.__signature__ = signature_of(cls.Config)  # type: ignore[attr-defined]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""
        return {f.name: f.default for f in fields(cls.Config) if f.name != "horizon"}

    def hyperparameters(self) -> dict[str, Any]:
        return asdict(self.config)

    def __repr__(self) -> str:
        defaults = self.defaults()
        changed = {k: v for k, v in asdict(self.config).items() if defaults.get(k, object()) != v}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    # What a model decides from the panel

    def make_likelihood(self, config: Any, panel: Panel | None) -> Likelihood:
        """The likelihood by name; where it is "auto" and a panel is given, by the panel."""
        return likelihoods.create("quantile" if config.likelihood == "auto" else config.likelihood)

    def auto_context(self, panel: Panel) -> int:
        """Steps to read where the user does not say: two horizons, or the longest season up to 168."""
        season = max((p for p in panel.freq.periods if p <= 168), default=1)
        third = int(np.median(panel.lengths)) // 3
        return max(2 * self.horizon, season, min(self.context_floor, third))

    def auto_scaling(self, likelihood: Likelihood) -> str:
        """How contexts are scaled where the user does not say."""
        return "one_plus_mean" if likelihood.counts else self.scaling

    def _settle(self, panel: Panel) -> NeuralConfig:
        with torch.random.fork_rng([]):  # weights a likelihood may have are not kept
            likelihood = self.make_likelihood(self.config, panel)
        longest = int(panel.lengths.max()) - self.config.held_out
        context = self.config.context or max(1, min(self.auto_context(panel), longest - 1))
        lags = panel.freq.lags() if self.config.lags is None else self.config.lags
        scaling = self.config.scaling
        if scaling == "auto":
            scaling = self.auto_scaling(likelihood)
        return replace(
            self.config,
            context=context,
            likelihood=likelihood.name,
            lags=tuple(lag for lag in lags if lag < longest),
            scaling=scaling,
            device=_device(self.config.device),
        )

    def fit(
        self,
        panel: Panel,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool = True,
        diagnose: bool | Doctor = False,
    ) -> NeuralForecaster:
        """Learn from the history of every series, always from the start.

        Args:
            panel: What to learn from; rows behind a series' length are not looked at.
            checkpoint: A folder where training is kept as it goes, to be resumed after a kill.
            resume: Go on from the checkpoint, if there is one; the numbers are those of a run
                that was never cut.
            progress: Show a bar, on stderr.
            diagnose: Measure where the time goes, and say how it would train faster: kept as
                `model.diagnosis`, and shown on stderr with the progress.
        """
        network, source, config = self._fresh(panel)
        network.likelihood.check_target(panel.target)
        device = torch.device(config.device)
        extra = self._extra(config)
        sampler = self._sampler(panel, config, config.held_out)
        whole = self._sampler(panel, config, config.validation)
        if config.epochs is not None:
            steps = config.epochs * -(-sampler.n_windows // config.batch_size)
            config = replace(config, max_steps=steps)

        def windows(batch: int, generator: torch.Generator) -> Window:
            drawn = (sampler if self._holding(network, source, config) else whole).draw(
                batch, generator
            )
            series, cutoffs, limits = (t.to(device) for t in drawn)
            return source.windows(series, cutoffs + extra, limits, extra=extra)

        def draw(generator: torch.Generator) -> Window:
            return windows(config.batch_size, generator)

        validate = self._validation(panel, source, network, config) if config.validation else None
        doctor = Doctor.asked(diagnose)
        watch = None if doctor is None else doctor.watch(device, config.max_steps)
        with nullcontext() if watch is None else watch.watching():
            self.log = train(
                network,
                network.loss,
                draw,
                config,
                validate=validate,
                checkpoint=None if checkpoint is None else Path(checkpoint),
                resume=resume,
                progress=progress,
                label=self.name,
                clock=None if watch is None else watch.clock,
            )
        if doctor is not None and watch is not None:
            subject = Subject(
                network=network, loss_of=network.loss, draw=windows, batch=config.batch_size,
                clip=config.clip, seed=config.seed, name=self.name,
            )  # fmt: skip
            self.diagnosis = doctor.examine(watch, subject)
            if progress:
                say(self.diagnosis)
        self.network, self.features, self.settled = network, source.spec, config
        return self

    def _holding(self, network: Network, source: WindowSource, config: NeuralConfig) -> bool:
        """Whether the next step of training still leaves out all of `config.held_out`."""
        return True

    def build(self, panel: Panel) -> tuple[Network, WindowSource, NeuralConfig]:
        """The network, the windows it reads from a panel, and the config with every "auto" decided.

        Those of the fit, or what a fit on this panel would begin with; nothing is learned or kept.
        """
        if self.network is None or self.features is None or self.settled is None:
            return self._fresh(panel)
        return self.network, self._source(panel, self.features, self.settled), self.settled

    def _fresh(self, panel: Panel) -> tuple[Network, WindowSource, NeuralConfig]:
        config = self._settle(panel)
        features = Features.of(
            panel, config.lags or (), series=config.series_embedding, takes=self.takes.split(", ")
        )
        source = self._source(panel, features, config)
        with torch.random.fork_rng([]):
            torch.manual_seed(config.seed)
            likelihood = self.make_likelihood(config, None)  # may have weights of its own
            likelihood.censors = panel.available is not None
            network = self.Net(config, source.sizes, likelihood, panel.schema.freq)
        return network.to(config.device), source, config

    def _sampler(
        self, panel: Panel, config: NeuralConfig, held_out: int
    ) -> WindowSampler | StampSampler:
        horizon = config.horizon + self._extra(config)
        return WindowSampler(panel, horizon=horizon, held_out=held_out, rho=config.rho)

    def _extra(self, config: Any) -> int:
        return int(config.forks) - 1 if self.forks else 0

    def _source(self, panel: Panel, features: Features, config: NeuralConfig) -> WindowSource:
        assert config.context is not None
        return WindowSource(
            panel,
            features,
            context=config.context + self._extra(config),
            horizon=config.horizon,
            scaling=config.scaling,
            device=config.device,
        )

    def _validation(
        self, panel: Panel, source: WindowSource, network: Network, config: NeuralConfig
    ) -> Any:
        """Loss of the held-out stretch, over at most 2,048 series spread through the panel."""
        index = np.flatnonzero(panel.lengths > config.validation)
        index = index[:: max(1, len(index) // 2048)]
        chosen = torch.from_numpy(index).to(source.device)
        ends = source.lengths[chosen]

        def validate() -> float:
            losses, counts = [], []
            for rows in range(0, len(chosen), 256):
                part, end = chosen[rows : rows + 256], ends[rows : rows + 256]
                extra = self._extra(config)
                window = source.windows(part, end - config.validation, end, extra=extra)
                losses.append(float(network.loss(window)) * len(part))
                counts.append(len(part))
            return sum(losses) / sum(counts)

        return validate

    def predict(
        self,
        panel: Panel,
        *,
        future: Any = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        n_samples: int | None = None,
        progress: bool = False,
    ) -> Forecast:
        levels = check_levels(levels)
        if n_samples is not None and not self.samples_paths:
            raise ConfigError(
                f"{self.name} forecasts quantiles and draws no paths; leave n_samples out, or use "
                "models.DeepAR for joint paths"
            )
        source = self._reading(panel, future)
        assert self.network is not None
        assert self.settled is not None
        panel = source.panel
        keep_heap()
        paths = n_samples or 200
        keep = n_samples is not None or panel.n_series * paths * self.horizon <= KEPT_PATHS
        # torch.quantile takes 16 million values
        per_batch = min(self.rows, 12_000_000 // self.horizon)
        batch = max(1, per_batch // paths) if self.samples_paths else min(1024, self.rows)
        quantiles = np.empty((panel.n_series, self.horizon, len(levels)), np.float32)
        mean = np.empty((panel.n_series, self.horizon), np.float32)
        kept = (
            np.empty((panel.n_series, paths, self.horizon), np.float32)
            if keep and self.samples_paths
            else None
        )
        warned: list[tuple[Tensor, Tensor]] = []
        generator = torch.Generator(source.device).manual_seed(self.settled.seed)
        wanted = torch.tensor(levels, device=source.device)
        for rows in tqdm(
            _batches(panel.n_series, batch), desc=f"{self.name} forecasts",
            disable=not progress, leave=False,
        ):  # fmt: skip
            series = torch.arange(rows.start, rows.stop, device=source.device)
            with torch.inference_mode():
                window = source.latest(series)
                q, m, s = self.network.predict(window, wanted, paths, generator)
                found = self.network.events(window)
            if found is not None:
                warned.append((found[0].cpu(), found[1].cpu()))
            quantiles[rows], mean[rows] = q.cpu().numpy(), m.cpu().numpy()
            if kept is not None and s is not None:
                kept[rows] = s.cpu().numpy()
        floors = panel.floors()
        for values in (quantiles, mean, kept):
            if values is not None:
                np.maximum(values, floors.reshape(-1, *[1] * (values.ndim - 1)), out=values)
        events = _events(warned) if warned else None
        return Forecast.of(
            panel, levels, quantiles, mean, samples=kept, events=events, model=self.name
        )

    def _reading(self, panel: Panel, future: Any) -> WindowSource:
        """The windows that forecasts of this panel are made from, with all that they need."""
        if self.features is None or self.settled is None:
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) first")
        if future is not None:
            panel = extend(panel, future)
        self.features.check(panel)
        source = self._source(panel, self.features, self.settled)
        source.require_future()
        return source

    def save(self, path: str | Path) -> None:
        if self.network is None or self.features is None or self.settled is None:
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) before save")
        facts = {
            "format": FORMAT,
            "model": self.name,
            "hyperparameters": asdict(self.config),
            "settled": asdict(self.settled),
            "features": self.features.to_dict(),
            "sizes": asdict(self.network.sizes),
            "training": asdict(self.log) if self.log is not None else None,
        }
        folder = Path(path)
        write_tensors(folder / "weights.safetensors", self.network.state_dict(), {"format": FORMAT})
        write_atomically(folder / "model.json", json.dumps(facts, indent=1).encode())

    @classmethod
    def restore(cls, folder: Path, facts: dict[str, Any]) -> NeuralForecaster:
        """The model of a run folder; see `demandcast.load`."""
        model = cls(**_tuples(facts["hyperparameters"]))
        settled = cls.Config(**_tuples(facts["settled"]))
        model.settled = replace(settled, device=_device(model.config.device))
        model.features = Features.from_dict(facts["features"])
        sizes = Sizes(**(facts["sizes"] | {"categories": tuple(facts["sizes"]["categories"])}))
        likelihood = model.make_likelihood(model.settled, None)
        network = cls.Net(model.settled, sizes, likelihood, model.features.freq)
        tensors, _ = read_tensors(folder / "weights.safetensors")
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights in {folder} do not fit its model.json: {error}"
            ) from error
        model.network = network.to(model.settled.device).eval()
        if facts.get("training"):
            model.log = TrainingLog(**facts["training"])
        return model


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _batches(total: int, batch: int) -> list[slice]:
    return [slice(start, min(start + batch, total)) for start in range(0, total, batch)]


def _events(warned: list[tuple[Tensor, Tensor]]) -> Events:
    """The warnings of all batches, as one."""
    chances = torch.cat([chance for chance, _ in warned]).numpy()
    thresholds = torch.cat([threshold for _, threshold in warned]).numpy()
    return Events(
        p_high=chances[..., 0],
        above=thresholds[:, 0],
        p_low=chances[..., 1],
        below=thresholds[:, 1],
    )


def _device(name: str) -> str:
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device={name!r} is not usable here ({error}); use device='cpu'"
        ) from error
    return name
