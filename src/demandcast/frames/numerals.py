"""Parse text as numbers: the decimal sign is inferred from the whole column, and noted.

"1.234,56", "1,234.56", "1'234.56", "$1,234.50", "(12)", "123,40-" and "12 pcs" are numbers as people write
them. One cell rarely tells how it is meant: "12.345" is twelve thousand in a German export and twelve in an
English one. So all cells of a column are looked at together, and a column that can be read in two ways is
refused with the option that decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from demandcast.errors import DataError, mend, way
from demandcast.panel.panel import Note
from demandcast.reading import DECIMALS

OR_A_RULE = ", name another column, or pass"
SIGNS = (mend(decimal=","), way(decimal="."))
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "#NV")
CURRENCY = r"(?:\p{Sc}|US\$|R\$|kr\.?|zł|Kč|CHF|Fr\.|EUR|USD|GBP|JPY|CNY|RMB|元|円)"
FIGURES = r"(?:\d[\d.,']*|[.,]\d+)(?:[eE][+-]?\d+)?"
UNIT = r"(?:%|\p{L}[\p{L}\d.²³/]*)"
NUMERAL = (
    rf"^(?P<open>\()?\s*(?P<sign>[+-])?\s*(?P<before>{CURRENCY})?\s*(?P<inner>[+-])?\s*"
    rf"(?P<figures>{FIGURES})\s*(?P<late>[+-])?\s*\)?\s*(?P<after>{CURRENCY})?\s*(?P<trail>[+-])?\s*(?P<unit>{UNIT})?\s*(?P<close>\))?$"
)
SHORTENED = ("k", "tsd", "tsd.", "m", "mio", "mio.", "mn", "mm", "bn", "mrd", "mrd.")  # 1.5k
MANY = 50  # cells "n.nnn" beside plain small numbers: decimals would vary in length


@dataclass(frozen=True)
class Hints:
    """Facts of the file that decide how its numbers are read if a column alone does not.

    Attributes:
        decimal: The decimal sign the user gave; it is not questioned.
        usual: The sign that other cells of the file show beyond doubt.
        separator: What separates the columns; ";" is that of countries with decimal commas.
        typed: The cells were numbers in their file (Excel), written with a decimal point.
    """

    decimal: str | None = None
    usual: str | None = None
    separator: str | None = None
    typed: bool = False


def parse_numbers(
    column: pl.Series,
    role: str,
    *,
    junk: str = "error",
    hints: Hints | None = None,
    where: Callable[[int], str] | None = None,
) -> tuple[pl.Series, list[Note]]:
    """Convert a text column to float64, null where a cell is empty or means "not available".

    Args:
        column: Text.
        role: What the column is for, as messages name it: "target".
        junk: Cells that are no numbers, such as "-" or "?": "error", "missing" or "zero".
        hints: What is known beside the column itself.
        where: Says the place of a row, for messages; "row 5" if None.

    Raises:
        DataError: A cell is no number and `junk` is "error"; currencies or units are mixed; or the
            decimal sign cannot be told.
    """
    hints = hints or Hints()
    if _are_plain_numbers(column, hints):
        return column.cast(pl.Float64), []
    text = column.str.strip_chars()
    absent = text.is_in(pl.Series(MISSING).implode())
    notes = _absent_note(column, text, absent, role)
    text = text.set(absent, None) if absent.any() else text
    values = text.cast(pl.Float64, strict=False)
    odd = values.is_null() & text.is_not_null()
    if not odd.any() and (hints.typed or hints.decimal == "." or _has_decimal_points(text, hints)):
        return values, notes
    words = text.drop_nulls().unique(maintain_order=True)
    parts = _split_parts(words)
    no_number = words.filter(parts["figures"].is_null())
    if len(no_number):
        notes.append(_treat_text(column, text, no_number, role, junk, where or row_number))
        words, parts = words.filter(parts["figures"].is_not_null()), parts.drop_nulls("figures")
    messages = _adornments(column, parts, words, role)
    decimal, reason = _decimal(column, parts["figures"], words, role, hints)
    numbers = _parse_parts(parts, decimal)
    table = pl.DataFrame({"word": words, "number": numbers})
    if junk == "zero" and len(no_number):
        zeros = pl.DataFrame({"word": no_number, "number": [0.0] * len(no_number)})
        table = pl.concat([table, zeros])
    values = pl.DataFrame({"word": text}).join(
        table, on="word", how="left", maintain_order="left"
    )["number"]  # fmt: skip
    if reason or messages:
        action = f"{role} {column.name!r}: " + "; ".join([*([reason] if reason else []), *messages])
        notes.append(Note(kind="numbers", count=len(column), series=0, example="", done=action))
    return values.rename(column.name), notes


def _are_plain_numbers(column: pl.Series, hints: Hints) -> bool:
    """Return whether every cell is a plain number such as -1.5e3, as in most tables."""
    if column.head(100).cast(pl.Float64, strict=False).null_count() > column.head(100).null_count():
        return False
    values = column.cast(pl.Float64, strict=False)
    if values.null_count() > column.null_count() or values.is_nan().any():
        return False
    return hints.typed or hints.decimal == "." or _has_decimal_points(column, hints)


def _has_decimal_points(text: pl.Series, hints: Hints) -> bool:
    """Return whether a point can only be the decimal sign, because some cell is not like "12.345"."""
    for cells in (text.head(2000), text):  # the first rows decide for most columns
        pointed = cells.filter(cells.str.contains(".", literal=True))
        if len(pointed) and not pointed.str.contains(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$").all():
            return hints.decimal is None
    return not len(pointed)


def _split_parts(words: pl.Series) -> pl.DataFrame:
    """Sign, currency, figures and unit of each distinct text; null figures where it is no number."""
    plain = words.str.replace_all(r"[\u2212\u2013]", "-").str.replace_all(
        "\u2019", "'", literal=True
    )
    plain = plain.str.replace_all(r"(\d)[\s\u00a0\u2009\u202f\u2007]+(\d)", "${1}${2}")
    plain = plain.str.replace_all(r"(\d)[\s\u00a0\u2009\u202f\u2007]+(\d)", "${1}${2}")
    parts = plain.str.extract_groups(NUMERAL).struct.unnest()
    stray = parts["unit"].is_not_null()
    if 2 * int(stray.sum()) <= len(parts):  # "12a" among plain numbers is a slip, not a unit
        parts = parts.with_columns(
            pl.when(stray).then(None).otherwise(pl.col("figures")).alias("figures")
        )
    return parts.with_columns(pl.col("figures").str.replace_all("'", "", literal=True))


def _absent_note(column: pl.Series, text: pl.Series, absent: pl.Series, role: str) -> list[Note]:
    words = text.filter(absent)
    words = words.filter(words != "")
    if not len(words):
        return []
    listed = ", ".join(map(repr, words.unique().sort().to_list()))
    action = f"{role} {column.name!r} says {listed} in {len(words):,} rows: taken as missing"
    return [Note(kind="missing words", count=len(words), series=0, example="", done=action)]


def rows_of(count: int) -> str:
    """Return a number of rows in words: "1 row", "1,200 rows"."""
    return f"{count:,} row{'s' * (count != 1)}"


def row_number(row: int) -> str:
    """Return the number of a row, counted from 1."""
    return f"row {row + 1:,}"


def _treat_text(
    column: pl.Series, text: pl.Series, words: pl.Series, role: str, rule: str, where: Callable[[int], str]
) -> Note:  # fmt: skip
    bad = text.is_in(words.implode())
    rows = bad.arg_true()
    counts = text.filter(bad).value_counts(sort=True).rows()
    listed = ", ".join(f"{word!r} ({count:,})" for word, count in counts[:8])
    listed += ", ..." if len(counts) > 8 else ""
    if rule == "error":
        some_numbers = bool((text.is_not_null() & (text != "") & ~bad).any())
        ways = [mend("not observed", text="missing"), way(text="zero")] if some_numbers else []
        raise DataError(
            f"{role} {column.name!r} holds text that is no number in {rows_of(len(rows))}, first "
            f"{column[rows[0]]!r} in {where(rows[0])}; all of them: {listed}. "
            + ("Mend the cells" + OR_A_RULE if some_numbers else "It holds no number at all: name another column"),
            ways=ways, option="text", column=column.name, found=column[rows[0]], expected="a number",
        )  # fmt: skip
    done = "taken as missing" if rule == "missing" else "taken as 0"
    action = f"{role} {column.name!r} holds {listed}: {done}"
    return Note(
        kind="text", count=len(rows), series=0, example=where(rows[0]), done=action,
        severity="warning",
    )  # fmt: skip


def _adornments(column: pl.Series, parts: pl.DataFrame, words: pl.Series, role: str) -> list[str]:
    """Return what surrounds the figures, such as a currency, and a note; refuse a mix of several."""
    messages = []
    money = pl.concat([parts["before"], parts["after"]]).drop_nulls().unique().sort()
    units = parts["unit"].drop_nulls()
    kinds = units.str.to_lowercase().unique().sort()
    for what, kind in (("currencies", money), ("units", kinds)):
        if len(kind) > 1:
            raise DataError(
                f"{role} {column.name!r} mixes the {what} {', '.join(map(repr, kind[:5].to_list()))}; "
                "convert it to one of them, or split the table"
            )
    if len(kinds):
        word = words.filter(parts["unit"].is_not_null())[0]
        if kinds[0] in SHORTENED:
            raise DataError(
                f"{role} {column.name!r} holds shortened numbers like {word!r}; export them in full"
            )
        if len(units) < len(words) and kinds[0] == "%":
            raise DataError(
                f"{role} {column.name!r} holds percentages like {word!r} beside plain numbers; "
                "write all of them alike"
            )
        messages.append(f"the unit {units[0]!r} is left out")
    if len(money):
        messages.append(f"the currency {money[0]!r} is left out")
    for name, written in (("open", "(12)"), ("trail", "12-"), ("late", "12-")):
        count = int(parts[name].is_not_null().sum())
        if count:
            messages.append(f"{written} is read as -12")
    return messages


def _decimal(
    column: pl.Series, figures: pl.Series, words: pl.Series, role: str, hints: Hints
) -> tuple[str, str]:
    """Return the decimal sign of a column and a note; both are "" if no cell needed the decision."""
    dots, commas = (figures.str.contains(s, literal=True) for s in DECIMALS)
    if hints.decimal is not None:
        sign, group = map(re.escape, (hints.decimal, "," if hints.decimal == "." else "."))
        fits = figures.str.contains(
            rf"^(\d*|\d{{1,3}}({group}\d{{2,3}})*)({sign}\d*)?([eE][+-]?\d+)?$"
        )
        if not fits.all():
            raise DataError(
                f"{role} {column.name!r} holds {words.filter(~fits)[0]!r}, which is no number with "
                f"{hints.decimal!r} as its decimal sign; mend the cell, or leave decimal out"
            )
        return hints.decimal, f"{hints.decimal!r} is the decimal sign, as you asked"
    if not (dots | commas).any():
        return ".", ""
    open_dot = figures.str.contains(r"^[1-9]\d{0,2}\.\d{3}$")  # 12.345: in groups, or a decimal
    open_comma = figures.str.contains(r"^[1-9]\d{0,2},\d{3}$")
    point = (
        (dots & commas & figures.str.contains(r"^\d{1,3}(,\d{2,3})*\.\d*$"))
        | figures.str.contains(r"^\d{1,3}(,\d{2,3})+,\d{3}$")
        | (dots & ~commas & ~open_dot & figures.str.contains(r"^\d*\.\d*([eE][+-]?\d+)?$"))
    )
    comma = (
        (dots & commas & figures.str.contains(r"^\d{1,3}(\.\d{3})*,\d*$"))
        | figures.str.contains(r"^\d{1,3}(\.\d{3}){2,}$")
        | (commas & ~dots & ~open_comma & figures.str.contains(r"^\d*,\d*$"))
    )
    neither = (dots | commas) & ~(open_dot | open_comma | point | comma)
    if neither.any():
        raise DataError(
            f"{role} {column.name!r} holds {words.filter(neither)[0]!r}, whose signs are in no known "
            "order; write it like 1234.56 or 1.234,56"
        )
    if point.any() and comma.any():
        raise DataError(
            f"{role} {column.name!r} writes {words.filter(point)[0]!r} with a decimal point and "
            f"{words.filter(comma)[0]!r} with a decimal comma; write all of them alike"
        )
    if point.any() or comma.any():
        decimal = "." if point.any() else ","
        example = words.filter(point if point.any() else comma)[0]
        contrary = open_comma if decimal == "." else open_dot
        message = f"{example!r} shows that {decimal!r} is the decimal sign"
        if contrary.any():
            word = words.filter(contrary)[0]
            message += (
                f", so {word!r} is {_parse_parts(_split_parts(pl.Series([word])), decimal)[0]:,.0f}"
            )
        plain = decimal == "." and not contrary.any() and not commas.any()
        return decimal, "" if plain else message
    return _ambiguous(column, figures, words, role, hints, open_dot, open_comma)


def _ambiguous(
    column: pl.Series, figures: pl.Series, words: pl.Series, role: str, hints: Hints,
    open_dot: pl.Series, open_comma: pl.Series,
) -> tuple[str, str]:  # fmt: skip
    """Return the decimal sign of a column in which every cell is like "12.345" or "12,345"."""
    if open_dot.any() and open_comma.any():
        raise DataError(
            f"{role} {column.name!r} holds both {words.filter(open_dot)[0]!r} and "
            f"{words.filter(open_comma)[0]!r}; write all of them alike, or pass",
            option="decimal", column=column.name, ways=SIGNS,
        )  # fmt: skip
    sign, other = (".", ",") if open_dot.any() else (",", ".")
    cells = figures.filter(open_dot | open_comma)
    example = words.filter(open_dot | open_comma)[0]
    integers = figures.filter(figures.str.contains(r"^\d+$"))
    large = bool((integers.str.len_chars() >= 4).any())
    ragged = len(integers) > 0 and (cells.str.ends_with("0").any() or len(cells) >= MANY)
    if large:
        return (
            sign,
            f"{example!r} is read with {sign!r} as the decimal sign, as thousands stand ungrouped elsewhere",
        )
    grouped = ragged  # decimals would drop a last 0, and vary in length
    if not grouped and hints.usual is not None:
        grouped = hints.usual == other
    elif not grouped and hints.separator == ",":
        grouped = sign == ","  # a decimal comma would be the separator
    elif not grouped and hints.separator == ";":
        grouped = sign == "." and len(integers) > 0
        if sign == "." and not len(integers):
            raise _undecided_error(column, example, role)
    elif not grouped and sign == ",":
        raise _undecided_error(column, example, role)
    if grouped:
        value = float(example.replace(sign, "").strip("$€£ ()+-")) if _bare(example) else None
        value_text = f" ({value:,.0f})" if value is not None else ""
        return (
            other,
            f"{example!r} is read with {sign!r} between thousands{value_text}; the option decimal decides",
        )
    return (
        sign,
        f"{example!r} is read with {sign!r} as the decimal sign; the option decimal decides",
    )


def _bare(text: str) -> bool:
    return text.replace(".", "").replace(",", "").isdigit()


def _undecided_error(column: pl.Series, example: str, role: str) -> DataError:
    return DataError(
        f"{role} {column.name!r} holds {example!r} and the like, and nothing tells whether the sign "
        f"stands between thousands or before decimals; pass",
        ways=SIGNS, option="decimal", column=column.name, found=example,
    )  # fmt: skip


def _parse_parts(parts: pl.DataFrame, decimal: str) -> pl.Series:
    """Parse the distinct numbers, float64."""
    group = "," if decimal == "." else "."
    bare = parts["figures"].str.replace_all(group, "", literal=True)
    bare = bare.str.replace(decimal, ".", literal=True)
    below = (
        parts["open"].is_not_null() | (parts["sign"] == "-").fill_null(False)
        | (parts["inner"] == "-").fill_null(False) | (parts["trail"] == "-").fill_null(False)
        | (parts["late"] == "-").fill_null(False)
    )  # fmt: skip
    values = bare.cast(pl.Float64)
    return pl.select(pl.when(below).then(-values).otherwise(values))[:, 0]


def decimal_of(cells: pl.Series) -> str | None:
    """Return the decimal sign that unambiguous cells of a file share; None if they disagree."""
    text = cells.drop_nulls().str.strip_chars()
    point = bool(text.str.contains(r"^[+-]?(\d{1,3}(,\d{3})+\.\d+|\d+\.(\d{1,2}|\d{4,}))$").any())
    comma = bool(text.str.contains(r"^[+-]?(\d{1,3}(\.\d{3})+,\d+|\d+,(\d{1,2}|\d{4,}))$").any())
    return None if point == comma else "." if point else ","
