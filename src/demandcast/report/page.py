"""Scores and forecasts as one HTML file that needs nothing else: no network, no other file.

Python puts in the words, the tables and the numbers; page.js draws them; page.css dresses them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import ConfigError, DataError, FileError
from demandcast.evaluate.metrics import level_coverage, mase, wql
from demandcast.files import is_special, printable, write_file
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Note, Panel
from demandcast.report.picture import Picture, picture
from demandcast.schema import Frequency, Schema

if TYPE_CHECKING:
    from demandcast.evaluate.backtest import BacktestResult

Doubles = NDArray[np.float64]
EACH = 4  # items shown of each kind: largest, worst, typical
IS_NAIVE, LOSES = "is the seasonal naive", "loses to seasonal naive"  # verdicts of the leaderboard
BEATS = {"beats": "yes", "loses": "no", "naive": "baseline"}  # a verdict in one word
SPANS = {  # of the frequencies that have a word
    "min": "minute", "h": "hour", "D": "day", "B": "business day", "W": "week", "MS": "month",
    "ME": "month", "QS": "quarter", "QE": "quarter", "YS": "year", "YE": "year",
}  # fmt: skip
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


def write_report(
    path: str | Path,
    *,
    forecast: Forecast | None = None,
    panel: Panel | None = None,
    result: BacktestResult | None = None,
    title: str = "Demand forecast",
    notes: Sequence[str] = (),
) -> Path:
    """Write one self-contained HTML page: who won, how honest the bands are, and single items.

    The file is complete or absent: it is written beside its place and moved there.

    Args:
        path: The file to write; its folder is made.
        forecast: Of the steps that lie ahead.
        panel: What was forecast: history for the pictures, and notes about the data.
        result: A backtest, for the leaderboard, the calibration and the error by step.
        title: Stands at the top.
        notes: Sentences of the caller, shown before those about the data.

    Returns:
        The path written.

    Raises:
        ConfigError: Neither a forecast nor a backtest is given.
        FileError: The file cannot be written there.
    """
    if result is None and forecast is None:
        raise ConfigError(
            "a report needs something to show; give it forecast=model.predict(panel), "
            "result=backtest(...), or both"
        )
    sections: list[str] = []
    data: dict[str, Any] = {"views": [], "calibration": {}, "steps": {}, "naive": None}
    if result is not None:
        board = result.leaderboard()
        best = str(board["model"][0])
        data |= _scores(result)
        data["naive"] = _naive(board)
        data["views"].append(_backtest_view(result, best))
        sections += [
            _headline(board, result),
            _leaderboard(board),
            f'<div class="pair">{_calibration(data)}{_by_step(data)}</div>',
        ]
        panel = result.panels[-1] if panel is None else panel
    if forecast is not None:
        data["views"].insert(0, _forecast_view(forecast, panel))
        if result is None:
            sections.append(_unproven(forecast))
    sections += [_asset("items.html"), _notes(panel.notes if panel else (), notes)]
    sections.append(_asset("reading.html"))
    page = Template(_asset("page.html")).substitute(
        title=escape(title),
        style=_asset("page.css"),
        script=_asset("page.js"),
        body="\n".join(sections),
        data=_json(data),
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


# -- the numbers that page.js draws -----------------------------------------------------------------


def _scores(result: BacktestResult) -> dict[str, Any]:
    """Calibration and error by step of every model, all folds together."""
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


def _forecast_view(forecast: Forecast, panel: Panel | None) -> dict[str, Any]:
    error = None
    if panel is not None and np.array_equal(panel.ends(), forecast.cutoffs):
        error = _scaled_error(forecast, panel.future_target(forecast.horizon), panel)
    chosen = _choose(np.abs(forecast.mean).sum(1), error, forecast)
    return _view("Forecast", {forecast.model: forecast}, panel, None, chosen)


def _backtest_view(result: BacktestResult, best: str) -> dict[str, Any]:
    """The last fold of every model; the items are chosen by the best one."""
    panel, actual = result.panels[-1], np.asarray(result.actuals[-1])
    models = sorted(result.models, key=lambda m: m != best)
    forecasts = {m: result.forecasts[m][-1] for m in models}
    error = _scaled_error(forecasts[best], actual, panel)
    chosen = _choose(np.nansum(np.abs(actual), axis=1), error, forecasts[best])
    return _view("Backtest, last fold", forecasts, panel, actual, chosen)


def _scaled_error(forecast: Forecast, actual: NDArray[Any], panel: Panel) -> Doubles | None:
    """MASE of every series, (N,), of the median as on the leaderboard; None where nothing came yet."""
    if np.isnan(actual).all():
        return None
    try:
        point = forecast.median
    except DataError:  # the levels lie on one side of it
        point = forecast.mean
    past = panel.padded_history(int(panel.lengths.max()))
    return mase(actual, point, past, period=panel.freq.period)


def _choose(
    size: NDArray[Any], error: Doubles | None, forecast: Forecast
) -> list[tuple[int, str, float | None]]:
    """A few series worth a look: (row, why it is here, scaled error), none of them twice.

    Where nothing is known of the error, the widest outer band relative to the forecast stands in for
    it, among the larger half of the series: beside a forecast of almost nothing any band is wide.
    """
    largest = np.argsort(-size, kind="stable")
    if error is not None:
        known = np.flatnonzero(np.isfinite(error))
        worst = known[np.argsort(-error[known], kind="stable")]
        middle = np.abs(error[known] - np.median(error[known])) if len(known) else error[known]
        groups = [("Largest", largest), ("Largest scaled error", worst)]
        groups.append(("Typical scaled error", known[np.argsort(middle, kind="stable")]))
    else:
        width = (forecast.quantiles[..., -1] - forecast.quantiles[..., 0]).sum(1)
        big = largest[: (len(largest) + 1) // 2]
        spread = width[big] / np.maximum(size[big], 1e-12)
        groups = [("Largest", largest), ("Least certain", big[np.argsort(-spread, kind="stable")])]
        groups.append(("Typical size", np.argsort(np.abs(size - np.median(size)), kind="stable")))
    chosen: dict[int, tuple[int, str, float | None]] = {}
    for why, order in groups:
        for i in [int(i) for i in order if int(i) not in chosen][:EACH]:
            score = float(error[i]) if error is not None and np.isfinite(error[i]) else None
            chosen[i] = (i, why, score)
    return list(chosen.values())


def _view(
    label: str,
    forecasts: Mapping[str, Forecast],
    panel: Panel | None,
    actual: NDArray[Any] | None,
    chosen: Iterable[tuple[int, str, float | None]],
) -> dict[str, Any]:
    """The chosen series with what every model says of them."""
    first = next(iter(forecasts.values()))
    grid, zone = Frequency.parse(first.schema.freq), first.time_zone
    rows = {} if panel is None else {k: r for r, k in enumerate(panel.keys.iter_rows())}
    items = []
    for i, why, score in chosen:
        held = None if actual is None else actual[i]
        # a model may have its own order of series
        shown = [
            picture(f, _row(f, first, i), panel=panel, row=rows.get(first.keys.row(i)), actual=held)
            for f in forecasts.values()
        ]
        items.append(
            {
                "name": shown[0].name,
                "why": why,
                "score": None if score is None else _number(score),
                "past": _labels(shown[0].past, grid, zone),
                "values": _numbers(shown[0].values),
                "ahead": _labels(shown[0].ahead, grid, zone),
                "actual": _numbers(shown[0].actual),
                "models": {m: _fan(s) for m, s in zip(forecasts, shown, strict=True)},
            }
        )
    return {
        "label": label,
        "series": first.n_series,
        "models": list(forecasts),
        "target": first.schema.target,
        "time": _time_name(first.schema, grid, zone),
        "items": items,
    }


def _row(forecast: Forecast, like: Forecast, i: int) -> int:
    key = like.keys.row(i)
    return i if forecast.keys.row(i) == key else forecast.index(key)


def _fan(shown: Picture) -> dict[str, Any]:
    return {
        "median": None if shown.median is None else _numbers(shown.median),
        "mean": _numbers(shown.mean),
        "bands": [
            {"share": b.share, "low": _numbers(b.low), "high": _numbers(b.high)}
            for b in shown.bands
        ],
    }


def _time_name(schema: Schema, grid: Frequency, zone: str | None) -> str:
    return f"{schema.time} ({zone})" if zone is not None and grid.is_subdaily else schema.time


def _labels(steps: NDArray[np.int64], grid: Frequency, zone: str | None) -> list[str]:
    """Times as they are read: years and months, days, or minutes of the user's clock."""
    times = grid.times(steps)
    if grid.is_integer:
        return [str(t) for t in times]
    if grid.is_subdaily:
        clock = pl.Series(times)
        if zone is not None:
            clock = clock.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        form = "%Y-%m-%d %H:%M" if grid.step % 60 == 0 else "%Y-%m-%d %H:%M:%S"
        return [str(t) for t in clock.dt.strftime(form)]
    return [str(t)[: 7 if grid.unit == "M" else 10] for t in times]


def _number(value: Any) -> float | None:
    """Six digits: what single precision holds, and a small page; None where there is no value."""
    return float(f"{float(value):.6g}") if np.isfinite(value) else None


def _numbers(values: Iterable[Any]) -> list[float | None]:
    return [_number(v) for v in values]


def _json(data: dict[str, Any]) -> str:
    """JSON that no key can break out of: it holds no character that means something to HTML."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# -- the words and tables --------------------------------------------------------------------------


def _naive(board: pl.DataFrame) -> str | None:
    found = board.filter(pl.col("verdict") == IS_NAIVE)["model"]
    return str(found[0]) if len(found) else None


def _headline(board: pl.DataFrame, result: BacktestResult) -> str:
    """Does the best model beat the seasonal naive, and by how much: in plain words."""
    best = board.row(0, named=True)
    name, ratio = escape(str(best["model"])), best["vs_seasonal_naive"]
    losers = [escape(str(m)) for m in board.filter(pl.col("verdict") == LOSES)["model"]]
    if best["verdict"] == IS_NAIVE:
        tone, says = "bad", "No model beats the seasonal naive."
        more = "Repeating the last season is the best forecast here; use it, or try other models."
    elif best["verdict"] == LOSES or ratio is None or not np.isfinite(ratio):
        tone, says = "bad", f"It is not shown that {name} beats the seasonal naive."
        more = "Do not rely on it before it does."
    else:
        tone, says = "good", f"{name} beats the seasonal naive by {1 - ratio:.1%}."
        more = "That much lower is its error over all quantiles (wQL)."
        inside = best.get("coverage_80")
        if inside is not None and np.isfinite(inside):
            more += f" Its 80 % band held {inside:.0%} of the values that came."
    if losers:
        verb = "loses" if len(losers) == 1 else "lose"
        named = " and ".join([", ".join(losers[:-1]), losers[-1]] if losers[1:] else losers)
        more += f" {named} {verb} to the seasonal naive."
    span = _span(result.horizon, result.panels[-1].schema.freq)
    series = len(result.actuals[-1])
    basis = (
        f"Measured on {series:,} series over {result.folds} "
        f"{'fold' if result.folds == 1 else 'folds'} of {escape(span)} "
        "that no model had seen."
    )
    return (
        f'<section class="headline {tone}"><h2>{says}</h2><p>{more}</p>'
        f'<p class="muted">{basis}</p></section>'
    )


def _unproven(forecast: Forecast) -> str:
    span = _span(forecast.horizon, forecast.schema.freq)
    return (
        f'<section class="headline"><h2>{forecast.n_series:,} series, {escape(span)} ahead, '
        f"by {escape(forecast.model or 'an unnamed model')}.</h2>"
        "<p>This forecast stands alone: nothing on this page shows that it beats repeating the last "
        "season. A backtest does.</p></section>"
    )


def _span(steps: int, freq: str) -> str:
    """A number of steps as it is said: 28 days, 8 weeks, 24 months, 96 steps of 15min."""
    for name, word in SPANS.items():
        if freq == name or freq.startswith(f"{name}-"):
            return f"{steps} {word}{'s' * (steps != 1)}"
    return f"{steps} step{'s' * (steps != 1)} of {freq}"


def _leaderboard(board: pl.DataFrame) -> str:
    columns = [c for c in COLUMNS if c in board.columns]
    head = "".join(f'<th scope="col">{COLUMNS[c][0]}</th>' for c in columns)
    rows = ""
    for row in board.iter_rows(named=True):
        mark = {IS_NAIVE: "naive", LOSES: "loses"}.get(row["verdict"], "beats")
        shown = row | {"verdict": BEATS[mark]}
        cells = "".join(
            f"<td>{escape(_cell(shown[c], COLUMNS[c][1]))}</td>" for c in columns if c != "model"
        )
        rows += f'<tr class="{mark}"><th scope="row">{escape(str(row["model"]))}</th>{cells}</tr>'
    return _section(
        "Leaderboard",
        "Best first, by wQL. Lower is better for all but the band, which should hold 80 %, and the "
        "bias, which is that of the mean and should be near 0.",
        f'<div class="board">{_table("Scores of every model", head, rows)}</div>',
    )


def _cell(value: Any, form: str) -> str:
    missing = value is None or (isinstance(value, float) and not np.isfinite(value))
    return "n/a" if missing else form.format(value)


def _calibration(data: dict[str, Any]) -> str:
    levels = sorted({level for given, _ in data["calibration"].values() for level in given})
    head = '<th scope="col">Level</th>' + _heads(data["calibration"])
    rows = ""
    for level in levels:
        cells = ""
        for given, shares in data["calibration"].values():
            share = shares[given.index(level)] if level in given else None
            cells += f"<td>{_cell(share, '{:.1%}')}</td>"
        rows += f'<tr><th scope="row">{level:.4g}</th>{cells}</tr>'
    return _section(
        "Are the quantiles honest?",
        "Of the values that came, the share below each quantile; a value on its quantile counts with a "
        "share, as if ties were broken at random. On the diagonal a level means what it says; above it "
        "the forecast is too high there, below it too low.",
        '<div class="chart" data-chart="calibration"></div>' + _numbers_below(head, rows),
    )


def _by_step(data: dict[str, Any]) -> str:
    head = '<th scope="col">Step</th>' + _heads(data["steps"])
    rows = ""
    for step, scores in enumerate(zip(*data["steps"].values(), strict=True), 1):
        cells = "".join(f"<td>{_cell(s, '{:.4f}')}</td>" for s in scores)
        rows += f'<tr><th scope="row">{step}</th>{cells}</tr>'
    return _section(
        "Error by step ahead",
        "wQL of each step of the horizon, all folds together; lower is better.",
        '<div class="chart" data-chart="steps"></div>' + _numbers_below(head, rows),
    )


def _heads(models: Iterable[str]) -> str:
    return "".join(f'<th scope="col">{escape(m)}</th>' for m in models)


def _numbers_below(head: str, rows: str) -> str:
    table = _table("The numbers of the chart above", head, rows)
    return f"<details><summary>Numbers</summary>{table}</details>"


def _table(label: str, head: str, rows: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _notes(found: Sequence[Note], said: Sequence[str]) -> str:
    lines = [("info", s) for s in said]
    lines += [(n.severity, str(n)) for n in sorted(found, key=lambda n: n.severity == "info")]
    if not lines:
        return ""
    rows = "".join(
        f'<li class="{escape(how)}">{"<b>Warning.</b> " if how != "info" else ""}{escape(text)}</li>'
        for how, text in lines
    )
    return _section("About the data", "", f"<ul>{rows}</ul>")


def _section(title: str, lead: str, inner: str) -> str:
    lead = f'<p class="muted">{lead}</p>' if lead else ""
    return f"<section><h2>{title}</h2>{lead}{inner}</section>"


# -- the file --------------------------------------------------------------------------------------


def _asset(name: str) -> str:
    return files("demandcast.report").joinpath(name).read_text(encoding="utf-8")
