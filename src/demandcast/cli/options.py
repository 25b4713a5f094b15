"""Options that several commands share: each is named, typed and explained here once."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from demandcast.errors import ConfigError, Way
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
    """The table a command reads, and how."""

    source: Any
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """What a page calls it: the name of the file, or where a query was asked."""
        return Path(self.source).name if isinstance(self.source, str) else str(self.source)


def _column_list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def read_options(data: str = "", **given: Any) -> Table:
    """Return the table that the options of `takes_table` name."""
    query, connect = given.pop("sql", None), given.pop("connect", None)
    source: Any = data
    if query is not None or connect is not None:
        connect = connect or os.environ.get("DEMANDCAST_CONNECT")
        from demandcast.frames.sql import as_source

        source = as_source(source, query, connect)
    for column in fields(NamedColumns):
        if column.metadata["metavar"] == "COLUMNS":
            listed = _column_list(given[column.name])
            given[column.name] = listed or (None if column.default is None else [])
    return Table(source, given)


def _table_parameters() -> dict[str, inspect.Parameter]:
    """Return the options of a table: DATA, the columns it may name, the future, and the rules of reading."""
    data = typer.Argument(
        metavar="DATA", help="CSV, Excel or Parquet: a path, folder, URL, or quoted glob."
    )
    future = typer.Option(metavar="FILE", help="The known covariates of the steps ahead.")
    found: list[tuple[str, Any, Any]] = [("data", "", Annotated[str, data])]
    for kind in (NamedColumns, Reading):
        hints = get_type_hints(kind)
        for field in fields(kind):
            shown = field.metadata
            flags = [shown["flags"]] if "flags" in shown else []
            option = typer.Option(*flags, metavar=shown.get("metavar"), help=shown["help"])
            hint = hints[field.name] if hints[field.name] in (str, bool | None) else Text
            default = field.default if isinstance(field.default, str) else None
            found.append((field.name, default, Annotated[hint, option]))
            if field.name == "available":
                found.append(("future", None, Annotated[Text, future]))
    return {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint
        )
        for name, default, hint in found
    }


def as_option(out: Way) -> str:
    """Write a way out as options: --gaps zero, or --set device=cpu for a hyper-parameter."""
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
            words.append(option)
        else:
            listed = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            words.append(f"{option} {shlex.quote(listed)}")
    return " ".join(words)


def command_line(mend: Iterable[tuple[str, Any]] = ()) -> str:
    """Return the command that runs, as it is typed but without credentials; empty outside the command line.

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
    """Words of a command with another value of one option of the table."""
    flags = FLAGS.get(name, ())
    option = f"--{name.replace('_', '-')}"
    kept = list[str]()
    skip = False
    for word in words:
        if not skip and word not in (option, *flags) and not word.startswith(f"{option}="):
            kept.append(word)
        skip = not skip and word == option and not flags
    if value is None:
        return kept
    if flags:
        return [*kept, flags[bool(value)]]
    listed = ",".join(value) if isinstance(value, (list, tuple)) else str(value)
    return [*kept, option, listed]


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
HYPER = ("device", "likelihood")  # arguments that are hyper-parameters, for --set
FLAGS = {"wide": ("--long", "--wide"), "day_first": ("--month-first", "--day-first")}
TABLE_OPTIONS = _table_parameters()
LEFT_ALONE = read_options(
    **{name: option.default for name, option in TABLE_OPTIONS.items()}
).options  # what they are where nobody says anything
KEPT = tuple(
    name for name in LEFT_ALONE if name not in ("future", "covariates")
)  # of a saved run, for the next table


def takes_table(
    command: Callable[..., None] | None = None, *, optional: bool = False
) -> Callable[..., Any]:
    """Give a command every option of a table; they reach it as `table`.

    Where the table is optional, `table.source` is empty if none is named.
    """
    if command is None:
        return lambda found: takes_table(found, optional=optional)

    def build(**given: Any) -> Table:
        table = read_options(**given)
        if not optional and not table.source:
            raise ConfigError(
                "no table is given; name DATA, a file, or --sql QUERY and --connect URL"
            )
        return table

    return in_place(command, "table", build, TABLE_OPTIONS)


def in_place(
    command: Callable[..., None],
    name: str,
    build: Callable[..., Any],
    shared: Mapping[str, inspect.Parameter],
) -> Callable[..., None]:
    """Give a command several options in place of one parameter, which they are built into.

    Args:
        command: With the parameter.
        name: Of that parameter.
        build: Makes its value from the options.
        shared: The options, by name.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    place = [p.name for p in own].index(name)

    def with_options(**given: Any) -> None:
        built = build(**{option: given.pop(option) for option in shared})
        command(**{name: built}, **given)

    order = (*own[:place], *shared.values(), *own[place + 1 :])
    every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in order]
    with_options.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in every}
    with_options.__doc__ = command.__doc__
    return with_options


def groups(by: list[str] | None) -> list[tuple[str, ...]]:
    """Return the columns of each level of totals, () for the total of all."""
    return [() if word == "total" else tuple(word.split(",")) for word in by or ()]


def levels(text: str) -> tuple[float, ...]:
    """Quantile levels from "0.1,0.5,0.9"."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--quantiles is {text!r}; write numbers, as in 0.1,0.5,0.9") from error


def model_names(text: str) -> list[str]:
    """Names of --models "tsb,ets", each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(
            f"--models {text!r} names no model; give one or more, as in --models tsb,zero_shot; demandcast models "
            "lists them"
        )
    return names


def refuse_horizon(option: str, name: str, value: str) -> None:
    """Refuse the horizon, under any library's name, where hyper-parameters are given."""
    from demandcast.settings import is_horizon

    if is_horizon(name):
        raise ConfigError(
            f"{option} {name}={value} gives the horizon, which is no hyper-parameter; use --horizon "
            "(of order and replay, --lead-time and --review)"
        )


def first_process() -> bool:
    """Return whether this is rank 0, the only process that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def hyperparameters(
    models: list[str], settings: list[str] | None, *, seed: int, devices: int | None = None
) -> dict[str, dict[str, Any]]:
    """--seed, --devices and --set, for each model what it has, as the type of the default they replace."""
    from demandcast import registry
    from demandcast.settings import near_name, suggestion

    kinds = {model: registry.get(model) for model in models}
    defaults = {model: kind.defaults() for model, kind in kinds.items()}
    chosen: dict[str, dict[str, Any]] = {
        model: {"seed": seed} if "seed" in own else {} for model, own in defaults.items()
    }
    shared = [] if devices is None else [f"devices={devices}"]
    for setting in [*(settings or []), *shared]:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no value; write --set name=value")
        refuse_horizon("--set", name, value)
        names = {model: kinds[model].aliases.get(name, name) for model in models}
        takers = [model for model in models if names[model] in defaults[model]]
        if not takers:
            known = list(dict.fromkeys(n for model in models for n in defaults[model]))
            hint = "; a model's own wants --model NAME too" if models == ["auto"] else ""
            raise ConfigError(
                f"no hyper-parameter {name!r} of {' or '.join(models)}; {suggestion(name, known)} "
                f"There are: {', '.join(known)}{hint}",
                found=name,
            ).suggest(near_name(name, known))
        for model in takers:
            parameters = inspect.signature(kinds[model], eval_str=True).parameters
            own = names[model]
            chosen[model][own] = _parse_setting(name, value, parameters[own].annotation)
    return chosen


SAID = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}


def _parse_setting(name: str, value: str, wanted: Any) -> Any:
    """Convert a value of --set to the declared type of its hyper-parameter."""
    kinds = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
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
    said = [
        "as {'price': -1}"
        if get_origin(kind) is dict
        else SAID.get(kind, "whole numbers by commas")
        for kind in kinds
    ]
    raise ConfigError(f"--set {name}={value} is not {' or '.join(said)}")
