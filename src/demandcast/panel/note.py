"""The `Note`: one finding in a table, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Note:
    """One finding in the table, and what was done about it."""

    kind: str  # "duplicates", "gaps", "unsorted", "negative", "guess" ...
    count: int  # number of rows, or of columns for a guess
    series: int  # number of series that have it; 0 for a finding about columns
    example: str  # series and timestamp of one case
    action: str  # what was done, or which option changes it
    severity: str = "info"  # "info", "warning" or, of `check`, "error"
    column: str = ""  # the column it is about
    mend: tuple[tuple[str, Any], ...] = ()  # arguments of `read_panel` that mend an error

    def __str__(self) -> str:
        if not self.series:
            return f"{self.kind}: {self.action}"
        where = f" (e.g. {self.example})" if self.example else ""
        return f"{self.kind}: {self.count:,} in {self.series:,} series{where}; {self.action}"
