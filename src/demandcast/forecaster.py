"""What every method owes its user: fit, predict and save, and nothing to call in between."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from demandcast.errors import ConfigError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving, saving

FORMAT = 2  # of saved runs


class Forecaster(ABC):
    """A method with its hyper-parameters, cheap to make; `fit` always starts fresh."""

    name: ClassVar[str]  # as on the command line: "deepar"
    summary: ClassVar[str]  # one line: what it is, with its source
    takes: ClassVar[str]  # what it uses of a panel: "target", or "target, known, past, static"
    gives: ClassVar[str]  # "quantiles", or "paths and quantiles"
    aliases: ClassVar[dict[str, str]] = {}  # other names of hyper-parameters -> their own
    pools: ClassVar[bool] = False  # `predict` learns from all series of the panel it is given
    horizon: int
    origin: dict[str, Any] | None = None  # how the command that fitted it was called; saved with it

    @classmethod
    @abstractmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""

    @abstractmethod
    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter by its Python name; what makes an equal model again."""

    @abstractmethod
    def fit(self, panel: Panel) -> Forecaster:
        """Learn from the history of every series; returns itself."""

    @abstractmethod
    def predict(
        self,
        panel: Panel,
        *,
        future: Any = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        n_samples: int | None = None,
    ) -> Forecast:
        """Forecast every series of the panel from its last step.

        Args:
            panel: What is known; may hold other series or later steps than the one fitted on.
            future: Covariates known ahead, for the steps behind the panel: a path or a frame with
                the key, time and known columns. None where the panel already reaches that far.
            levels: Quantile levels, increasing, each in (0, 1).
            n_samples: Joint paths to draw and keep; None for the method's own habit.
        """

    def align(self, panel: Panel) -> Panel:
        """A newer panel with its columns as they were at the fit: numbers, categories and which."""
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
        own = {"hyperparameters": self.hyperparameters(), "origin": self.origin}
        run.finish({"format": FORMAT, "model": self.name, **own, **facts})

    def _write(self, run: Saving) -> dict[str, Any]:
        """Write what was learned into files, and return what else the manifest has to hold."""
        return {}

    @classmethod
    def restore(cls, run: Saved) -> Forecaster:
        """The forecaster of a saved run; see `demandcast.load`."""
        hyper = run.facts["hyperparameters"]
        kind: Any = cls
        restored: Forecaster = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in hyper.items()}
        )
        return restored

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters().items())})"


# Names of hyper-parameters in other libraries -> ours, the first of them that the method has.
FOREIGN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("input_size", "context_length", "input_chunk_length", "input_length", "lookback", "seq_len",
         "max_encoder_length", "window_size", "n_lags"), ("context", "window")
    ),
    **dict.fromkeys(
        ("prediction_length", "output_chunk_length", "forecast_horizon", "pred_len", "n_forecasts",
         "max_prediction_length", "output_size", "fh", "steps_ahead"), ("horizon",)
    ),
    **dict.fromkeys(("lr", "eta", "initial_lr", "step_size"), ("learning_rate",)),
    **dict.fromkeys(("max_epochs", "n_epochs", "num_epochs", "nb_epochs"), ("epochs",)),
    **dict.fromkeys(
        ("steps", "max_iter", "n_iter", "iterations", "num_steps", "train_steps"),
        ("max_steps",)
    ),
    **dict.fromkeys(
        ("hidden_size", "hidden_dim", "num_cells", "d_model", "units", "n_hidden",
         "encoder_hidden_size", "lstm_hidden_size"), ("hidden", "width")
    ),
    **dict.fromkeys(
        ("num_layers", "n_layers", "n_rnn_layers", "encoder_n_layers", "lstm_layers", "e_layers"),
        ("layers", "encoders")
    ),
    **dict.fromkeys(("dropout_rate", "dropout_prob", "encoder_dropout"), ("dropout",)),
    **dict.fromkeys(("n_heads", "num_heads", "nhead", "attention_heads"), ("heads",)),
    **dict.fromkeys(("patch_len", "patch_size", "patch_length"), ("patch",)),
    **dict.fromkeys(
        ("n_estimators", "num_boost_round", "num_iterations", "num_trees", "n_trees"), ("trees",)
    ),
    **dict.fromkeys(("num_leaves", "max_leaves", "max_leaf_nodes"), ("leaves",)),
    **dict.fromkeys(
        ("min_child_samples", "min_data_in_leaf", "min_samples_leaf"), ("least",)
    ),
    **dict.fromkeys(("colsample_bytree", "feature_fraction", "max_features"), ("columns",)),
    **dict.fromkeys(("subsample", "bagging_fraction"), ("rows",)),
    **dict.fromkeys(
        ("season_length", "seasonality", "seasonal_periods", "sp", "m", "freq"), ("period", "season")
    ),
    **dict.fromkeys(("random_state", "random_seed", "seed_value"), ("seed",)),
    **dict.fromkeys(
        ("gradient_clip_val", "grad_clip", "max_grad_norm", "clip_gradient"), ("clip",)
    ),
    **dict.fromkeys(("l2", "reg_lambda", "alpha_l2"), ("weight_decay", "ridge")),
    **dict.fromkeys(
        ("early_stopping_patience", "early_stop_patience_steps", "early_stopping_rounds"),
        ("patience",)
    ),
    **dict.fromkeys(("val_check_steps", "eval_every", "val_check_interval"), ("validate_every",)),
    **dict.fromkeys(("warmup_steps", "num_warmup_steps"), ("warmup",)),
    **dict.fromkeys(("train_batch_size", "windows_batch_size", "bs"), ("batch_size",)),
    **dict.fromkeys(("accelerator", "use_gpu", "cuda"), ("device",)),
    **dict.fromkeys(("gpus", "n_gpus", "num_devices"), ("devices",)),
    **dict.fromkeys(("num_workers", "dataloader_num_workers"), ("workers",)),
    **dict.fromkeys(("n_jobs", "num_threads", "nthread", "n_threads"), ("threads",)),
    **dict.fromkeys(
        ("loss", "distr_output", "distribution", "output_distribution"), ("likelihood", "objective")
    ),
    **dict.fromkeys(("scaler", "scaler_type", "normalize", "scale"), ("scaling",)),
    **dict.fromkeys(("num_samples", "n_samples", "num_parallel_samples"), ("paths",)),
    **dict.fromkeys(("time_limit", "time_budget", "max_time"), ("budget",)),
    **dict.fromkeys(("val_size", "validation_split", "test_size"), ("validation",)),
    **dict.fromkeys(("trend_kernel", "moving_avg", "moving_avg_window"), ("trend_width",)),
    **dict.fromkeys(("smoothing_level", "smoothing", "alpha_d"), ("alpha",)),
}  # fmt: skip
ELSEWHERE = {  # what other libraries give their models, and here is given to another call
    **dict.fromkeys(("freq", "frequency"), "the step is the panel's: read_panel(..., freq='D')"),
    **dict.fromkeys(
        ("quantiles", "levels", "level", "quantile_levels", "alphas"),
        "the quantiles are chosen in predict(panel, levels=[0.1, 0.5, 0.9])",
    ),
    **dict.fromkeys(
        ("num_samples", "n_samples", "num_parallel_samples"),
        "paths are asked for in predict(panel, n_samples=200)",
    ),
    **dict.fromkeys(
        ("futr_exog_list", "known_covariates_names", "time_varying_known_reals", "add_future_covariates"),
        "covariates are the panel's: read_panel(..., known=[...])",
    ),
    **dict.fromkeys(
        ("hist_exog_list", "past_covariates", "time_varying_unknown_reals"),
        "covariates are the panel's: read_panel(..., past=[...])",
    ),
    **dict.fromkeys(
        ("stat_exog_list", "static_covariates", "static_categoricals", "static_reals"),
        "covariates are the panel's: read_panel(..., static=[...])",
    ),
    **dict.fromkeys(("verbose", "verbosity", "progress"), "the bar is fit(panel, progress=False)"),
}  # fmt: skip


def suggestion(name: str, known: Sequence[str]) -> str:
    """What is meant by a hyper-parameter that a method has not, as the start of a sentence."""
    ours = next((own for own in FOREIGN.get(name, ()) if own in known), None)
    if ours is None and name in ELSEWHERE:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"did you mean {ours or near[0]!r}?" if ours or near else "it takes none"


def check_names(method: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hyper-parameters that a method has not, naming what it calls them."""
    names = list(dict.fromkeys(["horizon", *known]))
    for name in given:
        if name not in names[1:]:
            raise ConfigError(
                f"{method} has no hyper-parameter {name!r}; {suggestion(name, names)} "
                f"There are {', '.join(names[1:])}"
            )


def signature_of(config: type[Any]) -> inspect.Signature:
    """The signature of a method whose hyper-parameters are a dataclass; --help and --set read it."""
    hints = get_type_hints(config)
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.name == "horizon" else field.default,
                annotation=hints[field.name],
            )
            for field in sorted(fields(config), key=lambda field: field.name != "horizon")
        ]
    )


def fit(model: Any, panel: Panel, *, progress: bool) -> None:
    """Fit a method, with its bar or without; those that have none are as quick as they are quiet."""
    if "progress" in inspect.signature(model.fit).parameters:
        model.fit(panel, progress=progress)
    else:
        model.fit(panel)


def check_horizon(horizon: int | None, h: int | None) -> int:
    """The horizon under either of its names, checked."""
    if (horizon is None) == (h is None):
        raise ConfigError("give the horizon once, as horizon=28 (or h=28): steps to forecast")
    value: Any = horizon if horizon is not None else h
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"horizon is {value!r}; it is a whole number of steps, 1 or more")
    return int(value)


def as_python(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters with numpy's numbers as Python's own, as JSON and type checks need them."""
    return {
        k: v.item() if hasattr(v, "item") and not getattr(v, "ndim", 1) else v
        for k, v in values.items()
    }


def check_levels(levels: Sequence[float] | float) -> tuple[float, ...]:
    """Quantile levels, increasing and inside (0, 1); one level may stand by itself."""
    try:
        values = tuple(float(v) for v in (levels if isinstance(levels, Iterable) else [levels]))
    except (TypeError, ValueError):
        raise ConfigError(
            f"quantile levels are {levels!r}; give numbers, as in levels=[0.1, 0.5, 0.9]"
        ) from None
    if not values or any(not 0 < v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ConfigError(
            f"quantile levels are {list(values)}; they increase and lie between 0 and 1, "
            "as in levels=[0.1, 0.5, 0.9]"
        )
    return values
