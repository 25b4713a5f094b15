"""What the README, the guides, the pages of models, the docstrings and the examples show runs."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.cli import options
from demandcast.cli.main import command_group, main
from demandcast.frames import examples
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import NeuralConfig
from demandcast.trees.boosting import LightGBM

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/guide/*.md"))
OTHERS = sorted(page for page in ROOT.glob("docs/**/*.md") if page not in PAGES)
ALL_PAGES = (*sorted(ROOT.glob("README*.md")), *PAGES, *OTHERS)
SLOW = {
    "app",
    "demo",
    "doctor",
    "serve",
    "tune",
    "--devices",
}  # in a command: parsed only; their own tests run them
DROPPED = {"--model", "--models", "--budget", "--set"}  # in the others, with their values
BUDGET = re.compile(r"\"\d+m\"")  # in a block of Python: compiled only
DAYS = 150  # of each series
STEPS = 8  # enough to run every line; what is learned is of no matter here

FRESH = """
import doctest, importlib, sys
finder, flags = doctest.DocTestFinder(), doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
for path in ("automl.auto", "automl.tune", "decide.orders", "windows.split"):
    module = importlib.import_module("demandcast." + path)
    examples = [test for test in finder.find(module) if test.examples]
    for name in [name for name in sys.modules if name.split(".")[0] == "demandcast"]:
        del sys.modules[name]
    for test in examples:
        test.globs = {}
        runner.run(test)
sys.exit(runner.failures > 0)
"""  # torch stays loaded, ours is loaded anew for every module


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pieces(page: Path) -> list[tuple[str, str]]:
    """Blocks of Python and of commands on a page, in their order."""
    return re.findall(r"^```(python|console)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def lines(code: str) -> list[str]:
    """The commands of a block; a line that ends in a backslash goes on."""
    text = code.replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ demandcast")]


def commands() -> list[tuple[str, str]]:
    """Every command shown, with its page."""
    found = [(page, code) for page in ALL_PAGES for lang, code in pieces(page) if lang == "console"]
    return [(name(page), line) for page, code in found for line in lines(code)]


def shorter(words: list[str]) -> list[str]:
    """A command with a quick method in place of its own, for how options work together."""
    command, *rest = words
    kept = []
    while rest:
        word = rest.pop(0)
        if word in DROPPED and command != "what-if":  # whose --set is the question
            rest.pop(0)
        else:
            kept.append(word)
    method = {"backtest": "--models=drift", "forecast": "--model=nlinear", "order": "--model=drift"}
    return [command, *kept, *([method[command]] if command in method else [])]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short trainings and few series, in a folder of their own, with a table named sales.csv."""
    full, trees, tourism = NeuralForecaster.__init__, LightGBM.__init__, examples.tourism

    def short(self: Any, *args: Any, **hyper: Any) -> None:
        steps = min(hyper.get("max_steps", STEPS), STEPS)
        every = {k: 4 for k in ("checkpoint_every", "validate_every") if k in hyper}
        full(self, *args, **hyper | every | {"max_steps": steps, "context": 14})

    def few_trees(self: Any, *args: Any, **hyper: Any) -> None:
        trees(self, *args, **hyper | {"trees": STEPS})

    monkeypatch.setattr(NeuralForecaster, "__init__", short)
    monkeypatch.setattr(LightGBM, "__init__", few_trees)
    monkeypatch.setattr(examples, "tourism", lambda: tourism().select(np.arange(6)))
    monkeypatch.chdir(tmp_path)
    days = np.datetime64("2024-01-01") + np.arange(DAYS)
    series = [(store, item) for store in ("north", "south") for item in (1, 2)]
    pl.concat(
        pl.DataFrame(
            {
                "store": [store] * DAYS, "item": [item] * DAYS, "date": days,
                "units": np.arange(DAYS) % 7 + item, "category": ["food"] * DAYS,
                "price": 2.0, "promo": np.arange(DAYS) % 2,
            }
        )
        for store, item in series
    ).write_csv("sales.csv")  # fmt: skip
    ahead = days[-1] + np.arange(1, 29)
    pl.DataFrame({"date": ahead, "price": 2.0, "promo": 0}).write_csv("prices.csv")
    Path("exports").mkdir()
    pl.read_csv("sales.csv", try_parse_dates=True).write_parquet("exports/2024-01.parquet")
    stock = {"store": [s for s, _ in series], "item": [i for _, i in series], "on_hand": [9] * 4}
    pl.DataFrame(stock).write_csv("stock.csv")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", [p for p in ALL_PAGES if pieces(p)], ids=name)
def test_what_a_page_shows_runs(page: Path) -> None:
    """Its Python and its commands in the order they stand, in one folder."""
    space: dict[str, Any] = {"dc": dc}
    if page.parent.name == "models":  # shown after the guide: the table of sales is a panel already
        space["panel"] = dc.read_panel("sales.csv")
    for number, (language, code) in enumerate(pieces(page), 1):
        if language == "python":
            program = compile(code, f"{name(page)}, block {number}", "exec")
            if page.parent.name == "guide" or not BUDGET.search(code):
                exec(program, space)
            continue
        for line in lines(code):
            words = shlex.split(line)[1:]
            if not SLOW & set(words):
                assert main(shorter(words)) == 0, line


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_shown_parses(page: str, line: str) -> None:
    program, command, *words = shlex.split(line)
    assert program == "demandcast", page
    group = command_group()
    parent = group.make_context("demandcast", [command, *words])
    given = group.commands[command].make_context(command, words, parent=parent).params
    if given.get("settings"):
        models = (given.get("model") or given.get("models") or given["words"][1]).split(",")
        options.hyperparameters(models, given["settings"], seed=0)


def test_a_docstring_runs_in_a_fresh_interpreter() -> None:
    """With what it imports itself and nothing that another module has loaded before."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(ROOT / "src")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_command_is_shown_somewhere() -> None:
    group = command_group()
    assert {line.split()[1] for _, line in commands()} == set(group.commands)


def test_the_reference_lists_every_command_option_and_method() -> None:
    """docs/conf.py writes the lists from the commands and the registry where the pages have their markers."""
    page = "docs/reference/"
    source = [(ROOT / page / f"{name}.md").read_text("utf-8") for name in ("commands", "methods")]
    settings = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    settings["write_lists"](None, page, commands := source[:1])
    settings["write_lists"](None, page, methods := source[1:])
    group = command_group()
    for name, command in group.commands.items():
        assert f"\n## {name}\n" in commands[0]
        for param in command.params:
            assert param.opts[0] in commands[0] or param.metavar in commands[0]
    assert all(f"| `{name}` |" in methods[0] for name in registry.names())


def test_every_guide_is_linked_from_the_readme_and_no_link_is_broken() -> None:
    linked = set()
    for page in ALL_PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name(page)} links to {target}"
                linked |= {(page.parent / target).resolve()} if page.name == "README.md" else set()
    assert set(PAGES) <= linked


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=name)
def test_an_example_runs(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")


def own_settings(name: str, over: str | None) -> dict[str, Any]:
    """The defaults of a method, less those it shares with all networks or with another method."""
    shared = {f.name: f.default for f in fields(NeuralConfig)} | {"seed": 0}
    if name == NeuralConfig.__name__:
        return {key: value for key, value in shared.items() if key != "horizon"}
    others = registry.get(over).defaults() if over else shared
    defaults = registry.get(name).defaults()
    own = {k: v for k, v in defaults.items() if k not in others or repr(others[k]) != repr(v)}
    return {k: v for k, v in own.items() if k not in ("horizon", "seed", "lags")}


def test_the_settings_on_the_pages_of_models_are_those_of_the_classes() -> None:
    shown = set()
    for page in ROOT.glob("docs/models/*.md"):
        found = re.findall(
            r"<!-- settings: (.*?)(?: over (\w+))? -->\n.*\n.*\n.*\n((?:\|.*\n)+)",
            page.read_text("utf-8"),
        )
        for names, over, rows in found:
            shown |= set(names.split(", "))
            expected: dict[str, Any] = {}
            for method in names.split(", "):
                expected |= own_settings(method, over or None)
            table = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", rows, re.M))
            assert table == {k: repr(v) for k, v in expected.items()}, (name(page), names)
    ours = {
        m for m, kind in registry.classes().items() if kind.__module__.startswith("demandcast.")
    }
    assert shown - {NeuralConfig.__name__} == ours - {"zero"}  # which has none
