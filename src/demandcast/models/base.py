"""From a network to a forecaster: hyper-parameters in, fit, predict and save out.

A model's own file holds its config and its network; what is the same for all of them is here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError, NotFittedError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.forecast import Events
from demandcast.forecast.levels import MEAN_LEVELS, bounded_mean
from demandcast.forks import check_fork
from demandcast.layers.draws import draws_of, supplied_where_needed
from demandcast.likelihoods.base import Likelihood
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving
from demandcast.settings import as_python, check_horizon, check_names, signature_of
from demandcast.train.allocator import keep_heap
from demandcast.train.checkpoint import pack, read_tensors, restore_network
from demandcast.train.company import company, shared_forecast
from demandcast.train.device import usable
from demandcast.train.fit import examined, manned, settled
from demandcast.train.group import joined
from demandcast.train.loop import Training, TrainingLog, require
from demandcast.train.roads import Choice, Resident, Road, Streaming, as_it_is, choose
from demandcast.train.throughput.doctor import Doctor
from demandcast.train.throughput.report import Diagnosis
from demandcast.train.throughput.tune import AUTO, usual
from demandcast.typed import build
from demandcast.windows.features import FeatureForecaster, Features
from demandcast.windows.loader import WindowDataset
from demandcast.windows.multivariate import StampSampler
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window import FEW, SCALINGS, Sizes, Window, WindowSource

log = logging.getLogger("demandcast")
# a layer without inputs (no covariates, no lags) has nothing to begin with, and is meant so
warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
WEIGHTS = "weights.safetensors"
KEPT_PATHS = 50_000_000  # sample values a forecast keeps unless it is asked for more: 200 MB
ROWS = 1 << 15  # series x paths in one batch of prediction


@dataclass(frozen=True, kw_only=True)
class NeuralConfig(Training):
    """What every neural forecaster can be told."""

    horizon: int  # steps forecast
    context: int | None = None  # steps read; None: by the frequency and the horizon
    likelihood: str = "auto"
    scaling: str = "auto"  # mean_abs, max, one_plus_mean (counts), standard, none; by the context
    lags: tuple[int, ...] | None = None  # None: by the frequency; () for none
    series_embedding: bool = False  # a learned vector for each series; new ones take an unknown's
    rho: float = 0.5  # windows are drawn with P ~ scale^rho
    validation: int = 0  # last steps of the history watched for early stopping, not learned from
    device: str = "auto"  # cpu, cuda, mps; auto takes the best there is

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        super().__post_init__()
        for name in ("horizon", "context"):
            value = getattr(self, name)
            missing = value is None and name == "context"
            require(missing or (isinstance(value, int) and value >= 1), self, name,
                    "a whole number, 1 or more")  # fmt: skip
        scalings = ("auto", *SCALINGS)
        require(self.scaling in scalings, self, "scaling", f"one of {', '.join(scalings)}")
        require(0 <= self.rho <= 1, self, "rho", "between 0 and 1")
        require(self.validation >= 0, self, "validation", "0 or more steps")
        require(all(lag >= 1 for lag in self.lags or ()), self, "lags", "steps back, 1 or more")

    @property
    def held_out(self) -> int:
        """Last steps of the history that training leaves out, or does so at first."""
        return self.validation


@dataclass(frozen=True, kw_only=True)
class DirectConfig(NeuralConfig):
    """What the models that forecast all steps at once can be told."""

    lags: tuple[int, ...] | None = ()  # not read
    rho: float = 0.0  # every window alike: the more series are learned from, the less they overfit
    batch_size: int | str = 128
    dropout: float = 0.1


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

    def targets(self, window: Window) -> Tensor:
        """Mask of the values that the network is trained on: those of the horizon that were observed."""
        return window.future_observed

    @final
    def loss_mask(self, window: Window) -> Tensor:
        """Mask of the values that enter the loss: `targets` of the windows that have a scale.

        Models narrow or widen `targets`. This is not theirs to change: an error in units of a scale that
        is not known would outweigh all others.
        """
        targets = self.targets(window)  # (batch, ...)
        known = window.has_scale  # (batch, 1), or (batch, 1, series)
        return targets & known.view(*known.shape, *[1] * (targets.ndim - known.ndim))

    def weight(self, window: Window) -> Tensor:
        """Count the values that the loss of these windows is the mean over, a scalar."""
        return self.loss_mask(window).sum()

    def loss(self, window: Window) -> Tensor:
        """Mean loss of the observed steps of a batch of windows, a scalar."""
        params = self(window)  # (batch, horizon, params)
        observed = self.loss_mask(window)  # (batch, horizon)
        loss = self.likelihood.loss(
            params,
            window.future_target,
            window.scale.expand(observed.shape),
            observed=observed,
            censored=window.future_censored,
        )  # (batch, horizon)
        return loss.sum() / observed.sum().clamp(min=1)

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
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


class NeuralForecaster(FeatureForecaster):
    """A network with its training and prediction; subclasses name their parts and nothing else."""

    learned = ("features", "settled")
    Config: ClassVar[type[NeuralConfig]]
    Net: ClassVar[type[Network]]
    samples_paths: ClassVar[bool] = False
    rows: ClassVar[int] = ROWS
    context_floor: ClassVar[int] = 0  # steps read where the histories are three times as long
    seasons_floor: ClassVar[int] = 0  # the same, in seasons: the longest that the horizon holds
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
        hyper = as_python(hyper)
        hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in hyper.items()}
        self.config = self.Config(horizon=check_horizon(horizon, h), **hyper)
        self.horizon = self.config.horizon
        self.network: Network | None = None
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
        season = longest_season(panel)
        held = max((p for p in panel.freq.periods if p <= self.horizon), default=0)
        third = int(np.median(panel.lengths)) // 3
        floor = max(self.context_floor, self.seasons_floor * held)
        return max(2 * self.horizon, season, min(floor, third))

    def auto_scaling(self, likelihood: Likelihood) -> str:
        """How contexts are scaled where the user does not say."""
        return "one_plus_mean" if likelihood.counts else self.scaling

    def _settle(self, panel: Panel) -> NeuralConfig:
        with draws_of(torch.Generator(), everything=True):  # its weights are not kept
            likelihood = self.make_likelihood(self.config, panel)
        longest = int(panel.lengths.max()) - self.config.held_out
        context = self.config.context or max(1, min(self.auto_context(panel), longest - 1))
        lags = panel.freq.lags() if self.config.lags is None else self.config.lags
        scaling = self.config.scaling
        if scaling == "auto":
            scaling = self.auto_scaling(likelihood)
        return replace(
            usual(self.config),
            context=context,
            likelihood=likelihood.name,
            lags=tuple(lag for lag in lags if lag < longest),
            scaling=scaling,
            device=usable(self.config.device),
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
        check_fork(f"{self.name}.fit")
        group = joined(self.config.devices)
        if group.size == 1 and self.config.devices > 1:
            place = None if checkpoint is None else str(Path(checkpoint).resolve())
            told = {"checkpoint": place, "resume": resume}
            with company(self, panel, self.config.devices, usable(self.config.device), **told):
                return self.fit(
                    panel,
                    checkpoint=checkpoint,
                    resume=resume,
                    progress=progress,
                    diagnose=diagnose,
                )
        choice = self._choice(panel)
        network, source, config = self._fresh(panel, choice)
        for part in panel.parts():
            network.likelihood.check_target(part.target)
        extra = self._extra(config)
        sampler = self._sampler(panel, config, config.held_out)
        whole = self._sampler(panel, config, config.validation)
        dataset = WindowDataset(source, sampler, extra=extra)
        device = torch.device(config.device)
        loss_of = supplied_where_needed(network.loss)

        def some(size: int, generator: torch.Generator) -> Window:
            return dataset.__getitems__(sampler.draw(size, generator)).to(device)

        config, chosen = settled(
            self.config, config.counted(sampler.n_windows), sampler.n_windows,
            network=network, loss_of=loss_of, some=some,
            checkpoint=checkpoint if resume else None, group=group,
        )  # fmt: skip

        def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            holding = self._holds(step / config.max_steps)
            return (sampler if holding else whole).draw(config.batch, generator)

        road: Road
        own = group.share(draw)
        if choice.loader == "resident":
            road = Resident(dataset, own, device)
        else:
            road = Streaming(
                dataset, own, device, workers=choice.workers, collate=as_it_is,
                pin_memory=config.pin_memory,
            )  # fmt: skip
        road, more = manned(self.config, config, road, network=network, loss_of=loss_of, some=some)
        config = replace(config, workers=road.workers)
        self.log, self.diagnosis = examined(
            network,
            loss_of,
            road,
            config,
            diagnose=diagnose,
            some=some,
            free_threads=self.config.threads == AUTO,
            data_bytes=panel.nbytes,
            weight_of=network.weight,
            begin=lambda: self._begin_step(network, source, config),
            validate=self._validation(panel, source, network, config)
            if config.validation
            else None,
            per_epoch=config.per_epoch(sampler.n_windows),
            notes=[str(choice), *chosen, *more],
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
            progress=progress,
            label=self.name,
            group=group,
        )
        self.network, self.features, self.settled = network, source.spec, config
        return self

    def _holds(self, done: float) -> bool:
        """Whether training still leaves out all of `config.held_out` when a share of it is done."""
        return True

    def _begin_step(self, network: Network, source: WindowSource, config: NeuralConfig) -> None:
        """Called before each step of training, for networks that measure something on the way."""

    def _choice(self, panel: Panel) -> Choice:
        """The road by which this panel comes to the device."""
        return choose(
            self.config.loader,
            self.config.workers,
            torch.device(usable(self.config.device)),
            needed=panel.nbytes,
            lie=None if panel.is_mapped else torch.device("cpu"),
        )

    def build(self, panel: Panel) -> tuple[Network, WindowSource, NeuralConfig]:
        """The network, the windows it reads from a panel, and the config with every "auto" decided.

        Those of the fit, or what a fit on this panel would begin with; nothing is learned or kept.
        """
        if self.network is None or self.features is None or self.settled is None:
            return self._fresh(panel)
        return self.network, self._source(panel, self.features, self.settled), self.settled

    def _fresh(
        self, panel: Panel, choice: Choice | None = None
    ) -> tuple[Network, WindowSource, NeuralConfig]:
        choice = choice or self._choice(panel)
        config = replace(self._settle(panel), loader=choice.loader, workers=choice.workers)
        features = Features.of(
            panel, config.lags or (), series=config.series_embedding, takes=self.takes.split(", ")
        )
        source = self._source(panel, features, config)
        with draws_of(torch.Generator().manual_seed(config.seed), everything=True):
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
            resident=config.loader != "streaming",
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
            losses, weights = [], []
            for rows in range(0, len(chosen), 256):
                part, end = chosen[rows : rows + 256], ends[rows : rows + 256]
                extra = self._extra(config)
                window = source.windows(part, end - config.validation, end, extra=extra)
                weights.append(float(network.weight(window)))  # values that the loss is the mean of
                losses.append(float(network.loss(window)) * weights[-1])
            return sum(losses) / max(sum(weights), 1.0)

        return validate

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        self._tell_gaps(panel)
        paths = ask.n_samples or 200
        keep = ask.n_samples is not None or panel.n_series * paths * self.horizon <= KEPT_PATHS
        # torch.quantile takes 16 million values
        per_batch = min(self.rows, 12_000_000 // self.horizon)
        batch = max(1, per_batch // paths) if self.samples_paths else min(1024, self.rows)
        batches = _batches(panel.n_series, batch)
        asked: dict[str, Any] = {
            "levels": ask.levels,
            "paths": paths,
            "keep": keep and self.samples_paths,
        }
        if 1 < self.config.devices <= len(batches) and joined(1).size == 1:
            shares = shared_forecast(self, panel, batches, self.config.devices, **asked)
        else:
            shares = [self.forecast_rows(panel, batches, **asked, progress=ask.progress)]
        found = {name: _joined([s[name] for s in shares]) for name in shares[0]}
        events = _events(found) if "chances" in found else None
        return Draft(found["quantiles"], found["mean"], found.get("samples"), events)

    def forecast_rows(
        self,
        panel: Panel,
        batches: Sequence[slice],
        *,
        levels: Sequence[float],
        paths: int,
        keep: bool,
        progress: bool = False,
    ) -> dict[str, Tensor]:
        """Forecasts of some of the series; what `predict` puts together.

        Args:
            panel: As `predict` has it, its future extended.
            batches: Series that are forecast at once. A series gets the same paths in any.
            levels, paths, keep: Quantile levels; paths drawn, and whether they are wanted.
            progress: Show a bar, on stderr.

        Returns:
            `quantiles` (series, horizon, levels), `mean` (series, horizon); `samples`, `chances`,
            `thresholds` where there are any.
        """
        assert self.network is not None
        assert self.settled is not None
        keep_heap()
        source = self._reading(panel)
        found: dict[str, Tensor] = {}
        total, done = sum(rows.stop - rows.start for rows in batches), 0
        draws = TensorDraws.of(panel.keys, self.settled.seed, source.to)
        wanted = torch.tensor((*levels, *MEAN_LEVELS), device=source.to)
        floors = panel.floors()[:, None]
        bar = tqdm(batches, desc=f"{self.name} forecasts", disable=not progress, leave=False)
        for rows in bar:
            series = torch.arange(rows.start, rows.stop, device=source.device)
            with torch.inference_mode():
                window = source.latest(series)
                q, m, s = self.network.predict(window, wanted, paths, draws.select(rows))
                warned = self.network.events(window)
            nodes = q[..., len(levels) :].cpu().numpy()
            mean = bounded_mean(m.cpu().numpy(), nodes, floors[rows])
            made = {"quantiles": q[..., : len(levels)], "mean": torch.from_numpy(mean).float()}
            made |= {"samples": s} if keep and s is not None else {}
            made |= {} if warned is None else {"chances": warned[0], "thresholds": warned[1]}
            for name, values in made.items():
                if name not in found:
                    found[name] = torch.empty(total, *values.shape[1:])
                found[name][done : done + len(values)] = values.cpu()
                if name not in ("chances", "thresholds"):  # 0 where nothing tells the scale
                    found[name][done : done + len(values)][~window.answerable.cpu()] = 0.0
            done += len(series)
        return found

    def _tell_gaps(self, panel: Panel) -> None:
        """Log which series end in a gap that the context does not reach over."""
        assert self.settled is not None
        assert self.settled.context is not None
        reach = self.settled.context + self._extra(self.settled)
        seen = panel.n_observed(reach)
        gone = np.flatnonzero((seen < FEW) & (seen < panel.n_observed()))
        if len(gone):
            warn_once(
                f"{self.name}: {len(gone):,} series hold fewer than {FEW} values in the last {reach} "
                f"steps (e.g. {panel.key(int(gone[0]))}); they are forecast from the same places of "
                "earlier seasons, before the gap"
            )

    def _reading(self, panel: Panel) -> WindowSource:
        """The windows that forecasts of a panel that was made ready are read from."""
        assert self.features is not None
        assert self.settled is not None
        config = replace(self.settled, loader=self._choice(panel).loader)  # of this panel
        return self._source(panel, self.features, config)

    def _write(self, run: Saving) -> dict[str, Any]:
        if self.network is None or self.features is None or self.settled is None:
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) before save")
        run.add(WEIGHTS, pack(self.network.state_dict(), {}))
        return {
            "settled": asdict(self.settled),
            "features": asdict(self.features),
            "sizes": asdict(self.network.sizes),
            "training": asdict(self.log) if self.log is not None else None,
        }

    @classmethod
    def restore(cls, run: Saved) -> NeuralForecaster:
        """The model of a saved run; see `demandcast.load`."""
        facts = run.facts
        config = build(cls.Config, facts["hyperparameters"], "hyperparameters")
        model = cls(**asdict(config))
        settled = build(cls.Config, facts["settled"], "settled")
        model.settled = replace(settled, device=usable(config.device))
        model.features = features = build(Features, facts["features"], "features")
        sizes = build(Sizes, facts["sizes"], "sizes")

        def network() -> Network:
            likelihood = model.make_likelihood(model.settled, None)
            return cls.Net(model.settled, sizes, likelihood, features.freq)

        path = run.file(WEIGHTS)
        restored = restore_network(network, read_tensors(path)[0], path)
        model.network = restored.to(model.settled.device).eval()
        if facts["training"] is not None:
            model.log = build(TrainingLog, facts["training"], "training")
        return model


@lru_cache(maxsize=256)
def warn_once(message: str) -> None:
    """Log a warning the first time only: backtests and `auto` forecast the same series many times."""
    log.warning("%s", message)


def longest_season(panel: Panel) -> int:
    """Steps in the longest season that contexts are made for: a week of hours at most, 1 for none."""
    return max((p for p in panel.freq.periods if p <= 168), default=1)


def _batches(total: int, batch: int) -> list[slice]:
    return [slice(start, min(start + batch, total)) for start in range(0, total, batch)]


def _joined(shares: list[Tensor]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(shares[0] if len(shares) == 1 else torch.cat(shares))


def _events(found: dict[str, np.ndarray[Any, np.dtype[np.float32]]]) -> Events:
    """The warnings of all batches, as one."""
    chances, thresholds = found["chances"], found["thresholds"]
    return Events(
        p_high=chances[..., 0],
        above=thresholds[:, 0],
        p_low=chances[..., 1],
        below=thresholds[:, 1],
    )
