"""The time column, of whatever type, as plain timestamps or whole steps; clocks of zones as instants."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, way
from demandcast.frames import vocabulary
from demandcast.frames.dates import excel_days, is_date_word, read_dates, read_whole
from demandcast.frames.vocabulary import is_word
from demandcast.panel.panel import Note

FIRST_YEAR, LAST_YEAR = 1800, 2200  # beyond them a date is a slip, not a date
USUAL_YEARS = (1900, 2100)


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


@dataclass(frozen=True)
class Clock:
    """Facts of the times of a table: their zone, their type in results, and whether they state an offset."""

    zone: str | None
    dtype: pl.DataType
    stated: bool


def parse_times(
    column: pl.Series,
    zone: str | None,
    *,
    day_first: bool | None = None,
    freq: str | None = None,
) -> tuple[Times, list[Note]]:
    """Parse dates, datetimes, whole numbers or text as times.

    Args:
        column: The time column.
        zone: The time zone of the clock that wrote it.
        day_first: Whether 01/02/2024 is the first of February; inferred from the column if None.
        freq: The step that the user names; "W-MON" says that 202405 is a week.

    Raises:
        SchemaError: The column holds something else, or `zone` is no time zone.
        DataError: A time is absent, cannot be read, or its day and month cannot be told apart.
    """
    check_zone(zone)
    name, notes = column.name, list[Note]()
    if column.null_count():
        raise _absent_error(column)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        column, instants, notes = _read_text(column, zone, day_first, freq)
        if instants is not None:
            return _convert_offsets(column, instants, zone), _check_years(column, notes)
    elif column.dtype.is_float():
        column = _convert_whole_floats(column, notes)
        column = _read_whole_numbers(column, notes, freq)
    elif column.dtype.is_integer():
        column = _read_whole_numbers(column, notes, freq)
    if column.dtype.is_integer():
        return Times(column.cast(pl.Int64).to_numpy(), None, zone), notes
    if isinstance(column.dtype, pl.Datetime):
        stated = column.dtype.time_zone
        column = column.cast(pl.Datetime("us", stated))
        if stated is not None:
            zone = zone or stated
            instants = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            wall = column.dt.convert_time_zone(zone).dt.replace_time_zone(None)
            return Times(wall.to_numpy(), instants.to_numpy(), zone), _check_years(wall, notes)
    elif column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    else:
        raise SchemaError(
            f"time column {name!r} holds {column.dtype}; a time is a date, a datetime, text like "
            "2024-01-31 or a whole number: convert it, or name another column:",
            option="time", column=name, ways=[way(time=...)],
        )  # fmt: skip
    return Times(column.to_numpy(), None, zone), _check_years(column, notes)


def join_times(table: pl.DataFrame, parts: Sequence[str], name: str) -> pl.Series:
    """Join several columns to one time as text: year and month, week or quarter and day, or date and hour.

    Raises:
        SchemaError: The columns are none of these.
        DataError: A cell is empty.
    """
    for part in parts:
        if table[part].null_count():
            raise _absent_error(table[part])
    years = [c for c in parts if is_word(c, vocabulary.YEAR)]
    cells = {c: table[c].cast(pl.String).str.strip_chars().str.replace(r"\.0$", "") for c in parts}
    if years:
        year = cells[years[0]]
        rest = [c for c in parts if c not in years]
        marks = (("-W", vocabulary.WEEK), ("-Q", vocabulary.QUARTER), ("-", vocabulary.MONTH))
        for mark, words in marks:
            part_columns = [c for c in rest if is_word(c, words)]
            if not part_columns:
                continue
            digits = cells[part_columns[0]].str.replace(
                r"^\D+(\d{1,2})$", "$1"
            )  # W05, KW 5, Q3, M01
            text = pl.select(pl.format("{}{}{}", year, pl.lit(mark), digits)).to_series()
            days = [c for c in rest if c != part_columns[0]]
            if days:
                day = cells[days[0]].str.zfill(2)
                text = pl.select(pl.format("{}-{}", text, day)).to_series()
            return text.rename(name)
    elif len(parts) == 2:
        clock = cells[parts[1]].str.replace(r"^(\d{1,2})$", "$1:00").str.to_lowercase()
        day = cells[parts[0]].str.replace(r"[ T]00:00(:00(\.0+)?)?$", "")
        return pl.select(pl.format("{} {}", day, clock)).to_series().rename(name)
    raise SchemaError(
        f"the columns {list(parts)} are no time together; give one column, a year and a month, week or "
        "quarter, or a date and an hour"
    )


def reply_dtype(dtype: pl.DataType, values: NDArray[Any]) -> pl.DataType:
    """Return the type of times in results: the type of the input, or dates if it was text."""
    if values.dtype.kind == "i":
        wide = dtype.is_integer() and dtype not in (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16)
        return dtype if wide else pl.Int64()
    if dtype.is_temporal():
        return dtype
    are_days = bool((values == values.astype("datetime64[D]")).all())
    return pl.Date() if are_days else pl.Datetime("us")


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
    """Convert local clock readings to UTC across clock changes.

    If the clock shows an hour twice, the first row of a series in it is of the first hour, and later rows are of
    the second. A reading that the clock skips does not exist: its row is left out.

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


def zone_of_midnights(instants: NDArray[Any]) -> str | None:
    """Return the best-known time zone in which all instants are midnight; None if there is none."""
    stamps = pl.Series("t", instants[:: max(1, len(instants) // 2000)]).dt.replace_time_zone("UTC")
    usual = (
        "Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "America/Denver",
        "America/Los_Angeles", "America/Sao_Paulo", "Asia/Shanghai", "Asia/Tokyo", "Asia/Kolkata",
        "Australia/Sydney", "Europe/Athens", "Europe/Moscow",
    )  # fmt: skip
    for zone in (*usual, *sorted(zoneinfo.available_timezones())):
        try:
            local = stamps.dt.convert_time_zone(zone)
        except pl.exceptions.PolarsError:
            continue  # a name that polars does not know
        if (local.dt.hour() + local.dt.minute() == 0).all():
            return zone
    return None


def _clock(
    kind: str, times: pl.Series, codes: pl.Series, action: str, severity: str = "info"
) -> Note:
    return Note(
        kind=kind, count=len(times), series=codes.n_unique(), example=str(times[0]), done=action,
        severity=severity,
    )  # fmt: skip


def _absent_error(column: pl.Series) -> DataError:
    row = int(column.is_null().arg_true()[0])
    return DataError(
        f"time column {column.name!r} is empty in {column.null_count():,} rows, the first of them "
        f"row {row + 1:,}; drop those rows or fill in their times"
    )


def _check_years(column: pl.Series, notes: list[Note]) -> list[Note]:
    """Refuse years that no table of demand has, and question odd ones."""
    first, last = column.min().year, column.max().year  # type: ignore[union-attr]
    if first >= USUAL_YEARS[0] and last <= USUAL_YEARS[1]:
        return notes
    years = column.dt.year()
    odd = (years < USUAL_YEARS[0]) | (years > USUAL_YEARS[1])
    row = int(odd.arg_true()[0])
    place = f"{column[row].date()} in row {row + 1:,}"
    if first < FIRST_YEAR or last > LAST_YEAR:
        raise DataError(
            f"time column {column.name!r} holds {place}, a stray time ({int(odd.sum()):,} rows lie outside "
            f"the years {USUAL_YEARS[0]} to {USUAL_YEARS[1]}); mend the dates, or drop those rows"
        )
    action = f"years outside {USUAL_YEARS[0]} to {USUAL_YEARS[1]}: are the dates right?"
    return [
        *notes,
        Note(kind="odd years", count=int(odd.sum()), series=0, example=place, done=action, severity="warning"),
    ]  # fmt: skip


def _as_notes(messages: Sequence[str], column: pl.Series) -> list[Note]:
    return [
        Note(kind="guess", count=len(column), series=0, example="", done=action)
        for action in messages
    ]


def _convert_whole_floats(column: pl.Series, notes: list[Note]) -> pl.Series:
    integers = column.cast(pl.Int64, strict=False)
    bad = (integers.is_null() | (integers.cast(pl.Float64) != column.cast(pl.Float64))).arg_true()
    if not len(bad):
        return integers
    if is_date_word(column.name) and column.is_between(20000, 80000).all():
        notes += _as_notes(
            [f"numbers like {column[0]} are read as dates and times of Excel"], column
        )
        return excel_days(column).rename(column.name)
    raise SchemaError(
        f"time column {column.name!r} holds {column[bad[0]]} in row {bad[0] + 1:,}; a time is a "
        "date, a datetime or a whole number: convert the column first"
    )


def _read_whole_numbers(column: pl.Series, notes: list[Note], freq: str | None) -> pl.Series:
    """Whole numbers as steps, or as dates where they are dates in figures."""
    if column.dtype.is_temporal():
        return column
    words = column.unique()
    dates, messages = read_whole(words, column.name, freq)
    if dates.dtype.is_integer():
        return column
    notes += _as_notes(messages, column)
    return _spread(column, words, dates)


def _read_text(
    column: pl.Series, zone: str | None, day_first: bool | None, freq: str | None
) -> tuple[pl.Series, pl.Series | None, list[Note]]:
    """Text as times, each distinct text read once: the clock's, the instants where stated, and notes."""
    words = column.unique(maintain_order=True).cast(pl.String)
    text = words.str.strip_chars()
    stamps = text.str.contains(r"^(19|20)\d{2}[01]\d[0-3]\d([0-2]\d([0-5]\d){0,2})$").all()
    are_digits = (
        text.str.contains(r"^-?\d{1,19}$").all() and not text.str.contains(r"^0\d{3,}$").any()
    )
    if are_digits and not stamps:  # 2024013113 is an hour of a day, 1706659200 seconds
        notes = list[Note]()
        numbers = _spread(column, words, text.cast(pl.Int64))
        return _read_whole_numbers(numbers, notes, freq), None, notes
    if text.str.contains(r"^\d+\.\d+$").all() and not text.str.contains(r"^\d\d?\.\d{4}$").all():
        notes = list[Note]()
        numbers = _convert_whole_floats(_spread(column, words, text.cast(pl.Float64)), notes)
        return _read_whole_numbers(numbers, notes, freq), None, notes
    dates = read_dates(words, column.name, day_first=day_first)
    if dates.values.null_count():
        raise _unreadable(column, words.filter(dates.values.is_null()))
    notes = _as_notes(dates.messages, column)
    stated = dates.offsets.is_not_null()
    if not stated.any():
        return _spread(column, words, dates.values), None, notes
    if not stated.all():
        raise DataError(
            f"time column {column.name!r} states a UTC offset in {words.filter(stated)[0]!r} but none "
            f"in {words.filter(~stated)[0]!r}; write all times with an offset, or none"
        )
    instants = dates.values - (dates.offsets * 60_000_000).cast(pl.Duration("us"))
    if zone is None:
        action = "times with a UTC offset: days are those of the clock that wrote them, hours count in UTC; to change it, name their time zone"
        notes += _as_notes([action], column)
    return _spread(column, words, dates.values), _spread(column, words, instants), notes


def _convert_offsets(wall: pl.Series, instants: pl.Series, zone: str | None) -> Times:
    """Convert times with offsets to local time of `zone`, or drop the offsets if there is no zone."""
    if zone is not None:
        local = instants.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        wall = local.dt.replace_time_zone(None)
    return Times(wall.to_numpy(), instants.to_numpy(), zone or "UTC")


def _unreadable(column: pl.Series, words: pl.Series) -> DataError:
    column = column.cast(pl.String)
    rows = column.is_in(words.implode()).arg_true()
    row = int(rows[0]) + 1
    more = f" ({len(rows):,} such rows)" if len(rows) > 1 else ""
    return DataError(
        f"time column {column.name!r} holds {column[row - 1]!r} in row {row:,}, which is no time{more}; "
        "write ISO dates like 2024-01-31 or 2024-01-31 13:00"
    )


def _spread(column: pl.Series, words: pl.Series, values: pl.Series) -> pl.Series:
    """Spread values of the distinct words of a column to all its rows."""
    if column.dtype == pl.Categorical:
        codes = words.cast(pl.Categorical).to_physical().to_numpy()
        place = np.zeros(int(codes.max()) + 1, np.int64)
        place[codes] = np.arange(len(codes))
        return values.gather(place[column.to_physical().to_numpy()]).rename(column.name)
    table = pl.DataFrame({"word": words, "time": values})
    rows = (
        column.rename("word").to_frame().join(table, on="word", how="left", maintain_order="left")
    )
    return rows["time"].rename(column.name)
