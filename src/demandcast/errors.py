"""Every error a caller can mend. Each names the place, the found and the expected, and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Mend = tuple[tuple[str, Any], ...]


class DemandcastError(Exception):
    """Root of all errors this package raises on purpose; the command line exits with 2 on them.

    Attributes:
        option: The argument that the fault is about.
        column, series, time: Where it is.
        found, expected: What is there, and what belongs there.
        mend: Arguments of `read_panel` and values under which the table is read; the command line shows them as
            the command to call.
    """

    def __init__(
        self,
        message: object = "",
        *,
        option: str | None = None,
        column: str | None = None,
        series: str | None = None,
        time: str | None = None,
        found: object = None,
        expected: str | None = None,
        mend: Mend = (),
    ) -> None:
        super().__init__(message)
        self.option, self.column, self.series, self.time = option, column, series, time
        self.found, self.expected, self.mend = found, expected, tuple(mend)


class DataError(DemandcastError, ValueError):
    """The table holds something that cannot be forecast as it is.

    Attributes:
        faults: Where a table has several faults, each as an error of its own, most severe first.
    """

    faults: tuple[DataError, ...] = ()


class SchemaError(DataError):
    """A column is missing, ambiguous, or of a type its role cannot have."""


class FrequencyError(DataError):
    """The time steps are not on one grid, or the frequency is not known."""


class FileError(DataError, OSError):
    """A file is absent, empty, or not what its name says."""


class ConfigError(DemandcastError, ValueError):
    """A hyper-parameter or option is unknown or out of its range."""


class ShapeError(DemandcastError, ValueError):
    """Arrays that must agree in shape do not."""


class NotFittedError(DemandcastError, RuntimeError):
    """A forecast was asked of a model that has not been fitted."""


class MissingExtraError(DemandcastError, ImportError):
    """An optional dependency is wanted; the message holds the command that installs it."""


class CheckpointError(DemandcastError, ValueError):
    """A saved run is damaged, of another version, or of another model."""


class WorkerError(DemandcastError, RuntimeError):
    """A process that trained along with others ended before they did."""


class NotEnoughMemoryError(DemandcastError, MemoryError):
    """The work asked for needs more memory than there is."""

    help = (
        "read fewer rows or columns, give Parquet, of which only the columns needed are read, or "
        "keep the panel in a store (panel.to_store) and train with loader='streaming'"
    )


def merge_mends(faults: Iterable[Any]) -> Mend:
    """The arguments that mend several faults, or findings; of two for one argument the first."""
    merged: dict[str, Any] = {}
    for fault in faults:
        for name, value in fault.mend:
            merged.setdefault(name, value)
    return tuple(merged.items())
