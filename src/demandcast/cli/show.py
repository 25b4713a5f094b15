"""Print tables and notes, and write files: plain text where no terminal is, complete files or none."""

from __future__ import annotations

import contextlib
import json as jsonlib
import math
import platform
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demandcast.cli import options, places, terminal
from demandcast.errors import FileError
from demandcast.files import write_file

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from demandcast.automl.auto import Auto
    from demandcast.decide.orders import Orders
    from demandcast.forecast.explain import Explanation
    from demandcast.forecast.forecast import Forecast
    from demandcast.forecaster import Forecaster
    from demandcast.frames.check import Report
    from demandcast.panel.panel import Note, Panel

GUESSED = ("key", "time", "target", "freq")  # roles that are guessed where nobody names them
FIRST = (
    "model",
    "wql",
    "vs_seasonal_naive",
    "wape",
    "mase",
    "bias",
    "coverage_80",
    "fit_seconds",
    "verdict",
)  # fmt: skip  of a leaderboard; its other columns are in --json and --out


def say(text: object) -> None:
    """Print a line of progress to stderr."""
    terminal.write(terminal.printable(text), sys.stderr)


def lines(text: object) -> None:
    """Print a text of several lines to stdout."""
    for line in str(text).split("\n"):
        terminal.write(terminal.printable(line), sys.stdout)


def machine(text: str) -> None:
    """Print a JSON text to stdout."""
    terminal.write(terminal.printable_json(text), sys.stdout)


def check_stdout(*files: str | None) -> None:
    """Refuse a closed stdout where the result would go nowhere else.

    Raises:
        FileError: stdout is closed and no file is named.
    """
    if sys.stdout is None and not any(files):
        raise FileError("stdout is closed, so the result has no place; name a file with --out FILE")


def shows_progress() -> bool:
    """Return whether progress bars are seen: on a terminal or in a notebook, not in a log."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def leaderboard(board: pl.DataFrame, *, json: bool = False, whole: bool = False) -> None:
    """Print a leaderboard to stdout: the main columns, or all of them as JSON or if `whole`."""
    if not json:
        columns = board.columns if whole else [c for c in FIRST if c in board.columns]
        board = board.select(columns).with_columns(board["fit_seconds"].round(2))
    table(board, json=json)


def search(made: Auto, read: Panel) -> None:
    """Print what auto tried and chose to stderr; stdout is for the forecast."""
    import polars as pl

    board = made.leaderboard()
    if "wql" in board.columns:
        board = board.with_columns(pl.col("fit_seconds", "predict_seconds").round(2))
        board = board.with_columns(pl.col("value_added").round(1))
    with contextlib.redirect_stdout(sys.stderr):
        table(board)
        if "wql" in board.columns and made.coverage().height > 2:
            table(made.coverage())
    by_reason: dict[str, list[str]] = {}
    for name, why in made.skipped.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        say(f"not tried: {', '.join(names)}: {why}")
    new = made.new_items(read)
    if new.height:
        names = ["/".join(map(str, row)) for row in new.drop("values", "by").head(5).rows()]
        more = "" if new.height <= 5 else ", ..."
        say(f"{new.height:,} new items, forecast by {new['by'][0]}: {', '.join(names)}{more}")
    say(made.verdict())


def table(frame: pl.DataFrame, *, json: bool = False) -> None:
    """Print a frame to stdout: JSON, a ruled table on a terminal, or aligned plain text."""
    if json:
        machine(frame.write_json())
        return
    names = list(map(terminal.printable, frame.columns))
    columns = [list(map(terminal.printable, _cells(column.to_list()))) for column in frame]
    right = [column.dtype.is_numeric() for column in frame]
    if sys.stdout is not None and sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        ruled = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, is_right in zip(names, right, strict=True):
            ruled.add_column(name, justify="right" if is_right else "left", no_wrap=is_right)
        for row in zip(*columns, strict=True):
            ruled.add_row(*row)
        Console(markup=False, highlight=False, emoji=False).print(ruled)
        return
    columns = [[name, *cells] for name, cells in zip(names, columns, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        terminal.write("  ".join(padded).rstrip(), sys.stdout)


def findings(report: Report) -> None:
    """Print the findings of `check` as a table to stdout, without empty columns."""
    import polars as pl

    frame = report.to_frame(options.as_option).with_columns(pl.col("series").replace(0, None))
    empty = [c for c in ("series", "example") if not any(frame[c].to_list())]
    table(frame.drop(empty))


def _cells(values: list[Any]) -> list[str]:
    """Return a column as text, with as many decimals in every cell as give the largest four digits."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v]
    decimals = max(0, 3 - math.floor(math.log10(max(sizes)))) if sizes else 0
    clock = any(isinstance(v, datetime) and (v.hour or v.minute or v.second) for v in values)

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.{min(decimals, 9)}f}" if math.isfinite(value) else "n/a"
        if isinstance(value, datetime):
            return str(value) if clock else str(value.date())
        return str(value)

    return [cell(value) for value in values]


def orders(found: Orders, out: str | None, *, json: bool, safe_text: bool = False) -> None:
    """Write orders to the file, and print them if there is no file or as JSON."""
    from demandcast.forecast.forecast import escape_formulas

    frame = found.to_frame()
    if out:
        text = safe_text and not out.lower().endswith(".xlsx")  # where text is never a formula
        written = escape_formulas(frame) if text else frame
        write(written, out, what="the orders", keys=found.forecast.keys.columns)
    if json:
        table(frame, json=True)
    elif not out:
        table(frame.head(ROWS))
        if len(frame) > ROWS:
            say(f"shown: {ROWS} of {len(frame):,} items; --out FILE writes all")


def check_groups(read: Panel, by: list[str] | None) -> list[tuple[str, ...]]:
    """Return the columns of each level of totals; refuse those that are no groups of the panel."""
    from demandcast.panel.groups import group

    levels = options.groups(by)
    for columns in levels:
        group(read, columns)
    return levels


def forecast(
    predicted: Forecast, out: str | None, *, json: bool, safe_text: bool = False,
    by: Sequence[tuple[str, ...]] = (),
) -> None:  # fmt: skip
    """Write a forecast to the file, and print it if there is no file or as JSON.

    Rows of totals come first. The likeliest extremes are printed too if the model warns of them.
    """
    from demandcast.forecast.forecast import escape_formulas
    from demandcast.forecast.total import common_steps

    frame = predicted.hierarchy(by) if by else predicted.to_frame()
    for note in common_steps(predicted)[2] if by else ():
        say(note)
    names = [f"{level:g}" for level in predicted.levels]
    moved = {
        name: predicted.column(name) for name in ("mean", *names) if predicted.column(name) != name
    }
    if moved:
        said = ", ".join(f"{name!r} is {ours!r}" for name, ours in moved.items())
        say(
            f"key columns of the table have names that the forecast uses; the forecast's columns are renamed: {said}"
        )
    if out:
        text = safe_text and not out.lower().endswith((".parquet", ".xlsx"))
        written = escape_formulas(frame) if text else frame
        write(written, out, keys=predicted.schema.key)
    if json:
        table(frame, json=True)
    elif not out:
        names = [predicted.column(name) for name in names]
        few = list(dict.fromkeys([names[0], names[(len(names) - 1) // 2], names[-1]]))
        front = [c for c in frame.columns if c not in names]
        table(frame.select([*front, *few]).head(ROWS))
        shown = f"{min(ROWS, len(frame))} of {len(frame):,} rows, {len(few)} of {len(names)} levels"
        if len(frame) > ROWS or len(names) > len(few):
            say(f"shown: {shown}; --out FILE writes all")
    if predicted.events is not None and not json:
        say("most likely to be extreme:")
        table(predicted.alarms(ALARMS))


def summary(predicted: Forecast, panel: Panel) -> None:
    """Print the dates, the total and the largest items of a forecast, with sparklines, to stderr."""
    from demandcast.report.view import View
    from demandcast.report.words import amount, percent, period, span

    view = View.of("", {predicted.model: predicted}, panel)
    steps, target = span(predicted.horizon, predicted.schema.freq), predicted.schema.target
    before = view.previous[view.previous > 0].sum()
    change = percent(view.total[view.previous > 0].sum() / before - 1, sign=True) if before else ""
    say("")
    say(f"forecast of {predicted.n_series:,} items for {steps}, {period(*view.dates())}")
    against = f", {change} against the {steps} before" if change else ""
    say(f"total {target}: {amount(view.total.sum())}{against}")
    if predicted.n_series == 1:
        return
    rows: list[tuple[str, ...]] = [
        ("largest items", f"last {steps}", "forecast", "change", "course")
    ]
    largest = (-abs(view.total)).argsort(kind="stable")[:LARGEST]
    for i, (past, ahead) in zip(largest, view.courses(largest), strict=True):
        known, own = view.previous[i], view.total[i]
        rows.append(
            (
                _short("/".join(map(str, predicted.keys.row(int(i))))),
                amount(known),
                amount(own),
                percent(own / known - 1, sign=True) if known > 0 else "",
                sparkline(past, ahead),
            )
        )
    if not _prints(BARS):
        rows = [row[:-1] for row in rows]
    widths = [max(len(terminal.printable(row[c])) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        cells = [terminal.printable(cell) for cell in row]
        left, right = cells[0].ljust(widths[0]), zip(cells[1:4], widths[1:4], strict=True)
        say("  ".join([left, *(cell.rjust(width) for cell, width in right), *cells[4:]]))


def sparkline(past: Sequence[float], ahead: Sequence[float]) -> str:
    """Return a line of bars for a history, a rule, and bars for what follows, on one scale from 0."""
    parts = [_thin(values) for values in (past, ahead)]
    known = [value for part in parts for value in part if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return (
            BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[0]
        )

    return "│".join("".join(map(bar, part)) for part in parts)


def _thin(values: Sequence[float]) -> list[float]:
    """Return at most `BARS_AT_MOST` means of neighbours that are observed."""
    width = -(-len(values) // BARS_AT_MOST) or 1
    groups = [values[i : i + width] for i in range(0, len(values), width)]
    seen = [[value for value in group if math.isfinite(value)] for group in groups]
    return [sum(group) / len(group) if group else math.nan for group in seen]


def _short(name: str) -> str:
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."


def _prints(text: str) -> bool:
    """Return whether stderr has the characters of a text."""
    try:
        text.encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


BARS = "▁▂▃▄▅▆▇█"
BARS_AT_MOST = 28  # of each part of a sparkline
WIDEST = 40  # characters of a name in a summary
LARGEST = 5  # items of a summary
ALARMS = 5  # of a forecast, the likeliest
ROWS = 20  # of a forecast, for a person; all of it is in --json and --out


def panel(read: Panel, given: dict[str, Any] | None = None, *, notes: bool = True) -> None:
    """Print what was read, the role of each column, and the findings, to stderr.

    Args:
        read: The panel.
        given: The options it was read with, which say what roles are guesses.
        notes: Whether to list the findings.
    """
    schema, facts = read.schema, read.summary()
    missing = facts["missing"]
    say(
        f"read {facts['series']:,} series, {facts['steps']:,} steps of {facts['frequency']}, "
        f"{_moment(facts['first'])} to {_moment(facts['last'])}; {facts['zeros']:.0%} zeros, "
        f"{'none' if not missing else f'{missing:.1%}' if missing >= 0.001 else 'under 0.1%'} missing"
    )
    roles = {
        "key": schema.key, "time": schema.time, "target": schema.target, "freq": schema.freq,
        "known": schema.known, "past": schema.past, "static": schema.static,
        "available": schema.available,
    }  # fmt: skip
    words = [
        f"{role} {column if isinstance(column, str) else ','.join(column)}"
        for role, column in roles.items()
        if column
    ]
    guessed = [f"--{name}" for name in GUESSED if given and not given[name]]
    hint = f" (guessed; change with {' '.join(guessed)})" if guessed else ""
    say("; ".join(words) + hint)
    for note in read.notes if notes else ():
        if not _is_role(note):
            say(note.text(options.as_option))


def _is_role(note: Note) -> bool:
    """Return whether a note is a guess that the line of the roles says already."""
    changed = {name for out in note.ways for name, _ in out.arguments}
    return note.kind == "guess" and len(changed) == 1 and changed <= set(GUESSED)


def demand(read: Panel) -> None:
    """Print how many series have each class of demand, to stderr."""
    from demandcast.panel.classes import CLASSES, count_classes

    found = count_classes(read)
    kinds, flags = (
        ", ".join(
            f"{count:,} {kind}" for kind, count in found.items() if (kind in CLASSES) is wanted
        )
        for wanted in (True, False)
    )
    also = f"; of them {flags}" if flags else ""
    say(f"demand by {read.schema.freq}: {kinds}{also}")


def _moment(text: str) -> str:
    """Return a timestamp without zeros at its end: 2024-01-01, or 2024-01-01 13:00."""
    return re.sub(r"T00:00:00(\.0+)?$|(:00)?\.0+$", "", text).replace("T", " ")


def write(
    frame: pl.DataFrame,
    path: str | Path,
    *,
    what: str = "the forecast",
    keys: Sequence[str] = (),
) -> None:
    """Write a frame in the format of the file's ending, completely or not at all."""
    ending = places.check_ending(path)
    from demandcast.frames.sheets import write_frame

    write_frame(frame, path, what=what, keys=keys, ending=ending)
    say(f"wrote {path}")


def answer(frame: pl.DataFrame, path: str, *, safe_text: bool, what: str) -> None:
    """Write a frame of answers about a forecast to the file."""
    from demandcast.forecast.forecast import escape_formulas

    text = safe_text and not path.lower().endswith((".parquet", ".xlsx"))
    write(escape_formulas(frame) if text else frame, path, what=what)


def override(predicted: Forecast, path: str | None, decimal: str | None) -> Forecast:
    """Apply the overrides of a file to a forecast, and print what each author's change; as it is without a file."""
    if not path:
        return predicted
    from demandcast.frames.source import open_table

    found = predicted.override(open_table(path, decimal=decimal).collect())
    import polars as pl

    names = [found.forecast.column(name) for name in ("author", "reason", "baseline", "mean")]
    sums = found.to_frame().group_by(names[:2], maintain_order=True).agg(pl.col(names[2:]).sum())
    for author, reason, before, after in sums.iter_rows():
        say(f"override by {author} ({reason}): {before:,.1f} -> {after:,.1f}")
    return found.forecast


def explain(predicted: Forecast, path: str | None, *, safe_text: bool) -> Explanation | None:
    """Explain a forecast and write its parts to the file; None if there is no file."""
    if not path:
        return None
    explanation = predicted.explain()
    for note in explanation.notes:
        say(note)
    answer(explanation.to_frame(), path, safe_text=safe_text, what="the explanation")
    return explanation


def picture(drawn: Figure, path: str) -> None:
    """Write a picture in the format of the file's ending, completely or not at all."""
    from demandcast.files import replacing

    with replacing(path, what="the picture") as file:
        drawn.savefig(file, format=path.rsplit(".", 1)[1].lower(), dpi=144)
    say(f"wrote {path}")


def save(model: Forecaster, folder: str, config: dict[str, Any]) -> None:
    """Save a model with its settings, which `config.json` has in readable form."""
    model.origin = jsonlib.loads(jsonlib.dumps(config, default=str))
    model.save(folder)
    write_config(folder, config)
    say(f"saved {folder}")


def write_config(folder: str | Path, content: dict[str, Any]) -> None:
    """Write `config.json`: the settings of a run, and the versions that it ran on."""
    versions = {"python": platform.python_version()}
    for package in ("demandcast", "torch", "numpy", "polars"):
        with contextlib.suppress(PackageNotFoundError):  # run from a source folder
            versions[package] = version(package)
    text = jsonlib.dumps({**content, "versions": versions}, indent=2, default=str)
    write_file(Path(folder) / "config.json", text + "\n", what="the configuration")
