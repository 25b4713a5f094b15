"""`demandcast new`: a folder with settings and a script, to go on from in Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, places, show
from demandcast.errors import ConfigError
from demandcast.reading import NamedColumns, Reading

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast new sales.csv --folder plan\nThen: python plan/forecast.py"
FILES = ("future", "covariates", "static_table")  # options that name a file
SETTINGS = '''\
"""Settings of forecast.py: change them, and run it again."""

# {name}, and files beside it: paths from this folder on
TABLE = {table!r}

# How the table is read: arguments of demandcast.read_panel
READING = {{
{reading}
}}

HORIZON = {horizon}  # steps to forecast, in steps of {freq}

# The method: a name that `demandcast models` lists, and its hyper-parameters.
# auto searches for the best blend: MODEL = "auto", HYPERPARAMETERS = {{"budget": "5m"}}, FOLDS = 0
MODEL = "zero_shot"
HYPERPARAMETERS = {{}}

FOLDS = {folds}  # cutoffs in the past at which the accuracy is measured; 0 measures nothing

# What is written, into this folder
FORECAST = "forecast.csv"
REPORT = "forecast.html"
'''
SCRIPT = '''\
"""Read a table, measure a method on its past, forecast it, and write the results. Settings are in settings.py."""

from pathlib import Path

import settings

import demandcast as dc
from demandcast import registry
from demandcast.report import write_report

FOLDER = Path(__file__).resolve().parent
FILES = ("future", "covariates", "static_table")  # paths from this folder on


def main() -> None:
    reading = {k: str(FOLDER / v) if k in FILES else v for k, v in settings.READING.items()}
    panel = dc.read_panel(str(FOLDER / settings.TABLE), **reading)
    print(panel)
    for note in panel.notes:  # what was found in the table, and what was done about it
        print("-", note)

    model = registry.create(settings.MODEL, horizon=settings.HORIZON, **settings.HYPERPARAMETERS)
    result = None
    if settings.FOLDS:
        result = dc.backtest(model, panel, folds=settings.FOLDS)
        print(result.leaderboard().select("model", "wql", "vs_seasonal_naive", "verdict"))

    model.fit(panel)
    forecast = model.predict(panel)
    forecast.to_frame().write_csv(FOLDER / settings.FORECAST)
    title = f"Forecast of {Path(settings.TABLE).name}"
    write_report(
        FOLDER / settings.REPORT, forecast=forecast, panel=panel, result=result, model=model, title=title
    )
    print(f"wrote {settings.FORECAST} and {settings.REPORT} in {FOLDER}")


if __name__ == "__main__":
    main()
'''


@options.takes_table
def new(
    table: options.Table,
    folder: Annotated[
        str, typer.Option(metavar="DIR", help="Where settings.py and forecast.py are written.")
    ] = "plan",
    force: options.Force = False,
) -> None:
    """Write settings and a script that forecast a table.

    The table is read to see that it can be. settings.py has each column's role as it was read and every option of
    reading with its meaning; forecast.py measures a method, forecasts and writes a report. Both are yours to change.
    """
    from demandcast.files import write_file
    from demandcast.frames.read import read_panel
    from demandcast.frames.source import open_table
    from demandcast.panel.horizon import usual_folds, usual_horizon

    if not isinstance(table.source, str) or "://" in table.source:
        raise ConfigError(
            f"new writes a script for files, and {table.name} is none; save the rows with demandcast check --fix "
            "sales.parquet, and name that file"
        )
    place = Path(folder)
    outputs = {"settings.py": place / "settings.py", "forecast.py": place / "forecast.py"}
    places.check(files=dict(outputs), table=table, force=force)
    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    opened = open_table(
        table.source, **{name: table.options[name] for name in ("encoding", "sheet", "decimal")}
    )
    horizon = usual_horizon(panel)
    text = SETTINGS.format(
        name=table.name.encode("unicode_escape").decode(), table=_from(place, table.source), horizon=horizon,
        freq=panel.schema.freq, folds=usual_folds(panel, horizon),
        reading=_reading(panel, opened.columns, table.options, place),
    )  # fmt: skip
    write_file(outputs["settings.py"], text, what="the settings")
    write_file(outputs["forecast.py"], SCRIPT, what="the script")
    show.say(f"wrote {outputs['settings.py']} and {outputs['forecast.py']}")
    show.say(f"run: python {outputs['forecast.py']}")


def _from(folder: Path, path: str) -> str:
    """Return a path as seen from a folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _reading(panel: Panel, columns: list[str], given: Mapping[str, Any], folder: Path) -> str:
    """Return the arguments of `read_panel` as lines of a dictionary, those without an effect as comments.

    Args:
        panel: As it was read.
        columns: Of the table.
        given: Options of the command.
        folder: From which files are named.
    """
    schema = panel.schema
    roles: dict[str, Any] = {
        "key": [] if schema.key == ("series",) and not given["key"] else list(schema.key),
        "time": list(schema.time_parts) or [schema.time], "target": schema.target, "freq": schema.freq,
        "known": list(schema.known), "past": list(schema.past), "static": list(schema.static),
        "available": schema.available,
    }  # fmt: skip
    if schema.target not in columns:  # each column is a series, so none is the target
        roles = {name: given[name] for name in roles}
    lines = []
    for kind in (NamedColumns, Reading):
        for field in fields(kind):
            if field.name in ("sql", "connect"):
                continue
            value = roles.get(field.name, given.get(field.name))
            named = _from(folder, value) if field.name in FILES and value else value
            lines.append(_line(field.name, named, field.metadata["help"], field.default))
            if field.name == "available":
                future = given.get("future")
                named = _from(folder, future) if future else None
                lines.append(_line("future", named, "The known covariates of the steps ahead.", None))  # fmt: skip
    return "\n".join(lines)


def _line(name: str, value: Any, meaning: str, default: Any) -> str:
    unused = value is None or (value == [] and name != "key")  # no key is a table of one series
    shown = default if unused else value
    shown = list(shown) if isinstance(shown, tuple) else shown
    if unused:
        return f"    # {name!r}: {shown!r},  # {meaning}"
    for remark in (" Guessed.", " Inferred.", " Found."):
        meaning = meaning.removesuffix(remark)
    return f"    {name!r}: {shown!r},  # {meaning}"
