"""Fit, forecast and save any network; a model's own file holds only its config and its network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from demandcast import likelihoods
from demandcast.errors import NotFittedError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Learning
from demandcast.forks import check_fork
from demandcast.layers.generators import draws_of, with_generator
from demandcast.likelihoods.base import Likelihood
from demandcast.models.config import N, Plan
from demandcast.models.gaps import warn_of_gaps
from demandcast.models.network import Network
from demandcast.models.rows import Rows, batches_of, draft_of, forecast_rows
from demandcast.models.workers import fit_group, shared_forecast
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving
from demandcast.train.batches import keep_batch
from demandcast.train.checkpoint import pack, read_tensors, restore_network
from demandcast.train.device import resolve_device
from demandcast.train.doctor.diagnosis import Diagnosis
from demandcast.train.doctor.doctor import Doctor
from demandcast.train.doctor.trials import without_auto
from demandcast.train.gradients import Objective
from demandcast.train.group import process_group
from demandcast.train.loaders import (
    Choice,
    Draw,
    Loader,
    ResidentLoader,
    StreamingLoader,
    choose,
)
from demandcast.train.run import Job, run
from demandcast.train.training import TrainingLog
from demandcast.train.watch import Watch
from demandcast.typed import build
from demandcast.windows.dataset import WindowDataset
from demandcast.windows.features import FeatureForecaster, Features
from demandcast.windows.multivariate_window import StampSampler
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window import Sizes, Window
from demandcast.windows.window_source import WindowSource

if TYPE_CHECKING:
    from typing_extensions import Self  # of `typing` from Python 3.11 on

# layers without inputs (no covariates, no lags) are intended
warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
WEIGHTS = "weights.safetensors"
KEPT_PATHS = 50_000_000  # sample values a forecast keeps unless it is asked for more: 200 MB
ROWS = 1 << 15  # series x paths in one batch of prediction


class NeuralForecaster(FeatureForecaster[N]):
    """A network with its training and prediction; a subclass names its `Config`, its `Net` and its facts."""

    learning = Learning.NETWORK
    length = "max_steps"
    learned = ("features", "plan")
    Net: type[Network[N]]
    samples_paths: ClassVar[bool] = False
    rows: ClassVar[int] = ROWS
    context_floor: ClassVar[int] = 0  # steps read where the histories are three times as long
    seasons_floor: ClassVar[int] = 0  # the same, in seasons: the longest that the horizon holds
    scaling: ClassVar[str] = "mean_abs"  # where the user does not say; counts have their own

    def __init__(
        self, horizon: int | None = None, *, h: int | None = None, **hyper: object
    ) -> None:
        super().__init__(horizon, h=h, **hyper)
        self.network: Network[N] | None = None
        self.plan: Plan[N] | None = None
        self.log: TrainingLog | None = None
        self.diagnosis: Diagnosis | None = None  # of the last fit that was asked for one

    # What a model decides from the panel

    def make_likelihood(self, config: N, panel: Panel | None) -> Likelihood:
        """Create the likelihood by its name; "auto" chooses it from the panel."""
        return likelihoods.create("quantile" if config.likelihood == "auto" else config.likelihood)

    def auto_context(self, panel: Panel) -> int:
        """Return the context where none is given: two horizons, or the longest season up to 168 steps."""
        season = longest_season(panel)
        longest_period = max((p for p in panel.freq.periods if p <= self.horizon), default=0)
        third = int(np.median(panel.lengths)) // 3
        floor = max(self.context_floor, self.seasons_floor * longest_period)
        return max(2 * self.horizon, season, min(floor, third))

    def auto_scaling(self, likelihood: Likelihood) -> str:
        """Return the scaling of contexts where none is given."""
        return "one_plus_mean" if likelihood.counts else self.scaling

    def resolve(self, panel: Panel) -> N:
        """Return the hyper-parameters with every "auto" and None decided by a panel."""
        with draws_of(torch.Generator(), everything=True):  # its weights are not kept
            likelihood = self.make_likelihood(self.config, panel)
        longest = int(panel.lengths.max()) - self.config.held_out
        context = self.config.context or max(1, min(self.auto_context(panel), longest - 1))
        lags = panel.freq.lags() if self.config.lags is None else self.config.lags
        scaling = self.config.scaling
        if scaling == "auto":
            scaling = self.auto_scaling(likelihood)
        return replace(
            without_auto(self.config),
            context=context,
            likelihood=likelihood.name,
            lags=tuple(lag for lag in lags if lag < longest),
            scaling=scaling,
            device=resolve_device(self.config.device),
        )

    def fit(
        self,
        panel: Panel,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        progress: bool = True,
        diagnose: bool | Doctor = False,
    ) -> Self:
        """Learn from the history of every series, always from the start.

        Args:
            panel: What to learn from; rows after a series' length are ignored.
            checkpoint: A folder for the state of training, to resume from.
            resume: Continue from the checkpoint, if there is one, to the same result as without interruption.
            progress: Show a bar on stderr.
            diagnose: Measure the time of each part and suggest faster settings, in `model.diagnosis` and on stderr.
        """
        check_fork(f"{self.name}.fit")
        watch = Watch(
            progress=progress, label=self.name, resume=resume, diagnose=diagnose,
            checkpoint=None if checkpoint is None else Path(checkpoint),
        )  # fmt: skip
        with fit_group(self, panel, watch) as group:
            job, network, source = self._job(panel)
            config, self.log, self.diagnosis = run(job, watch, group)
        plan = replace(network.plan, config=config)
        self._finish(network, source, plan)
        self.network, self.features, self.plan = network, source.spec, plan
        return self

    def _job(self, panel: Panel) -> tuple[Job[N, Window], Network[N], WindowSource]:
        """Return the training of a fresh network on a panel."""
        choice = self._choose_loader(panel)
        network, source, plan = self._initialise(panel, choice)
        config = plan.config
        for part in panel.parts():
            network.likelihood.check_target(part.target)
        sampler = self._sampler(panel, plan, config.held_out)
        all_but_validation = sampler  # what is learned from in the last part of the steps
        if config.validation != config.held_out:
            all_but_validation = self._sampler(panel, plan, config.validation)
        dataset = WindowDataset(source, sampler, extra=self._extra_steps(plan))
        device = torch.device(config.device)

        def sample(size: int, generator: torch.Generator) -> Window:
            return dataset.__getitems__(sampler.draw(size, generator)).to(device)

        def draw_of(settings: N) -> Draw:
            def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
                windows = all_but_validation
                if self._holds_out(step / settings.max_steps):
                    windows = sampler
                return windows.draw(settings.batch, generator)

            return draw

        def load(settings: N, draw: Draw) -> Loader[Window]:
            if choice.loader == "resident":
                return ResidentLoader(dataset, draw, device)
            return StreamingLoader(
                dataset, draw, device, workers=choice.workers, collate=keep_batch,
                pin_memory=settings.pin_memory,
            )  # fmt: skip

        objective = Objective(
            network=network,
            loss_of=with_generator(network.loss),
            weight_of=network.weight,
            begin_step=lambda: self._begin_step(network, source, plan),
            validate=self._validation(panel, source, network, plan) if config.validation else None,
        )
        job = Job(
            objective=objective, asked=self.config, planned=config, count=sampler.n_windows, sample=sample,
            draw=draw_of, load=load, data_bytes=panel.nbytes, note=str(choice),
        )  # fmt: skip
        return job, network, source

    def _holds_out(self, done: float) -> bool:
        """Return whether all of `config.held_out` is left out after a share `done` of the steps."""
        return True

    def _begin_step(self, network: Network[N], source: WindowSource, plan: Plan[N]) -> None:
        """Prepare a step of training; for networks that measure something on the way."""

    def _finish(self, network: Network[N], source: WindowSource, plan: Plan[N]) -> None:
        """Complete the network after training; for networks that measure something then."""

    def _choose_loader(self, panel: Panel) -> Choice:
        """Choose how batches of this panel reach the device: resident arrays or streamed."""
        return choose(
            self.config.loader,
            self.config.workers,
            torch.device(resolve_device(self.config.device)),
            needed=panel.nbytes,
            lie=None if panel.is_mapped else torch.device("cpu"),
        )

    def build(self, panel: Panel) -> tuple[Network[N], WindowSource, Plan[N]]:
        """Return the network, windows of a panel, and plan: fitted, or as a fit on it would begin."""
        if self.network is None or self.features is None or self.plan is None:
            return self._initialise(panel, self._choose_loader(panel))
        return self.network, self._source(panel, self.features, self.plan), self.plan

    def _initialise(self, panel: Panel, choice: Choice) -> tuple[Network[N], WindowSource, Plan[N]]:
        config = replace(self.resolve(panel), loader=choice.loader, workers=choice.workers)
        plan = Plan(config, panel.schema.freq)
        features = Features.of(
            panel, plan.lags, series=config.series_embedding, takes=self.takes.split(", ")
        )
        source = self._source(panel, features, plan)
        with draws_of(torch.Generator().manual_seed(config.seed), everything=True):
            likelihood = self.make_likelihood(config, None)  # may have weights of its own
            likelihood.censors = panel.available is not None
            network = self.Net(plan, source.sizes, likelihood)
        return network.to(config.device), source, plan

    def _sampler(self, panel: Panel, plan: Plan[N], held_out: int) -> WindowSampler | StampSampler:
        horizon = plan.horizon + self._extra_steps(plan)
        return WindowSampler(panel, horizon=horizon, held_out=held_out, rho=plan.config.rho)

    def _extra_steps(self, plan: Plan[N]) -> int:
        """Return how many steps contexts reach past their cutoffs in training."""
        return 0

    def _source(self, panel: Panel, features: Features, plan: Plan[N]) -> WindowSource:
        return WindowSource(
            panel,
            features,
            context=plan.context + self._extra_steps(plan),
            horizon=plan.horizon,
            scaling=plan.config.scaling,
            device=plan.config.device,
            resident=plan.config.loader != "streaming",
        )

    def _validation(
        self, panel: Panel, source: WindowSource, network: Network[N], plan: Plan[N]
    ) -> Callable[[], float]:
        """Return the loss of the held-out stretch, over at most 2,048 series spread through the panel."""
        steps, extra = plan.config.validation, self._extra_steps(plan)
        index = np.flatnonzero(panel.lengths > steps)
        index = index[:: max(1, len(index) // 2048)]
        chosen = torch.from_numpy(index).to(source.device)
        ends = source.lengths[chosen]

        def validate() -> float:
            losses, weights = [], []
            for rows in range(0, len(chosen), 256):
                part, end = chosen[rows : rows + 256], ends[rows : rows + 256]
                window = source.windows(part, end - steps, end, extra=extra)
                weights.append(float(network.weight(window)))  # values that the loss is the mean of
                losses.append(float(network.loss(window)) * weights[-1])
            return sum(losses) / max(sum(weights), 1.0)

        return validate

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        assert self.plan is not None
        warn_of_gaps(self.name, panel, self.plan.context + self._extra_steps(self.plan))
        paths = ask.n_samples or 200
        keep = ask.n_samples is not None or panel.n_series * paths * self.horizon <= KEPT_PATHS
        # torch.quantile takes 16 million values
        per_batch = min(self.rows, 12_000_000 // self.horizon)
        batch = max(1, per_batch // paths) if self.samples_paths else min(1024, self.rows)
        batches = batches_of(panel.n_series, batch)
        rows = Rows(levels=ask.levels, paths=paths, keep=keep and self.samples_paths)
        if 1 < self.config.devices <= len(batches) and process_group(1).size == 1:
            shares = shared_forecast(self, panel, batches, rows)
        else:
            shares = [self.forecast_rows(panel, batches, rows, progress=ask.progress)]
        return draft_of(shares)

    def forecast_rows(
        self, panel: Panel, batches: Sequence[slice], asked: Rows, *, progress: bool = False
    ) -> dict[str, Tensor]:
        """Forecast some of the series; see `demandcast.models.rows.forecast_rows`."""
        assert self.network is not None and self.plan is not None  # noqa: PT018
        bar = f"{self.name} forecasts" if progress else None
        source, seed = self._prediction_source(panel), self.plan.config.seed
        return forecast_rows(self.network, source, batches, asked, seed=seed, bar=bar)

    def _prediction_source(self, panel: Panel) -> WindowSource:
        """Return the windows that forecasts of a panel are read from."""
        assert self.features is not None and self.plan is not None  # noqa: PT018
        loader = self._choose_loader(panel).loader  # of this panel
        config = replace(self.plan.config, loader=loader)
        return self._source(panel, self.features, replace(self.plan, config=config))

    def _write(self, run: Saving) -> dict[str, object]:
        if self.network is None or self.features is None or self.plan is None:
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) before save")
        run.add(WEIGHTS, pack(self.network.state_dict(), {}))
        return {
            "settled": asdict(self.plan.config),
            "features": asdict(self.features),
            "sizes": asdict(self.network.sizes),
            "training": asdict(self.log) if self.log is not None else None,
        }

    @classmethod
    def restore(cls, run: Saved) -> Self:
        """Return the model of a saved run; see `demandcast.load`."""
        facts = run.facts
        model = cls.from_hyperparameters(facts["hyperparameters"])
        config = build(type(model.config), facts["settled"], "settled")
        config = replace(config, device=resolve_device(model.config.device))
        model.features = features = build(Features, facts["features"], "features")
        model.plan = plan = Plan(config, features.freq)
        sizes = build(Sizes, facts["sizes"], "sizes")

        def network() -> Network[N]:
            return model.Net(plan, sizes, model.make_likelihood(config, None))

        path = run.file(WEIGHTS)
        restored = restore_network(network, read_tensors(path)[0], path)
        model.network = restored.to(config.device).eval()
        if facts["training"] is not None:
            model.log = build(TrainingLog, facts["training"], "training")
        return model


def longest_season(panel: Panel) -> int:
    """Return the steps of the longest season that fits a usual context, up to 168; 1 where there is none."""
    return max((p for p in panel.freq.periods if p <= 168), default=1)
