"""Options that several commands share; each has its name, type and help here."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from demandcast.errors import ConfigError, Way, mend
from demandcast.reading import NamedColumns, Reading

Text = str | None
COMMAND: list[str] = []  # the words of the command that runs
QUANTILES = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
Horizon = Annotated[
    int,
    typer.Option(
        "--horizon",
        "--h",
        min=1,
        metavar="STEPS",
        help="Number of steps to forecast, in steps of the table.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Out = Annotated[
    Text, typer.Option(metavar="FILE", help="Write the whole table: .csv .tsv .xlsx .parquet.")
]
Report = Annotated[
    Text, typer.Option(metavar="FILE", help="Write a report to open in a browser: .html.")
]
Explain = Annotated[
    Text,
    typer.Option(
        metavar="FILE", help="Write what each forecast is made of; --report shows it too."
    ),
]
Overrides = Annotated[
    Text,
    typer.Option(
        metavar="FILE",
        help="Planners' changes on top: key, from, to, factor or level, author, reason.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Also overwrite files that demandcast did not write.")
]
SafeText = Annotated[
    bool,
    typer.Option(
        "--safe-text", help="In CSV, put ' before text that spreadsheets would run as a formula."
    ),
]
Seed = Annotated[
    int, typer.Option(metavar="N", help="Random seed: the same seed gives the same numbers.")
]
Quantiles = Annotated[
    str,
    typer.Option(
        metavar="LEVELS", help="Quantile levels between 0 and 1, increasing, separated by commas."
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMNS",
        help="Add rows of totals: by key or static columns, by commas, or total for all; repeat for more levels.",
    ),
]
Reconcile = Annotated[
    bool,
    typer.Option(
        "--reconcile",
        help="Of --by: forecast the totals themselves, too, and make series and totals agree.",
    ),
]
Lock = Annotated[
    str | None,
    typer.Option(
        "--lock",
        metavar="FILE",
        help="Totals to keep exactly, such as budgets: columns of levels, time (or none), and the target.",
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Train networks on N GPUs, or in N processes."),
]
Budget = Annotated[
    Text,
    typer.Option(
        metavar="TIME", help="How long auto searches: 30s, 5m, 1h or '500 steps'; default 5m."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set a hyper-parameter, as in --set max_steps=500; repeat for more.",
    ),
]


@dataclass(frozen=True)
class Table:
    """The table that a command reads, and the options by which it is read."""

    source: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the file, or the address of the database, for titles."""
        return Path(self.source).name if isinstance(self.source, str) else str(self.source)


def _column_list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def build_table(data: str = "", **values: Any) -> Table:
    """Return the table that the values of the options of `takes_table` name."""
    query, connect = values.pop("sql", None), values.pop("connect", None)
    source: Any = data
    if query is not None or connect is not None:
        connect = connect or os.environ.get("DEMANDCAST_CONNECT")
        from demandcast.frames.sql import as_source

        source = as_source(source, query, connect)
    for column in fields(NamedColumns):
        if column.metadata["metavar"] == "COLUMNS":
            listed = _column_list(values[column.name])
            values[column.name] = listed or (None if column.default is None else [])
    return Table(source, values)


def _table_parameters() -> dict[str, inspect.Parameter]:
    """Return the options of a table: DATA, the roles of columns, the known covariates ahead, and rules of reading."""
    data = typer.Argument(
        metavar="DATA", help="CSV, Excel or Parquet: a path, folder, URL, or quoted glob."
    )
    future = typer.Option(metavar="FILE", help="The known covariates of the steps ahead.")
    parameters: list[tuple[str, Any, Any]] = [("data", "", Annotated[str, data])]
    for kind in (NamedColumns, Reading):
        hints = get_type_hints(kind)
        for field in fields(kind):
            metadata = field.metadata
            flags = [metadata["flags"]] if "flags" in metadata else []
            option = typer.Option(*flags, metavar=metadata.get("metavar"), help=metadata["help"])
            hint = hints[field.name] if hints[field.name] in (str, bool | None) else Text
            default = field.default if isinstance(field.default, str) else None
            parameters.append((field.name, default, Annotated[hint, option]))
            if field.name == "available":
                parameters.append(("future", None, Annotated[Text, future]))
    return {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
        )
        for name, default, hint in parameters
    }


def as_option(out: Way) -> str:
    """Return a way out of an error as options: --gaps zero, or --set device=cpu for a hyper-parameter."""
    words = list[str]()
    for name, value in out.arguments:
        option = f"--{NAMES.get(name, name).replace('_', '-')}"
        if name in FLAGS:
            words.append(FLAGS[name][bool(value)])
        elif name in HYPER:
            words.append(f"--set {name}={value}")
        elif name == "lost_sales":
            words.append("--backorders")
        elif value is ...:
            words.append(f"{option} {METAVARS[name]}" if name in METAVARS else option)
        else:
            listed = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            words.append(f"{option} {shlex.quote(listed)}")
    return " ".join(words)


def command_line(mend: Iterable[tuple[str, Any]] = ()) -> str:
    """Return the command that runs, as it was typed but without credentials; empty outside the command line.

    Args:
        mend: Arguments of `read_panel` and their values, which take the place of those typed.
    """
    words = hide_credentials(COMMAND)
    for name, value in mend:
        words = replace_option(words, name, value)
    return shlex.join(["demandcast", *words]) if words else ""


def hide_credentials(words: list[str]) -> list[str]:
    """Return the words of a command with *** for user and password of --connect."""
    if not any(word.startswith("--connect") for word in words):
        return list(words)
    from demandcast.frames.sql import without_credentials

    hidden = list[str]()
    for before, word in zip(["", *words], words, strict=False):
        option, equals, address = word.partition("=")
        if before == "--connect":
            word = without_credentials(word)
        elif option == "--connect" and equals:
            word = f"--connect={without_credentials(address)}"
        hidden.append(word)
    return hidden


def replace_option(words: list[str], name: str, value: Any) -> list[str]:
    """Return the words of a command with another value of one option of the table."""
    flags = FLAGS.get(name, ())
    option = f"--{name.replace('_', '-')}"
    remaining = list[str]()
    skip = False
    for word in words:
        if not skip and word not in (option, *flags) and not word.startswith(f"{option}="):
            remaining.append(word)
        skip = not skip and word == option and not flags
    if value is None:
        return remaining
    if flags:
        return [*remaining, flags[bool(value)]]
    listed = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
    return [*remaining, option, listed]


def as_words(table: Table) -> str:
    """Return the table and its options as text for a command line, without options at their defaults."""
    words = [str(table.source)]
    if not isinstance(table.source, str):
        words = ["--sql", table.source.sql, "--connect", table.source.place]
    for name, value in table.options.items():
        if value == LEFT_ALONE[name]:
            continue
        if name in FLAGS:
            words.append(FLAGS[name][bool(value)])
        else:
            listed = ",".join(value) if isinstance(value, list) else str(value)
            words += [f"--{name.replace('_', '-')}", listed]
    return shlex.join(words)


NAMES = {"levels": "quantiles", "n_samples": "paths"}  # arguments whose options have other names
METAVARS = {
    field.name: field.metadata["metavar"]
    for kind in (NamedColumns, Reading)
    for field in fields(kind)
    if "metavar" in field.metadata
}
HYPER = ("device", "likelihood")  # arguments that are hyper-parameters, for --set
FLAGS = {"wide": ("--long", "--wide"), "day_first": ("--month-first", "--day-first")}
TABLE_OPTIONS = _table_parameters()
LEFT_ALONE = build_table(
    **{name: option.default for name, option in TABLE_OPTIONS.items()}
).options  # the values of options that are not given
KEPT = tuple(
    name for name in LEFT_ALONE if name not in ("future", "covariates")
)  # options of a saved run that hold for the next table too


def takes_table(
    command: Callable[..., None] | None = None, *, optional: bool = False
) -> Callable[..., Any]:
    """Give a command every option of a table; it gets them as its parameter `table`.

    If the table is optional, `table.source` is empty where none is named.
    """
    if command is None:
        return lambda function: takes_table(function, optional=optional)

    def build(**values: Any) -> Table:
        table = build_table(**values)
        if not optional and not table.source:
            raise ConfigError(
                "no table is given; name DATA, a file, or --sql QUERY and --connect URL"
            )
        return table

    return expand_parameter(command, "table", build, TABLE_OPTIONS)


def expand_parameter(
    command: Callable[..., None],
    name: str,
    build: Callable[..., Any],
    shared: Mapping[str, inspect.Parameter],
) -> Callable[..., None]:
    """Replace one parameter of a command by several options, from whose values the parameter is built.

    Args:
        command: A function that has the parameter.
        name: The parameter.
        build: Returns the parameter's value from those of the options.
        shared: The options, by name.
    """
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    place = [p.name for p in parameters].index(name)

    def with_options(**values: Any) -> None:
        built = build(**{option: values.pop(option) for option in shared})
        command(**{name: built}, **values)

    order = (*parameters[:place], *shared.values(), *parameters[place + 1 :])
    all_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in order]
    with_options.__signature__ = inspect.Signature(all_parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in all_parameters}
    with_options.__doc__ = command.__doc__
    return with_options


def parse_groups(by: list[str] | None) -> list[tuple[str, ...]]:
    """Return the columns of each level of totals, () for the total of all."""
    return [() if word == "total" else tuple(word.split(",")) for word in by or ()]


def parse_levels(text: str) -> tuple[float, ...]:
    """Return the quantile levels of a text such as "0.1,0.5,0.9"."""
    example = "write shares between 0 and 1 by commas, as in --quantiles 0.1,0.5,0.9"
    try:
        levels = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"--quantiles is {text!r}; {example}") from None
    if all(0 < level < 100 for level in levels) and max(levels) > 1:
        shares = ",".join(f"{level / 100:g}" for level in levels)
        raise ConfigError(
            f"--quantiles {text} are percentages; {example}",
            ways=[mend(quantiles=shares)],
        )
    return levels


def parse_model_names(text: str) -> list[str]:
    """Return the names of a text such as "tsb,ets", each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(
            f"--models {text!r} names no model; give one or more, as in --models tsb,zero_shot; demandcast models "
            "lists them"
        )
    separated = re.split(r"[\s;]+", " ".join(names))
    if len(separated) > len(names):
        raise ConfigError(
            f"--models {text!r} names several models without commas",
            ways=[mend(models=",".join(separated))],
        )
    return names


def check_one_model(text: str) -> str:
    """Return the name of --model; a list of names, which `backtest` compares, is refused."""
    if "," in text:
        raise ConfigError(
            f"--model takes one name, and {text!r} are several; demandcast backtest compares models: --models {text}"
        )
    return text


HORIZON_OPTION = "use --horizon (of order and replay, --lead-time and --review)"


def refuse_horizon(option: str, name: str, value: str) -> None:
    """Refuse the horizon, under any library's name, where hyper-parameters are given."""
    from demandcast.settings import is_horizon

    if is_horizon(name):
        raise ConfigError(
            f"{option} {name}={value} gives the horizon, which is no hyper-parameter; {HORIZON_OPTION}"
        )


def is_first_process() -> bool:
    """Return whether this is rank 0, the only process that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def hyperparameters(
    models: list[str],
    settings: list[str] | None,
    *,
    seed: int,
    devices: int | None = None,
    budget: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters of each model from --set, --seed, --devices and --budget.

    A model gets those that it has; one that no model has is refused. A value of --set is converted to
    the declared type of its hyper-parameter.
    """
    from demandcast import registry
    from demandcast.settings import near_name, suggestion

    kinds = {model: registry.get(model) for model in models}
    defaults = {model: kind.defaults() for model, kind in kinds.items()}
    settings_by_model: dict[str, dict[str, Any]] = {
        model: {"seed": seed} if "seed" in own else {} for model, own in defaults.items()
    }
    if budget is not None:
        if models != ["auto"]:
            raise ConfigError(
                f"--budget is the time of auto's search, and {' '.join(models)} does not search; leave --budget or "
                "--model out"
            )
        settings_by_model["auto"]["budget"] = budget
    shared = [] if devices is None else [f"devices={devices}"]
    for setting in [*(settings or []), *shared]:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no value; write --set name=value")
        refuse_horizon("--set", name, value)
        names = {model: kinds[model].aliases.get(name, name) for model in models}
        takers = [model for model in models if names[model] in defaults[model]]
        if not takers:
            valid_names = list(dict.fromkeys(n for model in models for n in defaults[model]))
            hint = "; to set those of another model, add --model NAME" if models == ["auto"] else ""
            if near_name(name, [*valid_names, "horizon"]) == "horizon":
                raise ConfigError(
                    f"{' and '.join(models)} {'has' if len(models) == 1 else 'have'} no hyper-parameter {name!r}; "
                    f"did you mean the horizon? It is no hyper-parameter: {HORIZON_OPTION}",
                    found=name,
                )
            raise ConfigError(
                f"{' and '.join(models)} {'has' if len(models) == 1 else 'have'} no hyper-parameter {name!r}; "
                f"{suggestion(name, valid_names)} There are: {', '.join(valid_names)}{hint}",
                found=name,
            ).suggest(near_name(name, valid_names))
        for model in takers:
            parameters = inspect.signature(kinds[model], eval_str=True).parameters
            own = names[model]
            settings_by_model[model][own] = _parse_setting(name, value, parameters[own].annotation)
    return settings_by_model


SAID = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}


def _parse_setting(name: str, value: str, annotation: Any) -> Any:
    """Convert a value of --set to the declared type of its hyper-parameter."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if str in kinds:
        if int in kinds and value.isdecimal():
            return int(value)
        return None if NoneType in kinds and value.lower() == "none" else value
    words = {"true": True, "false": False, "none": None}
    parsed: Any = words.get(value.lower())
    if parsed is None and value:
        with contextlib.suppress(ValueError, SyntaxError):
            parsed = ast.literal_eval(value)
    for kind in kinds:
        if get_origin(kind) is tuple:
            entries = tuple(parsed) if isinstance(parsed, (list, tuple)) else (parsed,)
            if all(type(entry) is get_args(kind)[0] for entry in entries):
                return entries
        elif get_origin(kind) is dict and isinstance(parsed, dict):
            names, numbers = get_args(kind)
            if all(type(k) is names and type(v) is numbers for k, v in parsed.items()):
                return parsed
        elif kind is float and type(parsed) is int:
            return float(parsed)
        elif type(parsed) is kind and (parsed is not None or value.lower() == "none"):
            return parsed
    expected = [
        "as {'price': -1}"
        if get_origin(kind) is dict
        else SAID.get(kind, "whole numbers by commas")
        for kind in kinds
    ]
    raise ConfigError(f"--set {name}={value} is not {' or '.join(expected)}")
