"""Write forecasts and their scores as one HTML file that needs nothing else: no network, no other file.

`view.py` gathers the numbers, `columns.py` packs them, this file writes the words and the tables, and
`page.js` unpacks the numbers and draws them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from demandcast import __version__
from demandcast.errors import ConfigError, FileError
from demandcast.files import is_special, printable, write_file
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Note, Panel
from demandcast.report import scores
from demandcast.report.attention import Item, items_to_look_at
from demandcast.report.columns import Columns
from demandcast.report.explanation import explanation_section
from demandcast.report.orders import orders_section, pack_orders
from demandcast.report.packing import PRECISE, pack_view
from demandcast.report.view import View
from demandcast.report.words import amount, join_words, percent, period, span, time_labels

if TYPE_CHECKING:
    from demandcast.automl.auto import Auto
    from demandcast.decide.orders import Orders
    from demandcast.evaluate.backtest import BacktestResult
    from demandcast.forecast.explain import Explanation
    from demandcast.forecaster import Forecaster

_PYTHON = re.compile(r"\b\w+=['\"\[\w.]|\bpanel\.\w+\(")  # a call of Python in a part of a note


def write_report(
    path: str | Path,
    *,
    forecast: Forecast | None = None,
    panel: Panel | None = None,
    result: BacktestResult | None = None,
    model: Forecaster | None = None,
    title: str = "Demand forecast",
    notes: Sequence[str] = (),
    command: str = "",
    explanation: Explanation | None = None,
    orders: Orders | None = None,
) -> Path:
    """Write one self-contained HTML page: how good the forecast is, which items to look at, and every item.

    An interrupted call leaves no partial file.

    Args:
        path: The file to write; its folder is created.
        forecast: The forecast of the steps ahead.
        panel: The panel that was forecast: history for the charts, and notes about the data.
        result: A backtest, for the leaderboard, the calibration and the error by step.
        model: The fitted model of the forecast. What `auto` measured during its search is shown.
        title: The heading of the page.
        notes: Sentences of the caller, shown before those about the data.
        command: The command that repeats the run, shown at the end.
        explanation: The parts of the forecast: `forecast.explain()`.
        orders: What to order by this forecast; it is shown too.

    Returns:
        The path written.

    Raises:
        ConfigError: Neither a forecast nor a backtest is given, or the orders are of another forecast.
        FileError: The file cannot be written there.
    """
    if result is None and forecast is None:
        raise ConfigError(
            "a report needs something to show; give it forecast=model.predict(panel), "
            "result=backtest(...), or both"
        )
    if orders is not None and orders.forecast is not forecast:
        raise ConfigError(
            "the orders are of another forecast; give write_report(forecast=orders.forecast)"
        )
    auto = _search(model)
    views, sections = [], []
    header: dict[str, Any] = {"calibration": {}, "steps": {}, "naive": None}
    if forecast is not None:
        held_out = None if auto is None else auto.held_out
        views.append(View.of("Forecast", {forecast.model: forecast}, panel, held_out=held_out))
        sections.append(_overview(views[0], auto, proven=result is not None))
    if result is not None:
        board = result.leaderboard()
        header |= scores.of_backtest(result)
        header["naive"] = scores.naive(board)
        views.append(_last_fold(result, board))
        sections.insert(0, scores.headline(board, result, period(*views[-1].dates())))
        panel = result.panels[-1] if panel is None else panel
    elif auto is not None and auto.held_out is not None:
        header |= scores.of_search(auto)
        header["naive"] = scores.NAIVE

    if orders is not None:
        sections.append(orders_section(orders, _asset("orders.html")))
    columns = Columns(4 if sum(v.total.size * v.first.horizon for v in views) < PRECISE else 3)
    items_of_view = [items_to_look_at(view) for view in views]
    header["views"] = [
        pack_view(view, columns, np.isin(np.arange(view.first.n_series), [i.row for i in items]))
        for view, items in zip(views, items_of_view, strict=True)
    ]
    if orders is not None:
        header["orders"] = pack_orders(orders, columns)
    sections += [_items_to_look_at(views[0], items_of_view[0]), _asset("items.html")]
    if any(view.groups for view in views):
        sections.append(_asset("groups.html"))
    if result is not None:
        sections += [scores.leaderboard(board), scores.charts(header, "in all folds")]
    elif auto is not None and auto.held_out is not None:
        where = f"in the steps held out, {span(auto.validation.ahead, views[0].first.schema.freq)} at a time"
        sections += [scores.methods(auto), scores.charts(header, where)]
    elif auto is not None and "wql" in auto.leaderboard().columns:
        sections.append(scores.methods(auto))
    if explanation is not None:
        sections.append(explanation_section(explanation))
    sections += [_data(panel, notes), _terms(" ".join(sections)), _repeat(command)]
    page = Template(_asset("page.html")).substitute(
        title=escape(title),
        style=_asset("page.css"),
        script=_asset("chart.js") + _asset("orders.js") + _asset("page.js"),
        body="\n".join(sections),
        data=columns.pack(header),
    )
    if Path(path).is_file() and not is_special(Path(path)):
        with Path(path).open("rb") as file:
            head = file.read(1024).lstrip(b"\xef\xbb\xbf \r\n").lower()
        if head and not head.startswith((b"<!doctype html", b"<html")):
            raise FileError(
                f"{printable(path)} is not a page, and would be overwritten by the report; name another file"
            )
    write_file(path, page, what="the report")
    return Path(path)


def _search(model: Forecaster | None) -> Auto | None:
    """Return a model that searched among many, which measured itself."""
    if model is None:
        return None
    from demandcast.automl.auto import Auto

    return model if isinstance(model, Auto) else None


def _last_fold(result: BacktestResult, board: pl.DataFrame) -> View:
    ranks = {str(name): rank for rank, name in enumerate(board["model"])}
    naive = scores.naive(board)
    names = sorted(result.models, key=lambda m: ranks.get(m, len(ranks)))
    if naive is not None and names[0] != naive:  # second, so that a large page keeps it
        names = [names[0], naive, *(m for m in names[1:] if m != naive)]
    forecasts = {name: result.forecasts[name][-1] for name in names}
    actual = np.asarray(result.actuals[-1])
    return View.of("Backtest, last fold", forecasts, result.panels[-1], actual=actual, naive=naive)


# -- what is ahead -----------------------------------------------------------------------------------


def _overview(view: View, auto: Auto | None, *, proven: bool) -> str:
    """Return the first section: the total, the measured accuracy, and the chart of the total."""
    first = view.first
    steps = span(first.horizon, first.schema.freq)
    target = escape(first.schema.target)
    cards = [
        (f"Total {target}", amount(view.total.sum()), _change(view, steps)),
        ("Items", f"{first.n_series:,}", f"{steps} each"),
    ]
    tone, headline, more = _accuracy(auto, first, proven)
    if auto is not None and "wql" in (board := auto.leaderboard()).columns:
        blend = board.filter(pl.col("model") == auto.name).row(0, named=True)
        size = np.nansum(view.size)
        if size > 0:
            naive = percent(np.nansum(view.naive_missed) / size)
            error = percent(np.nansum(view.missed) / size)
            cards.append(("Past error", error, f"{naive} when repeating the last season"))
        coverage = percent(blend["coverage_80"])
        cards.append(("In the 80 % band", coverage, "of the values held out"))
    boxes = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd><dd class='muted'>{note}</dd></div>"
        for name, value, note in cards
    )
    return (
        f'<section id="overview"><p class="when">{escape(period(*view.dates()))}</p>'
        f'<dl class="cards">{boxes}</dl>'
        f'<div class="headline {tone}"><h2>{headline}</h2><p>{more}</p></div>'
        f'<h3>{target.capitalize()} of all items</h3><div class="chart" data-chart="total"></div>'
        "</section>"
    )


def _change(view: View, steps: str) -> str:
    finite = np.isfinite(view.previous)
    before = view.previous[finite].sum() if finite.any() else 0.0
    if before <= 0:
        return "sum of the means"
    change = percent(view.total[finite].sum() / before - 1, sign=True)
    return f"{change} against the {steps} before"


def _accuracy(auto: Auto | None, forecast: Forecast, proven: bool) -> tuple[str, str, str]:
    """Return a tone, a headline and a text that say how good the forecast is."""
    model_name = escape(forecast.model or "an unnamed model")
    if proven:
        return "", f"Forecast by {model_name}.", "The backtest on this page shows how good it is."
    if auto is None:
        return (
            "",
            f"Forecast by {model_name}. Its accuracy was not measured.",
            "A backtest measures it against repeating the last season: "
            "<code>demandcast backtest</code> with <code>--report</code> writes such a page.",
        )
    board = auto.leaderboard()
    parts = _blend(auto)
    if "wql" not in board.columns:
        why = escape(auto.skipped.get("validation", "the search was interrupted"))
        return "", "The accuracy could not be measured.", f"Reason: {why}. Forecast: {parts}."
    blend = board.filter(pl.col("model") == auto.name).row(0, named=True)
    ratio = blend["vs_seasonal_naive"]
    length = span(auto.validation.ahead, forecast.schema.freq)
    if ratio is None:
        return "", "The last steps held nothing to compare with.", f"Forecast: {parts}."
    if ratio >= 1:
        return (
            "bad",
            "No better than repeating the last season.",
            f"Measured on the last {length}, held out. Forecast: {parts}.",
        )
    return (
        "good",
        f"{percent(1 - ratio)} more accurate than repeating the last season.",
        f"Measured on the last {length} of the history, held out. {board.height - 1} methods were tried; "
        f"the forecast blends {parts}.",
    )


def _blend(auto: Auto) -> str:
    weights = auto.weights().row(0, named=True)
    shares = sorted(
        ((m, w) for m, w in weights.items() if m != "class" and w >= 0.005), key=lambda p: -p[1]
    )
    return escape(join_words(f"{name} ({percent(weight)})" for name, weight in shares))


# -- items to look at --------------------------------------------------------------------------------


def _items_to_look_at(view: View, items: list[Item]) -> str:
    if not items:
        return scores.section("Items to look at", "None: no item stands out.", "", name="attention")
    names = view.names
    steps = span(view.first.horizon, view.first.schema.freq)
    before = "Actual" if view.has_actual else f"Last {steps}"
    actual = view.actual if view.has_actual else None
    rows = ""
    for item in items:
        sum_before = view.previous[item.row] if actual is None else np.nansum(actual[item.row])
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in item.reasons)
        rows += (
            f'<tr><th scope="row"><button type="button" class="link" data-row="{item.row}">'
            f"{escape(names[item.row])}</button></th>"
            f"<td>{amount(sum_before)}</td><td>{amount(view.total[item.row])}</td>"
            f'<td class="why"><ul>{reasons}</ul></td></tr>'
        )
    head = (
        f'<th scope="col">Item</th><th scope="col">{escape(before)}</th>'
        '<th scope="col">Forecast</th><th scope="col" class="why">Why</th>'
    )
    count = f"{len(items)} of {view.first.n_series:,} items"
    return scores.section(
        "Items to look at",
        f"{count}, those about most units first. Choose one to see it below.",
        f'<div class="attention">{scores.table("Items to look at", head, rows)}</div>',
        name="attention",
    )


# -- data, terms, how to repeat ----------------------------------------------------------------------


def _data(panel: Panel | None, sentences: Sequence[str]) -> str:
    facts = ""
    if panel is not None:
        summary = panel.summary()
        ends = np.array([panel.starts.min(), panel.ends().max()])
        first, last = time_labels(ends, panel.freq, panel.time_zone)
        rows = {
            "Series": f"{summary['series']:,}",
            "History": period(first, last),
            "Steps": f"{summary['steps']:,} of {span(1, panel.schema.freq)}",
            "Zeros": percent(summary["zeros"]),
            "Missing": percent(summary["missing"]) if summary["missing"] >= 0.005 else "under 1 %",
        }
        if not summary["missing"]:
            rows["Missing"] = "none"
        facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows.items())
        facts = f'<dl class="facts">{facts}</dl>'
    lines = [("info", text) for text in sentences]
    for note in sorted(panel.notes if panel else (), key=lambda n: n.severity == "info"):
        lines.append((note.severity, _note_sentence(note)))
    rows_of_notes = "".join(
        f'<li class="{escape(how)}">{"<b>Warning.</b> " if how != "info" else ""}{escape(text)}</li>'
        for how, text in lines
    )
    listed_notes = f'<ul class="notes">{rows_of_notes}</ul>' if lines else ""
    if not facts and not lines:
        return ""
    return scores.section("Data", "", facts + listed_notes, name="data")


def _note_sentence(note: Note) -> str:
    """Return a note as a sentence, without the parts that name arguments and methods of Python."""
    first, *more = str(note).split("; ")
    text = "; ".join([first, *(part for part in more if not _PYTHON.search(part))])
    return f"{text[:1].upper()}{text[1:]}."


TERMS = {  # word on the page -> (term, meaning)
    "last season": (
        "Repeating the last season",
        "The seasonal naive forecast: the same day of last week, the same month of last year. "
        "A model that does not beat it is not worth its effort.",
    ),
    "band": (
        "Band",
        "An 80 % band holds the value in four of five cases. ± is half its width as a share of the "
        "forecast. The median is as often too high as too low; the mean is what adds up over items.",
    ),
    "wQL": (
        "wQL",
        "Error over all quantiles as a share of the total demand: lower is better. It rewards a "
        "forecast for being close and for stating its uncertainty well.",
    ),
    "Error by step": (
        "Error of an item",
        "Absolute error of the median as a share of the values: over the steps of a backtest's fold, or "
        "over the steps at the end of the history that were held out.",
    ),
    "WAPE": ("WAPE", "Absolute error of the median as a share of the total demand."),
    "MASE": (
        "MASE",
        "Absolute error divided by that of the seasonal naive in the item's own past: below 1 is "
        "better than it was there. RMSSE is the same with squares, SQL with quantiles.",
    ),
    "sMAPE": ("sMAPE", "Absolute error as a share of the mean of forecast and value, from 0 to 2."),
    "Bias": ("Bias", "Forecast minus value as a share of the total demand: above 0 is too high."),
}
CLASSES = (
    "Class of demand",
    "Smooth: steady demand. Erratic: demand of varying size. Intermittent: demand with many zeros "
    "between. Lumpy: both. Insufficient: fewer than five demands.",
)


def _terms(body: str) -> str:
    """Return the section that explains the terms that the page uses."""
    used = [TERMS[word] for word in TERMS if word in body or word == "band"]
    if 'id="groups"' in body:
        used.append(CLASSES)
    rows = "".join(f"<dt>{term}</dt><dd>{meaning}</dd>" for term, meaning in used)
    keys = (
        "Keys: <kbd>/</kbd> searches, <kbd>j</kbd> and <kbd>k</kbd> go to the next and the previous item, "
        "arrow keys read a chart."
    )
    return scores.section(
        "How to read this page", "", f'<dl>{rows}</dl><p class="muted">{keys}</p>', name="terms"
    )


def _repeat(command: str) -> str:
    block = f"<pre>{escape(command)}</pre>" if command else ""
    return (
        f'<footer><p class="muted">Written by demandcast {escape(__version__)}.</p>{block}</footer>'
    )


def _asset(name: str) -> str:
    return files("demandcast.report").joinpath(name).read_text(encoding="utf-8")
