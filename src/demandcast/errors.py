"""Errors that a caller can mend. Each names the place, what is there, what is expected, and the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self  # of `typing` from Python 3.11 on

Mend = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Way:
    """Arguments that mend a fault, or change what was done.

    Attributes:
        arguments: Names and values; a value of ... is for the reader to choose.
        meaning: What they do, in brackets.
        call: How Python gives them, where they are no arguments of `read_panel`.
        mends: Whether the table is read with them; the command line then shows the command to call.
    """

    arguments: Mend
    meaning: str = ""
    call: str = ""
    mends: bool = False


def way(meaning: str = "", /, *, call: str = "", **arguments: Any) -> Way:
    """Return a way out, as `way("not known", gaps="missing")`."""
    return Way(tuple(arguments.items()), meaning, call)


def mend(meaning: str = "", /, **arguments: Any) -> Way:
    """Return a way under which the table is read; of several ways, one mends."""
    return Way(tuple(arguments.items()), meaning, mends=True)


def as_call(out: Way) -> str:
    """Write a way out as Python: `gaps='missing'`."""
    return out.call or ", ".join(
        f"{name}={'...' if value is ... else repr(value)}" for name, value in out.arguments
    )


def with_ways(text: str, ways: Sequence[Way], write: Callable[[Way], str]) -> str:
    """Return a text followed by the ways out: "..., or pass gaps='zero' (no demand) or gaps='missing'"."""
    parts = [f"{write(out)}{f' ({out.meaning})' if out.meaning else ''}" for out in ways]
    listed = ", ".join(parts[:-1])
    return f"{text} {f'{listed} or ' if listed else ''}{parts[-1]}" if parts else text


class DemandcastError(Exception):
    """Base class of all errors that this package raises on purpose; the command line exits with 2 on them.

    Attributes:
        option: The argument that the fault is about.
        column, series, time: Where it is.
        found, expected: What is there, and what belongs there.
        suggested: The known name nearest to `found`, an unknown one; None if there is none.
        ways: Arguments that mend it; the message ends with them, written as Python or as options.
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
        ways: Sequence[Way] = (),
    ) -> None:
        super().__init__(message)
        self.message, self.ways = str(message), tuple(ways)
        self.option, self.column, self.series, self.time = option, column, series, time
        self.found, self.expected = found, expected
        self.suggested: str | None = None
        self.mend: Mend = tuple(pair for out in ways if out.mends for pair in out.arguments)

    def suggest(self, name: str | None) -> Self:
        """Set `suggested`, and return the error."""
        self.suggested = name
        return self

    def text(self, write: Callable[[Way], str] = as_call) -> str:
        """Return the message with its ways out, written as Python or as `write` does."""
        return with_ways(self.message, self.ways, write)

    def __str__(self) -> str:
        return self.text()


class DataError(DemandcastError, ValueError):
    """The table has data that cannot be forecast without a change.

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
    """Merge the arguments that mend several faults or findings; the first value of an argument wins."""
    merged: dict[str, Any] = {}
    for fault in faults:
        for name, value in fault.mend:
            merged.setdefault(name, value)
    return tuple(merged.items())
