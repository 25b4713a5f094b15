"""Check a table: how it is read, what is wrong with it, and what `read_panel` does about each fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from demandcast.errors import DemandcastError, Way, as_call, merge_mends, with_ways
from demandcast.frames.read import read_panel
from demandcast.frames.sql import as_source
from demandcast.panel.classes import count_classes
from demandcast.panel.panel import Note, Panel

LENIENT = {
    "duplicates": "last",
    "gaps": "missing",
    "negative": "keep",
    "infinite": "missing",
    "text": "missing",
    "future_gaps": "last",
}  # a rule for each option that may refuse a table, to see what else there is
RANK = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings of `check`, errors first; `panel` is None where the table cannot be read."""

    findings: tuple[Note, ...]
    panel: Panel | None

    @property
    def mend(self) -> dict[str, Any]:
        """Arguments of `read_panel` under which the faults that have such a mend are gone."""
        return dict(merge_mends(self.findings))

    @property
    def ok(self) -> bool:
        """Whether `read_panel` takes the table with these options."""
        return self.panel is not None

    def to_frame(self, write: Callable[[Way], str] = as_call) -> pl.DataFrame:
        """Return a row a finding: severity, kind, count, series, example, action.

        Args:
            write: How arguments are written in `action`: as Python by default.
        """
        columns = ("severity", "kind", "count", "series", "example", "action")
        types = {c: pl.Int64 if c in ("count", "series") else pl.String for c in columns}
        rows = [
            {**note.to_dict(), "action": with_ways(note.done, note.ways, write)}
            for note in self.findings
        ]
        return pl.DataFrame(rows, schema=types)

    def to_json(self) -> str:
        """Write the report as JSON; its `panel` is null if the table cannot be read."""
        panel = None
        if self.panel is not None:
            roles = self.panel.schema.to_dict()
            figures = self.panel.summary().items()
            panel = {"schema": roles, **{k: None if v != v else v for k, v in figures}}
            panel["demand"] = count_classes(self.panel)
        content = {
            "ok": self.ok,
            "panel": panel,
            "findings": [note.to_dict() for note in self.findings],
        }
        return json.dumps(content, indent=2, default=str)

    def __str__(self) -> str:
        lines = [f"{note.severity}: {note}" for note in self.findings]
        return "\n".join([repr(self.panel) if self.ok else "the table cannot be read", *lines])

    def _repr_html_(self) -> str:
        frame: str = self.to_frame()._repr_html_()
        return frame


def check(source: Any = None, **options: Any) -> Report:
    """Read a table as `read_panel` does, and return all findings instead of raising.

    A fault that stops the reading is a finding of severity "error"; the table is then read once
    more under rules that let such faults pass, to find what else there is.

    Args:
        source: As in `read_panel`.
        options: As in `read_panel`.
    """
    source = as_source(source, options.pop("sql", None), options.pop("connect", None))
    try:
        panel = read_panel(source, **options)
    except DemandcastError as error:
        stops = [_as_note(fault) for fault in getattr(error, "faults", ()) or (error,)]
    else:
        return Report(findings=_sort_findings(panel.notes), panel=panel)
    rules = {option: rule for option, rule in LENIENT.items() if options.get(option) != rule}
    try:
        findings = list(read_panel(source, **{**options, **rules}).notes)
    except DemandcastError as error:
        remaining = getattr(error, "faults", ()) or (error,)
        findings = [note for note in map(_as_note, remaining) if note not in stops]
    return Report(findings=_sort_findings([*stops, *findings]), panel=None)


def _as_note(error: DemandcastError) -> Note:
    kind = type(error).__name__.removesuffix("Error").lower()
    place = " at ".join(filter(None, (error.series and f"series {error.series}", error.time)))
    mend = tuple((name, value) for name, value in error.mend)
    return Note(
        kind=kind, count=1, series=0, example=place, done=error.message, severity="error",
        column=error.column or "", mend=mend, ways=error.ways,
    )  # fmt: skip


def _sort_findings(notes: Any) -> tuple[Note, ...]:
    return tuple(sorted(notes, key=lambda note: (RANK[note.severity], -note.series)))
