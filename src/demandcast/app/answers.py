"""The state of the workspace as JSON for the page: what is open, what came out, and how to correct what failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl

from demandcast import registry
from demandcast.app.worker import Job, Worker
from demandcast.app.workspace import (
    BESIDE,
    MINE,
    ROLES,
    ROWS,
    SLOTS,
    Opened,
    Run,
    Workspace,
    finite,
    sums,
)
from demandcast.decide.orders import Orders
from demandcast.errors import DemandcastError, Way, with_ways
from demandcast.forecast.what_if import WhatIf
from demandcast.frequency import Frequency
from demandcast.panel.classes import count_classes
from demandcast.panel.horizon import usual_horizon
from demandcast.panel.panel import Note, Panel
from demandcast.panel.time_column import time_column
from demandcast.reading import NamedColumns, Reading
from demandcast.report.view import View
from demandcast.report.words import amount, percent, period, span, time_labels

JSON = dict[str, Any]
SHOWN = 50  # items of a table of results
NAMED = {
    "future": "values ahead",
    "static_table": "a table of items",
    "horizon": "steps to forecast",
}  # options
COLUMNS = 150  # of a table that are shown, and all that have a role
CELL = 60  # characters of a cell that are shown
FIRST = ("zero_shot", "auto")  # models that the page offers first


def state(workspace: Workspace, worker: Worker, seen: int | None = None) -> JSON:
    """Return all that the page shows; results only if their version is not the one that the page has seen."""
    results = {} if seen == workspace.version else workspace.answer
    return {
        "version": workspace.version,
        "job": None if worker.job is None else _job(workspace, worker, worker.job),
        "busy": worker.is_busy,
        "files": {slot: workspace.files[slot].name for slot in SLOTS if slot in workspace.files},
        **results,
    }


def results_of(workspace: Workspace) -> JSON:
    """Return the table, the forecast, the question and the orders; it takes time for large tables."""
    table, run = workspace.table, workspace.run
    return {
        "table": None if table is None else _table(workspace, table),
        "forecast": None if run is None else _run(run, stale=table is not run.table),
        "question": None if workspace.question is None else _question(workspace.question),
        "orders": None if workspace.orders is None else _orders(workspace.orders),
    }


def facts() -> JSON:
    """Return what does not change: the options of a table, and the models."""
    options = [
        {
            "name": f.name, "help": f.metadata["help"], "choices": list(f.metadata.get("choices", ())),
            "flags": f.metadata.get("flags", ""), "columns": f.metadata.get("metavar") in ("COLUMN", "COLUMNS"),
            "default": f.default if isinstance(f.default, str) else None,
            "role": kind is NamedColumns and f.name in ROLES,
        }
        for kind in (NamedColumns, Reading)
        for f in fields(kind)
        if f.name not in MINE
    ]  # fmt: skip
    models = [{"name": name, "summary": kind.summary} for name, kind in registry.classes().items()]
    models.sort(key=lambda m: FIRST.index(m["name"]) if m["name"] in FIRST else len(FIRST))
    return {"options": options, "models": models, "beside": list(BESIDE)}


def error(workspace: Workspace, raised: DemandcastError) -> JSON:
    """Return an error with its mends: arguments and values, where a value of null is for the person to choose."""
    faults = [error(workspace, fault) for fault in getattr(raised, "faults", ())]
    return {
        "message": _text(workspace, raised.message, raised.ways),
        "option": raised.option,
        "column": raised.column,
        "ways": [_way(out) for out in raised.ways],
        "faults": faults,
    }


def _text(workspace: Workspace, message: str, ways: Sequence[Way]) -> str:
    """Return a message with its ways out, for a reader who does not program."""
    plain = re.sub(r"\bpass$", "choose", message)
    return workspace.shorten(with_ways(plain, ways, in_words))


def in_words(out: Way) -> str:
    """Write a way out as the page calls it: gaps = zero."""
    return ", ".join(
        _option_name(name) if value is ... else f"{_option_name(name)} = {_show_value(value)}"
        for name, value in out.arguments
    )


def _option_name(option: str) -> str:
    return NAMED.get(option, option.replace("_", " "))


def _show_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    listed = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return listed or "none"


def _way(out: Way) -> JSON:
    return {
        "arguments": {name: None if value is ... else value for name, value in out.arguments},
        "text": in_words(out),
        "meaning": out.meaning,
    }


def _job(workspace: Workspace, worker: Worker, job: Job) -> JSON:
    return {
        "number": job.number, "kind": job.kind, "text": job.text, "share": job.share, "state": job.state,
        "seconds": round(job.elapsed, 1), "canFinish": job.can_finish, "stopping": worker.is_stopping, "notes": job.notes,
        "error": None if job.error is None else error(workspace, job.error),
    }  # fmt: skip


# The table ---------------------------------------------------------------------------------------------


def _table(workspace: Workspace, table: Opened) -> JSON:
    panel, sample = table.report.panel, table.sample
    errors = [note for note in table.report.findings if note.severity == "error"]
    shown = errors or [note for note in table.report.findings if not _is_role(note)]
    every = [] if sample is None else sample.columns
    columns = [name for i, name in enumerate(every) if i < COLUMNS or name in table.roles]
    head = pl.DataFrame() if sample is None else sample.sample.head(ROWS)
    return {
        "name": table.name,
        "options": table.options,
        "columns": [
            {"name": name, "role": table.roles.get(name), "cells": [_cell(v) for v in head[name].to_list()]}
            for name in columns
        ],
        "wide": panel is not None and panel.schema.target not in every,
        "more": len(every) - len(columns),
        "findings": [_finding(workspace, note) for note in shown],
        "panel": None if panel is None else _panel(panel),
    }  # fmt: skip


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= CELL else f"{text[: CELL - 3]}..."


def _is_role(note: Note) -> bool:
    """Return whether a note says how one role was found, which the page shows at its column."""
    changed = {name for out in note.ways for name, _ in out.arguments}
    return note.kind == "guess" and len(changed) == 1 and changed <= {*ROLES, "freq"}


def _finding(workspace: Workspace, note: Note) -> JSON:
    where = f"{note.count:,} in {note.series:,} series" if note.series else ""
    return {
        "severity": note.severity,
        "kind": note.kind,
        "text": _text(workspace, note.done, note.ways),
        "where": f"{where}, such as {note.example}" if where and note.example else where,
        "ways": [_way(out) for out in note.ways],
        "column": note.column,
    }


def _panel(panel: Panel) -> JSON:
    summary = panel.summary()
    ends = np.array([panel.starts.min(), panel.ends().max()])
    first, last = time_labels(ends, panel.freq, panel.time_zone)
    return {
        "series": panel.n_series,
        "steps": summary["steps"],
        "freq": panel.schema.freq,
        "step": span(1, panel.schema.freq),
        "first": first,
        "last": last,
        "period": period(first, last),
        "longest": summary["longest"],
        "zeros": percent(summary["zeros"]),
        "missing": percent(summary["missing"]),
        "target": panel.schema.target,
        "time": panel.schema.time,
        "classes": count_classes(panel),
        "horizon": usual_horizon(panel),
    }


def _covariate(panel: Panel, name: str) -> JSON:
    """Return what the history has of a covariate: categories, yes and no, or a range of numbers."""
    if name not in panel.known_names:
        words = [own.partition("=")[2] for own in panel.known_names if own.startswith(f"{name}=")]
        return {"name": name, "kind": "category", "values": words}
    values = panel.known[panel.history_rows()][:, panel.known_names.index(name)]
    values = values[np.isfinite(values)]
    if not len(values):
        return {"name": name, "kind": "empty", "values": []}
    if np.isin(values, (0, 1)).all():
        return {"name": name, "kind": "flag", "values": ["1", "0"]}
    return {"name": name, "kind": "number", "values": [f"{v:g}" for v in (values.min(), values.max())]}  # fmt: skip


def _groups(panel: Panel) -> list[JSON]:
    """Return columns by which a change can be limited to some series, with their values."""
    columns: dict[str, Iterable[Any]] = {
        name: panel.keys[name].unique(maintain_order=True) for name in panel.keys.columns
    }
    columns |= dict(panel.vocabularies.items())
    return [{"name": name, "values": [str(v) for v in values][:2000]} for name, values in columns.items()]  # fmt: skip


def _steps_ahead(panel: Panel) -> list[JSON]:
    """Return the steps ahead that known covariates reach, of the series that end last: as a condition and as people
    write them.
    """
    end = int(panel.ends().max())
    reach = int((panel.extents - panel.lengths).max(initial=0))
    steps = np.arange(end + 1, end + 1 + reach)
    times = time_column(panel.schema, steps, panel.time_zone, panel.time_dtype)
    if not panel.freq.is_integer:
        times = times.cast(pl.Date if times.dtype == pl.Date else pl.Datetime("us"))
    labels = time_labels(steps, panel.freq, panel.time_zone)
    return [
        {"value": str(value), "label": label}
        for value, label in zip(times.to_numpy(), labels, strict=True)
    ]


# What came out -------------------------------------------------------------------------------------------


def _run(run: Run, *, stale: bool) -> JSON:
    forecast, panel = run.forecast, run.table.panel
    view = View.of("", {forecast.model: forecast}, panel)
    steps = span(forecast.horizon, forecast.schema.freq)
    known = np.isfinite(view.previous)
    before = float(view.previous[known].sum())
    change = percent(float(view.total[known].sum()) / before - 1, sign=True) if before > 0 else None
    return {
        "report": run.report.name,
        "table": run.table.name,
        "stale": stale,
        "model": run.model.name,
        "horizon": forecast.horizon,
        "span": steps,
        "period": period(*view.dates()),
        "items": forecast.n_series,
        "target": forecast.schema.target,
        "total": amount(float(view.total.sum())),
        "change": change,
        "seconds": round(run.seconds, 1),
        "reads": "known" in run.model.takes,
        "step": span(1, forecast.schema.freq),
        "known": [_covariate(panel, name) for name in panel.schema.known],
        "groups": _groups(panel),
        "ahead": _steps_ahead(panel),
    }


def _question(answer: WhatIf) -> JSON:
    planned, column = answer.planned, answer.planned.column
    totals = answer.totals()
    order = totals[column("difference")].abs().arg_sort(descending=True)
    low, high = (column(f"difference_{level:g}") for level in (answer.levels[0], answer.levels[-1]))
    shown = totals[order].head(SHOWN)
    rows = [
        {
            "name": "/".join(str(row[c]) for c in planned.keys.columns), "planned": row[column("planned")],
            "changed": row[column("changed")], "difference": row[column("difference")],
            "low": row[low], "high": row[high], "ratio": finite(row[column("ratio")]),
        }
        for row in shown.iter_rows(named=True)
    ]  # fmt: skip
    total = answer.total()
    cutoff = int(planned.cutoffs.max())
    steps = np.arange(cutoff + 1, cutoff + 1 + planned.horizon)
    grid = Frequency.parse(planned.schema.freq)
    return {
        "question": answer.question,
        "effect": answer.effect,
        "target": planned.schema.target,
        "time": planned.schema.time,
        "labels": time_labels(steps, grid, planned.time_zone),
        "planned": sums(planned),
        "changed": sums(answer.changed),
        "series": planned.n_series,
        "total": {
            "planned": total["planned"], "changed": total["changed"], "difference": total["difference"],
            "low": total[f"difference_{answer.levels[0]:g}"], "high": total[f"difference_{answer.levels[-1]:g}"],
            "ratio": finite(total["ratio"]),
        },
        "rows": rows,
        "notes": list(answer.notes),
    }  # fmt: skip


def _orders(orders: Orders) -> JSON:
    frame = orders.to_frame()
    names = {name: orders.forecast.column(name) for name in
             ("order", "order_up_to", "expected_demand", "p_stock_out", "fill_rate", "expected_lost", "expected_held", "cost", "why")}  # fmt: skip
    largest = frame.sort(names["order"], descending=True, maintain_order=True).head(SHOWN)
    rows = [
        {"name": "/".join(str(row[c]) for c in orders.forecast.keys.columns)}
        | {name: row[own] for name, own in names.items()}
        for row in json.loads(largest.write_json())
    ]
    demand, lost = float(orders.window_demand.sum()), float(orders.expected_lost.sum())
    costs = orders.cost
    return {
        "summary": orders.summary(),
        "items": len(orders.order),
        "ordered": int((orders.order > 0).sum()),
        "units": float(orders.order.sum()),
        "served": 1 - lost / demand if demand > 0 else None,
        "lost": lost,
        "held": float(orders.expected_held.sum()),
        "cost": None if np.isnan(costs).any() else float(costs.sum()),
        "rows": rows,
        "notes": list(orders.stock.notes),
    }
