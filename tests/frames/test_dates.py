"""Times as people write them, one truth for each way; what nothing decides is refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from demandcast.errors import DataError, DemandcastError
from demandcast.frames.dates import looks_like_times, read_dates, read_whole
from demandcast.frames.looks import _is_plain_date
from demandcast.frames.times import parse_times, zone_of_midnights


def read(*words: str, **options: Any) -> list[str | None]:
    dates = read_dates(pl.Series("date", words), "date", **options)
    return [None if v is None else str(v).removesuffix(" 00:00:00") for v in dates.values]


def test_the_year_0_is_no_time() -> None:
    """Databases write it where there is no date; Python and the calendar have none."""
    assert read("0000-01-01", "2024-02-01") == [None, "2024-02-01"]
    assert read("1.1.0000", "01.02.2024", day_first=True)[0] is None


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["2024-01-31", "2024/2/1", "20240203", "2024.03.04"],
         ["2024-01-31", "2024-02-01", "2024-02-03", "2024-03-04"]),
        (["31.01.2024", "01.02.24"], ["2024-01-31", "2024-02-01"]),
        (["7/4/15", "12/28/16"], ["2015-07-04", "2016-12-28"]),
        (["29-01-24", "30-01-24"], ["2024-01-29", "2024-01-30"]),
        (["24-01-31", "24-02-01"], ["2024-01-31", "2024-02-01"]),  # together only with the year first
        (["13/02/2024", "01/03/2024"], ["2024-02-13", "2024-03-01"]),
        (["68-01-13", "68-01-14"], ["2068-01-13", "2068-01-14"]),
        (["31.12.69"], ["1969-12-31"]),
        (["2015年07月04日", "2015年7月5日"], ["2015-07-04", "2015-07-05"]),
        (["2015年7月"], ["2015-07-01"]),
        (["\uff12\uff10\uff12\uff14-01-31"], ["2024-01-31"]),
        (["30-Jan-2024", "Jan 5, 2024", "5 January 2024", "2024-Feb-03"],
         ["2024-01-30", "2024-01-05", "2024-01-05", "2024-02-03"]),
        (["5. Mai 2024", "6. März 2024", "7. Dez. 2024"], ["2024-05-05", "2024-03-06", "2024-12-07"]),
        (["5 de mayo de 2024", "3 août 2024", "4 févr. 2024"], ["2024-05-05", "2024-08-03", "2024-02-04"]),
        (["Mo, 05.02.2024", "Monday, January 8, 2024", "Montag 12.02.2024", "Sat 2024-02-03"],
         ["2024-02-05", "2024-01-08", "2024-02-12", "2024-02-03"]),
        (["Jan-13", "Dez 24", "Mär 2024", "2024 Sep"], ["2013-01-01", "2024-12-01", "2024-03-01", "2024-09-01"]),
        (["01/2024", "2024M02", "2024-3", "2024 04", "M05 2024"],
         ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01"]),
        (["2024-W05", "2024W06", "KW07/2024", "2024 KW 8", "W09-2024", "5. KW 2024", "Week 5, 2024"],
         ["2024-01-29", "2024-02-05", "2024-02-12", "2024-02-19", "2024-02-26", "2024-01-29", "2024-01-29"]),
        (["2024-W05-3", "S05 2024", "2020-W53", "2024年第5周"],
         ["2024-01-31", "2024-01-29", "2020-12-28", "2024-01-29"]),
        (["2024Q3", "Q3 2024", "Q3/24", "2024-Q1", "3. Quartal 2024", "T2 2024", "2024年第三季度"],
         ["2024-07-01", "2024-07-01", "2024-07-01", "2024-01-01", "2024-07-01", "2024-04-01", "2024-07-01"]),
        (["2024H1", "H2 2024", "1H24"], ["2024-01-01", "2024-07-01", "2024-01-01"]),
        (["2024-032", "2024-366"], ["2024-02-01", "2024-12-31"]),
        (["FY2024", "FY25", "FY'26"], ["2024-01-01", "2025-01-01", "2026-01-01"]),
        (["2023/24", "2024/25"], ["2023-01-01", "2024-01-01"]),
        (["2009/10", "2010/11", "2011/12"], ["2009-01-01", "2010-01-01", "2011-01-01"]),
        (["1999-00", "2000-01"], ["1999-01-01", "2000-01-01"]),
        (["2023/2024"], ["2023-01-01"]),
        (["2011/12"], ["2011-12-01"]),  # one word may be a month
        (["2011/12", "2012/01"], ["2011-12-01", "2012-01-01"]),
        (["FY23/24", "FY 24/25"], ["2023-01-01", "2024-01-01"]),
        (["FY23 Q1", "FY2023-Q2", "Q3 FY23", "fy'23 q4"], ["2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01"]),
        (["2023/24 Q1", "Q4 2023/24"], ["2023-01-01", "2023-10-01"]),
        (["FY23 H1", "H2 FY2023"], ["2023-01-01", "2023-07-01"]),
        (["FY24 P05", "P06 FY2024", "FY24M07", "2024P08"], ["2024-05-01", "2024-06-01", "2024-07-01", "2024-08-01"]),
        (["2024-01-31T00:00:00", "2024-01-31 13:05", "2024-01-31 1:05 PM", "2024-01-31 12:30 am"],
         ["2024-01-31", "2024-01-31 13:05:00", "2024-01-31 13:05:00", "2024-01-31 00:30:00"]),
        (["31.01.2024 23:59:59,5", "2024-01-31 24:00", "20240131 1300", "2024013113"],
         ["2024-01-31 23:59:59.500000", "2024-02-01", "2024-01-31 13:00:00", "2024-01-31 13:00:00"]),
        (["31.01.2024 13 Uhr".replace(" Uhr", ":00 Uhr")], ["2024-01-31 13:00:00"]),
    ],
)  # fmt: skip
def test_times_are_read_as_they_are_meant(words: list[str], times: list[str]) -> None:
    assert read(*words) == times


@pytest.mark.parametrize(
    "word",
    ["soon", "2024-02-30", "2024-13-01", "2021-W53", "2023-366", "2024-01-05 25:00", "13-Jan", "32.01.2024",
     "2024-01-05 13:00 pm", "Q5 2024"],
)  # fmt: skip
def test_what_is_no_time_is_none(word: str) -> None:
    assert read(word) == [None]
    with pytest.raises(DemandcastError):
        parse_times(pl.Series("date", [word]), None)


def test_day_and_month_are_told_by_the_column_or_asked_for() -> None:
    with pytest.raises(DataError, match="day_first=True"):
        read("01/02/2024", "03/02/2024")
    assert read("01/02/2024", "03/02/2024", day_first=True) == ["2024-02-01", "2024-02-03"]
    assert read("01/02/24", "03/02/24", day_first=False) == ["2024-01-02", "2024-03-02"]
    with pytest.raises(DataError, match="'13/02/2024', which does not have the month first"):
        read("13/02/2024", day_first=False)
    with pytest.raises(DataError, match=r"day first in '13/02/2024'.*month first in '02/13/2024'"):
        read("13/02/2024", "02/13/2024")


@pytest.mark.parametrize(
    ("numbers", "name", "first", "last"),
    [
        ([20240131, 20240229], "date", "2024-01-31", "2024-02-29"),
        ([202401, 202412], "month", "2024-01-01", "2024-12-01"),
        ([202401, 202412], "period", "2024-01-01", "2024-12-01"),
        ([202401, 202412], "week", "2024-01-01", "2024-03-18"),
        ([202452, 202501], "period", "2024-12-23", "2024-12-30"),
        ([20241, 202410], "KW", "2024-01-01", "2024-03-04"),
        ([20184, 20191], "quarter", "2018-10-01", "2019-01-01"),
        ([2024031, 2024366], "day", "2024-01-31", "2024-12-31"),
        ([45292, 45293], "Date", "2024-01-01", "2024-01-02"),
        ([1706659200, 1706662800], "t", "2024-01-31 00:00:00+00:00", "2024-01-31 01:00:00+00:00"),
        ([1706659200000, 1706662800000], "t", "2024-01-31 00:00:00+00:00", "2024-01-31 01:00:00+00:00"),
        ([2022, 2024], "year", "2022", "2024"),
        ([45292, 45293], "step", "45292", "45293"),
        ([0, 7], "date", "0", "7"),
    ],
)  # fmt: skip
def test_whole_numbers_are_dates_where_they_are_dates_in_figures(
    numbers: list[int], name: str, first: str, last: str
) -> None:
    values, _ = read_whole(pl.Series(name, numbers), name)
    assert [str(values[0]), str(values[-1])] == [first, last]


def test_a_frequency_of_weeks_says_that_figures_are_weeks() -> None:
    values, _ = read_whole(pl.Series("t", [202401, 202412]), "t", "W-MON")
    assert str(values[1]) == "2024-03-18"


def test_a_float_of_excel_is_a_day_and_its_clock() -> None:
    times, _ = parse_times(pl.Series("date", ["45292.5", "45293.25"]), None)
    assert times.values.astype(str).tolist() == [
        "2024-01-01T12:00:00.000000", "2024-01-02T06:00:00.000000",
    ]  # fmt: skip


def test_headers_that_are_times() -> None:
    names = [
        "Material",
        "Jan-13",
        "2013-01-01 00:00:00",
        "KW 5 2024",
        "Store 12",
        "sku1",
        "Q1 2024",
    ]
    assert looks_like_times(names) == ["Jan-13", "2013-01-01 00:00:00", "KW 5 2024", "Q1 2024"]


def test_offsets_say_which_instant_is_meant() -> None:
    words = [
        "2016-01-01 18:12:00 +0200",
        "2016-07-01T08:54:00+01:00",
        "2016-07-01T08:54Z",
        "2016-07-01 08:54 UTC-"[:-1],
    ]
    dates = read_dates(pl.Series("d", words), "d")
    assert dates.offsets.to_list() == [120, 60, 0, 0]


def test_the_zone_of_midnights_is_found() -> None:
    local = pl.Series([datetime(2024, 3, 20) + timedelta(days=i) for i in range(20)])
    for zone in ("Europe/Berlin", "America/New_York", "Asia/Kolkata"):
        utc = (
            local.dt.replace_time_zone(zone).dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        )
        found = zone_of_midnights(utc.to_numpy())
        assert found is not None
        back = utc.dt.replace_time_zone("UTC").dt.convert_time_zone(found)
        assert (back.dt.hour() == 0).all()
    assert zone_of_midnights(np.array(["2024-01-01T03:17"], "M8[us]")) is None


STYLES = (
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%Y年%m月%d日",
    "%G-W%V-%u",
)


@settings(deadline=None, max_examples=80)
@example([date(2001, 1, 1), date(2002, 1, 1)], "%d.%m.%y")
@given(
    st.lists(st.dates(date(1970, 1, 1), date(2068, 12, 31)), min_size=1), st.sampled_from(STYLES)
)
def test_every_style_gives_the_days_back(days: list[date], style: str) -> None:
    words = [d.strftime(style) for d in days]
    assert read(*words) == [str(d) for d in days]


@settings(deadline=None)
@given(
    st.from_regex(
        r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]|[0-3]?[0-9]([./-])[0-3]?[0-9]\1(19|20)[0-9]{2}",
        fullmatch=True,
    )
)
@example("2024-02-30")
@example("29.02.2023")
@example("31/4/2024")
def test_a_date_that_is_seen_at_a_glance_is_one_that_is_read(word: str) -> None:
    try:
        read_as_date = None not in read(word)
    except DataError:  # a date, in an order that nothing decides
        read_as_date = True
    assert read_as_date or not _is_plain_date(word)
