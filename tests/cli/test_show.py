"""What leaves a command: whole files, plain tables, JSON that parses; and typed --set values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from demandcast.cli import options, show
from demandcast.errors import ConfigError

FRAME = pl.DataFrame({"model": ["deepar", "naive"], "wql": [0.5, 0.25]})


def test_a_table_is_plain_where_no_one_watches(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(FRAME)
    assert capsys.readouterr().out == "model      wql\ndeepar  0.5000\nnaive   0.2500\n"


def test_json_parses(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(FRAME, json=True)
    assert json.loads(capsys.readouterr().out) == FRAME.to_dicts()


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_file_is_written_whole_and_alone(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"f.{ending}"
    show.write(FRAME, str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    separator = "\t" if ending == "tsv" else ","
    read = pl.read_parquet(path) if ending == "parquet" else pl.read_csv(path, separator=separator)
    assert read.equals(FRAME)


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [("56", 28, 56), ("1", 0.1, 1.0), ("false", True, False), ("normal", "nb", "normal")],
)
def test_a_setting_takes_the_type_of_its_default(value: str, default: Any, expected: Any) -> None:
    assert options._typed("name", value, default) == expected


def test_a_setting_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a int"):
        options._typed("context", "long", 28)


def test_a_file_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\.parquet"):
        show.check_ending("f.xlsx")
