"""Hyper-parameters as users give them: their names, here and in other libraries, and their values."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from demandcast.errors import ConfigError, way

T = TypeVar("T")
S = TypeVar("S", bound="Settings")

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


def near_name(name: str, known: Sequence[str]) -> str | None:
    """Return the hyper-parameter meant by an unknown name, or None.

    A name that another library gives to something absent here matches nothing, even if one looks alike.
    """
    translation = next((word for word in FOREIGN.get(name, ()) if word in known), None)
    if translation is not None or name in FOREIGN or name in ELSEWHERE:
        return translation
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=NEAR)), None)


def suggestion(name: str, known: Sequence[str]) -> str:
    """Suggest a hyper-parameter in place of an unknown one, as the rest of a sentence."""
    near = near_name(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    if name in ELSEWHERE:
        return f"{ELSEWHERE[name]}."
    return "nothing there is like it." if known else "it takes none."


def is_horizon(name: str) -> bool:
    """Return whether a name is the horizon's, here or in another library."""
    return name in ("horizon", "h") or "horizon" in FOREIGN.get(name, ())


def check_names(method: str, asked: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hyper-parameters that a method lacks, and suggest the method's own name for them."""
    names = list(dict.fromkeys(["horizon", *known]))
    for name in asked:
        if name not in names[1:]:
            raise ConfigError(
                f"{method} has no hyper-parameter {name!r}; {suggestion(name, names)} "
                f"There are {', '.join(names[1:])}",
                found=name,
            ).suggest(near_name(name, names))


def signature_of(config: type[MethodSettings]) -> inspect.Signature:
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


# Rules that values follow


@dataclass(frozen=True)
class Rule:
    """What the value of a hyper-parameter must be.

    Attributes:
        holds: Whether a value of the declared type follows the rule; of a tuple, each element.
        words: The rule, as the end of "it must be ...".
        suggests: Words among which the error names the nearest; none where the value is a number.
    """

    holds: Callable[[Any], bool]
    words: str
    suggests: tuple[str, ...] = ()

    def check(self, name: str, value: object, *, optional: bool = False) -> None:
        """Refuse a value that breaks the rule, by name; `optional` says that None is a value too."""
        if self.holds(value):
            return
        must = f"must be {self.words}{', or None' if optional else ''}"
        near = difflib.get_close_matches(str(value), self.suggests, n=1, cutoff=0.0)
        if near and isinstance(value, str):
            words = f"did you mean {near[0]!r}? It {must}"
        else:
            words = f"it {must}"
        raise ConfigError(
            f"{name} is {value!r}; {words}",
            option=name,
            found=value,
            expected=", ".join(self.suggests) or self.words,
        ).suggest(near[0] if near and isinstance(value, str) else None)


def whole_number(least: int, most: int | None = None) -> Rule:
    """Return the rule of whole numbers from `least` to `most`."""

    def holds(value: Any) -> bool:
        return _is_type(value, int) and least <= value and (most is None or value <= most)

    return Rule(holds, f"a whole number, {least} {'or more' if most is None else f'to {most:,}'}")


def number(words: str, holds: Callable[[float], bool]) -> Rule:
    """Return a rule of numbers; NaN follows none."""
    return Rule(lambda value: _is_type(value, float) and bool(holds(value)), words)


def choice(*words: str) -> Rule:
    """Return the rule of a value that is one of a few words."""
    return Rule(lambda value: value in words, f"one of {', '.join(words)}", words)


COUNT = whole_number(1)
SEED = whole_number(0)
POSITIVE = number("above 0", lambda value: value > 0)
NOT_NEGATIVE = number("0 or more", lambda value: value >= 0)
SHARE = number("between 0 and 1", lambda value: 0 <= value <= 1)
PART = number(
    "0 or more and below 1", lambda value: 0 <= value < 1
)  # a share that leaves something
WEIGHT = number("above 0 and at most 1", lambda value: 0 < value <= 1)
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")


def setting(default: T, rule: Rule, *, auto: bool = False) -> T:
    """Declare a field of `Settings` with its rule, which subclasses inherit with another default.

    Args:
        default: The default; None where the declared type allows it, whatever the rule.
        rule: What a value must be.
        auto: Whether "auto" is a value too.
    """
    if auto:
        rule = Rule(
            lambda value, holds=rule.holds: value == "auto" or holds(value),  # type: ignore[misc]
            f"{rule.words}, or 'auto'",
        )
    declared: T = field(default=default, metadata={"rule": rule})
    return declared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hyper-parameters as a frozen dataclass, whose fields state their types and rules."""

    def __post_init__(self) -> None:
        """Refuse values of another type than declared, and values that break their rule, by name."""
        config: Any = type(self)  # mypy sees no hash in the class of a dataclass
        for name, (kind, rule) in _rules(config).items():
            value, optional = getattr(self, name), _is_type(None, kind)
            if not _is_type(value, kind):
                none = ", or None" if optional else ""
                words = f"{rule.words}{none}" if rule else _type_words(kind)
                raise ConfigError(
                    f"{name} is {value!r}; it must be {words}",
                    option=name, found=value, expected=words,
                )  # fmt: skip
            if rule is not None and value is not None:
                elements = value if isinstance(value, tuple) else (value,)
                for element in elements:
                    rule.check(name, element, optional=optional and elements is not value)

    def with_values(self: S, values: Mapping[str, object]) -> S:
        """Return the settings with other values, which are checked."""
        return replace(self, **values)


@dataclass(frozen=True, kw_only=True)
class MethodSettings(Settings):
    """Hyper-parameters of a method."""

    horizon: int = field(metadata={"rule": COUNT})  # steps forecast


@cache
def _rules(config: type[Any]) -> dict[str, tuple[Any, Rule | None]]:
    """Return the type and the rule of each field; the rule is that of the nearest class that states one."""
    hints = get_type_hints(config)
    rules: dict[str, Rule] = {}
    for kind in config.__mro__:
        for name, declared in vars(kind).get("__dataclass_fields__", {}).items():
            if "rule" in declared.metadata:
                rules.setdefault(name, declared.metadata["rule"])
    return {f.name: (hints[f.name], rules.get(f.name)) for f in fields(config) if f.init}


def _is_type(value: object, kind: Any) -> bool:
    """Return whether a value is of a declared type; whole numbers are numbers, True and False are not."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is_type(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_type(element, inner[0]) for element in value)
    if origin is dict:
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(_is_type(k, inner[0]) and _is_type(v, inner[1]) for k, v in pairs)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, NoneType if kind is None else kind)


TYPE_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", NoneType: "None"}  # fmt: skip


def _type_words(kind: Any) -> str:
    """Return a declared type in words."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_type_words(one) for one in inner)
    if get_origin(kind) is dict:
        return "names with values, such as {'price': -1}"
    if get_origin(kind) is tuple:
        return f"a tuple, each element {_type_words(inner[0])}"
    return TYPE_WORDS.get(kind, getattr(kind, "__name__", str(kind)))


# Checks of single values


def whole(name: str, value: Any, *, least: int) -> int:
    """Check that a value is a whole number of at least `least`, and return it."""
    whole_number(least).check(name, value)
    return int(value)


def check_horizon(horizon: int | None, h: int | None) -> int:
    """Check the horizon under either of its names, and return it."""
    if (horizon is None) == (h is None):
        raise ConfigError(
            "give the horizon once, as horizon=28 (or h=28): steps to forecast",
            option="horizon",
            expected="a number of steps",
        )
    return whole("horizon", horizon if horizon is not None else h, least=1)


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


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Check that a word is among the choices; the error names the nearest."""
    choice(*choices).check(name, value)
