"""Figures in tables: each is tied to the command or the table it comes from, and the check of that works."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
SCRIPT = """
import sys
print("Commit x\\n")
print("| model | wql | wql_spread |\\n| --- | --- | --- |\\n| tide | 0.52 | 0.01 |\\n")
print("| model | seed | wql | seconds |\\n| --- | --- | --- | --- |")
for model in sys.argv[2].split(","):
    for seed in sys.argv[4].split(","):
        print(f"| {model} | {seed} | {0.5 + 0.02 * int(seed):.4g} (0.4 to 0.6) | 9 |")
"""
PAGE = """# Page

<!-- figures
run: speed/script.py --models {model*} --seeds {seed*}
keys: model, seed
ignore: seconds
within: 2%
quick: model=tide
-->
| model | seed | wql | seconds |
| --- | --- | --- | --- |
| tide | 0 | **.51** (.4 to .6) | 1,000 |
| tide | 1 | .51 (.4 to .6) | 1 |
| nhits | 0 | 0.2 (.4 to .6) | |
"""


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    yield importlib.import_module("tables")
    for name in ("tables", "check_tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def project(tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """check_tables, on a project of one page and one script."""
    checker = importlib.import_module("check_tables")
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "script.py").write_text(SCRIPT)
    (tmp_path / "page.md").write_text(PAGE)
    for module in (tables, checker):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "pages", lambda: [tmp_path / "page.md"])
    return checker


def test_every_table_has_a_marker_that_can_be_read(tables: Any) -> None:
    for path in tables.pages():
        for table in tables.read(path):
            table.check()  # raises, with the place
            if table.kind == "run":
                assert list(tables.commands(table, table.figures(), {"data": "", "folder": ""}))
    assert ROOT / "README.md" in tables.pages()


def test_quoted_figures_are_those_of_their_sources(tables: Any) -> None:
    checker = importlib.import_module("check_tables")
    known = [table for path in tables.pages() for table in tables.read(path)]
    quoting = [table for table in known if table.kind == "quoted"]
    assert {"README.md", "auto.md"} <= {table.path.name for table in quoting}
    for table in quoting:
        means = table.mean_lines()
        figures = [f for f in table.figures() if f.line not in means]
        differ = [c.row() for c in checker.looked_up(table, figures, known) if not c.agrees]
        assert not differ


def test_the_readme_states_shares_and_percents_in_tables_alone() -> None:
    text = re.sub(
        r"<!--.*?-->|^```.*?^```", "", (ROOT / "README.md").read_text("utf-8"), flags=re.M | re.S
    )
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert not [line for line in prose if re.search(r"(?<![\w.])0?\.\d|\d %", line)]


def test_figures_of_a_page_are_read_with_their_keys(tables: Any) -> None:
    (table,) = tables.read(FOLDER / "page.md", PAGE)
    figures = table.figures()
    assert [f.text for f in figures][:4] == [".51", ".4", ".6", ".51"]
    assert figures[0].keys == {"model": "tide", "seed": "0"}
    assert [f.measure for f in figures[:3]] == ["wql", "wql[1]", "wql[2]"]
    assert table.allowed(figures[0]) == pytest.approx(0.02 * 0.51 + 0.005, rel=1e-3)
    assert [table.quick(f) for f in figures[::3]] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "value", "rounding"),
    [(".688", 0.688, 0.0005), ("1,456", 1456, 0.5), ("2", 2, 0.5), ("9.968e-05", 9.968e-5, 5e-9)],
)
def test_a_figure_is_rounded_to_its_last_digit(
    tables: Any, text: str, value: float, rounding: float
) -> None:
    (match,) = tables.NUMBER.finditer(f"**{text}**")
    figure = tables.Figure(Path("x"), 1, 0, match[0], {}, "wql")
    assert figure.value == pytest.approx(value)
    assert figure.rounding == pytest.approx(rounding)
    assert figure.like(value) == text


def test_a_wide_table_names_the_figures_of_its_cells(tables: Any) -> None:
    page = """<!-- figures
quoted: other.md
keys: data
where: seed=0
row car parts, 12 months: task=carparts
geometric: all
column ratio (wQL): ratio system=auto / wql
-->
| data | ratio (wQL) |
| --- | --- |
| car parts, 12 months | .25 (wQL .7) |
| m5 | 1.00 |
| all | .50 |
"""
    (table,) = tables.read(FOLDER / "page.md", page)
    figures = table.figures()
    assert figures[0].keys == {"seed": "0", "task": "carparts", "system": "auto"}
    assert figures[1].keys == {"seed": "0", "task": "carparts"}
    assert [f.measure for f in figures] == ["ratio", "wql", "ratio", "ratio"]
    ((mean, value),) = table.means()
    assert (mean.text, value) == (".50", pytest.approx(0.5))


@pytest.mark.parametrize(
    ("found", "put", "message"),
    [
        ("<!-- figures\n", "<!-- facts\n", "no marker"),
        ("keys: model, seed", "keys: model, sed", "no column 'sed'"),
        ("within: 2%", "withn: 2%", "unknown entry 'withn'"),
        ("within: 2%", "row tyde: model=tide", "no row 'tyde'"),
        ("speed/script.py", "speed/none.py", "no script"),
        ("run: speed", "kept: long\nrun: speed", "exactly one"),
        ("ignore: seconds", "column wql: wql", "names 1"),
    ],
)
def test_a_marker_that_is_wrong_is_refused(
    project: Any, tables: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    found: str, put: str, message: str,
) -> None:  # fmt: skip
    assert found in PAGE
    (tmp_path / "page.md").write_text(PAGE.replace(found, put))
    assert project.main(["--only", "page.md"]) == 2
    assert message in capsys.readouterr().err


def test_a_rerun_tells_what_differs_and_writes_it(
    project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.main([]) == 0  # lists the tables
    assert "page.md:10: run speed/script.py" in capsys.readouterr().out
    assert project.main(["--quick"]) == 0
    assert "3 agree, 0 differ" in capsys.readouterr().out  # means over seeds: .51 of .50 and .52
    assert project.main(["--only", "page.md", "--where", "model=nhits", "--write"]) == 1
    printed = capsys.readouterr().out
    assert "| page.md:14 | model=nhits seed=0 | wql | 0.2 | 0.5 | 0.054 | DIFFERS |" in printed
    assert "| nhits | 0 | 0.5 (.4 to .6) | |" in (tmp_path / "page.md").read_text()
    assert project.main(["--all"]) == 0


def test_a_figure_that_is_not_printed_differs(
    project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speed" / "script.py").write_text("raise SystemExit('no such model')")
    assert project.main(["--quick"]) == 1
    printed = capsys.readouterr()
    assert "not printed" in printed.out
    assert "no such model" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "pagge"], "no table's place holds 'pagge'"),
        (["--quick", "--where", "model=tyde"], "no figure to check"),
    ],
)
def test_nothing_to_check_is_an_error(
    project: Any, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert project.main(words) == 2
    assert message in capsys.readouterr().err


def test_an_option_stands_once_for_each_value_of_its_key(tables: Any) -> None:
    page = PAGE.replace("{model*} --seeds {seed*}", "{model} [--set {set}]").replace(
        "keys: model, seed", "keys: model, seed\nrow nhits: model=nhits set=a=1;b=2,3"
    )
    (table,) = tables.read(FOLDER / "page.md", page)
    lines = [line for line, _ in tables.commands(table, table.figures(), {})]
    assert lines[0].split() == ["speed/script.py", "--models", "tide"]
    assert lines[1] == "speed/script.py --models nhits --set a=1 --set b=2,3"
