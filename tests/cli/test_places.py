"""Outputs never take the place of inputs, of each other, or of a stranger's file."""

from __future__ import annotations

import gzip
import os
import threading
import zipfile
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from demandcast.cli import main
from demandcast.frames.sheets import write_sheet

DAYS = [f"2024-01-{day:02}" for day in range(1, 15)]
MORE = ["--horizon", "2", "--model", "seasonal_naive"]


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [f"{item},{day},{5 + i % 3}" for item in ("a", "b") for i, day in enumerate(DAYS)]
    (tmp_path / "t.csv").write_text("item,date,units\n" + "\n".join(rows) + "\n")
    (tmp_path / "link.csv").symlink_to("t.csv")
    os.link(tmp_path / "t.csv", tmp_path / "hard.csv")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "rows.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    "words",
    [
        "forecast t.csv --out t.csv",
        "forecast t.csv --out link.csv",
        "forecast link.csv --out ./inner/../t.csv",
        "forecast t.csv --out hard.csv --force",
        "forecast t.csv --report t.csv --force",
        "forecast t*.csv --out t.csv",
        "forecast t*.csv --out tomorrow.csv",
        "forecast inner --out inner/next.csv",
        "forecast t.csv --future inner/rows.csv --out inner/rows.csv",
        "forecast t.csv --static-table inner/rows.csv --report inner/rows.csv --force",
        "forecast t.csv --out x.csv --report x.csv",
        "forecast t.csv --out x.csv --save x.csv",
    ],
)
def test_an_output_over_an_input_is_refused(
    words: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in table.parent.rglob("*.csv")}
    assert main([*words.split(), *MORE]) == 2
    assert "name another file" in (said := capsys.readouterr().err) or "name two" in said
    assert {p: p.read_bytes() for p in table.parent.rglob("*.csv")} == before


def test_scores_over_the_table_are_refused() -> None:
    words = "backtest inner/rows.csv --horizon 2 --models drift --out inner --force"
    before = Path("inner/rows.csv").read_bytes()
    assert main(words.split()) == 2
    assert Path("inner/rows.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.parquet", "mine.html"])
def test_a_file_of_the_users_needs_force(
    name: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--report" if name.endswith("html") else "--out"
    words = ["forecast", "t.csv", *MORE, option, name]
    assert main(words) == 0
    assert main(words) == 0  # an earlier output is replaced, as every night
    frame = pl.DataFrame({"note": ["mine"], "mean": [1.0]})
    frame.write_parquet(name) if name.endswith("parquet") else frame.write_csv(name)
    mine = Path(name).read_bytes()
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert Path(name).read_bytes() == mine
    if option == "--out":
        assert main([*words, "--force"]) == 0
        assert Path(name).read_bytes() != mine


@pytest.mark.parametrize("name", ["steps.json", "steps.json.gz"])
def test_a_trace_replaces_only_a_trace_and_keeps_its_link(
    name: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "t.csv", "--horizon", "2", "--model", "nlinear", "--set", "context=4"]
    words += ["--set", "max_steps=25", "--seconds", "0.5", "--trace", name]
    Path("kept").touch(mode=0o600)
    Path(name).symlink_to("kept")
    assert main(words) == 0
    assert main(words) == 0
    assert Path(name).is_symlink()
    assert Path("kept").stat().st_mode & 0o777 == 0o600
    mine = b'{"mine": 1}' if name.endswith(".json") else gzip.compress(b'{"mine": 1}')
    Path(name).write_bytes(mine)
    assert main(words) == 2
    assert "not a file that this package wrote" in capsys.readouterr().err
    assert Path("kept").read_bytes() == mine


def test_a_config_of_the_users_is_not_overwritten_by_a_run(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["forecast", "t.csv", *MORE, "--save", "run", "--out", "o.csv"]
    assert main(words) == 0
    assert main(words) == 0
    Path("run/config.json").write_text('{"mine": 1}')
    assert main(words) == 2
    assert "has a config.json that this package did not write" in capsys.readouterr().err
    assert Path("run/config.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("name", ["mean", "0.5", "forecast_mean"])
def test_a_key_named_as_a_column_of_ours_is_kept(
    name: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.write_text(table.read_text().replace("item", name, 1))
    assert main(["forecast", "t.csv", *MORE, "--key", name, "--out", "out.csv"]) == 0
    frame = pl.read_csv("out.csv")
    assert frame[name].unique().sort().to_list() == ["a", "b"]
    ours = {"mean": "forecast_mean", "0.5": "forecast_0.5"}.get(name, "mean")
    assert frame[ours].dtype == pl.Float64
    assert ("are renamed" in capsys.readouterr().err) == (name != "forecast_mean")


def test_text_is_no_formula_where_it_is_asked_for(table: Path) -> None:
    text = table.read_text().replace("\na,", "\n=1+1,").replace("\nb,", "\n@b,")
    table.write_text(text)
    words = ["forecast", "t.csv", *MORE, "--key", "item", "--out", "out.csv"]
    for more, keys in (([], ["=1+1", "@b"]), (["--safe-text"], ["'=1+1", "'@b"])):
        assert main([*words, *more]) == 0
        assert sorted(pl.read_csv("out.csv")["item"].unique()) == keys


def test_links_modes_and_pipes_stay(table: Path) -> None:
    Path("real.csv").touch(0o600)
    os.chmod("real.csv", 0o600)
    Path("to.csv").symlink_to("real.csv")
    assert main(["forecast", "t.csv", *MORE, "--out", "to.csv"]) == 0
    assert Path("to.csv").is_symlink()
    assert os.stat("real.csv").st_mode & 0o777 == 0o600
    assert "mean" in Path("real.csv").read_text()
    os.mkfifo("pipe.csv")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe.csv").read_text()))
    reader.start()
    assert main(["forecast", "t.csv", *MORE, "--out", "pipe.csv"]) == 0
    reader.join(10)
    assert Path("pipe.csv").is_fifo()
    assert read[0] == Path("real.csv").read_text()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/dev/full", "no space left on device; the forecast was not written"),
        ("a" * 300 + ".csv", "file name too long"),
        ("a\0b.csv", "NUL"),
    ],
)
def test_what_cannot_be_written_is_said(
    place: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast", "t.csv", *MORE, "--out", place]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: not saved: ")
    assert reason in said


def test_a_forecast_is_written_as_a_workbook_of_real_dates_and_safe_text(tmp_path: Path) -> None:
    fastexcel = pytest.importorskip("fastexcel")
    pytest.importorskip("xlsxwriter")
    for item in ("=1+1", "00123"):
        text = (tmp_path / "t.csv").read_text().replace("\na,", f"\n{item},", 14)
        (tmp_path / "in.csv").write_text(text)
        assert main(["forecast", "in.csv", *MORE, "--out", "out.xlsx"]) == 0  # and over its own
    cells = fastexcel.read_excel(tmp_path / "out.xlsx").load_sheet(0).to_polars()
    assert cells.columns[:3] == ["item", "date", "mean"]
    assert cells["item"].to_list() == ["00123"] * 2 + ["b"] * 2
    assert cells["date"].dtype.is_temporal()
    assert cells["mean"].dtype == pl.Float64
    assert main(["forecast", "t.csv", *MORE, "--out", "out.xls"]) == 2


def test_a_workbook_changes_no_cell(tmp_path: Path) -> None:
    fastexcel = pytest.importorskip("fastexcel")
    pytest.importorskip("xlsxwriter")
    words = ["=1+1", "+5", "-x", "@SUM(A1)", "http://a.b", "00123"]
    frame = pl.DataFrame(
        {
            "word": words,
            "key": [1, 2, 3, 4, 5, 6],
            "large": [2**53 + 1, 1, 2, 3, None, 5],
            "value": [1.5, None, float("nan"), float("inf"), -2.0, 1e300],
            "day": [date(1899, 5, 1), *(date(2024, 1, d) for d in range(2, 7))],
            "clock": [datetime(2024, 1, 1, 13, m) for m in range(6)],
        }
    )
    with (tmp_path / "a.xlsx").open("wb") as file:
        write_sheet(frame, file, "a.xlsx", keys=["key"])
    book = fastexcel.read_excel(tmp_path / "a.xlsx")
    cells = book.load_sheet(0, dtypes="string").to_polars()
    assert cells["word"].to_list() == words
    assert cells["key"].to_list() == list("123456")
    assert cells["large"][0] == str(2**53 + 1)
    assert cells["value"][3] == "inf"
    assert cells["day"].str.head(10).to_list()[:2] == ["1899-05-01", "2024-01-02"]
    typed = book.load_sheet(0).to_polars()
    assert typed["clock"].to_list() == frame["clock"].to_list()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert 'state="frozen"' in sheet


def test_a_backtest_of_other_metrics_may_replace_its_own_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    days = pl.date_range(date(2024, 1, 1), date(2024, 3, 1), eager=True)
    pl.DataFrame({"ds": days, "y": range(len(days))}).write_csv("t.csv")
    words = [
        "backtest",
        "t.csv",
        "--horizon",
        "3",
        "--folds",
        "1",
        "--models",
        "drift",
        "--metrics",
        "mape",
        "--out",
        "run",
    ]
    assert [main(words), main(words)] == [0, 0]
