"""Plant small faults in src/ one at a time and count those that the tests find.

python benchmarks/mutants.py likelihoods                      # 25 faults, drawn with seed 0
python benchmarks/mutants.py windows forecast --count 50 --seed 1
python benchmarks/mutants.py windows --only window.py:241     # one line, every fault

A fault turns a comparison, an operator, `and`, `or`, `not`, `min`, a condition or a number into
another one. Messages, annotations, strings and `strict=` are left alone. A fault is killed if a test of its
room (`ROOMS`) fails or takes far longer than without it. Those that call its function are run, the quickest
first: outside of functions those that call any of the file, and all of them where none calls it in its own
process. Faults that no test can find because nothing changes are listed in `mutants.json` with a reason,
and do not count.

Tests run in forks of a process that has collected them, in a copy of src/ and tests/ of its own. A fork
replaces the code of one function. Faults outside of functions, or in functions that an import calls, are
written to the copy before a fork imports the package.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType

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
    "train": ("tests/train", "src/demandcast/train"),
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
PATIENCE = 1800  # seconds, of all tests of a room without a fault
MEMORY = 16 << 30  # bytes that a run may ask for: a fault may loop and fill memory
OPTIONS = ("-q", "-x", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header")
Place = tuple[str, int]  # file below src/demandcast, and the first line of a function
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum"}
NAMES |= {"maximum": "minimum", "floor": "ceil", "ceil": "floor", "cumsum": "cumprod"}


@functools.cache
def original(path: Path) -> bytes:
    """What the file held when it was first read, whatever is written to it later."""
    return (ROOT / path).read_bytes()


def line_starts(source: bytes) -> list[int]:
    """Where each line begins, in bytes, and where the file ends."""
    starts = [0]
    for row in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    return starts


def first_line(function: ast.FunctionDef) -> int:
    """The line by which Python knows a function: that of its first decorator."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


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
        return str(self.path.relative_to(PACKAGE)), first_line(inside[-1])  # `walk` goes by depth

    def function(self) -> int | None:
        """First line of the outermost function that has the fault in its body, None outside of functions."""
        starts = line_starts(original(self.path))
        for node in ast.walk(ast.parse(original(self.path))):
            if isinstance(node, ast.FunctionDef):
                first, last = node.body[0], node.body[-1]
                begin = starts[first.lineno - 1] + first.col_offset
                end = starts[(last.end_lineno or 0) - 1] + (last.end_col_offset or 0)
                if begin <= self.start < end:
                    return first_line(node)
        return None

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
    for name, value in ast.iter_fields(tree):
        children = value if isinstance(value, list) else [value]
        if name in ("annotation", "returns"):
            skipped |= {id(child) for child in children}
    if isinstance(tree, ast.Call):  # `zip(..., strict=True)` is an assertion: no input breaks it
        skipped |= {id(keyword) for keyword in tree.keywords if keyword.arg == "strict"}
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
    offsets = line_starts(source)
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
    """Functions of the package that this process calls between `begin` and `end`."""

    def __init__(self, package: Path) -> None:
        self.prefix = f"{package}{os.sep}"
        self.places: set[Place] = set()

    def begin(self) -> None:
        self.places = set()
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def end(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self.prefix):
            self.places.add((code.co_filename[len(self.prefix) :], code.co_firstlineno))


@dataclass
class Measured:
    """What the tests of a room call and take without a fault."""

    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)  # of wall and of CPU
    reached: dict[Place, list[str]] = field(default_factory=dict)  # tests that call a function
    modules: list[str] = field(default_factory=list)  # of the package, imported by the tests

    def tests(self, mutant: Mutant) -> list[str]:
        """Tests that may find a fault, the quickest first."""
        place, file = mutant.place(), str(mutant.path.relative_to(PACKAGE))
        calling = set(self.reached.get(place, ())) if place else set()
        if place is None:
            for (name, _), tests in self.reached.items():
                calling |= set(tests) if name == file else set()
        return sorted(calling or self.seconds, key=lambda name: self.seconds[name])


class Measure:
    """A plugin of pytest that fills `Measured`."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.measured = Measured()
        self.files: dict[str, set[Place]] = {}  # called by fixtures that tests of a file share

    def pytest_runtest_logstart(self) -> None:
        self.begin = time.monotonic(), time.process_time()
        self.calls.begin()

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.files.setdefault(item.nodeid.partition("::")[0], set()).update(self.calls.places)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.calls.end()
        now = time.monotonic(), time.process_time()
        self.measured.seconds[nodeid] = now[0] - self.begin[0], now[1] - self.begin[1]
        for place in self.calls.places:
            self.measured.reached.setdefault(place, []).append(nodeid)

    def result(self) -> Measured:
        for name in self.measured.seconds:
            for place in self.files.get(name.partition("::")[0], set()):
                self.measured.reached.setdefault(place, []).append(name)
        self.measured.modules = [name for name in sys.modules if name.startswith("demandcast.")]
        return self.measured


class Limits:
    """A plugin of pytest that ends the process if a test takes far longer than without a fault."""

    def __init__(self, measured: Measured, tests: Sequence[str], note: Path) -> None:
        self.seconds, self.note = measured.seconds, note
        self.order = {name: i for i, name in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.order.get(item.nodeid, len(self.order)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.note.write_text(nodeid)  # the last one is that which kills
        wall, cpu = self.seconds.get(nodeid, (0.0, 0.0))
        signal.setitimer(signal.ITIMER_REAL, 20 + 10 * wall)  # a machine may be busy
        signal.setitimer(signal.ITIMER_PROF, 3 + 5 * cpu)


def fork(action: Callable[[], int], output: Path, patience: float = PATIENCE) -> int:
    """Do something in a fork, and return its exit code; what it started ends with it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    stop = time.monotonic() + patience
    done = status = 0
    try:
        while not done and time.monotonic() < stop:
            done, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.005)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if not done:
            os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if done else 1


class Copy:
    """A copy of src/ and tests/ to plant faults in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note, self.output = folder / "test.txt", folder / "output.txt"
        skip = shutil.ignore_patterns("__pycache__", "*.pyc")
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=skip)
        for part in ("docs", "examples", "benchmarks", "README.md", "pyproject.toml"):
            (folder / part).symlink_to(ROOT / part)

    @contextlib.contextmanager
    def fault(self, mutant: Mutant) -> Iterator[None]:
        """Hold a fault in the copy of its file."""
        self._put(mutant.path, mutant.source())
        try:
            yield
        finally:
            self._put(mutant.path, original(mutant.path))
            shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)  # what killed the last

    def _put(self, path: Path, source: bytes) -> None:
        """Write a file, and forget what Python compiled of it: sizes and seconds may agree."""
        place = self.folder / path
        place.write_bytes(source)
        for old in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
            old.unlink()

    def pytest(self, arguments: Sequence[str], plugin: object) -> int:
        """Run pytest in this process, in the copy."""
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = str(self.folder / "src")
        sys.path.insert(0, str(self.folder / "src"))
        return int(pytest.main([*OPTIONS, *arguments], plugins=[plugin]))

    def verdict(self, code: int) -> str:
        """What the exit code of a run of tests says, and which test killed."""
        if code == 0:
            return "survived"
        late = code in (-signal.SIGPROF, -signal.SIGALRM)
        return f"killed{' by the time' if late else ''} in {self.note.read_text()}"


@dataclass(eq=False)
class Room:
    """A plugin of pytest that collects the tests of a room once, and runs them in a fork for each fault."""

    copy: Copy
    drawn: Sequence[Mutant]
    result: Path  # what was measured, and a verdict for each fault that was planted, by its number
    say: Callable[[int, str], None]

    def __post_init__(self) -> None:
        self.calls = Calls(self.copy.folder / PACKAGE)

    def pytest_sessionstart(self) -> None:
        self.calls.begin()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.calls.end()
        called = self.calls.places
        measured = self._measure(session)
        self.calls.begin()
        for module in measured.modules:
            importlib.import_module(module)
        self.calls.end()
        called |= self.calls.places
        verdicts = {}
        for number, mutant in enumerate(self.drawn):
            line = mutant.function()
            name = str(mutant.path.relative_to(PACKAGE))
            swap = None if line is None or (name, line) in called else self._swap(mutant, line)
            if swap is not None:
                with self.copy.fault(mutant):
                    verdicts[number] = self._try(session, measured, measured.tests(mutant), swap)
                self.say(number, verdicts[number])
        self.result.write_bytes(pickle.dumps((measured, verdicts)))
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:  # the summary of pytest is not printed in a fork
            print(f"\n{report.nodeid}\n{report.longreprtext}")

    def _measure(self, session: pytest.Session) -> Measured:
        """Run all tests without a fault, in a fork, so that this process stays as it is."""

        def run() -> int:
            plugin = Measure(self.calls)
            session.config.pluginmanager.register(plugin)
            code = run_tests(session, session.items)
            self.result.write_bytes(pickle.dumps(plugin.result()))
            return code

        if session.testsfailed or fork(run, self.copy.output):
            output = self.copy.output.read_text("utf-8", errors="replace")
            raise RuntimeError(f"the tests fail without a fault:\n{output[-3000:]}")
        measured: Measured = pickle.loads(self.result.read_bytes())
        every = sorted(measured.seconds, key=lambda name: measured.seconds[name])
        verdict = self._try(session, measured, every, lambda: None)
        if verdict != "survived":
            raise RuntimeError(f"without a fault, the quickest tests first: {verdict}")
        return measured

    def _swap(self, mutant: Mutant, line: int) -> Callable[[], None] | None:
        """Return what plants a fault in the function at a line, None where no loaded function can take it."""
        path = str(self.copy.folder / mutant.path)
        before = functions(compile(original(mutant.path), path, "exec"))
        after = functions(compile(mutant.source(), path, "exec"))
        codes = [
            (old, new)
            for old, new in zip(before, after, strict=True)
            if old.co_firstlineno == line and not old.co_name.startswith("<")
        ]
        found = [
            (function, new)
            for function in gc.get_objects()
            if type(function) is FunctionType and function.__code__.co_filename == path
            for old, new in codes
            if function.__code__.co_qualname == old.co_qualname
            and function.__code__.co_firstlineno == line
        ]
        if not found or any(old.co_freevars != new.co_freevars for old, new in codes):
            return None

        def swap() -> None:
            for function, new in found:
                function.__code__ = new

        return swap

    def _try(
        self,
        session: pytest.Session,
        measured: Measured,
        tests: Sequence[str],
        swap: Callable[[], None],
    ) -> str:
        items = {item.nodeid: item for item in session.items}

        def run() -> int:
            swap()
            session.config.pluginmanager.register(Limits(measured, tests, self.copy.note))
            return run_tests(session, [items[name] for name in tests])

        return self.copy.verdict(fork(run, self.copy.output))


def functions(code: CodeType) -> list[CodeType]:
    """The code of all functions of a module and of its classes, not of functions inside functions."""
    found = []
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            is_function = inner.co_flags & inspect.CO_OPTIMIZED
            found += [inner] if is_function else functions(inner)
    return found


def run_tests(session: pytest.Session, items: Sequence[pytest.Item]) -> int:
    """Run tests until one fails."""
    for item, following in zip(items, [*items[1:], None], strict=True):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


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
    parser.add_argument("--tests", nargs="+", help="files of tests to run, not all of the room")
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
        rows.append((room, *score(room, given.tests or ROOMS[room], drawn, known)))
    if rows:
        print("\n| room | seed | faults | equivalent | killed | survived | share killed |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for room, n, same, killed in rows:
            share = killed / max(1, n - same)
            print(
                f"| {room} | {given.seed} | {n} | {same} | {killed} | {n - same - killed} | {share:.2f} |"
            )
    return 0


def score(
    room: str, tests: Sequence[str], drawn: list[Mutant], known: dict[tuple[str, str, str], str]
) -> tuple[int, int, int]:
    """Return how many faults were drawn, change nothing, and were killed; print those that survive."""
    different = []
    for mutant in drawn:
        reason = known.get((str(mutant.path.relative_to(PACKAGE)), *mutant.lines()))
        if reason is None:
            different.append(mutant)
        else:
            print(f"{room}: changes nothing, {reason}\n{mutant.diff()}", flush=True)
    screen = os.dup(1)

    def say(number: int, verdict: str) -> None:
        shown = f"\n{different[number].diff()}" if verdict == "survived" else ""
        os.write(screen, f"{room} {number + 1}: {verdict}{shown}\n".encode())

    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        result, output = Path(folder) / "result.pickle", Path(folder) / "room.txt"
        plugin = Room(copy, different, result, say)
        if fork(lambda: copy.pytest(tests, plugin), output, 10 * PATIENCE):
            sys.exit(output.read_text("utf-8", errors="replace")[-3000:])
        measured, verdicts = pickle.loads(result.read_bytes())
        for number, mutant in enumerate(different):
            if number not in verdicts:
                own = measured.tests(mutant)
                limits = Limits(measured, own, copy.note)
                with copy.fault(mutant):
                    code = fork(functools.partial(copy.pytest, own, limits), copy.output)
                verdicts[number] = copy.verdict(code)
                say(number, verdicts[number])
    os.close(screen)
    killed = sum(verdict != "survived" for verdict in verdicts.values())
    return len(drawn), len(drawn) - len(different), killed


if __name__ == "__main__":
    sys.exit(main())
