"""Write what a command computed: tables, pictures and models, each complete or not at all."""

from __future__ import annotations

import contextlib
import json as jsonlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demandcast.cli import options, places, show
from demandcast.files import replacing, write_file

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from demandcast.decide.orders import Orders
    from demandcast.forecaster import Forecaster
    from demandcast.panel.panel import Panel


def write_table(
    frame: pl.DataFrame,
    path: str | Path,
    *,
    what: str = "the forecast",
    keys: Sequence[str] = (),
    safe_text: bool = False,
) -> None:
    """Write a frame in the format of the file's ending, completely or not at all.

    Args:
        frame: The table.
        path: The file.
        what: Its content, in the words of an error.
        keys: The key columns.
        safe_text: In CSV, escape text that spreadsheets would run as a formula.
    """
    ending = places.check_ending(path)
    from demandcast.forecast.forecast import escape_formulas
    from demandcast.frames.sheets import write_frame

    if safe_text and ending in (".csv", ".tsv"):
        frame = escape_formulas(frame)
    write_frame(frame, path, what=what, keys=keys, ending=ending)
    show.say(f"wrote {path}")


def write_picture(figure: Figure, path: str) -> None:
    """Write a figure of matplotlib in the format of the file's ending, completely or not at all."""
    with replacing(path, what="the picture") as file:
        figure.savefig(file, format=path.rsplit(".", 1)[1].lower(), dpi=144)
    show.say(f"wrote {path}")


def save_model(
    model: Forecaster, folder: str, panel: Panel, table: options.Table, **facts: Any
) -> None:
    """Save a fitted model with its settings and the options of its table; `config.json` has them in readable form.

    Args:
        model: The fitted model.
        folder: Where to save it.
        panel: What it was fitted to; its frequency is saved as an option.
        table: The table of the panel, whose options `predict` uses again.
        facts: More to save, by name.
    """
    options_read = {**table.options, "freq": panel.schema.freq}
    config: dict[str, Any] = {"model": model.name, "hyperparameters": model.hyperparameters()}
    config |= {**facts, "table": {"source": table.source, "options": options_read}}
    model.origin = jsonlib.loads(jsonlib.dumps(config, default=str))
    model.save(folder)
    write_config(folder, config)
    show.say(f"saved {folder}")


def write_config(folder: str | Path, content: dict[str, Any]) -> None:
    """Write `config.json`: the settings of a run, and the versions that it ran on."""
    versions = {"python": platform.python_version()}
    for package in ("demandcast", "torch", "numpy", "polars"):
        with contextlib.suppress(PackageNotFoundError):  # run from a source folder
            versions[package] = version(package)
    text = jsonlib.dumps({**content, "versions": versions}, indent=2, default=str)
    write_file(Path(folder) / "config.json", text + "\n", what="the configuration")


def write_orders(orders: Orders, out: str | None, *, json: bool, safe_text: bool = False) -> None:
    """Write orders to the file, and print them if there is no file or as JSON."""
    frame = orders.to_frame()
    if out:
        keys = orders.forecast.keys.columns
        write_table(frame, out, what="the orders", keys=keys, safe_text=safe_text)
    if json:
        show.table(frame, json=True)
    elif not out:
        show.table(frame.head(show.ROWS))
        if len(frame) > show.ROWS:
            show.say(f"shown: {show.ROWS} of {len(frame):,} items; --out FILE writes all")
