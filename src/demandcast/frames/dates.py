"""Parse text and whole numbers as dates: every way of writing a day, week, month, quarter or year that tables have.

All distinct words of a column are read at once, form after form; a form is a pattern and what its parts mean.
Where a form can be read in two ways (day or month first, two figures for the year), the whole column decides,
and each decision becomes a note. What nothing decides is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import polars as pl

from demandcast.errors import DataError, mend, way
from demandcast.frames import vocabulary

PIVOT = 69  # two figures of a year from here on are 19.., as POSIX has it
SEP = r"[-/.\s]"
LOOSE = r"[-/.,'\s]*"
YEAR = r"(?P<y>\d{4}|\d{2})"
WEEK_MARK = r"(?:w|kw|wk|cw|week|woche|semaine|sem|semana|settimana)"
QUARTER_MARK = r"(?:q|quarter|quartal|trimestre|trim|t|季度?)"

# (what it is, pattern); the parts are y, m, d, w (ISO week), k (weekday of the week), q, h (half), j (day of year)
FORMS = (
    ("day", rf"^(?P<y>\d{{4}}){SEP}(?P<m>\d{{1,2}}){SEP}(?P<d>\d{{1,2}})\.?$"),
    ("day", r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$"),
    ("day", rf"^(?P<d>\d{{1,2}})(?:st|nd|rd|th)?{LOOSE}#(?P<m>\d\d){LOOSE}{YEAR}$"),
    ("day", rf"^#(?P<m>\d\d){LOOSE}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[\s,]+(?P<y>\d{{4}})$"),
    ("day", rf"^(?P<y>\d{{4}}){LOOSE}#(?P<m>\d\d){LOOSE}(?P<d>\d{{1,2}})$"),
    ("month", rf"^#(?P<m>\d\d){LOOSE}{YEAR}$"),
    ("month", rf"^(?P<y>\d{{4}}){LOOSE}#(?P<m>\d\d)$"),
    ("month", rf"^(?P<y>\d{{4}})(?:{SEP}|{SEP}?[mM]{SEP}?)(?P<m>\d{{1,2}})$"),
    ("month", rf"^(?:m{SEP}?)?(?P<m>\d{{1,2}}){SEP}(?P<y>\d{{4}})$"),
    ("period", rf"^(?:fy)?{LOOSE}(?P<y>\d{{4}}){SEP}?p{SEP}?(?P<m>\d{{1,2}})$"),
    ("period", rf"^fy{LOOSE}{YEAR}{LOOSE}[pm]{SEP}?(?P<m>\d{{1,2}})$"),
    ("period", rf"^[pm]{SEP}?(?P<m>\d{{1,2}}){LOOSE}fy{LOOSE}{YEAR}$"),
    ("half", rf"^(?P<y>\d{{4}}){LOOSE}(?:h|hj|s)(?P<h>[12])$"),
    ("half", rf"^(?:h|hj|s)(?P<h>[12]){LOOSE}{YEAR}$"),
    ("half", rf"^(?P<h>[12])\.?\s*(?:h|hj){LOOSE}{YEAR}$"),
    ("week", rf"^(?P<y>\d{{4}}){LOOSE}(?:{WEEK_MARK}|s){LOOSE}(?P<w>\d{{1,2}})(?:-?(?P<k>[1-7]))?$"),
    ("week", rf"^(?:{WEEK_MARK}|s){LOOSE}(?P<w>\d{{1,2}})[-/.,\s]+{YEAR}$"),
    ("week", rf"^(?P<w>\d{{1,2}})\.?\s*{WEEK_MARK}{LOOSE}{YEAR}$"),
    ("quarter", rf"^(?P<y>\d{{4}}){LOOSE}{QUARTER_MARK}{LOOSE}(?P<q>[1-4])$"),
    ("quarter", rf"^{QUARTER_MARK}{LOOSE}(?P<q>[1-4]){LOOSE}{YEAR}$"),
    ("quarter", rf"^(?P<q>[1-4])\.?\s*{QUARTER_MARK}{LOOSE}{YEAR}$"),
    ("day of year", r"^(?P<y>\d{4})-?(?P<j>\d{3})$"),
    ("fiscal year", rf"^fy{LOOSE}{YEAR}$"),
    ("fiscal quarter", rf"^fy{LOOSE}{YEAR}{LOOSE}{QUARTER_MARK}{LOOSE}(?P<q>[1-4])$"),
    ("fiscal quarter", rf"^{QUARTER_MARK}{LOOSE}(?P<q>[1-4]){LOOSE}fy{LOOSE}{YEAR}$"),
    ("fiscal half", rf"^fy{LOOSE}{YEAR}{LOOSE}(?:h|hj|s)(?P<h>[12])$"),
    ("fiscal half", rf"^(?:h|hj|s)(?P<h>[12]){LOOSE}fy{LOOSE}{YEAR}$"),
)  # fmt: skip
ORDERS = {  # of three numbers with the year in two or four figures
    "day": rf"^(?P<d>\d{{1,2}}){SEP}(?P<m>\d{{1,2}}){SEP}{YEAR}$",
    "month": rf"^(?P<m>\d{{1,2}}){SEP}(?P<d>\d{{1,2}}){SEP}{YEAR}$",
    "year": rf"^(?P<y>\d{{2}}){SEP}(?P<m>\d{{1,2}}){SEP}(?P<d>\d{{1,2}})$",
}
FEW_WORDS = 500
SPLIT_YEAR = (
    r"(\d{4})\s*[-/]\s*(\d{4}|\d{2})"  # 2023/24, a year from one calendar year into the next
)
CLOCK = (
    r"^(?P<day>.*?)(?:t|[\s,]+)(?P<hour>\d{1,2})(?::|h)(?P<minute>\d{2})?(?::(?P<second>\d{2})"
    r"(?:[.,](?P<part>\d{1,9}))?)?\s*(?:uhr)?(?P<half>am|pm|a\.m\.|p\.m\.)?\s*"
    r"(?P<zone>z|utc|gmt|[+-]\d{1,2}(?::?\d{2})?)?(?:\s*\[.*\])?$"
)
PACKED = r"^(?P<day>\d{8})[t\s]?(?P<hour>\d{2})(?P<minute>\d{2})?(?P<second>\d{2})?(?P<zone>z)?$"
SAID = {
    "period": "periods like {0!r} are read as months of that year; a fiscal year may begin elsewhere",
    "week": "weeks like {0!r} are read as ISO weeks, by their Monday",
    "month": "months like {0!r} are read as their first day",
    "quarter": "quarters like {0!r} are read as their first day",
    "half": "half-years like {0!r} are read as their first day",
    "day of year": "times like {0!r} are read as year and day of the year",
    "fiscal year": "fiscal years like {0!r} are read as calendar years; they may begin elsewhere",
    "fiscal quarter": "fiscal quarters like {0!r} are read as quarters of that calendar year; the fiscal year may begin elsewhere",
    "fiscal half": "fiscal half-years like {0!r} are read as halves of that calendar year; the fiscal year may begin elsewhere",
}


@dataclass
class Dates:
    """Times parsed from distinct words.

    Attributes:
        values: As the clock of the table shows them, Datetime in microseconds; null where unreadable.
        offsets: Minutes that the clock is ahead of UTC, null where no word says so.
        messages: Decisions, for notes.
    """

    values: pl.Series
    offsets: pl.Series
    messages: list[str] = field(default_factory=list)


def read_dates(words: pl.Series, name: str, *, day_first: bool | None = None) -> Dates:
    """Read every distinct word of a time column.

    Raises:
        DataError: Day and month cannot be told apart, or are written in both orders.
    """
    if len(words) > FEW_WORDS:
        return _read_dates(words, name, day_first)
    try:  # a guess, a header and the reading ask for the same words
        dates = _read_few(tuple(words), day_first)
    except DataError:
        return _read_dates(words, name, day_first)  # the error names the column
    return Dates(dates.values, dates.offsets, list(dates.messages))


@lru_cache(maxsize=64)
def _read_few(words: tuple[str | None, ...], day_first: bool | None) -> Dates:
    return _read_dates(pl.Series(words, dtype=pl.String), "column", day_first)


def _read_dates(words: pl.Series, name: str, day_first: bool | None) -> Dates:
    dates = _read_any_dates(words, name, day_first)
    years = dates.values.dt.year()
    if (years < 1).any():  # 0000-01-01: Python has no such year
        dates.values = dates.values.set(years < 1, None)
    return dates


def _read_any_dates(words: pl.Series, name: str, day_first: bool | None) -> Dates:
    nowhere = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(words))  # no offsets
    if words.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$").all():
        iso = words.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")
        return Dates(iso, nowhere)
    normal, decisions = _join_split_years(_normalise(words), words)
    clocks = normal.str.contains(r":|\d[th]|\d{10}|\d{8}\s").any()
    table = _split_clock(normal) if clocks else None
    text = normal if table is None else table["day"]
    times = pl.Series("found", [None] * len(words), dtype=pl.Datetime("us"))
    short = pl.Series([False] * len(words))
    kinds: dict[str, str] = {}
    few = text.to_list() if len(text) <= FEW_WORDS else None
    for kind, pattern in FORMS:
        if not times.null_count():
            break
        if few is not None and not any(word and re.search(pattern, word) for word in few):
            continue  # far quicker than to ask Polars for each form
        at = times.is_null().arg_true()
        parts = text[at].str.extract_groups(pattern).struct.unnest()
        hit = parts["y"].is_not_null()
        if not hit.any():
            continue
        parsed = _assemble(parts.filter(hit))
        rows = at.filter(hit)
        times = times.scatter(rows, parsed)
        short = short.scatter(rows, parts["y"].filter(hit).str.len_chars() == 2)
        kinds.setdefault(kind, words[int(rows[0])])
    undecided = times.is_null() & text.str.contains(r"^\d{1,2}[-/.\s]\d{1,2}[-/.\s](\d{4}|\d{2})$")
    if undecided.any():
        rows = undecided.arg_true()
        parsed, messages = _read_in_one_order(text[rows], words[rows], name, day_first)
        times = times.scatter(rows, parsed)
        short = short.scatter(rows, text[rows].str.contains(r"\D\d{2}$"))
        decisions += messages
    decisions += [SAID[kind].format(word) for kind, word in kinds.items() if kind in SAID]
    short = short & times.is_not_null()
    if short.any():
        word, year = words.filter(short)[0], times.filter(short).dt.year()[0]
        decisions.append(
            f"years of two figures, as in {word!r}, are read as {year}: 69 to 99 are 19.., the others 20.."
        )
    if table is None:
        return Dates(times, nowhere, decisions)
    times, bad_clock = _with_clock(times, table)
    times = times.set(bad_clock, None) if bad_clock.any() else times
    return Dates(times, _offsets(table["zone"]), decisions)


def _join_split_years(text: pl.Series, words: pl.Series) -> tuple[pl.Series, list[str]]:
    """Write years like 2023/24 as their first calendar year, where every word has such a year, and say so.

    Up to 2011/12 one such word may be a month; several, each of two years in a row, are years.
    """
    pattern = SPLIT_YEAR
    if text.str.contains("fy").all():  # FY23/24
        pattern = SPLIT_YEAR.replace(r"(\d{4})", r"(\d{4}|\d{2})", 1)
    parts = (
        text.str.extract_groups(pattern).struct.rename_fields(["first", "second"]).struct.unnest()
    )
    first, second = (parts[c].cast(pl.Int64) for c in parts.columns)
    apart = second - pl.select(pl.when(second < 100).then(first % 100).otherwise(first))[:, 0]
    if not apart.is_in([1, -99]).fill_null(False).all():
        return text, []
    months = (second < 13).all() and (
        text.n_unique() == 1 or not text.str.contains(rf"^\D*{pattern}$").all()
    )
    if months and not text.str.contains(r"^fy|[qhp]").all():
        return text, []
    joined = text.str.replace(pattern, "${1}")
    joined = joined.str.replace(r"^(\d{4})$", "fy${1}")
    action = f"years like {words[0]!r} are read as the calendar year in which they begin"
    return joined, [action]


def _is_closer(years: pl.Series, *candidates: pl.Series, by: int) -> bool:
    """Return whether times lie `by` times closer together read year first, or can only be read so."""
    fitting = [times for times in candidates if not times.null_count()]
    spans = [np.ptp(times.to_numpy()) for times in (years, *fitting)]
    return all(bool(by * spans[0] < span) for span in spans[1:])


def looks_like_times(names: list[str]) -> list[str]:
    """Those of the names that read as times, for headers of wide tables; one form for all of them."""
    shaped = [name for name in names if re.search(r"\d", name)]
    if not shaped:
        return []
    candidates = pl.Series("name", shaped, dtype=pl.String)
    for day_first in (None, True):  # the order of day and month is settled when the column is read
        try:
            dates = read_dates(candidates, "name", day_first=day_first)
        except DataError:
            continue
        return candidates.filter(dates.values.is_not_null()).to_list()
    return []


def read_whole(
    numbers: pl.Series, name: str, freq: str | None = None
) -> tuple[pl.Series, list[str]]:
    """Return whole numbers as dates if they are dates in figures; otherwise unchanged, as steps.

    20240131 is a day, 202401 a month or an ISO week (by the column's name, its values, or `freq`),
    20241 a quarter, 2024031 a day of a year, 45292 a day of Excel, 1706659200 seconds since 1970.
    """
    low, high = (int(v) for v in (numbers.min(), numbers.max()))  # type: ignore[arg-type]
    text = numbers.cast(pl.String)

    def day(pattern: str) -> pl.Series:
        parts = text.str.extract_groups(pattern).struct.unnest()
        return _assemble(parts).dt.date()

    def bears(words: Sequence[str]) -> bool:
        return vocabulary.holds(name, words)

    weekly = bears(vocabulary.WEEK) or str(freq or "").upper().startswith("W")
    if low >= 19000101 and high <= 22001231:
        dates = day(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$")
        if not dates.null_count():
            return dates, [f"whole numbers like {low} are read as dates, year month day"]
    if low >= 10**9 and (unit := _epoch(low, high)) is not None:
        factor = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": None}[unit]
        micros = numbers // 1000 if factor is None else numbers * factor
        instants = micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return instants, [f"whole numbers like {low} are read as {unit} since 1970, in UTC"]
    if low >= 190001 and high <= 220053:
        last = numbers % 100
        if last.is_between(1, 53).all() and (weekly or (last > 12).any()):
            dates = day(r"^(?P<y>\d{4})(?P<w>\d{2})$")
            if dates.null_count():
                raise DataError(
                    f"time column {name!r} holds {numbers.filter(dates.is_null())[0]}, but that year has "
                    "52 ISO weeks; number the weeks as ISO does, or write the date of each week's first day"
                )
            return dates, [
                f"whole numbers like {low} are read as ISO weeks, year week, by their Monday"
            ]
        if last.is_between(1, 12).all():
            message = f"whole numbers like {low} are read as months, year month"
            if not bears((*vocabulary.MONTH, "yearmonth", "yyyymm", "jahrmonat", "年月")):
                message += "; if they are weeks, name the frequency W-MON"
            return day(r"^(?P<y>\d{4})(?P<m>\d{2})$"), [message]
    if low >= 19001 and high <= 220053 and weekly:  # weeks of one figure and of two
        dates = day(r"^(?P<y>\d{4})(?P<w>\d{1,2})$")
        if not dates.null_count():
            return dates, [
                f"whole numbers like {low} are read as ISO weeks, year week, by their Monday"
            ]
    if low >= 19001 and high <= 22004 and (numbers % 10).is_between(1, 4).all():
        return day(r"^(?P<y>\d{4})(?P<q>\d)$"), [
            f"whole numbers like {low} are read as quarters, year quarter"
        ]
    if low >= 1900001 and high <= 2200366 and (numbers % 1000).is_between(1, 366).all():
        dates = day(r"^(?P<y>\d{4})(?P<j>\d{3})$")
        if not dates.null_count():
            return dates, [f"whole numbers like {low} are read as year and day of the year"]
    if low >= 20000 and high <= 80000 and bears((*vocabulary.DATE, "ds")):
        return excel_days(numbers), [f"whole numbers like {low} are read as dates of Excel"]
    return numbers, []


def excel_days(numbers: pl.Series) -> pl.Series:
    """Convert Excel's days since 1899-12-30 to times; the fraction is the time of day, to the second."""
    seconds = (numbers.cast(pl.Float64) * 86400).round(0).cast(pl.Int64)
    origin = -25569 * 86400  # 1899-12-30
    stamps = ((seconds + origin) * 1_000_000).cast(pl.Datetime("us"))
    return stamps.dt.date() if (seconds % 86400 == 0).all() else stamps


def is_date_word(name: str) -> bool:
    """Return whether a column's name stands for days."""
    return vocabulary.holds(name, vocabulary.DATE)


def _epoch(low: int, high: int) -> str | None:
    for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        if 10**9 <= low / factor < 4.1e9 and high / factor < 4.1e9:  # 2001 to 2099
            return unit
    return None


def _normalise(words: pl.Series) -> pl.Series:
    """Lower case, one kind of figures and blanks, no weekday, months by number: "Mo, 5. Mai 24" as "5. #05 24"."""
    text = words.str.strip_chars()
    if text.str.contains(r"[^\x00-\x7f]").any():
        text = pl.Series(
            words.name, [unicodedata.normalize("NFKC", w) for w in text], dtype=pl.String
        )
    text = text.str.to_lowercase()
    if not text.str.contains(r"\p{L}").any():
        return text
    if text.str.contains(r"[年月时]").any():
        text = _chinese(text)
    lettered = text.str.contains(r"\p{L}{2,}")
    if not lettered.any():
        return text
    translated = [_replace_month_name(word) for word in text.filter(lettered)]
    return text.scatter(lettered.arg_true(), pl.Series(translated, dtype=pl.String))


def _chinese(text: pl.Series) -> pl.Series:
    """Years, quarters, months, weeks, days and hours in Chinese or Japanese, in figures and signs."""
    text = text.str.replace(r"^(\d{4})\s*年\s*第?\s*(\d{1,2})\s*[周週]$", "${1}-w${2}")
    text = text.str.replace(r"^(\d{4})\s*年\s*第?\s*([1-4一二三四])\s*季度?$", "${1}-q${2}")
    for figure, sign in enumerate("一二三四", start=1):
        text = text.str.replace(f"-q{sign}$", f"-q{figure}")
    text = text.str.replace(r"(\d{4})\s*年\s*(\d{1,2})\s*月\s*(\d{1,2})\s*日?", "${1}-${2}-${3}")
    text = text.str.replace(r"(\d{4})\s*年\s*(\d{1,2})\s*月?$", "${1}-${2}")
    return text.str.replace(r"(\d{1,2})\s*时\s*(?:(\d{1,2})\s*分)?$", "${1}:${2}")


_MONTHS = {name: f"#{i:02d}" for i, names in enumerate(vocabulary.MONTHS, 1) for name in names}
_LETTERS = re.compile(r"[^\W\d_]+\.?")


def _replace_month_name(word: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    first = _LETTERS.match(bare)
    if first and first[0].rstrip(".") in vocabulary.WEEKDAYS and len(bare) > first.end():
        bare = bare[first.end() :].lstrip(" ,.")
    bare = re.sub(r"\bde\b|\bof\b", " ", bare)
    return _LETTERS.sub(lambda m: _MONTHS.get(m[0].rstrip("."), m[0]), bare).strip()


def _split_clock(text: pl.Series) -> pl.DataFrame:
    """Split times into the day and the parts of the clock time, null where there is none."""
    columns = ("day", "hour", "minute", "second", "part", "half", "zone")
    clock = text.str.extract_groups(CLOCK).struct.unnest()
    packed = text.str.extract_groups(PACKED).struct.unnest()
    short = pl.DataFrame({c: pl.Series(c, [None] * len(text), dtype=pl.String) for c in columns})
    packed = pl.DataFrame({c: packed[c] if c in packed.columns else short[c] for c in columns})
    use, dense = clock["hour"].is_not_null(), packed["hour"].is_not_null()
    parts = {
        c: pl.select(pl.when(use).then(clock[c]).when(dense).then(packed[c]).otherwise(short[c]))[:, 0]
        for c in columns
    }  # fmt: skip
    day = pl.select(pl.when(use | dense).then(parts["day"]).otherwise(text))[:, 0]
    return pl.DataFrame(parts | {"day": day.str.strip_chars(" ,")})


def _with_clock(days: pl.Series, table: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Combine days with clock times, and return a mask of impossible ones, such as 25:00 or 13 pm."""
    hour = table["hour"].cast(pl.Int64)
    minute, second = (table[c].cast(pl.Int64).fill_null(0) for c in ("minute", "second"))
    part = table["part"].str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    half = table["half"].str.slice(0, 1)
    late, early = half == "p", half == "a"
    bad = (hour > 24) | (minute > 59) | (second > 59) | ((hour == 24) & (minute + second > 0))
    bad |= half.is_not_null() & ((hour < 1) | (hour > 12))
    hour = pl.select(
        pl.when(late & (hour < 12)).then(hour + 12).when(early & (hour == 12)).then(0).otherwise(hour)
    )[:, 0].fill_null(0)  # fmt: skip
    micros = ((hour * 60 + minute) * 60 + second) * 1_000_000 + part
    return days + micros.cast(pl.Duration("us")), bad.fill_null(False)


def _offsets(zone: pl.Series) -> pl.Series:
    """Minutes ahead of UTC."""
    parts = zone.str.extract_groups(
        r"^(?P<sign>[+-])(?P<h>\d{1,2}):?(?P<m>\d{2})?$"
    ).struct.unnest()
    minutes = parts["h"].cast(pl.Int64) * 60 + parts["m"].cast(pl.Int64).fill_null(0)
    signed = pl.select(pl.when(parts["sign"] == "-").then(-minutes).otherwise(minutes))[:, 0]
    return pl.select(
        pl.when(zone.is_in(pl.Series(["z", "utc", "gmt"]).implode())).then(0).otherwise(signed)
    )[:, 0]


def _assemble(parts: pl.DataFrame) -> pl.Series:
    """Parts of dates as midnights; null where there is no such day, week or month."""
    year = parts["y"].cast(pl.Int64, strict=False)
    short = parts["y"].str.len_chars() == 2
    year = pl.select(
        pl.when(short & (year >= PIVOT)).then(1900 + year).when(short).then(2000 + year).otherwise(year)
    )[:, 0]  # fmt: skip
    part = {c: parts[c].cast(pl.Int64, strict=False) for c in parts.columns if c != "y"}
    if "w" in part:
        day = part["k"].fill_null(1) if "k" in part else pl.Series([1] * len(parts))
        iso = pl.select(pl.format("{}-W{}-{}", year, part["w"].cast(pl.String).str.zfill(2), day))[
            :, 0
        ]
        days = iso.str.to_date("%G-W%V-%u", strict=False)
        return days.cast(pl.Datetime("us"))
    if "j" in part:
        text = pl.select(pl.format("{}-{}", year, part["j"].cast(pl.String).str.zfill(3)))[:, 0]
        return text.str.to_date("%Y-%j", strict=False).cast(pl.Datetime("us"))
    month, day = pl.Series([1] * len(parts)), pl.Series([1] * len(parts))
    if "q" in part:
        month = part["q"] * 3 - 2
    elif "h" in part:
        month = part["h"] * 6 - 5
    elif "m" in part:
        month = part["m"]
        day = part.get("d", day)
    text = pl.select(
        pl.format(
            "{}-{}-{}", year.cast(pl.String).str.zfill(4), month.cast(pl.String).str.zfill(2),
            day.cast(pl.String).str.zfill(2),
        )
    )[:, 0]  # fmt: skip
    return text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))


def _read_in_one_order(
    text: pl.Series, words: pl.Series, name: str, day_first: bool | None
) -> tuple[pl.Series, list[str]]:
    """Dates of three numbers in the one order that fits all of them."""
    by_order = {
        order: _assemble(text.str.extract_groups(pattern).struct.unnest())
        for order, pattern in ORDERS.items()
        if order != "year" or text.str.contains(r"^\d{2}\D").all()
    }
    days, months, years = by_order["day"], by_order["month"], by_order.get("year")
    if day_first is not None:
        order_given = "day" if day_first else "month"
        if by_order[order_given].null_count() and not (days.is_null() & months.is_null()).any():
            bad = words.filter(by_order[order_given].is_null())[0]
            raise DataError(
                f"time column {name!r} holds {bad!r}, which does not have the {order_given} first, as "
                "you asked; write ISO dates, year-month-day, or leave out",
                option="day_first", column=name, found=bad, ways=[way(day_first=day_first)],
            )  # fmt: skip
        return by_order[order_given], [
            f"dates like {words[0]!r} are read with the {order_given} first, as you asked"
        ]
    dotted = bool(text.str.contains(r"^\d+\.").all())
    # with points, the day is first nearly wherever they are used: a few dates have to say more
    by = 1000 if dotted and words.n_unique() < 8 else 3
    if years is not None and not years.null_count() and _is_closer(years, days, months, by=by):
        return years, [
            f"dates like {words[0]!r} are read as year month day, as they lie together so"
        ]
    if (days.is_null() & months.is_null()).any():
        return (days, []) if days.null_count() <= months.null_count() else (months, [])
    if days.null_count() and months.null_count():
        raise DataError(
            f"time column {name!r} writes the day first in {words.filter(months.is_null())[0]!r} and the "
            f"month first in {words.filter(days.is_null())[0]!r}; write ISO dates, year-month-day"
        )
    if dotted and not days.null_count():
        return days, []
    if not days.null_count() and not months.null_count():
        if (days == months).all():
            return days, []
        word = words.filter(days != months)[0]
        raise DataError(
            f"time column {name!r} holds {word!r}, where day and month cannot be told apart; write ISO dates, "
            "year-month-day, or pass",
            option="day_first", column=name, found=word,
            ways=[mend(day_first=True), way(day_first=False)],
        )  # fmt: skip
    order = "day" if not days.null_count() else "month"
    message = f"dates like {words[0]!r} are read with the {order} first, the only way that fits all"
    return by_order[order], [message]
