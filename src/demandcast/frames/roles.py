"""Which column is what: as the user says, else by the usual words and what the cells look like, and told."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import polars as pl

from demandcast.errors import SchemaError, Way, mend, way
from demandcast.frames import vocabulary
from demandcast.frames.dates import looks_like_times, read_whole
from demandcast.frames.looks import Looks
from demandcast.frames.opened import Table
from demandcast.frames.vocabulary import columns_with_words, is_word, plain
from demandcast.panel.panel import Note
from demandcast.reading import NamedColumns

NEAR = 0.6  # similarity of two names above which one is probably a misspelling of the other
PARTS = (  # columns that are a time together: what each holds, by its name
    ("month", vocabulary.MONTH), ("week", vocabulary.WEEK), ("quarter", vocabulary.QUARTER),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The columns of a table by what they are for; `key` is empty where the table is one series."""

    key: tuple[str, ...]
    time: str
    target: str
    parts: tuple[str, ...] = ()  # the columns that make the time together, where it has several
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    available: str | None = None
    melt: tuple[str, ...] = ()  # wide tables: the columns that hold values
    melt_names_times: bool = False  # their names are times, not series

    @property
    def columns(self) -> list[str]:
        """The columns to read from the table, each once."""
        names = [*self.key, *self.known, *self.past, *self.static]
        names += [self.available] if self.available else []
        times = list(self.parts or (self.time,))
        if self.melt_names_times:
            return [*names, *self.melt]
        if self.melt:
            return [*times, *(c for c in names if c not in self.key), *self.melt]
        return [*names, *times, self.target]


def find_roles(
    table: Table, columns_named: NamedColumns, *, wide: bool | None = None
) -> tuple[Roles, list[Note]]:
    """Decide the role of each column; a guess is a Note of kind "guess".

    Args:
        table: As it was opened.
        columns_named: The roles that the caller names; the others are guessed.
        wide: Whether the table has a column a series; None decides by the columns.

    Raises:
        SchemaError: A column does not exist, has two roles, or a role cannot be guessed.
    """
    columns = table.columns
    key, time, target = columns_named.key, columns_named.time, columns_named.target
    if key is None:
        key = table.keys or None
    all_named = [
        *(key or ()), *columns_named.known, *columns_named.past, *columns_named.static, *(time or ()),
        *([columns_named.available] if columns_named.available else []), *([target] if target and not wide else []),
    ]  # fmt: skip
    for column in all_named:
        if column not in columns:
            raise no_column(column, columns, role=_role_of(column, columns_named, key))
    twice = sorted(c for c, count in Counter(all_named).items() if count > 1)
    if twice:
        raise SchemaError(
            f"column {twice[0]!r} is given two roles; name it in only one of key, time, target, "
            "known, past, static and available"
        )
    used = set(all_named)
    free = [c for c in columns if c not in used and not re.fullmatch(r"|Unnamed: \d+", c)]
    looks = Looks(table)
    shared: dict[str, Any] = {
        "known": columns_named.known, "past": columns_named.past, "static": columns_named.static,
        "available": columns_named.available,
    }  # fmt: skip
    dated = _dated_names(free)
    if wide is not False and time is None and len(dated) >= 2:
        return _wide_by_time(table, free, dated, key, target, shared)
    notes: list[Note] = []
    if time is None:
        guessed, new_notes = _guess_time(free, looks)
        time = tuple(guessed)
        free = [c for c in free if c not in time]
        notes += new_notes
    name, parts = (time[0], ()) if len(time) == 1 else (_joint_name(columns), time)
    if wide is None and key is None and target is None and _only_numbers(free, looks):
        worded = columns_with_words(free, vocabulary.TARGET)
        wide = not worded
        if wide:
            action = f"{len(free):,} columns of numbers beside the time: read as a wide table, a column a series"
            notes.append(_guess(len(free), action, way(wide=False), way(key=..., target=...)))
        elif not _is_target_word(worded[0]):
            raise SchemaError(
                f"columns {free[:8]} hold numbers, and it cannot be told whether each is a series or "
                f"{worded[0]!r} is the target; pass",
                option="target",
                ways=[mend(target=worded[0]), way(wide=True)],
            )
    if wide:
        roles, new_notes = _wide(table, free, name, target, key, looks, shared)
        return replace(roles, parts=parts), [*notes, *new_notes]
    if target is None:
        target = _guess_target(free, looks)
        free.remove(target)
        notes.append(_guess(1, f"column {target!r} is taken as the target", way(target=...)))
    if key is None:
        key = _guess_key(free, looks)
        row_numbers = [c for c in free if _is_key_word(c) and looks.is_unique(c)]
        if row_numbers:
            action = f"column {row_numbers[0]!r} is different in every row, so it is not taken as the key; to change it, pass"
            notes.append(
                Note(kind="row numbers", count=len(row_numbers), series=0, example="", done=action,
                     ways=(way(key=...),))
            )  # fmt: skip
        if key:
            notes.append(
                _guess(len(key), f"columns {list(key)} are taken as the key", way(key=...))
            )
    if not key:
        action = 'no key column: the table is read as one series, key "series" = "all"'
        notes.append(_guess(0, action, way(key=...)))
    return Roles(key=tuple(key), time=name, parts=parts, target=target, **shared), notes


def melt(table: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Convert a wide table to a long one, with one row for each series and step.

    Raises:
        SchemaError: A column holds neither numbers nor text.
    """
    if not roles.melt:
        return table
    types = dict(table.schema)  # which polars makes anew, column by column, whenever it is asked
    kinds = {types[c] for c in roles.melt}
    odd = [c for c in roles.melt if not (types[c].is_numeric() or types[c] in (pl.String, pl.Null))]
    if odd:
        raise SchemaError(
            f"column {odd[0]!r} of a wide table holds {types[odd[0]]}, which is no number; "
            "leave it out, or pass",
            column=odd[0], ways=[way(wide=False)],
        )  # fmt: skip
    one = pl.String() if pl.String in kinds else pl.Float64()
    cells = table.with_columns(pl.col(c).cast(one) for c in roles.melt)
    names = roles.time if roles.melt_names_times else roles.key[0]
    melted = set(roles.melt)
    index = [c for c in table.columns if c not in melted]
    return cells.unpivot(
        on=list(roles.melt), index=index, variable_name=names, value_name=roles.target
    )


def no_column(
    column: str, columns: Sequence[str], *, role: tuple[str, Sequence[str] | str]
) -> SchemaError:
    """Return the error of a column that is named but absent.

    Args:
        column: The absent name.
        columns: The columns of the table.
        role: The argument that names it, and all columns that the argument names.
    """
    option, names = role
    covariates_hint = "; if another table has it, pass" if option == "known" else ""
    near = near_name(column, columns)
    value: Any = near
    if not isinstance(names, str):
        value = [near_name(c, columns) or c if c not in columns else c for c in names]
    error = SchemaError(
        f"there is no column {column!r}{suggest_column(column, columns)}{covariates_hint}",
        ways=[way(covariates=...)] if covariates_hint else [],
        option=option, column=column, found=column,
    ).suggest(near)  # fmt: skip
    error.mend = ((option, value),) if near else ()
    return error


def _role_of(
    column: str, columns_named: NamedColumns, key: Sequence[str] | None
) -> tuple[str, Sequence[str] | str]:
    """Return the argument that names a column, and all that it names."""
    columns_of_option: dict[str, Sequence[str] | str] = {
        "key": key or (), "time": columns_named.time or (), "known": columns_named.known, "past": columns_named.past,
        "static": columns_named.static, "available": columns_named.available or (), "target": columns_named.target or (),
    }  # fmt: skip
    return next(
        (option, names)
        for option, names in columns_of_option.items()
        if column == names or column in names
    )


def suggest_column(word: str, known: Collection[str]) -> str:
    """Return the end of a message that suggests the nearest name and lists all."""
    near = near_name(word, known)
    listed = ", ".join(repr(str(k)) for k in list(known)[:12]) + (
        ", ..." if len(known) > 12 else ""
    )
    return (f"; did you mean {near!r}? The" if near else "; the") + f" columns are {listed}"


def near_name(word: str, known: Collection[str]) -> str | None:
    """Return the known name nearest to a word."""
    folded = {str(k).lower(): str(k) for k in known}
    near = difflib.get_close_matches(word.lower(), list(folded), 1, NEAR)
    return folded[near[0]] if near else None


# What columns look like


def _dated_names(columns: Sequence[str]) -> list[str]:
    """Return the columns whose names are times: 2024-01-31, Jan-24, 202401, KW 5/2024, 2024."""
    dated = set(looks_like_times([c for c in columns if not c.isdigit()]))
    figures = [c for c in columns if c.isdigit()]
    if figures and not dated:
        values = pl.Series([int(c) for c in figures])
        years = values.is_between(1900, 2100).all()
        if len(figures) >= 2 and (years or read_whole(values, "time")[0].dtype.is_temporal()):
            dated = set(figures)
    return [c for c in columns if c in dated]


# Guesses


def _only_numbers(free: Sequence[str], looks: Looks) -> bool:
    """Return whether there are several columns, all hold numbers, and none has the name of a key."""
    return len(free) >= 2 and all(map(looks.is_number, free)) and not _guess_key(free, looks)


def _is_target_word(column: str) -> bool:
    return is_word(column, vocabulary.TARGET)


def _guess_time(free: Sequence[str], looks: Looks) -> tuple[list[str], list[Note]]:
    """Return the column of times, or the columns that together make a time."""
    dates = [c for c in free if looks.is_time(c)]
    worded = columns_with_words(dates, vocabulary.TIME)
    together = _columns_of_time(free, dates, looks)
    if together:
        action = f"columns {together} are taken as the time, together"
        return together, [_guess(len(together), action, way(time=...))]
    best = [c for c in worded if is_word(c, vocabulary.TIME)] or worded
    if not best and len(dates) == 1:
        best = dates
    if len(dates) > 1 and not (best and (is_word(best[0], vocabulary.TIME) or len(best) == 1)):
        raise SchemaError(
            f"columns {dates} all hold times; name one:",
            option="time",
            ways=[mend(time=dates[0])],
        )
    if not best:  # steps, or text that is no time yet: what reads it says so
        best = [
            c
            for c in columns_with_words(free, vocabulary.TIME)
            if is_word(c, vocabulary.TIME) or (looks.is_number(c) and c not in dates)
        ]
        best = [c for c in best if is_word(c, vocabulary.TIME)] or best
    if not best:
        raise SchemaError(
            f"no column is plainly the time among {list(free)[:12]}; name it:",
            option="time", ways=[way(time=...)],
        )  # fmt: skip
    _refuse_part(best[0], looks)
    return [best[0]], [_guess(1, f"column {best[0]!r} is taken as the time", way(time=...))]


def _columns_of_time(free: Sequence[str], dates: Sequence[str], looks: Looks) -> list[str]:
    """Return the columns that make a time together: year and month, week or quarter; or a date and its hour."""
    years = [c for c in free if is_word(c, vocabulary.YEAR) and c not in dates]
    if years and not dates:
        for _, words in PARTS:
            for part in (c for c in free if is_word(c, words) and c not in years):
                days = [c for c in free if is_word(c, vocabulary.DAY) and c not in (part, *years)]
                return [years[0], part, *days[:1]]
    hours = [c for c in free if is_word(c, vocabulary.HOUR) and c not in dates[:1]]
    if dates and hours and hours[0] != dates[0]:
        day = [c for c in dates if c not in hours][:1]
        if day and _is_clock(looks.cells(hours[0])) and _are_days(looks.cells(day[0])):
            return [day[0], hours[0]]
    return []


def _is_clock(cells: pl.Series) -> bool:
    """Return whether cells are hours of a day, 0 to 24, or times like 13:30."""
    if cells.dtype == pl.Time:
        return True
    text = cells.drop_nulls().cast(pl.String).str.strip_chars()
    return len(text) > 0 and bool(
        text.str.contains(r"^(\d{1,2}|\d{1,2}\.0|\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?)$").all()
    )


def _are_days(cells: pl.Series) -> bool:
    if cells.dtype == pl.Date:
        return True
    if cells.dtype.is_temporal():
        return bool((cells.dt.truncate("1d") == cells).all())
    return not cells.drop_nulls().cast(pl.String).str.contains(":").any()


def _refuse_part(column: str, looks: Looks) -> None:
    """Refuse a month, week or quarter without its year."""
    for what, words, most in (
        ("months", vocabulary.MONTH, 12), ("weeks", vocabulary.WEEK, 53), ("quarters", vocabulary.QUARTER, 4),
    ):  # fmt: skip
        cells = looks.cells(column).drop_nulls()
        if not is_word(column, words) or not len(cells):
            continue
        numbers = cells.cast(pl.Int64, strict=False)
        if (
            not numbers.null_count()
            and numbers.is_between(1, most).all()
            and (numbers.diff() < 0).any()
        ):
            raise SchemaError(
                f"column {column!r} holds {what} from 1 to {most} without their year; name both columns, as "
                "in",
                option="time", column=column, ways=[way(time=["year", column])],
            )  # fmt: skip


def _guess_target(free: Sequence[str], looks: Looks) -> str:
    worded = columns_with_words(free, vocabulary.TARGET)
    candidates = [c for c in worded if not looks.is_time(c) or looks.is_number(c)]
    exact = [c for c in candidates if _is_target_word(c)]
    candidates = exact or [c for c in candidates if looks.is_number(c)] or candidates
    if not exact and len(candidates) > 1:
        raise SchemaError(
            f"columns {candidates[:6]} may each be the target; name it:",
            option="target",
            ways=[mend(target=candidates[0])],
        )
    if not candidates:
        keys = _guess_key(free, looks)
        numeric = list(islice((c for c in free if c not in keys and looks.is_number(c)), 2))
        candidates = numeric if len(numeric) == 1 else []
    if not candidates:
        raise SchemaError(
            f"no column is plainly the target among {list(free)[:12]}; name it:",
            option="target", ways=[way(target=...)],
        )  # fmt: skip
    return candidates[0]


def _guess_key(free: Sequence[str], looks: Looks) -> tuple[str, ...]:
    """Return columns named like a key, except those that differ in every row."""
    whole_keys = [
        c
        for c in columns_with_words(free, vocabulary.WHOLE_KEY)
        if is_word(c, vocabulary.WHOLE_KEY)
    ]
    if whole_keys:
        return (whole_keys[0],)
    return tuple(c for c in free if _is_key_word(c) and not looks.is_unique(c))


def _is_key_word(column: str) -> bool:
    return plain(column) in vocabulary.KEY_NAMES


def _joint_name(columns: Sequence[str]) -> str:
    """Return an unused column name for the time that several columns make together."""
    return next(n for n in ("date", "time", "timestamp", "date_of_step") if n not in columns)


def _wide_by_time(
    table: Table, free: list[str], dated: list[str], key: Sequence[str] | None, target: str | None,
    shared: dict[str, Any],
) -> tuple[Roles, list[Note]]:  # fmt: skip
    times = set(dated)
    keys = tuple(key) if key is not None else tuple(c for c in free if c not in times)
    notes: list[Note] = []
    if key is None:
        totals = [c for c in keys if is_word(c, vocabulary.TOTALS)]
        keys = tuple(c for c in keys if c not in totals)
        if totals:
            action = f"column {totals[0]!r} is named like a total of the others: left out"
            notes.append(Note(kind="total", count=len(totals), series=0, example="", done=action))
    for new_name in ("time", target or "value"):
        if new_name in table.columns:
            raise SchemaError(
                f"column {new_name!r} of a wide table has the name that its times or values get; "
                "rename it, or pass",
                column=new_name, ways=[way("another", target=...), way(wide=False)],
            )  # fmt: skip
    roles = Roles(
        key=keys, time="time", target=target or "value", melt=tuple(dated),
        melt_names_times=True, **shared,
    )  # fmt: skip
    action = f"the names of {len(dated):,} columns are times: read as a wide table, a row a series of key {list(keys)}"
    return roles, [*notes, _guess(len(dated), action, way(wide=False))]


def _wide(
    table: Table, free: list[str], time: str, target: str | None, key: Sequence[str] | None,
    looks: Looks, shared: dict[str, Any],
) -> tuple[Roles, list[Note]]:  # fmt: skip
    notes: list[Note] = []
    if key:
        raise SchemaError(
            f"a wide table has no key column, but {list(key)} is named as the key; its columns are the "
            "series: name no key, or pass",
            option="key", found=list(key), ways=[way(wide=False)],
        )  # fmt: skip
    totals = [c for c in free if is_word(c, vocabulary.TOTALS)]
    if totals and len(totals) < len(free):
        free = [c for c in free if c not in totals]
        action = f"column {totals[0]!r} is named like a total of the others: left out"
        notes.append(
            Note(
                kind="total",
                count=len(totals),
                series=0,
                example="",
                done=action,
                severity="warning",
            )
        )
    for column in free:
        if not looks.is_number(column) and table.sample[column].null_count() < table.sample.height:
            kind = "text" if table.is_text else table.sample.schema[column]
            raise SchemaError(
                f"column {column!r} of a wide table holds {kind}, but each column beside "
                f"the time {time!r} is a series of numbers; drop it, or pass",
                column=column, ways=[way(wide=False)],
            )  # fmt: skip
    for new_name in ("series", target or "value"):
        if new_name in table.columns and (new_name not in free or new_name == target):
            raise SchemaError(
                f"column {new_name!r} of a wide table has the name that the gathered series get; "
                "rename it, or pass",
                column=new_name, ways=[way("another", target=...), way(wide=False)],
            )  # fmt: skip
    if not free:
        raise SchemaError(f"a wide table needs a column of numbers beside the time {time!r}")
    roles = Roles(key=("series",), time=time, target=target or "value", melt=tuple(free), **shared)
    return roles, notes


def _guess(count: int, action: str, *ways: Way) -> Note:
    action += "; to change it, pass"
    return Note(kind="guess", count=count, series=0, example="", done=action, ways=ways)
