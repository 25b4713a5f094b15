"""Plant small faults in src/ one at a time and count those that the tests find.

python benchmarks/mutants.py likelihoods                      # 25 faults, drawn with seed 0
python benchmarks/mutants.py windows forecast --count 50 --seed 1
python benchmarks/mutants.py windows --only window.py:241     # one line, every fault

A fault turns a comparison, an operator, `and`, `or`, `not`, `min`, a condition or a number into
another one. Messages, annotations and strings are left alone. A fault is killed if a test of its
room (`ROOMS`) fails or takes too long; those that call its function are run, the quickest first. Faults
that no test can find because nothing changes are listed in `mutants.json` with a reason, and do not count.

Each run is a fork of a process that has imported torch, in a copy of src/ and tests/ of its own.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/demandcast")
EQUIVALENT = Path(__file__).with_suffix(".json")

# what is run for a room, first what is cheap; of contracts those that read what the room gives
ROOMS: dict[str, tuple[str, ...]] = {
    "likelihoods": ("tests/likelihoods", "src/demandcast/likelihoods"),
    "windows": (
        "tests/windows",
        "src/demandcast/windows",
        "tests/contracts/test_pieces.py",
    ),
    "forecast": ("tests/forecast", "src/demandcast/forecast", "tests/contracts/test_bars.py"),
    "evaluate": ("tests/evaluate", "src/demandcast/evaluate"),
    "decide": ("tests/decide", "src/demandcast/decide"),
    "train": ("tests/train", "src/demandcast/train", "tests/contracts/test_threads.py"),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
PATIENCE = 1800  # seconds, of any run of tests
Place = tuple[str, int]  # file below src/demandcast, and the first line of a function
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum"}
NAMES |= {"maximum": "minimum", "floor": "ceil", "ceil": "floor", "cumsum": "cumprod"}


@functools.cache
def original(path: Path) -> bytes:
    """What the file held when it was first read, whatever is written to it later."""
    return (ROOT / path).read_bytes()


@dataclass(frozen=True)
class Mutant:
    """One fault: what stands at a place of a file, and what is put there."""

    path: Path
    line: int
    start: int  # in bytes of the file
    end: int
    text: str

    def place(self) -> Place | None:
        """The function that the fault is in, None outside of functions."""
        inside = [
            node
            for node in ast.walk(ast.parse(original(self.path)))
            if isinstance(node, ast.FunctionDef)
            and node.lineno <= self.line <= (node.end_lineno or 0)
        ]
        if not inside:
            return None
        last = inside[-1]  # the innermost, for `walk` goes by depth
        lines = [decorator.lineno for decorator in last.decorator_list]
        return str(self.path.relative_to(PACKAGE)), min([*lines, last.lineno])

    def source(self) -> bytes:
        """The file with the fault in it."""
        old = original(self.path)
        return old[: self.start] + self.text.encode() + old[self.end :]

    def lines(self) -> tuple[str, str]:
        """The first line that changes, before and after."""
        old = original(self.path).decode().splitlines()
        new = self.source().decode().splitlines()
        for before, after in zip(old, new, strict=False):
            if before != after:
                return before.strip(), after.strip()
        return "", ""

    def diff(self) -> str:
        before, after = self.lines()
        return f"{self.path.relative_to(PACKAGE)}:{self.line}\n  - {before}\n  + {after}"


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield (what is replaced, by which text) for one node."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            ops = [*node.ops[:i], COMPARISONS[type(operator)](), *node.ops[i + 1 :]]
            yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        other = OPERATORS[type(node.op)]()
        yield node, f"({ast.unparse(ast.BinOp(node.left, other, node.right))})"
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield node, f"({ast.unparse(ast.BoolOp(other_bool, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield node, repr(node.value + 1)
    elif isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield node, NAMES[node.id]
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield node, f"({ast.unparse(node.value)}).{NAMES[node.attr]}"
    if isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(
        node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)
    ):
        yield node.test, f"(not {ast.unparse(node.test)})"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what computes: no annotations, strings, messages of errors or blocks for the type checker."""
    skipped: set[int] = set()
    for field, value in ast.iter_fields(tree):
        children = value if isinstance(value, list) else [value]
        if field in ("annotation", "returns"):
            skipped |= {id(child) for child in children}
    if isinstance(tree, (ast.JoinedStr, ast.Raise)):
        return
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        if id(child) not in skipped:
            yield from nodes(child)


def mutants(path: Path) -> list[Mutant]:
    """Every fault that can be planted in a file."""
    source = original(path)
    offsets = [0]
    for row in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(row))
    found = []
    for node in nodes(ast.parse(source)):
        for target, text in changes(node):
            start = offsets[target.lineno - 1] + target.col_offset  # type: ignore[attr-defined]
            end = offsets[target.end_lineno - 1] + target.end_col_offset  # type: ignore[attr-defined]
            mutant = Mutant(path, target.lineno, start, end, text)  # type: ignore[attr-defined]
            ast.parse(mutant.source())
            found.append(mutant)
    return found


def draw(room: str, count: int, seed: int) -> list[Mutant]:
    """Faults of a room, all as likely, in the order drawn."""
    every = [
        mutant
        for path in sorted((ROOT / PACKAGE / room).rglob("*.py"))
        for mutant in mutants(path.relative_to(ROOT))
    ]
    return random.Random(f"{room} {seed}").sample(every, min(count, len(every)))


def reasons() -> dict[tuple[str, str, str], str]:
    """Why nothing changes: (file, line before, line after) -> reason."""
    if not EQUIVALENT.exists():
        return {}
    listed = json.loads(EQUIVALENT.read_text("utf-8"))
    return {(e["file"], e["before"], e["after"]): e["reason"] for e in listed}


class Calls:
    """A plugin of pytest that writes down which functions each test calls, and how long it takes."""

    def __init__(self, source: Path) -> None:
        self.prefix = f"{source}{os.sep}"
        self.tests: dict[str, tuple[float, set[Place]]] = {}
        self.files: dict[
            str, set[Place]
        ] = {}  # what the fixtures of a file call, for all its tests
        self.now: set[Place] = set()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self.prefix):
            name = frame.f_code.co_filename[len(self.prefix) :]
            self.now.add((name, frame.f_code.co_firstlineno))

    def pytest_runtest_logstart(self) -> None:
        self.now, self.begin = set(), time.process_time()
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.files.setdefault(item.nodeid.partition("::")[0], set()).update(self.now)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.setprofile(None)
        self.tests[nodeid] = (time.process_time() - self.begin, self.now)

    def reaching(self) -> dict[Place, list[str]]:
        """Tests that call each function, the quickest first."""
        found: dict[Place, list[str]] = {}
        for test, (_, called) in sorted(self.tests.items(), key=lambda pair: pair[1][0]):
            for place in called | self.files.get(test.partition("::")[0], set()):
                found.setdefault(place, []).append(test)
        return found


class Copy:
    """A copy of src/ and tests/ to plant faults in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        skip = shutil.ignore_patterns("__pycache__", "*.pyc")
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=skip)
        for part in ("docs", "examples", "benchmarks", "README.md", "pyproject.toml"):
            (folder / part).symlink_to(ROOT / part)

    def put(self, path: Path, source: bytes) -> None:
        """Write a file, and forget what Python compiled of it: sizes and seconds may agree."""
        place = self.folder / path
        place.write_bytes(source)
        for old in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
            old.unlink()

    def run(self, tests: Sequence[str], limit: float, *, trace: bool = False) -> tuple[str, str]:
        """Run tests in a fork, and return "killed" or "survived" with what pytest printed.

        Whoever takes more than `limit` CPU seconds, or waits for half an hour, is killed too.
        """
        output = self.folder / "output.txt"
        child = os.fork()
        if child == 0:
            self._test(tests, output, limit, trace)  # does not return
        stop = time.monotonic() + PATIENCE
        status = None
        while status is None and time.monotonic() < stop:
            done, code = os.waitpid(child, os.WNOHANG)
            status = code if done else None
            time.sleep(0.02)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed", ""
        verdict = "survived" if status == 0 else "killed"
        return verdict, output.read_text("utf-8", errors="replace")

    def _test(self, tests: Sequence[str], output: Path, limit: float, trace: bool) -> None:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = str(self.folder / "src")
        sys.path.insert(0, str(self.folder / "src"))
        calls = Calls(self.folder / PACKAGE)
        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header"]
        code = 1
        try:
            code = int(pytest.main([*options, *tests], plugins=[calls] if trace else []))
            if trace:
                reached = [[*place, tests] for place, tests in calls.reaching().items()]
                seconds = {test: spent for test, (spent, _) in calls.tests.items()}
                (self.folder / "calls.json").write_text(json.dumps([reached, seconds]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def warm() -> None:
    """Import what every run needs; not the package, nor what pytest rewrites, such as hypothesis."""
    import scipy.stats
    import torch

    torch.set_num_threads(1)
    assert scipy.stats
    assert "demandcast" not in sys.modules


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", default=list(ROOMS), help=", ".join(ROOMS))
    parser.add_argument("--count", type=int, default=25, help="faults drawn in each room")
    parser.add_argument("--seed", type=int, default=0, help="by which they are drawn")
    parser.add_argument("--only", help="file.py:line, all faults there instead of a draw")
    parser.add_argument("--list", action="store_true", help="show the faults, run nothing")
    given = parser.parse_args(argv)
    for room in given.rooms:
        if room not in ROOMS:
            parser.error(f"no tests are named for {room!r}; rooms are {', '.join(ROOMS)}")
    known, rows = reasons(), []
    if not given.list:
        warm()
    for room in given.rooms:
        drawn = draw(room, 10**6 if given.only else given.count, given.seed)
        if given.only:
            drawn = [m for m in drawn if f"{m.path}:{m.line}".endswith(f"/{given.only}")]
        if given.list:
            print(*(m.diff() for m in drawn), sep="\n")
            continue
        rows.append((room, *score(room, drawn, known)))
    if rows:
        print("\n| room | faults | equivalent | killed | survived | share killed |")
        print("| --- | --- | --- | --- | --- | --- |")
        for room, n, same, killed in rows:
            share = killed / max(1, n - same)
            print(f"| {room} | {n} | {same} | {killed} | {n - same - killed} | {share:.2f} |")
    return 0


def score(
    room: str, drawn: list[Mutant], known: dict[tuple[str, str, str], str]
) -> tuple[int, int, int]:
    """Return how many faults were drawn, change nothing, and were killed; print those that survive."""
    same = killed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        verdict, printed = copy.run(ROOMS[room], PATIENCE, trace=True)
        if verdict != "survived":
            sys.exit(f"the tests of {room} fail without a fault:\n{printed[-3000:]}")
        calls, seconds = json.loads((Path(folder) / "calls.json").read_text())
        reached = {(name, line): tests for name, line, tests in calls}
        for number, mutant in enumerate(drawn, start=1):
            reason = known.get((str(mutant.path.relative_to(PACKAGE)), *mutant.lines()))
            if reason is not None:
                same += 1
                print(f"{room} {number}: changes nothing, {reason}\n{mutant.diff()}", flush=True)
                continue
            copy.put(mutant.path, mutant.source())
            place = mutant.place()
            tests = ROOMS[room] if place is None else reached.get(place, ROOMS[room])
            spent = sum(seconds.get(test, 0.0) for test in tests) or sum(seconds.values())
            verdict, _ = copy.run(tests, 30 + 4 * spent)
            copy.put(mutant.path, original(mutant.path))
            killed += verdict != "survived"
            shown = f"\n{mutant.diff()}" if verdict == "survived" else ""
            print(f"{room} {number}: {verdict}{shown}", flush=True)
    return len(drawn), same, killed


if __name__ == "__main__":
    sys.exit(main())
