"""Search for hyper-parameters of any method on windows inside the history; needs the `tune` extra.

Akiba, Sano, Yanase, Ohta, Koyama, "Optuna: a next-generation hyperparameter optimization framework", KDD 2019,
draws the trials (a tree-structured Parzen estimator) and stops poor ones early (the median rule). A trial of
a method that learns is first given a quarter of its training; only a trial that does well there is trained fully.
The defaults are evaluated too, and kept where no trial is better.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import polars as pl

from demandcast import registry
from demandcast.automl.validation import METRICS, Validation
from demandcast.errors import ConfigError, DataError, DemandcastError, FileError, MissingExtraError
from demandcast.files import check_name, not_written, printable
from demandcast.forecaster import Forecaster, Learning, fit
from demandcast.panel.panel import Panel
from demandcast.progress import Bar
from demandcast.settings import check_horizon, check_names, is_horizon, one_of, whole
from demandcast.train.budget import Budget

EARLY = 4  # the first part of a training is one of so many
TIMES: dict[str, tuple[float, float]] = {  # of the default, for numbers with a usual size
    "learning_rate": (0.2, 5.0), "max_steps": (0.25, 2.0), "weight_decay": (0.1, 10.0), "trees": (0.5, 2.0),
    "leaves": (0.25, 4.0), "least": (0.25, 4.0), "hidden": (0.5, 2.0), "batch_size": (0.5, 2.0),
}  # fmt: skip
BETWEEN: dict[str, tuple[float, float]] = {
    "dropout": (0.0, 0.4), "columns": (0.3, 1.0), "rho": (0.0, 1.0), "average": (0.9, 0.999),
    "alpha": (0.01, 0.5), "beta": (0.01, 0.5),
}  # fmt: skip
Space = Mapping[str, Any]
INTERRUPTED = "interrupted"  # attribute of a trial that an interrupt ended


@dataclass(frozen=True)
class Tuning:
    """The result of a search over hyper-parameters.

    Attributes:
        model: The best forecaster, fitted on the whole history, or not fitted with `refit=False`.
        best: Its hyper-parameters that were searched; none where the defaults were best.
        loss: Its loss in validation, relative to that of the defaults.
        trials: A row a trial, the best first: `trial`, `loss` (relative to the defaults), `state`
            ("complete", "pruned" or "fail"), `seconds`, and a column a hyper-parameter.
        interrupted: Whether an interrupt ended the search early.
    """

    model: Forecaster
    best: dict[str, Any]
    loss: float
    trials: pl.DataFrame
    interrupted: bool = False


def tune(
    name: str,
    panel: Panel,
    horizon: int | None = None,
    *,
    trials: int = 30,
    budget: str | float | None = None,
    space: Space | None = None,
    metric: str = "wql",
    folds: int = 2,
    storage: str | Path | None = None,
    refit: bool = True,
    progress: bool = True,
    **hyper: Any,
) -> Tuning:
    """Search the hyper-parameters of a method on windows inside the history.

    An interrupt (Ctrl-C) ends the search; the best of the trials so far is taken.

    Args:
        name: Of the method, as in `demandcast models`.
        panel: The history.
        horizon: Steps to forecast; also `h`.
        trials: In all; those already in `storage` count.
        budget: Time after which no trial is begun: "10m"; None for none.
        space: Hyper-parameter -> what to try: two numbers in a tuple are a range (by orders of magnitude
            where the larger is ten times the smaller or more), a list is a choice. By default what
            the method's class states as its `space`, and common hyper-parameters around their defaults.
        metric: "wql", "sql", "mase", "rmsse" or "spec".
        folds: Cutoffs of the validation, one horizon apart.
        storage: A file that keeps the trials; the same call goes on from it.
        refit: Fit the best on the whole history.
        progress: Show a bar, on stderr.
        **hyper: Hyper-parameters that stay as given; `seed` (0 by default) is of the trials' draws, too.

    Raises:
        MissingExtraError: Optuna is not installed.
        ConfigError: A hyper-parameter is not known, or nothing is left to search.
        DataError: The history is too short to hold anything out.
        KeyboardInterrupt: Interrupted before the first trial came to an end.

    Example:
        >>> import demandcast as dc
        >>> table = dc.frames.examples.retail(n_items=10, n_days=120).frame
        >>> panel = dc.read_panel(table, key="item", time="date", target="units")
        >>> tuning = dc.tune("tsb", panel, horizon=7, trials=3, space={"alpha": (0.05, 0.5)}, progress=False)
        >>> tuning.loss <= 1
        True
    """
    optuna = _optuna()
    horizon = check_horizon(horizon, hyper.pop("h", None))
    seed = hyper.pop("seed", 0)
    kind = registry.get(name)
    defaults = kind.defaults()
    for key in space or {}:
        if is_horizon(key):
            raise ConfigError(
                f"space has {key!r}, but the horizon is not searched; give horizon=28",
                option="space",
                found=key,
                expected="hyper-parameters other than the horizon",
            )
    check_names(name, [*hyper, *(space or {})], defaults)
    one_of("metric", metric, METRICS)
    whole("trials", trials, least=1)
    base = {"horizon": horizon, **({"seed": seed} if "seed" in defaults else {}), **hyper}
    if space is None:
        searched = default_space(kind, hyper, panel, horizon)
    else:
        declared = inspect.signature(kind, eval_str=True).parameters
        searched = {k: _as_declared(k, v, declared[k].annotation) for k, v in space.items()}
    if not searched:
        raise ConfigError(_nothing_to_search(name, [k for k in defaults if k not in hyper]))
    validation = Validation.of(panel, horizon, folds, metric, seed)
    if not validation.folds:
        raise DataError(
            "the history is too short to hold anything out; tuning wants two horizons more",
            option="horizon",
            found=horizon,
            expected="a shorter horizon",
        )
    limit = None if budget is None else Budget.parse(budget)
    study = optuna.create_study(
        study_name=name,
        storage=_storage(optuna, storage),
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    if "defaults" not in study.user_attrs:
        usual_loss = _validation_loss(name, base, validation)
        study.set_user_attr("defaults", usual_loss)
        if all(_in_space(defaults[k], searched[k]) for k in searched):
            study.enqueue_trial({k: defaults[k] for k in searched})
    default = float(study.user_attrs["defaults"])
    bar = Bar(
        total=trials, initial=len(_finished_trials(study)), desc=f"tune {name}", unit="trial",
        disable=not progress, file=sys.stderr, leave=False,
    )  # fmt: skip

    refused: list[str] = []

    def objective(trial: Any) -> float:
        for key, values in searched.items():
            _suggest(trial, key, values)
        try:
            return _trial(optuna, trial, name, base | _round_values(trial.params), validation)
        except KeyboardInterrupt:
            trial.set_user_attr(INTERRUPTED, True)
            raise
        except DemandcastError as error:
            refused.append(str(error))
            raise

    def stop(study: Any, _: Any) -> None:
        bar.update()
        if limit is not None and limit.left <= 0:
            study.stop()

    left = trials - len(_finished_trials(study))
    interrupted = False
    try:
        if left > 0:
            study.optimize(objective, n_trials=left, callbacks=[stop], catch=(DemandcastError,))
    except KeyboardInterrupt:
        interrupted = True  # the best so far
    finally:
        bar.close()
    completed = [t for t in study.trials if t.value is not None and t.state.name == "COMPLETE"]
    if not completed:
        if interrupted:
            raise KeyboardInterrupt
        why = f"the last one: {refused[-1]}" if refused else f"see study {storage or 'in memory'}"
        raise ConfigError(
            f"no trial of {name} came to an end; {why}", option="trials", found=trials
        )
    best = min(completed, key=lambda t: t.value)
    best_values = _round_values(best.params) if best.value < default else {}
    model = registry.create(name, **base | best_values)
    if refit:
        fit(model, panel, progress=progress)
    loss = min(1.0, _relative_loss(best.value, default))
    return Tuning(model, best_values, loss, _table(study, default), interrupted)


def _as_declared(key: str, values: Any, wanted: Any) -> Any:
    """Return a range in the type that the hyper-parameter is declared with: 0 to 1 of a float are no two numbers."""
    if not isinstance(values, tuple):
        return values
    kinds = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    if float in kinds:
        return tuple(map(float, values))
    if int in kinds and not all(isinstance(value, Integral) for value in values):
        raise ConfigError(
            f"the space of {key} is {values}, but {key} is a whole number; give whole numbers, as in "
            f"{tuple(map(round, values))}",
            option="space", found=values, expected="whole numbers",
        )  # fmt: skip
    return values


def default_space(
    kind: type[Forecaster], fixed: Mapping[str, Any], panel: Panel, horizon: int
) -> dict[str, Any]:
    """Return the space of a method: what its class states, and common hyper-parameters around their defaults."""
    space: dict[str, Any] = {}
    for key, value in kind.defaults().items():
        if key in fixed:
            continue
        if key in kind.space:
            space[key] = kind.space[key]
        elif key in BETWEEN and (value is None or isinstance(value, float)):
            space[key] = BETWEEN[key]
        elif key in TIMES and isinstance(value, (int, float)) and value:
            low, high = (factor * value for factor in TIMES[key])
            space[key] = (round(low), round(high)) if isinstance(value, int) else (low, high)
        elif key == "context" and value is None:
            longest = int(panel.lengths.max())
            steps = (horizon, 2 * horizon, 4 * horizon, panel.freq.period, 2 * panel.freq.period)
            choices = [None, *sorted({s for s in steps if 1 < s <= longest // 2})]
            space[key] = choices if len(choices) > 1 else [None]
    return space


def _trial(
    optuna: Any, trial: Any, name: str, hyper: dict[str, Any], validation: Validation
) -> float:
    """Return the loss in validation; prune after a quarter of the training, where there is one."""
    length = _length_option(name)
    if length is not None:
        steps = int(hyper.get(length, registry.get(name).defaults()[length]))
        shortened = hyper | {length: max(1, steps // EARLY)}
        trial.report(_validation_loss(name, shortened, validation), 0)
        if trial.should_prune():
            raise optuna.TrialPruned
    loss = _validation_loss(name, hyper, validation)
    trial.report(loss, 1)
    return loss


def _length_option(name: str) -> str | None:
    """Return the hyper-parameter that says how long a method is trained."""
    return registry.get(name).length


def _validation_loss(name: str, hyper: dict[str, Any], validation: Validation) -> float:
    """Return the loss in validation of a method with these hyper-parameters."""
    model = registry.create(name, **hyper)
    learns = _length_option(name) is not None
    if learns:
        fit(model, validation.first, progress=False)
    quantiles, means = validation.forecast(model, refit=not learns)
    return validation.evidence(quantiles[None], means[None]).loss(quantiles, means)


def _nothing_to_search(name: str, left: Sequence[str]) -> str:
    """Return what to say of a method without hyper-parameters that are searched by default."""
    statement = f"{name} has no hyper-parameters that are searched by default"
    searchable = [key for key in left if key not in ("seed", "horizon")]
    if registry.get(name).learning is Learning.BLEND or not searchable:
        return f"{statement}; tune another method"
    return f"{statement}; give values of {', '.join(searchable)}: space={{{searchable[0]!r}: [...]}}, or --space '{searchable[0]}=[...]'"


def _suggest(trial: Any, key: str, values: Any) -> None:
    """Draw a value from a range or a choice."""
    if isinstance(values, tuple):
        low, high = values
        log = low > 0 and high >= 10 * low
        if isinstance(low, int) and isinstance(high, int):
            trial.suggest_int(key, low, high, log=log)
        else:
            trial.suggest_float(key, low, high, log=log)
    else:
        trial.suggest_categorical(key, list(values))


def _round_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return drawn values as they are tried: numbers to four figures, which can be typed again."""
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}


def _in_space(value: Any, values: Any) -> bool:
    """Return whether a default can be the first trial."""
    if isinstance(values, tuple):
        return isinstance(value, (int, float)) and values[0] <= value <= values[1]
    return value in values


def _finished_trials(study: Any) -> list[Any]:
    """Return the trials that came to an end, by an error too, but not by an interrupt."""
    ended = ("COMPLETE", "PRUNED", "FAIL")
    return [t for t in study.trials if t.state.name in ended and INTERRUPTED not in t.user_attrs]


def _storage(optuna: Any, place: str | Path | None) -> Any:
    """Open a journal in a file; None keeps trials in memory."""
    if place is None:
        return None
    what = "the trials"
    check_name(place, what)
    path = Path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (not path.is_file() or not _is_journal(path)):
            raise FileError(
                f"storage {printable(path)} is there already, and holds no trials; name another file",
                option="storage",
                found=str(path),
                expected="a new file, or one of trials",
            )
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        return optuna.storages.JournalStorage(backend)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise not_written(path, error, what) from error


def _is_journal(path: Path) -> bool:
    """Return whether a file is empty or begins like a journal of Optuna."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    return not first or (first.startswith(b"{") and b'"op_code"' in first)


def _relative_loss(loss: float, default: float) -> float:
    """Return a loss relative to the defaults'; infinite if theirs is 0 and it is not."""
    if default > 0:
        return loss / default
    return 1.0 if loss <= default else float("inf")


def _table(study: Any, default: float) -> pl.DataFrame:
    rows = []
    for trial in _finished_trials(study):
        last = trial.value
        if last is None and trial.intermediate_values:
            last = trial.intermediate_values[max(trial.intermediate_values)]
        rows.append(
            {
                "trial": trial.number,
                "loss": None if last is None else _relative_loss(last, default),
                "state": trial.state.name.lower(),
                "seconds": trial.duration.total_seconds() if trial.duration else None,
                **_round_values(trial.params),
            }
        )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    order = frame.with_columns(late=pl.col("state") != "complete").sort(
        "late", "loss", nulls_last=True
    )
    return order.drop("late")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError(
            "optuna is not installed; pip install 'demandcast[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings are tracebacks
    return optuna
