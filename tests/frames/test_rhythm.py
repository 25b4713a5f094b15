"""Series against the grid and against each other: closed days, ends, totals, coarser steps, times in several columns."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.errors import DataError, DemandcastError, FrequencyError, SchemaError
from demandcast.frames import extend, read_panel
from demandcast.frequency import Frequency
from demandcast.local.naive import SeasonalNaive
from demandcast.panel.panel import Note, Panel

START = date(2024, 1, 1)  # a Monday


def days(count: int, start: date = START) -> list[date]:
    return [start + timedelta(days=i) for i in range(count)]


def table(**series: list[tuple[Any, float]]) -> pl.DataFrame:
    rows = [(k, t, float(v)) for k, pairs in series.items() for t, v in pairs]
    return pl.DataFrame(rows, schema=["item", "date", "units"], orient="row")


def note(panel: Panel, kind: str) -> Note:
    (found,) = [n for n in panel.notes if n.kind == kind]
    return found


# Closed weekdays


@pytest.mark.parametrize(
    ("closed", "name"),
    [((6,), "D-exSUN"), ((5, 6), "B"), ((4, 5), "D-exFRI.SAT"), ((0,), "D-exMON"), ((1, 3, 5, 6), "D-exTUE.THU.SAT.SUN")],
)  # fmt: skip
def test_weekdays_without_a_row_are_closed(closed: tuple[int, ...], name: str) -> None:
    open_days = [d for d in days(70) if d.weekday() not in closed]
    panel = read_panel(table(a=[(d, d.weekday()) for d in open_days]))
    assert panel.schema.freq == name
    assert panel.freq.period == 7 - len(closed)
    forecast = SeasonalNaive(horizon=14).fit(panel).predict(panel).to_frame()
    assert all(d.weekday() not in closed for d in forecast["date"])
    assert forecast["0.5"].to_list() == [d.weekday() for d in forecast["date"]]
    assert note(panel, "closed").count == len(closed)


def test_a_frequency_says_that_no_day_is_closed() -> None:
    open_days = [d for d in days(70) if d.weekday() != 6]
    assert read_panel(table(a=[(d, 1) for d in open_days]), freq="D").schema.freq == "D"


def test_few_weeks_or_rare_rows_close_no_day() -> None:
    short = [d for d in days(20) if d.weekday() != 6]
    assert read_panel(table(a=[(d, 1) for d in short])).schema.freq == "D"
    rare = [d for i, d in enumerate(d for d in days(140) if d.weekday() != 6) if i % 11 in (0, 1)]
    assert read_panel(table(a=[(d, 1) for d in rare])).schema.freq == "D"


def test_grids_of_open_days_count_and_come_back() -> None:
    for name in ("D-exSUN", "D-exFRI.SAT", "D-exMON", "B"):
        grid = Frequency.parse(name)
        steps = np.arange(-50, 20_000)
        assert np.array_equal(grid.ordinal(grid.times(steps)), steps)
    assert Frequency.parse("D-exSAT.SUN") == Frequency.parse("B")
    with pytest.raises(FrequencyError):
        Frequency.parse("D-exSUX")


@pytest.mark.parametrize("shut", [(6,), (5, 6), (0,), (2, 6)])
@pytest.mark.parametrize("gap", [0, 3])
def test_a_series_may_be_closed_on_weekdays_on_which_others_are_open(
    shut: tuple[int, ...], gap: int
) -> None:
    every = [(d, d.weekday() + 1) for d in days(70)]
    some = [(d, v) for i, (d, v) in enumerate(every) if d.weekday() not in shut and i != 36 + gap]
    panel = read_panel(table(open=every, shut=some))
    assert panel.schema.freq == "D"
    found = note(panel, "closed")
    inside = [d for d in days(70) if some[0][0] < d < some[-1][0] and d.weekday() in shut]
    assert (found.count, found.series, found.severity) == (len(inside), 1, "warning")
    assert "series shut in " in found.example
    values = panel.history(1)
    for i, day in enumerate(days(70)):
        if not some[0][0] <= day <= some[-1][0]:
            continue
        value = values[i - (some[0][0] - START).days]
        if day.weekday() in shut:
            assert value == 0
        elif (day, day.weekday() + 1) in some:
            assert value == day.weekday() + 1
    forecast = SeasonalNaive(horizon=7).fit(panel).predict(panel).to_frame()
    ahead = forecast.filter(
        pl.col("item") == "shut", pl.col("date").dt.weekday().is_in([d + 1 for d in shut])
    )
    assert ahead["0.5"].to_list() == [0] * len(shut)
    meant = read_panel(table(open=every, shut=some), freq="D")
    assert np.isnan(meant.history(1)).sum() >= len(inside)
    assert "gaps='zero'" in note(meant, "closed").action


def test_a_series_of_rare_rows_is_closed_on_no_weekday() -> None:
    rare = [(d, 1) for d in days(70)[::7]] + [(d, 1) for d in days(70)[1::14]]
    panel = read_panel(table(open=[(d, 1) for d in days(70)], rare=sorted(rare)))
    assert not [n for n in panel.notes if n.kind == "closed"]


# Sums that 32 bits do not hold


@pytest.mark.parametrize(
    ("values", "options", "count", "words"),
    [
        ([1e8 + 5, 1.0, 2.0], {}, 1, "100,000,005, becomes 100,000,008 (by 3 at most)"),
        ([1.0, 1e9 + 1, 1e8 + 5], {}, 2, "1,000,000,001, becomes 1,000,000,000 (by 3 at most)"),
        ([123456789.25, 1.0, 2.0], {}, 1, "123,456,789.25, becomes 123,456,792"),
        ([-1e8 - 5, 1.0, 2.0], {}, 1, "-100,000,005"),
        ([2.0**24, 2.0**25, 1.0], {}, 0, ""),
        (
            [1e7 + 1, 1e7 + 1, 1e7 + 1],
            {"duplicates": "sum", "freq": "D"},
            1,
            "30,000,003, becomes 30,000,004",
        ),
        ([1e7 + 1, 1e7 + 1, 1e7 + 1], {"duplicates": "mean", "freq": "D"}, 0, ""),
    ],
)
def test_digits_that_are_lost_are_told_with_the_largest_number(
    values: list[float], options: dict[str, Any], count: int, words: str
) -> None:
    step = 0 if options else 1
    frame = table(m=[(START + timedelta(days=i * step), v) for i, v in enumerate(values)])
    found = [n for n in read_panel(frame, **options).notes if n.kind == "rounded"]
    assert [n.count for n in found] == [count] * bool(count)
    assert all(words in n.action and n.severity == "warning" for n in found)


# Ends


def test_series_that_ended_long_before_the_others_are_left_out_and_said() -> None:
    alive = [(d, 1) for d in days(200)]
    frame = table(a=alive, b=alive, old=alive[:80])
    panel = read_panel(frame)
    assert panel.keys["item"].to_list() == ["a", "b"]
    assert "series old ends 120 steps before" in note(panel, "ended").example
    kept = read_panel(frame, ended="forecast")
    assert kept.keys["item"].to_list() == ["a", "b", "old"]
    assert note(kept, "ended").severity == "warning"
    ahead = SeasonalNaive(horizon=1).fit(kept).predict(kept).to_frame()["date"]
    assert ahead.n_unique() == 1  # all from the common end
    own = read_panel(frame, ended="keep")
    assert own.lengths.tolist() == [200, 200, 80]
    assert "in the past" in note(own, "ended").action


@pytest.mark.parametrize(("rows", "kept"), [(28, True), (29, False)])
def test_a_series_seen_no_longer_than_the_gap_is_carried_to_the_common_end(
    rows: int, kept: bool
) -> None:
    alive = [(d, 3) for d in days(100)]
    panel = read_panel(table(a=alive, b=alive, z=alive[:rows]))
    assert panel.keys.height == 2 + kept
    assert set(panel.ends().tolist()) == {panel.ends()[0]}
    assert note(panel, "ended").severity == "warning"
    assert "series z ends" in note(panel, "ended").example


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("covariate", [(), ("price",)])
def test_a_series_of_few_rows_is_never_taken_as_ended(
    rows: int, covariate: tuple[str, ...]
) -> None:
    alive = [(d, 1) for d in days(200)]
    frame = table(a=alive, b=alive, few=alive[:rows]).with_columns(price=2.0)
    panel = read_panel(frame, known=covariate)
    assert panel.keys["item"].to_list() == ["a", "b", "few"]
    assert panel.lengths.tolist() == [200, 200, 200]  # not observed since
    assert panel.n_observed().tolist() == [200, 200, rows]
    assert "series few ends" in note(panel, "rare").example


@pytest.mark.parametrize("covariate", [(), ("price",)])
@pytest.mark.parametrize(("begin", "length"), [(30, 0), (32, 0), (28, 2), (20, 10)])
def test_rows_of_a_series_without_any_value_are_to_be_forecast(
    covariate: tuple[str, ...], begin: int, length: int
) -> None:
    alive = [(d, 1) for d in days(30)]
    promised = [(d, float("nan")) for d in days(40)[begin:]]
    more = [(d, float("nan")) for d in days(40)[30:]]
    frame = table(a=[*alive, *more], new=promised).with_columns(price=2.0)
    panel = read_panel(frame.fill_nan(None), known=covariate)
    assert panel.lengths.tolist() == [30, length]
    assert panel.extents.tolist() == [40, len(promised)]
    forecast = SeasonalNaive(horizon=3).fit(panel).predict(panel).to_frame()
    assert forecast.filter(pl.col("item") == "new")["date"][0] == START + timedelta(max(30, begin))


def test_series_without_a_common_end_are_all_kept() -> None:
    alive = [(d, 1) for d in days(200)]
    panel = read_panel(table(a=alive, b=alive[:150], c=alive[:100]))
    assert panel.n_series == 3


def test_a_rare_item_has_not_ended_within_its_usual_gap() -> None:
    alive = [(d, 1) for d in days(200)]
    panel = read_panel(table(a=alive, b=alive, rare=[(d, 1) for d in days(200)[::50]]))
    assert panel.n_series == 3


# Steps


def test_a_monthly_series_among_daily_ones_is_refused() -> None:
    months = [(date(2024, m, 1), 3000) for m in range(1, 8)]
    frame = table(daily=[(d, 100) for d in days(212)], monthly=months)
    with pytest.raises(FrequencyError, match=r"series monthly steps by months.*to='MS'"):
        read_panel(frame)
    assert read_panel(frame, freq="D").n_series == 2
    summed = read_panel(frame, to="MS")
    assert summed.history(1).tolist() == [3000] * len(summed.history(1))


def test_a_weekly_series_among_daily_ones_is_questioned() -> None:
    panel = read_panel(table(a=[(d, 1) for d in days(84)], b=[(d, 7) for d in days(84)[::7]]))
    assert "series b" in note(panel, "mixed steps").example


@pytest.mark.parametrize("name", ["BME", "BMS", "BQE-DEC", "BQS-JAN", "BYE-DEC", "2BME"])
def test_months_may_be_stamped_at_business_days(name: str) -> None:
    grid = Frequency.parse(name)
    assert grid.name == name
    steps = np.arange(-100, 300)
    times = grid.times(steps)
    assert np.array_equal(grid.ordinal(times), steps)
    assert np.is_busday(times.astype("datetime64[D]")).all()
    stamps = grid.times(np.arange(60, 100)).astype("datetime64[D]").tolist()
    panel = read_panel(table(a=[(d, 1) for d in stamps]))
    assert panel.schema.freq == name
    assert panel.freq.periods == Frequency.parse(name.replace("B", "")).periods
    ahead = SeasonalNaive(horizon=3).fit(panel).predict(panel).to_frame()["date"].to_list()
    assert ahead == grid.times(np.arange(100, 103)).astype("datetime64[D]").tolist()


@pytest.mark.parametrize("weeks", ["445", "454", "544"])
@pytest.mark.parametrize("ending", ["DEC-SAT", "JAN-SAT-NEAR", "JUN-SUN", "DEC-SUN-NEAR-START"])
def test_retail_periods_are_counted_and_come_back(weeks: str, ending: str) -> None:
    grid = Frequency.parse(f"{weeks}-{ending}")
    assert grid.name == f"{weeks}-{ending}"
    steps = np.arange(-300, 900)
    times = grid.times(steps)
    assert np.array_equal(grid.ordinal(times), steps)
    gaps = np.diff(times).astype("timedelta64[D]").astype(int) // 7
    period = steps[:-1] if ending.endswith("START") else steps[1:]
    usual = np.array([int(w) for w in weeks] * 4)[period % 12]
    long = gaps - usual
    assert set(long.tolist()) == {0, 1}
    assert set(period[long == 1] % 12) == {11}  # the 53rd week is in the last period of its year
    for step, time in zip(steps[1:50], times[1:50], strict=True):
        inside = grid.begin(int(step)) + np.arange(28) * np.timedelta64(1, "D")
        assert (grid.floor(inside) == time).all()
    with pytest.raises(FrequencyError):
        grid.ordinal(times + np.timedelta64(1, "D"))


@pytest.mark.parametrize(
    "name", ["445-DEC-SAT-NEAR", "454-JAN-SAT-NEAR", "544-JUN-SUN", "445-DEC-SUN-START"]
)
@pytest.mark.parametrize("years", [2, 8])
def test_retail_periods_are_found_and_go_on(name: str, years: int) -> None:
    grid = Frequency.parse(name)
    stamps = grid.times(600 + np.arange(12 * years)).astype("datetime64[D]").tolist()
    panel = read_panel(table(a=[(d, i % 12) for i, d in enumerate(stamps)]))
    assert len(panel.history(0)) == 12 * years
    assert panel.freq.unit == "R"
    assert note(panel, "retail").severity == "warning"
    ahead = SeasonalNaive(horizon=4).fit(panel).predict(panel).to_frame()
    if years == 8:  # a year of 53 weeks tells where it lies
        assert np.array_equal(panel.freq.times(panel.starts), grid.times(np.array([600])))
    assert ahead["0.5"].to_list() == [0, 1, 2, 3]
    named = read_panel(table(a=[(d, 1) for d in stamps]), freq=name)
    assert named.schema.freq == name
    wanted = grid.times(600 + 12 * years + np.arange(4)).astype("datetime64[D]").tolist()
    assert SeasonalNaive(horizon=4).fit(named).predict(named).to_frame()["date"].to_list() == wanted


def test_days_are_added_up_to_retail_periods() -> None:
    panel = read_panel(
        table(a=[(d, 1) for d in days(364, date(2023, 12, 31))]), to="445-DEC-SAT-NEAR"
    )
    assert panel.history(0).tolist() == [28, 28, 35] * 4


def test_periods_on_no_retail_calendar_are_refused() -> None:
    ends, end = [], date(2024, 1, 27)
    for weeks in (4, 5, 5, 4) * 4:
        ends.append((end, 1000))
        end += timedelta(weeks=weeks)
    with pytest.raises(FrequencyError, match=r"4 and 5.*4-4-5"):
        read_panel(table(a=ends))


# Coarser steps


def test_rows_are_added_up_to_whole_weeks() -> None:
    frame = table(a=[(d, 1) for d in days(25, date(2024, 1, 3))])  # Wednesday to Saturday
    panel = read_panel(frame, to="W-MON")
    assert panel.history(0).tolist() == [7, 7]
    assert panel.history_times(0)[0] == np.datetime64("2024-01-08")
    said = [n for n in panel.notes if n.kind == "incomplete"]
    assert [n.example for n in said] == ["2024-01-01", "2024-01-22"]
    assert all(n.severity == "warning" for n in said)


@pytest.mark.parametrize(
    ("to", "values"), [("MS", [31, 29, 31]), ("ME", [31, 29, 31]), ("QS", [91])]
)
def test_rows_are_added_up_to_months_and_quarters(to: str, values: list[float]) -> None:
    assert read_panel(table(a=[(d, 1) for d in days(91)]), to=to).history(0).tolist() == values


def test_hours_are_added_up_to_days() -> None:
    hours = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(72)]
    assert (
        read_panel(pl.DataFrame({"ds": hours, "y": [1.0] * 72}), to="D").history(0).tolist()
        == [24] * 3
    )


def test_single_sales_are_added_up_by_day() -> None:
    rng = np.random.default_rng(0)
    sales = [
        (datetime(2024, 1, 1) + timedelta(days=i, minutes=int(m)), 2)
        for i in range(30)
        for m in rng.integers(480, 1200, 20)
    ]
    with pytest.raises(DataError, match=r"single sales.*freq='D', duplicates='sum'"):
        read_panel(table(a=[*sales, *sales]))
    panel = read_panel(table(a=sales), freq="D", duplicates="sum")
    assert panel.history(0).tolist() == [40] * 30


# Totals


def test_a_total_of_the_others_is_left_out_by_name_and_sum() -> None:
    a, b = [(d, i) for i, d in enumerate(days(20))], [(d, 5) for d in days(20)]
    total = [(d, i + 5) for i, d in enumerate(days(20))]
    for word in ("Grand Total", "Gesamt", "Summe", "total"):
        panel = read_panel(table(a=a, b=b, **{word: total}))
        assert panel.keys["item"].to_list() == ["a", "b"]
        assert note(panel, "total").severity == "warning"
    assert read_panel(table(a=a, b=b, Total=total), totals="keep").n_series == 3
    brand = read_panel(table(a=a, b=b, Total=b))  # an oil company, not a sum
    assert brand.n_series == 3
    assert "not the sum" in note(brand, "total").action


# Times in several columns


@pytest.mark.parametrize(
    ("columns", "freq", "first"),
    [
        ({"Year": [2023] * 12 + [2024] * 2, "Month": [*range(1, 13), 1, 2]}, "MS", "2023-01-01"),
        ({"Jahr": [2023] * 12 + [2024] * 2, "Monat": ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep",
                                                      "Okt", "Nov", "Dez", "Jan", "Feb"]}, "MS", "2023-01-01"),
        ({"year": [2023] * 4 + [2024] * 4, "quarter": [1, 2, 3, 4] * 2}, "QS-JAN", "2023-01-01"),
        ({"year": [2023] * 4 + [2024] * 2, "week": [49, 50, 51, 52, 1, 2]}, "W-MON", "2023-12-04"),
        ({"year": [2024] * 4, "month": [1, 1, 1, 2], "day": [29, 30, 31, 1]}, "D", "2024-01-29"),
        ({"date": ["2024-01-01"] * 3 + ["2024-01-02"], "hour": [21, 22, 23, 0]}, "h", "2024-01-01T21"),
        ({"date": ["2024-01-01"] * 3, "time": ["08:00", "08:30", "09:00"]}, "30min", "2024-01-01T08"),
    ],
)  # fmt: skip
def test_a_time_in_several_columns_is_one_clock(
    columns: dict[str, list[Any]], freq: str, first: str, tmp_path: Any
) -> None:
    frame = pl.DataFrame(columns)
    frame = frame.with_columns(item=pl.lit("x"), units=pl.int_range(frame.height) * 1.0)
    frame.write_csv(tmp_path / "a.csv")
    for source in (frame, tmp_path / "a.csv"):
        panel = read_panel(source)
        assert panel.schema.freq == freq
        assert panel.history_times(0)[0] == np.datetime64(first)
        assert panel.history(0).tolist() == list(range(frame.height))
        assert panel.schema.time_parts == tuple(columns)


def test_a_future_table_has_its_time_in_the_same_columns() -> None:
    frame = pl.DataFrame(
        {"year": [2023] * 12, "month": range(1, 13), "units": [1.0] * 12, "promo": [0.0] * 12}
    )
    panel = read_panel(frame, known="promo")
    longer = extend(
        panel, pl.DataFrame({"year": [2024, 2024], "month": [1, 2], "promo": [1.0, 2.0]})
    )
    assert longer.known[12:, 0].tolist() == [1, 2]


# Clocks


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("hours", [2, 6, 12])
def test_steps_of_hours_are_regular_on_the_clock_of_a_zone(zone: str, hours: int) -> None:
    times = [datetime(2024, 3, 1) + timedelta(hours=hours * i) for i in range(60 * 24 // hours)]
    panel = read_panel(
        pl.DataFrame({"ds": times, "y": np.arange(float(len(times)))}), time_zone=zone
    )
    assert panel.schema.freq == f"{hours}h"
    assert not np.isnan(panel.history(0)).any()
    forecast = SeasonalNaive(horizon=2).fit(panel).predict(panel).to_frame()
    assert forecast["ds"].to_list() == [times[-1] + timedelta(hours=hours * i) for i in (1, 2)]


@pytest.mark.parametrize(
    ("zone", "last"),
    [("America/Santiago", date(2024, 9, 6)), ("America/Havana", date(2024, 11, 1))],
)
def test_days_are_days_where_the_clock_has_no_midnight_or_two(zone: str, last: date) -> None:
    whole = days(30, last - timedelta(days=29))
    ahead = [last + timedelta(days=i) for i in (1, 2, 3, 4)]
    text = pl.DataFrame({"ds": [str(d) for d in whole], "y": [1.0] * 30})
    panel = read_panel(text, time_zone=zone)
    assert SeasonalNaive(horizon=4).fit(panel).predict(panel).to_frame()["ds"].to_list() == ahead
    noon = pl.Series("ds", [datetime(d.year, d.month, d.day) for d in whole]).dt.replace_time_zone(
        zone
    )
    panel = read_panel(pl.DataFrame({"ds": noon, "y": [1.0] * 30}))
    found = SeasonalNaive(horizon=4).fit(panel).predict(panel).to_frame()["ds"]
    assert found.dt.date().to_list() == ahead


def test_midnights_of_another_clock_name_their_zone() -> None:
    local = pl.Series([datetime(2024, 3, 10) + timedelta(days=i) for i in range(42)])
    utc = local.dt.replace_time_zone("Europe/Berlin").dt.convert_time_zone("UTC")
    text = utc.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(FrequencyError, match="time_zone='Europe/Berlin'"):
        read_panel(pl.DataFrame({"ds": text, "y": [1.0] * 42}))
    panel = read_panel(pl.DataFrame({"ds": text, "y": [1.0] * 42}), time_zone="Europe/Berlin")
    assert panel.schema.freq == "D"


def test_days_with_offsets_are_those_of_the_clock_that_wrote_them() -> None:
    text = ["2024-03-30T00:00:00+01:00", "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"]
    panel = read_panel(pl.DataFrame({"ds": text, "y": [1.0, 2.0, 3.0]}))
    assert panel.schema.freq == "D"
    assert str(panel.history_times(0)[0])[:10] == "2024-03-30"


# What cannot be told is asked


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pl.DataFrame({"date": days(3), "Sales (EUR)": [1.0, 2, 3], "Temperature": [4.0, 5, 6]}),
         ["'Sales (EUR)'", "wide=True"]),
        (pl.DataFrame({"item": ["a"] * 3, "date": days(3), "sold quantity": [1, 2, 3], "ordered quantity": [1, 2, 3]}),
         ["may each be the target"]),
        (pl.DataFrame({"item": ["a"] * 30, "Month": [*range(1, 13), *range(1, 13), *range(1, 7)], "units": range(30)}),
         ["without their year"]),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_asked(frame: pl.DataFrame, words: list[str]) -> None:
    with pytest.raises(SchemaError) as caught:
        read_panel(frame)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ("Artikel", "Datum", "Menge"), ("Artikel-Nr.", "Buchungsdatum", "Absatz (Stk)"),
        ("商品名称", "日期", "销量"), ("Produit", "Date de vente", "Quantité"), ("Producto", "Fecha", "Cantidad"),
        ("Material", "Posting Date", "Quantity"), ("Lineitem name", "Created at", "Lineitem quantity"),
        ("SKU", "Order Date", "Qty Sold"), ("Prodotto", "Data", "Vendite"), ("Store_Nbr", "week_ending_date", "UnitSales"),
        ("item_id", "timestamp", "target"),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_words_of_several_languages(names: tuple[str, str, str]) -> None:
    frame = table(a=[(d, 1) for d in days(20)], b=[(d, 2) for d in days(20)])
    panel = read_panel(frame.rename(dict(zip(frame.columns, names, strict=True))))
    assert (*panel.schema.key, panel.schema.time, panel.schema.target) == names


def test_a_column_of_text_with_the_word_of_a_target_is_not_replaced_by_another() -> None:
    frame = pl.DataFrame(
        {"item": ["a"] * 3, "date": days(3), "sales": ["1", "many", "3"], "stock": [7, 8, 9]}
    )
    with pytest.raises(DemandcastError, match="'sales'"):
        read_panel(frame)
