"""Every error a caller can mend. Each names the place, the found and the expected, and the mend."""

from __future__ import annotations


class DemandcastError(Exception):
    """Root of all errors this package raises on purpose; the command line exits with 2 on them."""


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
