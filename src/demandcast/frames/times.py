"""The time column, of whatever type, as plain timestamps or whole steps."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError
from demandcast.panel.panel import Note

CLOCKS = ("", " %H:%M", " %H:%M:%S%.f")
PLAIN = [
    day + clock
    for day in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y")
    for clock in CLOCKS
]
DAY_FIRST = ["%d/%m/%Y" + clock for clock in CLOCKS]
MONTH_FIRST = ["%m/%d/%Y" + clock for clock in CLOCKS]


@dataclass(frozen=True)
class Times:
    """Parsed times, a row of the table each.

    Attributes:
        values: datetime64[us] as the user's clock shows them, or int64 steps.
        instants: The same in UTC where the table says which instant is meant, else None.
        zone: Name of the time zone, or None.
    """

    values: NDArray[Any]
    instants: NDArray[Any] | None
    zone: str | None


def parse_times(column: pl.Series, zone: str | None) -> tuple[Times, list[Note]]:
    """Dates, datetimes, whole numbers or text as times.

    Raises:
        SchemaError: The column holds something else, or `zone` is no time zone.
        DataError: A time is absent, cannot be read, or its day and month cannot be told apart.
    """
    check_zone(zone)
    name, notes = column.name, list[Note]()
    if column.null_count():
        raise _absent(column)
    if column.dtype == pl.Categorical or column.dtype == pl.Enum:
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column, notes = _read_text(column, zone)
    if column.dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        bad = (whole.is_null() | (whole.cast(pl.Float64) != column.cast(pl.Float64))).arg_true()
        if len(bad):
            raise SchemaError(
                f"time column {name!r} holds {column[bad[0]]} in row {bad[0] + 1:,}; a time is a "
                "date, a datetime or a whole number: convert the column first"
            )
        column = whole
    if column.dtype.is_integer():
        column = _whole(column, notes)
        if column.dtype.is_integer():
            return Times(column.cast(pl.Int64).to_numpy(), None, zone), notes
    if isinstance(column.dtype, pl.Datetime):
        stated = column.dtype.time_zone
        column = column.cast(pl.Datetime("us", stated))
        if stated is not None:
            zone = zone or stated
            instants = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            wall = column.dt.convert_time_zone(zone).dt.replace_time_zone(None)
            return Times(wall.to_numpy(), instants.to_numpy(), zone), notes
    elif column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    else:
        raise SchemaError(
            f"time column {name!r} holds {column.dtype}; a time is a date, a datetime, text like "
            "2024-01-31 or a whole number: name another column with time=..., or convert this one "
            "(pandas periods: .dt.to_timestamp())"
        )
    return Times(column.to_numpy(), None, zone), notes


def reply_dtype(given: pl.DataType, values: NDArray[Any]) -> pl.DataType:
    """The type in which times are given back: the user's own, or dates where they came as text."""
    if values.dtype.kind == "i":
        wide = given.is_integer() and given not in (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16)
        return given if wide else pl.Int64()
    if given.is_temporal():
        return given
    whole = bool((values == values.astype("datetime64[D]")).all())
    return pl.Date() if whole else pl.Datetime("us")


def check_zone(zone: str | None) -> None:
    """Refuse what is no time zone of the IANA list."""
    if zone is None:
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise SchemaError(
            f"time_zone {zone!r} is not known; give a name like 'Europe/Berlin' or 'UTC'"
        ) from None


def to_instants(
    walls: NDArray[Any], codes: NDArray[Any], zone: str
) -> tuple[NDArray[Any], NDArray[np.bool_], list[Note]]:
    """Local clock readings as UTC, clock changes included.

    An hour that the clock shows twice is the first one where a series meets it first, the second
    one after that. A reading that the clock skips is no time at all: its row is left out.

    Returns:
        UTC datetime64[us] per row, which rows are times, and what was done.
    """
    local = pl.Series("t", walls)
    early, late = (
        local.dt.replace_time_zone(zone, ambiguous=which, non_existent="null")
        .dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        for which in ("earliest", "latest")
    )  # fmt: skip
    lost, notes = early.is_null(), list[Note]()
    twice = (early != late).fill_null(False).arg_true()
    if len(twice):
        rows = pl.DataFrame({"s": codes[twice.to_numpy()], "t": local[twice]})
        second = rows.select((pl.int_range(pl.len()).over("s", "t") > 0).alias("x"))["x"]
        early = early.scatter(twice.filter(second), late[twice.filter(second)])
        action = (
            f"the clock of {zone} shows this hour twice: the first reading of a series is the "
            "earlier hour, the next one the later"
        )
        notes.append(_clock("doubled hour", rows["t"], rows["s"], action))
    if lost.any():
        action = f"the clock of {zone} skips this hour: the rows are left out"
        gone = local.filter(lost)
        notes.append(
            _clock("lost hour", gone, pl.Series(codes[lost.to_numpy()]), action, "warning")
        )
    return early.to_numpy(), ~lost.to_numpy(), notes


def _clock(
    kind: str, times: pl.Series, codes: pl.Series, action: str, severity: str = "info"
) -> Note:
    return Note(
        kind=kind, count=len(times), series=codes.n_unique(), example=str(times[0]), action=action,
        severity=severity,
    )  # fmt: skip


def _absent(column: pl.Series) -> DataError:
    row = int(column.is_null().arg_true()[0])
    return DataError(
        f"time column {column.name!r} is empty in {column.null_count():,} rows, the first of them "
        f"row {row + 1:,}; drop those rows or fill in their times"
    )


def _whole(column: pl.Series, notes: list[Note]) -> pl.Series:
    """Whole numbers as steps, or as dates where they read 20240131 or 202401."""
    low, high = (int(v) for v in (column.min(), column.max()))  # type: ignore[arg-type]
    if low >= 19000101 and high <= 22001231:
        dates = column.cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if not dates.null_count():
            action = f"whole numbers like {low} are read as dates, year month day"
            notes.append(Note(kind="guess", count=len(column), series=0, example="", action=action))
            return dates
    if low >= 10**9:
        raise SchemaError(
            f"time column {column.name!r} holds whole numbers like {low}; seconds since 1970 must "
            f"be turned into datetimes first: pl.from_epoch({column.name!r}, time_unit='s')"
        )
    if low >= 190001 and high <= 220012 and bool((column % 100).is_between(1, 12).all()):
        action = f"whole numbers like {low} are read as months, year month"
        notes.append(Note(kind="guess", count=len(column), series=0, example="", action=action))
        return (column.cast(pl.Int64) * 100 + 1).cast(pl.String).str.to_date("%Y%m%d")
    return column


def _read_text(column: pl.Series, zone: str | None) -> tuple[pl.Series, list[Note]]:
    """Text as times; each distinct text is read once."""
    words = column.unique(maintain_order=True)
    text = words.str.strip_chars().str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3")
    text = text.str.replace(r"(\d)T(\d)", "$1 $2").str.replace(r"^(\d{4})-(\d{2})$", "$1-$2-01")
    text = _quarters(text)
    notes = list[Note]()
    if (text.str.contains(r"^-?\d{1,6}$")).all():
        return _spread(column, words, text.cast(pl.Int64)), notes
    zoned = text.str.contains(r"\d:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})$")
    if zoned.any():
        action = (
            "times with a UTC offset are read in UTC; time_zone='...' counts days where they were"
        )
        if zone is None:
            notes.append(Note(kind="guess", count=len(column), series=0, example="", action=action))
        return _spread(column, words, _zoned(column, words, text, zoned)), notes
    parsed = _first_fit(text, PLAIN)
    left = text.filter(parsed.is_null())
    if len(left):
        days, months = _first_fit(left, DAY_FIRST), _first_fit(left, MONTH_FIRST)
        neither = (days.is_null() & months.is_null()).arg_true()
        if len(neither):
            raise _unreadable(column, words.filter(parsed.is_null())[int(neither[0])])
        if days.null_count() and months.null_count():
            raise DataError(
                f"time column {column.name!r} writes the day first in {left.filter(months.is_null())[0]!r} "
                f"and the month first in {left.filter(days.is_null())[0]!r}; write ISO dates, year-month-day"
            )
        if not days.null_count() and not months.null_count() and (days != months).any():
            raise DataError(
                f"time column {column.name!r} holds {left[0]!r}, where day and month cannot be told "
                "apart; write ISO dates, year-month-day, or parse the column before reading it"
            )
        chosen, order = (days, "day") if not days.null_count() else (months, "month")
        parsed = parsed.scatter(parsed.is_null().arg_true(), chosen)
        action = f"dates like {left[0]!r} are read with the {order} first, the only way that fits all; write ISO dates to be sure"
        notes.append(Note(kind="guess", count=len(left), series=0, example="", action=action))
    return _spread(column, words, parsed), notes


def _first_fit(text: pl.Series, formats: list[str]) -> pl.Series:
    parsed = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    for fmt in formats:
        if not parsed.null_count():
            break
        at = parsed.is_null().arg_true()
        parsed = parsed.scatter(at, text[at].str.to_datetime(fmt, strict=False, time_unit="us"))
    return parsed


def _zoned(column: pl.Series, words: pl.Series, text: pl.Series, zoned: pl.Series) -> pl.Series:
    if not zoned.all():
        raise DataError(
            f"time column {column.name!r} states a UTC offset in {words.filter(zoned)[0]!r} but none "
            f"in {words.filter(~zoned)[0]!r}; write all times with an offset, or none"
        )
    full = text.str.replace(r"\s*Z$", "+0000").str.replace(r"\s*([+-]\d{2}):?(\d{2})$", "$1$2")
    full = full.str.replace(r"( \d{1,2}:\d{2})([+-]\d{4})$", "$1:00$2")
    parsed = full.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", strict=False, time_unit="us")
    if parsed.null_count():
        raise _unreadable(column, words.filter(parsed.is_null())[0])
    return parsed


def _quarters(text: pl.Series) -> pl.Series:
    """2024Q3 or 2024-Q3 as the first day of the quarter."""
    for quarter, month in (("1", "01"), ("2", "04"), ("3", "07"), ("4", "10")):
        text = text.str.replace(rf"^(\d{{4}})[- ]?[Qq]{quarter}$", f"${{1}}-{month}-01")
    return text


def _unreadable(column: pl.Series, word: str) -> DataError:
    row = int((column == word).arg_true()[0]) + 1
    return DataError(
        f"time column {column.name!r} holds {word!r} in row {row:,}, which is no time; "
        "write ISO dates like 2024-01-31 or 2024-01-31 13:00"
    )


def _spread(column: pl.Series, words: pl.Series, values: pl.Series) -> pl.Series:
    table = pl.DataFrame({"word": words, "time": values})
    rows = (
        column.rename("word").to_frame().join(table, on="word", how="left", maintain_order="left")
    )
    return rows["time"].rename(column.name)
