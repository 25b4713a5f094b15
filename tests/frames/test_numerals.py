"""Numbers as people write them: the decimal sign is decided by the column, or asked for."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demandcast.errors import DataError
from demandcast.frames.numerals import Hints, parse_numbers

NONE = None


def parsed(cells: list[str | None], junk: str = "error", **hints: Any) -> list[float | None]:
    column = pl.Series("x", cells, dtype=pl.String)
    values, _ = parse_numbers(column, "target", junk=junk, hints=Hints(**hints))
    return values.to_list()


@pytest.mark.parametrize(
    ("cells", "hints", "numbers"),
    [
        (["0,00", "1.234,56", "12"], {}, [0, 1234.56, 12]),
        (["1,234.56", "12"], {}, [1234.56, 12]),
        (["1.234.567", "0"], {}, [1234567, 0]),
        (["1,234,567", "5"], {}, [1234567, 5]),
        (["1,23,456.50"], {}, [123456.5]),  # lakhs
        (["1,5", "1.234"], {}, [1.5, 1234]),  # the comma shows what the point is
        (["1.5", "1,234"], {}, [1.5, 1234]),
        (["0", "23.437", "21.930", "950"], {"separator": ";"}, [0, 23437, 21930, 950]),
        (["0", "23.437", "21.930", "950"], {"separator": ","}, [0, 23437, 21930, 950]),  # 21.93 has no 0
        (["0", "23.437"], {"separator": ";"}, [0, 23437]),
        (["0", "23.437"], {"separator": ","}, [0, 23.437]),
        (["0.123", "1.234"], {"separator": ";"}, [0.123, 1.234]),  # no thousands begin with 0
        (["12345", "1.234"], {"separator": ";"}, [12345, 1.234]),  # thousands are not grouped
        (["12345", "1,234"], {"separator": ","}, [12345, 1.234]),
        (["1.234", "2.345"], {"separator": ","}, [1.234, 2.345]),
        (["1,234", "2,345"], {"separator": ","}, [1234, 2345]),
        (["1.234", "2.345"], {"usual": ",", "separator": ";"}, [1234, 2345]),
        (["1,234", "2,345"], {"usual": ",", "separator": ";"}, [1.234, 2.345]),
        (["1.234", "2.345"], {"typed": True}, [1.234, 2.345]),  # cells of Excel
        (["1.234", "5"], {"decimal": ","}, [1234, 5]),
        (["1,234", "5"], {"decimal": ","}, [1.234, 5]),
        (["1,234", "5"], {"decimal": "."}, [1234, 5]),
        (["1'234.50", "2'000"], {}, [1234.5, 2000]),
        (["1\u2019234,5"], {}, [1234.5]),
        (["1 234 567,8", "1\u00a0000", "2\u202f000"], {}, [1234567.8, 1000, 2000]),
        (["$1,234.50", "$0.00", "$ 5"], {}, [1234.5, 0, 5]),
        (["1.234,50 €", "5 €"], {}, [1234.5, 5]),
        (["CHF 1'000.00", "CHF 5.00"], {}, [1000, 5]),
        (["¥1,200", "¥900"], {"separator": ","}, [1200, 900]),
        (["(12)", "123,40-", "-5", "+6", "\u22127", "- 8"], {}, [-12, -123.4, -5, 6, -7, -8]),
        (["($1,000.00)", "$5.00"], {}, [-1000, 5]),
        (["12 pcs", "5 pcs"], {}, [12, 5]),
        (["12 Stk.", "1.000 Stk."], {"separator": ";"}, [12, 1000]),
        (["12%", "5.5%"], {}, [12, 5.5]),
        (["1e5", "2.5E-3", ".5", "5."], {}, [1e5, 0.0025, 0.5, 5]),
        (["", "NA", "n/a", "#NV", "#N/A", "nan", None, "7"], {}, [NONE] * 7 + [7]),
        ([" 7 ", "8\t"], {}, [7, 8]),
    ],
)  # fmt: skip
def test_numbers_are_read_as_they_are_meant(
    cells: list[str | None], hints: dict[str, Any], numbers: list[float | None]
) -> None:
    assert parsed(cells, **hints) == numbers


@pytest.mark.parametrize(
    ("cells", "hints", "words"),
    [
        (["1,5", "1.5"], {}, ["'1.5'", "'1,5'", "alike"]),
        (["1.234", "1,234"], {}, ["'1.234'", "'1,234'", "decimal="]),
        (["1.234", "2.345"], {"separator": ";"}, ["'1.234'", "decimal='.'"]),
        (["1,234", "2,345"], {"separator": "\t"}, ["'1,234'", "decimal=','"]),
        (["1,5", "2"], {"decimal": "."}, ["'1,5'", "leave decimal out"]),
        (["1.2.3", "4"], {}, ["'1.2.3'", "order"]),
        (["5", "-", "?", "-"], {}, ["3 rows", "'-' in row 2", "'-' (2)", "'?' (1)", "text='missing'"]),
        (["12", "13", "12a"], {}, ["'12a'", "row 3"]),
        (["12 kg", "5 g"], {}, ["units", "'g', 'kg'"]),
        (["$ 5", "€ 6"], {}, ["currencies", "'$'", "'€'"]),
        (["1.5k", "2k"], {}, ["shortened", "'1.5k'"]),
        (["2024-01-01"], {}, ["'2024-01-01'", "no number"]),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(
    cells: list[str], hints: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        parsed(cells, **hints)
    for word in words:
        assert word in str(caught.value)


def test_cells_that_are_no_number_follow_their_rule() -> None:
    assert parsed(["5", "-", "?"], "missing") == [5, NONE, NONE]
    assert parsed(["5", "-", ""], "zero") == [5, 0, NONE]
    column = pl.Series("x", ["5", "-", "?", "-"])
    _, notes = parse_numbers(column, "target", junk="missing")
    assert "'-' (2), '?' (1)" in notes[0].action


WRITERS = {
    "1234.5": lambda v: f"{v}",
    "1,234.5": lambda v: f"{v:,}",
    "1.234,5": lambda v: f"{v:,}".replace(",", "_").replace(".", ",").replace("_", "."),
    "1 234,5": lambda v: f"{v:,}".replace(",", " ").replace(".", ","),
    "1'234.5": lambda v: f"{v:,}".replace(",", "'"),
    "€": lambda v: f"{v:,} €",
    "trailing": lambda v: f"{abs(v):,}{'-' if v < 0 else ''}",
    "brackets": lambda v: f"({abs(v):,})" if v < 0 else f"{v:,}",
}


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=30),
    st.sampled_from(sorted(WRITERS)),
)
def test_every_way_of_writing_gives_the_numbers_back(hundredths: list[int], way: str) -> None:
    numbers = [h / 100 for h in hundredths] + [0.25]  # one that shows the decimal sign
    assert parsed([WRITERS[way](v) for v in numbers], separator=";") == numbers
