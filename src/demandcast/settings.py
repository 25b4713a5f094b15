"""Hyper-parameters as users give them: their names, here and in other libraries, and their values."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any, get_type_hints

from demandcast.errors import ConfigError, way

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
    **dict.fromkeys(("monotone_constraints",), ("monotone",)),
    **dict.fromkeys(("colsample_bytree", "feature_fraction", "max_features"), ("columns",)),
    **dict.fromkeys(("subsample", "bagging_fraction"), ("rows",)),
    **dict.fromkeys(
        ("season_length", "seasonality", "seasonal_periods", "sp", "m"), ("period", "season")
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
NEAR = 0.5  # similarity of two names of which one is likely a misspelling
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
    """Suggest a hyper-parameter in place of an unknown one, as the rest of a sentence.

    A name of another library for what is not here suggests nothing, however like it looks.
    """
    ours = next((own for own in FOREIGN.get(name, ()) if own in known), None)
    if ours is None and name in ELSEWHERE:
        return f"{ELSEWHERE[name]}."
    if not known:
        return "it takes none."
    near = [] if name in FOREIGN else difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return f"did you mean {ours or near[0]!r}?" if ours or near else "nothing there is like it."


def check_names(method: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hyper-parameters that a method lacks, and suggest the method's own name for them."""
    names = list(dict.fromkeys(["horizon", *known]))
    for name in given:
        if name not in names[1:]:
            raise ConfigError(
                f"{method} has no hyper-parameter {name!r}; {suggestion(name, names)} "
                f"There are {', '.join(names[1:])}"
            )


def signature_of(config: type[Any]) -> inspect.Signature:
    """Return the signature of a method whose hyper-parameters are a dataclass; --help and --set read it."""
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


def whole(name: str, value: Any, *, least: int) -> int:
    """Check that a value is a whole number of at least `least`, and return it."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} is {value!r}; it is a whole number, {least} or more")
    return int(value)


def check_horizon(horizon: int | None, h: int | None) -> int:
    """Check the horizon under either of its names, and return it."""
    if (horizon is None) == (h is None):
        raise ConfigError("give the horizon once, as horizon=28 (or h=28): steps to forecast")
    value: Any = horizon if horizon is not None else h
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"horizon is {value!r}; it is a whole number of steps, 1 or more")
    return int(value)


def as_python(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert numpy's numbers among hyper-parameters to Python's own, as JSON and type checks need."""
    return {
        k: v.item() if hasattr(v, "item") and not getattr(v, "ndim", 1) else v
        for k, v in values.items()
    }


def check_levels(levels: Sequence[float] | float) -> tuple[float, ...]:
    """Check that quantile levels increase inside (0, 1), and return them; a single number is taken too."""
    try:
        values = tuple(float(v) for v in (levels if isinstance(levels, Iterable) else [levels]))
    except (TypeError, ValueError):
        raise ConfigError(
            f"quantile levels are {levels!r}; give numbers, as in",
            option="levels",
            found=levels,
            ways=[way(levels=[0.1, 0.5, 0.9])],
        ) from None
    if not values or any(not 0 < v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ConfigError(
            f"quantile levels are {list(values)}; they increase and lie between 0 and 1, "
            "as in",
            option="levels", found=list(values), ways=[way(levels=[0.1, 0.5, 0.9])],
        )  # fmt: skip
    return values


def share(name: str, value: object, *, optional: bool = False) -> float | None:
    """Check that a smoothing weight lies in (0, 1], and return it; None where that asks for an optimised one."""
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        what = ", or None to have it optimised per series" if optional else ""
        raise ConfigError(f"{name} is {value!r}; it is above 0 and at most 1{what}")
    return float(value)


def flag(name: str, value: object) -> bool:
    """Check that a value is True or False, and return it."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; it is True or False")
    return value


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Check that a word is among the choices; the error names the nearest."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{name} is {value!r}; did you mean {near!r}? There are {', '.join(choices)}",
            option=name,
            found=value,
            expected=", ".join(choices),
        )
