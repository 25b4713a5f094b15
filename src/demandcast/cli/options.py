"""Options that several commands share: each is named, typed and explained here once."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from demandcast.errors import ConfigError

Text = str | None
Horizon = Annotated[int, typer.Option("--horizon", "--h", min=1, help="Steps to forecast.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Out = Annotated[Text, typer.Option(help="Write all rows: .csv, .tsv or .parquet.")]
Report = Annotated[Text, typer.Option(help="Write a self-contained HTML page.")]
Seed = Annotated[int, typer.Option(help="Same seed, same numbers.")]
Quantiles = Annotated[str, typer.Option(help="Levels between 0 and 1, by commas.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A hyper-parameter, name=value; repeat for more."),
]


@dataclass(frozen=True)
class Table:
    """The table a command reads, and how."""

    source: Any
    options: dict[str, Any]


def table_options(
    data: Annotated[str, typer.Argument(help="CSV, TSV or Parquet: a path or a glob.")],
    key: Annotated[Text, typer.Option(help="Columns that name a series.")] = None,
    time: Annotated[Text, typer.Option(help="The time column.")] = None,
    target: Annotated[Text, typer.Option(help="The column to forecast.")] = None,
    freq: Annotated[Text, typer.Option(help="Step: 5min h D B W-SUN MS ... or 1.")] = None,
    known: Annotated[Text, typer.Option(help="Covariates known ahead: price,promo.")] = None,
    past: Annotated[Text, typer.Option(help="Covariates known to the cutoff only.")] = None,
    static: Annotated[Text, typer.Option(help="Columns with one value a series.")] = None,
    available: Annotated[Text, typer.Option(help="0 where it could not be bought.")] = None,
    gaps: Annotated[str, typer.Option(help="Absent steps: missing or zero.")] = "missing",
    duplicates: Annotated[str, typer.Option(help="Same key and time: error, sum, last.")] = "error",
    negative: Annotated[str, typer.Option(help="Negative values: keep or another rule.")] = "keep",
    infinite: Annotated[str, typer.Option(help="Infinite values: error or a rule.")] = "error",
    future: Annotated[Text, typer.Option(help="Table of covariates behind the end.")] = None,
    static_table: Annotated[Text, typer.Option(help="Table with one row a series.")] = None,
    time_zone: Annotated[Text, typer.Option(help="As in Europe/Berlin.")] = None,
    wide: Annotated[bool | None, typer.Option("--wide/--long", help="A column a series?")] = None,
) -> Table:
    options = dict(locals())
    source = options.pop("data")
    for name in ("key", "known", "past", "static"):
        value = options[name]
        listed = [word.strip() for word in value.split(",") if word.strip()] if value else []
        options[name] = listed or (None if name == "key" else [])
    return Table(source, options)


LEFT_ALONE = table_options("").options  # what they are where nobody says anything
KEPT = tuple(name for name in LEFT_ALONE if name != "future")  # of a saved run, for the next table


def takes_table(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of a table; they reach it as `table`."""
    shared = inspect.signature(table_options, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())
    place = [p.name for p in own].index("table")

    def with_table(**given: Any) -> None:
        table = table_options(**{name: given.pop(name) for name in shared})
        command(table=table, **given)

    order = (*own[:place], *shared.values(), *own[place + 1 :])
    every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in order]
    with_table.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_table.__annotations__ = {p.name: p.annotation for p in every}
    with_table.__doc__ = command.__doc__
    return with_table


def levels(text: str) -> tuple[float, ...]:
    """Quantile levels from "0.1,0.5,0.9"."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--quantiles is {text!r}; write numbers, as in 0.1,0.5,0.9") from error


def hyperparameters(models: list[str], settings: list[str] | None) -> dict[str, dict[str, Any]]:
    """The --set options, for each model those that it has, as the type of the default they replace."""
    from demandcast import registry

    defaults = {}
    for model in models:
        kind: Any = registry.get(model)
        defaults[model] = kind.defaults()
    chosen: dict[str, dict[str, Any]] = {model: {} for model in models}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no value; write --set name=value")
        takers = [model for model in models if name in defaults[model]]
        if not takers:
            known = list(dict.fromkeys(n for model in models for n in defaults[model]))
            raise ConfigError(
                f"{' or '.join(models)} has no hyper-parameter {name!r}; {_nearest(name, known)}"
            )
        for model in takers:
            chosen[model][name] = _typed(name, value, defaults[model][name])
    return chosen


def _typed(name: str, value: str, default: Any) -> Any:
    if isinstance(default, str):
        return value
    words = {"true": True, "false": False, "none": None}
    try:
        parsed = words[value.lower()] if value.lower() in words else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value
    if isinstance(default, float) and type(parsed) is int:
        parsed = float(parsed)
    if isinstance(default, tuple) and isinstance(parsed, list):
        parsed = tuple(parsed)
    if default is not None and parsed is not None and type(parsed) is not type(default):
        kind = type(default).__name__
        raise ConfigError(f"--set {name}={value} is not a {kind}; the default is {default!r}")
    return parsed


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + "There are: " + ", ".join(known)
