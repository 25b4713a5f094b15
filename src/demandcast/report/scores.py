"""Write the scores of models as sentences and tables of HTML: which is best, by how much, and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from demandcast.evaluate.quantile_metrics import level_coverage, wql
from demandcast.report.words import join_words, percent, span

if TYPE_CHECKING:
    from demandcast.automl.auto import Auto
    from demandcast.evaluate.backtest import BacktestResult

NAIVE = "seasonal_naive"
IS_NAIVE, LOSES = "is the seasonal naive", "loses to seasonal naive"  # verdicts of the leaderboard
BEATS = {"beats": "yes", "loses": "no", "naive": "baseline"}  # a verdict in one word
COLUMNS = {  # of the leaderboard: what its head says, and how a value is written
    "model": ("Model", "{}"),
    "verdict": ("Beats naive", "{}"),
    "vs_seasonal_naive": ("wQL / naive", "{:.3f}"),
    "wql": ("wQL", "{:.4f}"),
    "wape": ("WAPE", "{:.4f}"),
    "mase": ("MASE", "{:.3f}"),
    "rmsse": ("RMSSE", "{:.3f}"),
    "sql": ("SQL", "{:.3f}"),
    "smape": ("sMAPE", "{:.4f}"),
    "mape": ("MAPE", "{:.4f}"),
    "bias": ("Bias", "{:+.4f}"),
    "coverage_80": ("In 80 % band", "{:.1%}"),
    "fit_seconds": ("Fit, s", "{:.1f}"),
    "predict_seconds": ("Predict, s", "{:.1f}"),
}
METHODS = {  # of the methods that auto tried
    "model": ("Method", "{}"),
    "value_added": ("Less error than naive", "{:+.0f} %"),
    "wql": ("wQL", "{:.4f}"),
    "coverage_80": ("In 80 % band", "{:.0%}"),
    "weight": ("Share of the forecast", "{:.0%}"),
    "fit_seconds": ("Fit, s", "{:.1f}"),
}


def of_backtest(result: BacktestResult) -> dict[str, Any]:
    """Return the calibration and the error by step of every model, over all folds."""
    actual = np.concatenate(result.actuals)  # (all series of all folds, H)
    calibration, steps = {}, {}
    for model in result.models:
        folds = result.forecasts[model]
        levels = folds[0].levels
        quantiles = np.concatenate([f.quantiles for f in folds])  # (the same, H, Q)
        shares = level_coverage(actual, quantiles, levels)
        calibration[model] = [list(levels), _numbers(shares)]
        steps[model] = _numbers(
            [wql(actual[:, [h]], quantiles[:, [h]], levels) for h in range(actual.shape[1])]
        )
    return {"calibration": calibration, "steps": steps}


def of_search(auto: Auto) -> dict[str, Any]:
    """Return the calibration and the error by step of auto's blend and of the seasonal naive on the held-out steps."""
    from demandcast.automl.validation import BLEND_LEVELS

    held_out = auto.held_out
    assert held_out is not None
    calibration, steps = {}, {}
    for name, quantiles in ((auto.name, held_out.quantiles), (NAIVE, held_out.naive)):
        if quantiles is None:
            continue
        shares = level_coverage(held_out.actual[:, None], quantiles[:, None], BLEND_LEVELS)
        calibration[name] = [list(BLEND_LEVELS), _numbers(shares)]
        rows = [
            np.flatnonzero(held_out.step == step) for step in range(int(held_out.step.max()) + 1)
        ]
        steps[name] = _numbers(
            [
                wql(held_out.actual[step_rows, None], quantiles[step_rows, None], BLEND_LEVELS)
                for step_rows in rows
            ]
        )
    return {"calibration": calibration, "steps": steps}


def _numbers(values: Iterable[Any]) -> list[float | None]:
    return [float(f"{float(v):.6g}") if np.isfinite(v) else None for v in values]


def naive(board: pl.DataFrame) -> str | None:
    """Return the name of the seasonal naive in a leaderboard; None if it has no row."""
    names = board.filter(pl.col("verdict") == IS_NAIVE)["model"]
    return str(names[0]) if len(names) else None


def headline(board: pl.DataFrame, result: BacktestResult, dates: str) -> str:
    """Return a section that says whether the best model beats the seasonal naive, and by how much.

    Args:
        board: The leaderboard.
        result: The backtest.
        dates: The dates of the last fold, in words.
    """
    best = board.row(0, named=True)
    name, ratio = escape(str(best["model"])), best["vs_seasonal_naive"]
    losers = [escape(str(m)) for m in board.filter(pl.col("verdict") == LOSES)["model"]]
    if best["verdict"] == IS_NAIVE:
        tone, says = "bad", "No model beats the seasonal naive."
        more = "Repeating the last season is the best forecast here. Use it, or try other models."
    elif best["verdict"] == LOSES or ratio is None or not np.isfinite(ratio):
        tone, says = "bad", f"It is not shown that {name} beats the seasonal naive."
        more = "Do not rely on it before it does."
    else:
        tone, says = "good", f"{name} beats the seasonal naive by {1 - ratio:.1%}."
        more = (
            "Its error over all quantiles (wQL) is that much lower than that of repeating the last "
            "season."
        )
        inside = best.get("coverage_80")
        if inside is not None and np.isfinite(inside):
            more += f" {percent(inside)} of the actual values were in its 80 % band."
    if losers:
        verb = "loses" if len(losers) == 1 else "lose"
        more += f" {join_words(losers)} {verb} to the seasonal naive."
    steps = span(result.horizon, result.panels[-1].schema.freq)
    series = len(result.actuals[-1])
    basis = (
        f"Measured on {series:,} series over {result.folds} "
        f"{'fold' if result.folds == 1 else 'folds'} of {escape(steps)} "
        f"that no model had seen; the last fold is {escape(dates)}."
    )
    return (
        f'<section class="headline {tone}" id="verdict"><h2>{says}</h2><p>{more}</p>'
        f'<p class="muted">{basis}</p></section>'
    )


def leaderboard(board: pl.DataFrame) -> str:
    """Return the leaderboard of a backtest as a table."""
    rows = [
        (
            {IS_NAIVE: "naive", LOSES: "loses"}.get(row["verdict"], "beats"),
            row
            | {"verdict": BEATS[{IS_NAIVE: "naive", LOSES: "loses"}.get(row["verdict"], "beats")]},
        )
        for row in board.iter_rows(named=True)
    ]
    return section(
        "Accuracy of each model",
        "Best first, by wQL. Lower is better, except for the band, which should hold 80 %, and the "
        "bias of the mean, which should be near 0.",
        f'<div class="board">{_board(board.columns, rows, COLUMNS, "Scores of every model")}</div>',
        name="accuracy",
    )


def methods(auto: Auto) -> str:
    """Return a table of the methods that auto tried, and a list of those that it did not try."""
    board = auto.leaderboard()
    rows = []
    for row in board.iter_rows(named=True):
        mark = "blend" if row["model"] == auto.name else "naive" if row["model"] == NAIVE else ""
        rows.append((mark, row))
    skipped = "".join(
        f"<li>{escape(name)}: {escape(why)}</li>" for name, why in auto.skipped.items()
    )
    more = (
        f"<details><summary>{len(auto.skipped)} methods were not tried</summary><ul>{skipped}</ul></details>"
        if skipped
        else ""
    )
    return section(
        "Accuracy of each method",
        "On the steps held out, best first. <b>auto</b> is the forecast of this page: a blend of the "
        "methods that have a share. Its own row is slightly too good, because the shares were chosen on the "
        "same steps.",
        f"{_board(board.columns, rows, METHODS, 'Methods that were tried')}{more}",
        name="accuracy",
    )


def _board(
    available: Sequence[str],
    rows: Sequence[tuple[str, dict[str, Any]]],
    columns: dict[str, tuple[str, str]],
    label: str,
) -> str:
    names = [c for c in columns if c in available]
    head = "".join(f'<th scope="col">{columns[c][0]}</th>' for c in names)
    lines = ""
    for mark, row in rows:
        cells = "".join(
            f"<td>{escape(_cell(row[c], columns[c][1]))}</td>" for c in names if c != "model"
        )
        lines += f'<tr class="{mark}"><th scope="row">{escape(str(row["model"]))}</th>{cells}</tr>'
    return table(label, head, lines)


def _cell(value: Any, form: str) -> str:
    missing = value is None or (isinstance(value, float) and not np.isfinite(value))
    return "n/a" if missing else form.format(value)


def charts(header: dict[str, Any], where: str) -> str:
    """Return the sections on calibration and error by step, side by side.

    Args:
        header: Its "calibration" and "steps" are those of `of_backtest` or `of_search`.
        where: Says on which steps they were measured.
    """
    return f'<div class="pair">{_calibration(header, where)}{_by_step(header, where)}</div>'


def _calibration(header: dict[str, Any], where: str) -> str:
    calibration = header["calibration"]
    levels = sorted({level for model_levels, _ in calibration.values() for level in model_levels})
    head = '<th scope="col">Quantile</th>' + _heads(calibration)
    rows = ""
    for level in levels:
        cells = ""
        for model_levels, shares in calibration.values():
            share = shares[model_levels.index(level)] if level in model_levels else None
            cells += f"<td>{_cell(share, '{:.1%}')}</td>"
        rows += f'<tr><th scope="row">{level:.4g}</th>{cells}</tr>'
    return section(
        "Do the quantiles hold?",
        f"Share of the values below each quantile, {where}. On the diagonal, a 90 % quantile "
        "holds 90 % of the values. Above it the forecast is too high, below it too low.",
        '<div class="chart" data-chart="calibration"></div>' + _numbers_below(head, rows),
    )


def _by_step(header: dict[str, Any], where: str) -> str:
    head = '<th scope="col">Step</th>' + _heads(header["steps"])
    rows = ""
    for step, values in enumerate(zip(*header["steps"].values(), strict=True), 1):
        cells = "".join(f"<td>{_cell(v, '{:.4f}')}</td>" for v in values)
        rows += f'<tr><th scope="row">{step}</th>{cells}</tr>'
    return section(
        "Error by step ahead",
        f"wQL of each step of the horizon, {where}. Lower is better.",
        '<div class="chart" data-chart="steps"></div>' + _numbers_below(head, rows),
    )


def _heads(models: Iterable[str]) -> str:
    return "".join(f'<th scope="col">{escape(m)}</th>' for m in models)


def _numbers_below(head: str, rows: str) -> str:
    numbers = table("The numbers of the chart above", head, rows)
    return f"<details><summary>Numbers</summary>{numbers}</details>"


def table(label: str, head: str, rows: str) -> str:
    """Return a table that scrolls inside its own box."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def section(title: str, lead: str, inner: str, *, name: str = "") -> str:
    """Return a section of the page with its heading."""
    lead = f'<p class="muted">{lead}</p>' if lead else ""
    attribute = f' id="{name}"' if name else ""
    return f"<section{attribute}><h2>{title}</h2>{lead}{inner}</section>"
