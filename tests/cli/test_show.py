"""What leaves a command: whole files, plain tables, JSON that parses; and typed --set values."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from demandcast import registry
from demandcast.cli import options, places, results, show, summary
from demandcast.cli.summary import print_summary, sparkline
from demandcast.errors import ConfigError, DataError, FileError, Way, way
from demandcast.frames.read import read_panel

FRAME = pl.DataFrame({"model": ["deepar", "naive"], "wql": [0.5, 0.25]})


def test_a_table_is_plain_where_no_one_watches(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(FRAME)
    assert capsys.readouterr().out == "model      wql\ndeepar  0.5000\nnaive   0.2500\n"


def test_json_parses(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(FRAME, json=True)
    assert json.loads(capsys.readouterr().out) == FRAME.to_dicts()


def test_a_summary_names_dates_total_and_the_largest_items(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(28)]
    sizes = {f"i{n}": 100 * n for n in range(1, 8)}
    frame = pl.DataFrame(
        {
            "item": [name for name in sizes for _ in days],
            "date": days * len(sizes),
            "sales": [float(size + day.day % 7) for size in sizes.values() for day in days],
        }
    )
    panel = read_panel(frame)
    forecast = registry.create("seasonal_naive", horizon=14).fit(panel).predict(panel)
    print_summary(forecast, panel)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "forecast of 7 items for 14 days, 29 Jan to 11 Feb 2024"
    assert lines[2] == "total sales: 39,494, 0 % against the 14 days before"
    assert [line.split()[0] for line in lines[4:]] == ["i7", "i6", "i5", "i4", "i3"]
    assert lines[4].split()[:5] == ["i7", "9,842", "9,842", "0", "%"]
    assert len(lines[4].split()[-1]) == 14 + 1 + 14
    monkeypatch.setattr(summary, "_prints", lambda _: False)  # a terminal without the characters
    print_summary(forecast, panel)
    assert capsys.readouterr().err.isascii()


def test_a_sparkline_has_one_scale_and_blanks_where_nothing_was_observed() -> None:
    assert sparkline([0, 7, float("nan")], [14, 0]) == "▁▅ │█▁"
    assert sparkline([1.0] * 56, []) == "█" * 28 + "│"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_file_is_written_whole_and_alone(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"f.{ending}"
    results.write_table(FRAME, str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    separator = "\t" if ending == "tsv" else ","
    read = pl.read_parquet(path) if ending == "parquet" else pl.read_csv(path, separator=separator)
    assert read.equals(FRAME)


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("56", int, 56),
        ("1", float, 1.0),
        ("1e-3", float, 1e-3),
        ("false", bool, False),
        ("normal", str, "normal"),
        ("none", int | None, None),
        ("7,14", tuple[int, ...] | None, (7, 14)),
        ("[7]", tuple[int, ...], (7,)),
        ("7", tuple[int, ...], (7,)),
        ("()", tuple[int, ...] | None, ()),
    ],
)
def test_a_setting_takes_the_type_it_is_declared_with(
    value: str, wanted: Any, expected: Any
) -> None:
    typed = options._parse_setting("name", value, wanted)
    assert typed == expected
    assert type(typed) is type(expected)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("long", int),
        ("1.5", int),
        ("true", int),
        ("", int | None),
        ("none", int),
        ("1.5", int | None),
        ("1.5,2", tuple[int, ...] | None),
        ("1", bool),
    ],
)
def test_a_setting_of_another_type_is_refused(value: str, wanted: Any) -> None:
    with pytest.raises(ConfigError, match="is not"):
        options._parse_setting("name", value, wanted)


@pytest.mark.parametrize("model", registry.names())
def test_every_hyperparameter_can_be_set_to_its_default(model: str) -> None:
    defaults = registry.get(model).defaults()
    written = [f"{name}={value}" for name, value in defaults.items()]
    assert options.hyperparameters([model], written, seed=0)[model] == defaults


@pytest.mark.parametrize(
    ("out", "called", "typed"),
    [
        (way(duplicates="sum"), "duplicates='sum'", "--duplicates sum"),
        (way(key=...), "key=...", "--key COLUMNS"),
        (way(time=["year", "the month"]), "time=['year', 'the month']", "--time 'year,the month'"),
        (way(wide=False), "wide=False", "--long"),
        (way(device="cpu"), "device='cpu'", "--set device=cpu"),
        (
            way(freq="D", duplicates="sum"),
            "freq='D', duplicates='sum'",
            "--freq D --duplicates sum",
        ),
        (
            way(n_samples=9, call="predict(panel, n_samples=9)"),
            "predict(panel, n_samples=9)",
            "--paths 9",
        ),
    ],
)
def test_a_way_out_is_written_as_python_and_as_options(out: Way, called: str, typed: str) -> None:
    error = DataError("mend it, or pass", ways=[out, way("no demand", gaps="zero")])
    assert str(error) == f"mend it, or pass {called} or gaps='zero' (no demand)"
    assert error.text(options.as_option) == f"mend it, or pass {typed} or --gaps zero (no demand)"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places.check(files={"a": tmp_path / "file", "b": tmp_path / "new" / "f.csv", "c": None})
    places.check(folders={"a": str(tmp_path), "b": str(tmp_path / "new" / "run")})
    for files, folders in (
        ((str(tmp_path),), ()),
        ((str(tmp_path / "file" / "f.csv"),), ()),
        ((), (str(tmp_path / "file"),)),
    ):
        with pytest.raises(FileError, match="name another place"):
            places.check(files=dict.fromkeys("a", *files), folders=dict.fromkeys("b", *folders))


def test_a_file_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\.parquet"):
        places.check_ending("f.xls")
