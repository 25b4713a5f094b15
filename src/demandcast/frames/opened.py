"""A table as it was opened: its columns have no roles and, in text files, no types yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from demandcast.errors import FileError
from demandcast.frames.numerals import Hints
from demandcast.panel.panel import Note

SAMPLE = 2000  # rows by which columns are guessed


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose columns have no roles yet.

    Attributes:
        frame: Its rows, read when columns are selected.
        sample: The first of its rows.
        is_text: Whether every column is text as it stands in the file.
        hints: What the file tells of the numbers in it.
        notes: What was found and done on the way.
        name: What messages call it.
        keys: Key columns that the source itself tells, as the index of a frame does.
    """

    frame: pl.LazyFrame
    sample: pl.DataFrame
    is_text: bool = False
    hints: Hints = field(default_factory=Hints)
    notes: tuple[Note, ...] = ()
    name: str = "the table"
    keys: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return self.sample.columns

    def select(self, columns: Sequence[str], *, coded: Sequence[str] = ()) -> pl.DataFrame:
        """Read the rows of some columns into memory.

        Args:
            columns: Which.
            coded: Those of them that say the same in many rows: of text they come as categories.

        Raises:
            FileError: A row does not fit the header, or the file cannot be decoded to its end.
        """
        try:
            frame = self.frame.select(columns)
            if self.is_text:
                frame = frame.with_columns(pl.col(list(coded)).cast(pl.Categorical))
            return frame.collect()
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            if "more fields" in reason:
                reason = "a row has more cells than the header has names; is a cell with the separator unquoted?"
            raise FileError(f"{self.name} cannot be read ({reason})") from error

    def collect(self) -> pl.DataFrame:
        """Read the whole table into memory."""
        return self.select(self.columns)
