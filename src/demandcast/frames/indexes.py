"""Turn what pandas keeps beside the columns into columns: indexes, periods, and named axes of columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from demandcast.frames.vocabulary import KEY, TARGET, WHOLE_KEY, columns_with_words, is_word
from demandcast.panel.note import Note


def as_columns(source: Any) -> tuple[Any, tuple[str, ...], list[Note]]:
    """Convert a pandas frame or series to a frame whose index levels are plain columns.

    An index is kept where it has a name, or holds times, periods or text; one that only numbers the rows is not.
    Under an index of times, columns whose axis has names are the series of a wide table, which becomes a long one
    with these names as its key. Periods become their first day.

    Returns:
        The frame, its key columns where the indexes tell them and their names do not, and notes.
    """
    frame = source
    if frame.ndim == 1:
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    outside, notes = _index_levels(frame), list[Note]()
    keys = tuple(name for name in outside if name.startswith("level "))
    frame = frame.reset_index(drop=True)
    if any(_kind(level) in "MP" for level in outside.values()) and _holds_series(frame):
        axis = [
            _level_name(name, i, frame.columns.nlevels)
            for i, name in enumerate(frame.columns.names)
        ]
        keys = (*(str(name) for name, level in outside.items() if _kind(level) not in "MP"), *axis)
        frame = _stack(frame, outside, axis)
        action = "the axis of the columns has names: read as a wide table, a column a series"
        notes.append(Note(kind="wide", count=len(frame), series=0, example="", done=action))
    else:
        if _kind(frame.columns) in "MP":
            frame = frame.set_axis([str(name)[:10] for name in frame.columns], axis=1)
        for place, (name, level) in enumerate(outside.items()):
            frame.insert(place, name, level)
    periods = [c for j, c in enumerate(frame.columns) if _kind(frame.iloc[:, j]) == "P"]
    if periods:
        frame = frame.assign(**{c: frame[c].dt.to_timestamp(how="start") for c in periods})
        action = f"periods of {periods[0]!r} are read as their first day"
        notes.append(Note(kind="periods", count=len(frame), series=0, example="", done=action))
    return frame, keys, notes


def _kind(values: Any) -> str:
    """M for times, P for periods, else numpy's letter: O, T or U for text."""
    name = str(values.dtype)
    if name.startswith(("period", "datetime")):
        return "P" if name[0] == "p" else "M"
    return str(getattr(values.dtype, "kind", "O"))


def _index_levels(frame: Any) -> dict[str, Any]:
    """Return the index levels that hold data, by their own names or by descriptive ones."""
    index = frame.index
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    data_levels = [
        level for level in levels
        if (level.name is not None and level.name not in frame.columns)
        or (level.name is None and _kind(level) in "MPOTU")
    ]  # fmt: skip
    nameless = [level for level in data_levels if level.name is None and _kind(level) not in "MP"]
    columns: dict[str, Any] = {}
    for level in data_levels:
        name = level.name
        if name is None:
            description = _level_name(None, len(columns), len(nameless))
            name = "index" if _kind(level) in "MP" else description
        columns[str(name)] = level
    return columns


def _holds_series(frame: Any) -> bool:
    """Return whether the columns of a frame indexed by time are series, by the names of the column axis."""
    names = [str(name) for name in frame.columns.names if name is not None]
    if any(_kind(frame.iloc[:, j]) not in "iufbO" for j in range(frame.shape[1])):
        return False
    if frame.columns.nlevels > 1 or columns_with_words(names, (*KEY, *WHOLE_KEY)):
        return True
    return bool(names) and not any(is_word(str(column), TARGET) for column in frame.columns)


def _level_name(name: Any, i: int, count: int) -> str:
    """Return the name of a level, or a substitute if it has none."""
    return str(name) if name is not None else "series" if count == 1 else f"level {i + 1}"


def _stack(frame: Any, outside: dict[str, Any], axis: list[str]) -> Any:
    """Stack the columns, with their names and the index beside the values."""
    import pandas as pd

    steps, series = frame.shape
    again = np.tile(np.arange(steps), series)
    columns = {name: level.take(again) for name, level in outside.items()}
    for i, name in enumerate(axis):
        columns[name] = frame.columns.get_level_values(i).repeat(steps)
    values = pd.concat([frame.iloc[:, j] for j in range(series)], ignore_index=True)
    return pd.DataFrame({**columns, "value": values})
