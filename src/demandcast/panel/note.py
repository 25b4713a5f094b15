"""What was found in a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Note:
    """One thing that was found in the table, and what was done about it."""

    kind: str  # "duplicates", "gaps", "unsorted", "negative", "guess" ...
    count: int  # rows, or columns for a guess
    series: int  # series concerned
    example: str  # where: series and timestamp
    action: str  # what was done, or which option changes it
    severity: str = "info"  # or "warning"

    def __str__(self) -> str:
        if not self.series:  # about columns, not about values
            return f"{self.kind}: {self.action}"
        where = f" (e.g. {self.example})" if self.example else ""
        return f"{self.kind}: {self.count:,} in {self.series:,} series{where}; {self.action}"
