"""A table written as it was understood reads back as the same panel; faults come with the call that mends them."""

from __future__ import annotations

import os
import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demandcast.cli import main, options
from demandcast.errors import DataError
from demandcast.frames import check, fixed, read_panel
from demandcast.frames.fixed import long_table, write_fixed
from demandcast.frequency import Frequency

WORDS = st.text("abcXYZ 0123456789äöü苹果.-_/,;\"'=\n", min_size=1, max_size=8).filter(
    lambda w: w.strip() == w and w != ""
)
NUMBERS = st.one_of(
    st.integers(-1000, 100_000),
    st.floats(-1e6, 1e7).map(lambda v: round(v, 4)),
    st.sampled_from([1.5, 12.345, 1234.5, 0.001, 1e12]),
)
SERIES = st.lists(st.one_of(st.none(), NUMBERS), min_size=12, max_size=20)


@settings(
    deadline=None,
    max_examples=int(os.environ.get("FIXED", "15")),
    suppress_health_check=list(HealthCheck),
)
@given(
    series=st.dictionaries(st.tuples(WORDS, WORDS), SERIES, min_size=1, max_size=4),
    freq=st.sampled_from(["D", "W-MON", "MS", "h", "QS", "1", "SMS", "B"]),
    names=st.sampled_from([("item", "date", "units"), ("Sorte", "Wann", "Wieviel"), ("kg", "x", "Menge (kg)"), ("SKU", "month", "y")]),
    ending=st.sampled_from(["csv", "tsv", "parquet", "xlsx"]),
    two=st.booleans(),
)  # fmt: skip
def test_any_panel_reads_back_from_its_plain_table_without_options(
    tmp_path_factory: pytest.TempPathFactory,
    series: dict[tuple[str, str], list[float | None]],
    freq: str,
    names: tuple[str, str, str],
    ending: str,
    two: bool,
) -> None:
    if not two:
        series = {(first, ""): values for (first, _), values in series.items()}
    grid = Frequency.parse(freq)
    begin = 0 if grid.is_integer else int(grid.ordinal(grid.times(np.array([0])))[0]) + 300
    steps = max(map(len, series.values()))
    key, time, target = names
    rows = [
        (first, second, t, 1.0 if value is None and i in (0, len(values) - 1) else value)
        for (first, second), values in series.items()
        for i, (t, value) in enumerate(zip(grid.times(begin + np.arange(steps))[-len(values) :], values, strict=True))
    ]  # fmt: skip
    table = pl.DataFrame(
        {
            key: [row[0] for row in rows],
            "Lager": [row[1] for row in rows],
            time: np.array([row[2] for row in rows]),
            target: pl.Series([row[3] for row in rows], dtype=pl.Float64),
        }
    )
    keys = [key, "Lager"] if two else [key]
    panel = read_panel(
        table, key=keys, time=time, target=target, freq=freq, totals="keep", ended="keep"
    )
    path = tmp_path_factory.getbasetemp() / f"fixed.{ending}"
    needed = write_fixed(panel, path)
    again = read_panel(path, **needed)
    assert again.keys.cast(pl.String).rows() == panel.keys.rows()
    np.testing.assert_array_equal(again.target, panel.target)
    np.testing.assert_array_equal(again.starts, panel.starts)
    assert again.schema.freq == panel.schema.freq
    assert needed.keys() <= {"freq", "key", "time", "target", "wide", "ended", "totals"}


@pytest.mark.parametrize(
    "names", [("item", "date", "units"), ("Sorte", "Wann", "Wieviel"), ("x 1", "x 2", "x 3")]
)
@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet"])
def test_columns_that_tell_nothing_get_names_that_do(
    names: tuple[str, str, str], ending: str, tmp_path: Path
) -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(30)]
    rows = [(k, d, i % 5 + 0.5) for k in ("007", "NA") for i, d in enumerate(days)]
    table = pl.DataFrame(rows, schema=list(names), orient="row")
    key, time, target = names
    panel = read_panel(table, key=key, time=time, target=target)
    assert write_fixed(panel, tmp_path / f"t.{ending}") == {}
    again = read_panel(tmp_path / f"t.{ending}")
    assert again.keys.rows() == [("007",), ("NA",)]
    np.testing.assert_array_equal(again.target, panel.target)


def test_covariates_zones_and_kept_series_are_written_with_the_options_they_need(
    tmp_path: Path,
) -> None:
    hours = pl.datetime_range(
        datetime(2024, 3, 30), datetime(2024, 4, 2), "1h", eager=True, closed="left"
    )
    table = pl.DataFrame(
        {
            "item": ["a"] * 72 + ["Total"] * 72,
            "time": [*hours.dt.strftime("%Y-%m-%d %H:%M:%S")] * 2,
            "units": [float(i % 7) for i in range(72)] * 2,
            "promo": ["tv", "web", None] * 48,
            "price": [1.25] * 144,
            "colour": ["red"] * 72 + ["blue"] * 72,
            "open": [True, False] * 72,
        }
    )
    asked: dict[str, Any] = {
        "known": ["promo", "price"], "static": ["colour"], "available": "open", "totals": "keep",
        "time_zone": "Europe/Berlin",
    }  # fmt: skip
    panel = read_panel(table, **asked)
    needed = write_fixed(panel, tmp_path / "t.csv")
    assert needed["known"] == ["promo", "price"]
    assert needed["time_zone"] == "Europe/Berlin"
    again = read_panel(tmp_path / "t.csv", **needed)
    assert again.known_names == panel.known_names
    np.testing.assert_array_equal(again.known, panel.known)
    assert again.vocabularies == panel.vocabularies
    np.testing.assert_array_equal(again.available, panel.available)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.starts, panel.starts)
    assert long_table(again)["item"].unique().sort().to_list() == ["Total", "a"]


def test_what_does_not_read_back_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(9)]
    panel = read_panel(pl.DataFrame({"item": [""] * 9, "date": days, "units": range(9)}))
    assert write_fixed(panel, tmp_path / "t.csv") == {}  # an empty key too
    monkeypatch.setattr(fixed, "_reads_back", lambda *_: False)
    with pytest.raises(DataError, match="does not read back"):
        write_fixed(panel, tmp_path / "t.csv")


# The command line


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my sales.csv"
    lines = [f"{k};{d:02}.01.2024;{d},50" for k in ("a", "b") for d in range(1, 29)]
    path.write_text("Artikel;Datum;Menge\n" + "\n".join(lines) + "\n")
    return path


def test_check_writes_the_table_as_it_was_understood(
    sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sales.read_bytes()
    assert main(["check", sales.name, "--fix", "plain.csv"]) == 0
    assert "demandcast check plain.csv\n" in capsys.readouterr().err
    assert Path("plain.csv").read_text().splitlines()[:2] == [
        "Artikel,Datum,Menge",
        "a,2024-01-01,1.5",
    ]
    np.testing.assert_array_equal(read_panel("plain.csv").target, read_panel(sales).target)
    for place, words in (
        (sales.name, "read as the table"),
        ("plain.csv", "--force"),
        ("plain.doc", "--fix plain.doc"),
    ):
        assert main(["check", sales.name, "--fix", place]) == 2
        assert words in capsys.readouterr().err
    assert main(["check", sales.name, "--fix", "plain.csv", "--force", "--static", "none"]) == 2
    assert sales.read_bytes() == before


FAULTS = {
    "text": (lambda t: t.replace(";5,50", ";-", 1), "--text missing"),
    "repeated": (lambda t: t + "a;28.01.2024;1,50\n", "--duplicates sum"),
    "both": (lambda t: t.replace(";5,50", ";?", 1) + "a;28.01.2024;1,50\n", "--text missing --duplicates sum"),
    "day or month": (lambda t: "\n".join(s for s in t.splitlines() if s[2:4] < "13" or s[0] == "A").replace(".01.", "/03/"), "--day-first"),
    "decimal": (lambda t: t.replace(",50", ".500"), "--decimal ,"),
    "months": (lambda t: t + "".join(f"m;{d};9,50\n" for d in (
        "01.08.2023", "01.09.2023", "01.10.2023", "01.11.2023", "01.12.2023", "01.01.2024")), "--to MS"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["check", "forecast"])
def test_a_fault_ends_in_the_whole_command_that_mends_it(
    fault: str, command: str, sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, mend = FAULTS[fault]
    sales.write_text(spoil(sales.read_text()))
    rest = (
        []
        if command == "check"
        else ["--horizon", "2", "--model", "seasonal_naive", "--out", "a b.csv"]
    )
    words = [command, sales.name, "--key", "Artikel", "--gaps=missing", *rest]
    assert main(words) == 2
    called = shlex.split(capsys.readouterr().err.splitlines()[-1].rpartition(": ")[2])
    assert called == ["demandcast", *words, *mend.split()]
    assert main(called[1:]) == 0


def test_a_command_is_corrected_in_place() -> None:
    options.COMMAND[:] = [
        "check",
        "x.csv",
        "--text=error",
        "--key",
        "a b",
        "--long",
        "--connect",
        "pg://me:pw@h/d",
    ]
    corrected = options.command_line(
        [("text", "zero"), ("wide", True), ("known", ["p", "q"]), ("key", None)]
    )
    assert (
        corrected
        == "demandcast check x.csv --connect 'pg://***@h/d' --text zero --wide --known p,q"
    )


def test_errors_have_fields() -> None:
    frame = pl.DataFrame(
        {
            "item": ["a"] * 3,
            "date": ["2024-01-01", "2024-01-02", "2024-01-02"],
            "units": ["1", "x", "2"],
        }
    )
    with pytest.raises(DataError) as fault:
        read_panel(frame)
    text, repeated = sorted(fault.value.faults, key=lambda f: str(f.option), reverse=True)
    assert (text.option, text.column, text.found, text.mend) == (
        "text",
        "units",
        "x",
        (("text", "missing"),),
    )
    assert (repeated.series, repeated.time, repeated.mend) == (
        "a",
        "2024-01-02",
        (("duplicates", "sum"),),
    )
    assert dict(fault.value.mend) == {"text": "missing", "duplicates": "sum"}
    report = check(frame)
    assert report.mend == dict(fault.value.mend)
    assert check(frame, **report.mend).ok


def test_a_known_covariate_of_the_future_table_is_offered_as_covariates(
    sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("promo.csv").write_text(
        "Datum,promo\n" + "".join(f"2024-01-{d:02},{d % 2}\n" for d in range(1, 32))
    )
    words = [
        "forecast",
        sales.name,
        "--known",
        "promo",
        "--horizon",
        "3",
        "--model",
        "seasonal_naive",
    ]
    assert main([*words, "--future", "promo.csv"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(shlex.join([*words, "--covariates", "promo.csv"]))
    assert main(shlex.split(line.rpartition(": ")[2])[1:]) == 0
