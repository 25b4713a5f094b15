"""What the README, the guides and the examples show runs, and every command in them parses."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.main import get_command

from demandcast.cli import options
from demandcast.cli.main import app
from demandcast.models.base import NeuralForecaster

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/guide/*.md"))
STEPS = 12  # enough to run every line; what is learned is of no matter here


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands() -> list[tuple[str, str]]:
    """Every command shown, with its page; a line that ends in a backslash goes on."""
    shown = []
    for page in (ROOT / "README.md", *PAGES):
        text = "".join(blocks(page, "console")).replace("\\\n", " ")
        shown += [(name(page), line[2:]) for line in text.splitlines() if line.startswith("$ ")]
    return shown


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short trainings, in a folder of their own, with a table named sales.csv."""
    full = NeuralForecaster.__init__

    def short(self: Any, *args: Any, **hyper: Any) -> None:
        steps = min(hyper.get("max_steps", STEPS), STEPS)
        every = {k: 4 for k in ("checkpoint_every", "validate_every") if k in hyper}
        full(self, *args, **hyper | every | {"max_steps": steps, "context": 14})

    monkeypatch.setattr(NeuralForecaster, "__init__", short)
    monkeypatch.chdir(tmp_path)
    days = np.datetime64("2024-01-01") + np.arange(90)
    series = [(store, item) for store in ("north", "south") for item in (1, 2)]
    pl.concat(
        pl.DataFrame(
            {
                "store": [store] * 90, "item": [item] * 90, "date": days,
                "units": np.arange(90) % 7 + item, "category": ["food"] * 90,
            }
        )
        for store, item in series
    ).write_csv("sales.csv")  # fmt: skip


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "page", [p for p in (ROOT / "README.md", *PAGES) if blocks(p, "python")], ids=name
)
def test_the_python_of_a_page_runs(page: Path) -> None:
    space: dict[str, Any] = {}
    for number, code in enumerate(blocks(page, "python"), 1):
        exec(compile(code, f"{name(page)}, block {number}", "exec"), space)


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_shown_parses(page: str, line: str) -> None:
    program, command, *words = shlex.split(line)
    assert program == "demandcast", page
    group: Any = get_command(app)
    parent = group.make_context("demandcast", [command, *words])
    given = group.commands[command].make_context(command, words, parent=parent).params
    if given.get("settings"):
        models = (given.get("model") or given.get("models") or given["words"][1]).split(",")
        options.hyperparameters(models, given["settings"], seed=0)


def test_every_command_is_shown_somewhere() -> None:
    group: Any = get_command(app)
    assert {line.split()[1] for _, line in commands()} == set(group.commands)


def test_every_guide_is_linked_from_the_readme_and_no_link_is_broken() -> None:
    linked = set()
    for page in (ROOT / "README.md", *PAGES):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name(page)} links to {target}"
                linked |= {(page.parent / target).resolve()} if page.name == "README.md" else set()
    assert set(PAGES) <= linked


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=name)
def test_an_example_runs(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")
