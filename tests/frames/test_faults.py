"""All faults of a table are named in one run, most severe first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demandcast.cli.main import main
from demandcast.errors import DataError, DemandcastError, SchemaError
from demandcast.frames import check, read_panel

ROWS = [f"{item},2024-01-{day:02d},{day},1.5,tea,1" for item in "ab" for day in range(1, 15)]
HEADER = "item,date,units,price,kind,stock"
ROLES: dict[str, Any] = {
    "key": "item", "time": "date", "target": "units", "known": "price", "static": "kind", "available": "stock",
}  # fmt: skip
PLANT = {  # a fault -> the cell, what stands in it, and what the message says
    "key": (3, 0, "", ["key column 'item'", "row 4"]),
    "time": (4, 1, "2024-13-01", ["time column 'date'", "'2024-13-01' in row 5"]),
    "target": (5, 2, "n.n.", ["target 'units'", "'n.n.' in row 6"]),
    "infinite": (6, 2, "inf", ["target 'units' is infinite", "row 7"]),
    "repeat": (8, 1, "2024-01-08", ["1 rows repeat a series and time", "series a at 2024-01-08"]),
    "negative": (9, 2, "-5", ["negative in 1 rows", "-5 in series a at 2024-01-10"]),
    "covariate": (10, 3, "cheap", ["known covariate 'price'"]),
    "static": (11, 4, "nuts", ["static column 'kind' changes inside series a"]),
    "available": (12, 5, "perhaps", ["available column 'stock'"]),
}
TOGETHER = [
    ("key", "time"), ("key", "target"), ("time", "target"), ("target", "repeat"), ("key", "available"),
    ("repeat", "negative"), ("negative", "static"), ("infinite", "repeat"), ("target", "static"),
    ("time", "available"), ("target", "available"), ("repeat", "static", "available"),
    ("target", "repeat", "static"), ("key", "time", "target"), ("key", "time", "target", "available"),
    ("target", "repeat", "static", "available"),
]  # fmt: skip


def planted(path: Path, *faults: str) -> Path:
    rows = [row.split(",") for row in ROWS]
    for fault in faults:
        row, column, cell, _ = PLANT[fault]
        rows[row][column] = cell
    path.write_text("\n".join([HEADER, *(",".join(row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("faults", [(name,) for name in PLANT if name != "covariate"])
def test_one_fault_is_told_as_it_is(faults: tuple[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_panel(planted(tmp_path / "a.csv", *faults), **ROLES, negative="error")
    assert caught.value.faults == ()
    for words in PLANT[faults[0]][3]:
        assert words in str(caught.value)


@pytest.mark.parametrize("faults", TOGETHER, ids="+".join)
def test_all_faults_are_told_at_once(faults: tuple[str, ...], tmp_path: Path) -> None:
    path = planted(tmp_path / "a.csv", *faults)
    with pytest.raises(DataError) as caught:
        read_panel(path, **ROLES, negative="error")
    assert len(caught.value.faults) == len(faults)
    for name, told in zip(faults, caught.value.faults, strict=True):  # in the order of severity
        for words in PLANT[name][3]:
            assert words in str(told)
    assert str(caught.value).startswith(f"the table has {len(faults)} faults:\n  1. ")
    report = check(path, **ROLES, negative="error")
    assert [f.severity for f in report.findings[: len(faults)]] == ["error"] * len(faults)
    assert [f.action for f in report.findings[: len(faults)]] == [*map(str, caught.value.faults)]


def test_every_absent_column_is_named(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.csv")
    with pytest.raises(SchemaError) as caught:
        read_panel(path, key="itm", target="unit", known=["price", "promo"], past="visits")
    assert [str(f).split(";")[0] for f in caught.value.faults] == [
        f"there is no column {name!r}" for name in ("itm", "promo", "visits", "unit")
    ]


def test_a_source_that_can_be_read_once_names_its_first_fault(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table(
        {"item": ["a", None, "a"], "date": ["2024-01-01", "x", "2024-01-03"], "units": [1.0, 2, 3]}
    )
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    with pytest.raises(DemandcastError):
        read_panel(reader, key="item", time="date", target="units")


def test_the_command_line_lists_them_with_its_own_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = planted(tmp_path / "a.csv", "target", "repeat")
    options = ["--key", "item", "--time", "date", "--target", "units", "--horizon", "2"]
    assert main(["forecast", str(path), *options, "--model", "seasonal_naive"]) == 2
    told = capsys.readouterr().err
    assert "error: the table has 2 faults\n  1. target 'units' holds" in told
    assert "--text missing" in told
    assert "--duplicates sum" in told
