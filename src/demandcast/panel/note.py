"""The `Note`: one finding in a table, and what was done about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from demandcast.errors import Way, as_call, with_ways


@dataclass(frozen=True, kw_only=True)
class Note:
    """One finding in the table, and what was done about it."""

    kind: str  # "duplicates", "gaps", "unsorted", "negative", "guess" ...
    count: int  # number of rows, or of columns for a guess
    series: int  # number of series that have it; 0 for a finding about columns
    example: str  # series and timestamp of one case
    done: str  # what was done
    ways: tuple[Way, ...] = ()  # arguments that change it; the text ends with them
    severity: str = "info"  # "info", "warning" or, of `check`, "error"
    column: str = ""  # the column it is about
    mend: tuple[tuple[str, Any], ...] = ()  # arguments of `read_panel` that mend an error

    @property
    def action(self) -> str:
        """What was done, and which arguments change it."""
        return with_ways(self.done, self.ways, as_call)

    def text(self, write: Callable[[Way], str] = as_call) -> str:
        """Return the whole finding, its arguments written as Python or as `write` does."""
        action = with_ways(self.done, self.ways, write)
        if not self.series:
            return f"{self.kind}: {action}"
        where = f" (e.g. {self.example})" if self.example else ""
        return f"{self.kind}: {self.count:,} in {self.series:,} series{where}; {action}"

    def __str__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON: `action` holds its ways in words."""
        names = ("kind", "count", "series", "example", "action", "severity", "column", "mend")
        return {name: getattr(self, name) for name in names}
