"""Check the figures stated in tables: run them again, or look them up where they are quoted from.

python benchmarks/check_tables.py                                      # list the tables, run nothing
python benchmarks/check_tables.py --quick                              # rows of seconds to a minute each
python benchmarks/check_tables.py --only notes_task --where model=deepar
python benchmarks/check_tables.py --only intermittent --write          # and correct what has moved

Tables are those of README.md, docs/models/ and benchmarks/ but for LOG.md; how one is marked is told in
`tables.py`. A figure agrees if it lies within the tolerance of its marker and the rounding of what is
stated; of rows that differ by seed the means are compared, within three standard errors as well. Exit
status: 0 if all agree, 1 if one does not, 2 if a marker or an argument cannot be read.
"""

from __future__ import annotations

import argparse
import functools
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tables as markdown
from tables import FOLDER, ROOT, Figure, MarkerError, Table

HEAD = ["place", "row", "measure", "stated", "rerun", "allowed", "verdict"]
SCRATCH = "EMPTY_FOLDER"  # in a command, until it is run


@dataclass(frozen=True)
class Comparison:
    """Figures stated and rerun; several where they differ by seed alone, and then their means count."""

    table: Table
    figures: tuple[Figure, ...]
    rerun: tuple[float | None, ...]

    @property
    def stated(self) -> float:
        return statistics.fmean(f.value for f in self.figures)

    @property
    def found(self) -> float | None:
        values = [v for v in self.rerun if v is not None]
        return statistics.fmean(values) if len(values) == len(self.rerun) else None

    @property
    def allowed(self) -> float:
        allowed = max(self.table.allowed(f) for f in self.figures)
        if len(self.figures) > 1 and self.found is not None:
            parts = ([f.value for f in self.figures], [v for v in self.rerun if v is not None])
            error = math.sqrt(sum(statistics.variance(p) / len(p) for p in parts))
            allowed = max(allowed, 3 * error)
        return allowed

    @property
    def agrees(self) -> bool:
        return self.found is not None and abs(self.found - self.stated) <= self.allowed

    def row(self) -> list[str]:
        first = self.figures[0]
        keys = " ".join(
            f"{k}={v}" for k, v in first.keys.items() if k != "seed" or len(self.figures) == 1
        )
        found = "not printed" if self.found is None else f"{self.found:.4g}"
        verdict = "agrees" if self.agrees else "DIFFERS"
        place = f"{self.table.place.partition(':')[0]}:{first.line}"
        return [
            place,
            keys,
            first.measure,
            f"{self.stated:.4g}",
            found,
            f"{self.allowed:.2g}",
            verdict,
        ]


def compare(
    table: Table, figures: Iterable[Figure], values: Iterable[float | None]
) -> list[Comparison]:
    """Pair figures with their new values, those that differ by seed alone as one comparison."""
    groups: dict[tuple[object, ...], list[tuple[Figure, float | None]]] = {}
    for figure, value in zip(figures, values, strict=True):
        keys = tuple((k, v) for k, v in figure.keys.items() if k != "seed")
        groups.setdefault((keys, figure.measure), []).append((figure, value))
    return [Comparison(table, *map(tuple, zip(*pairs, strict=True))) for pairs in groups.values()]


@functools.cache
def output(command: str) -> str:
    """Return what a script prints to stdout; its error is shown, and its figures are not printed."""
    print(f"$ python benchmarks/{command}", file=sys.stderr, flush=True)
    script, *words = shlex.split(command)
    with tempfile.TemporaryDirectory() as folder:
        words = [word.replace(SCRATCH, folder) for word in words]
        program = [sys.executable, str(FOLDER / script), *words]
        done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return done.stdout


def rerun(table: Table, figures: list[Figure], data: str) -> Iterator[Comparison]:
    """Run what prints some figures of a table, and compare."""
    settled = markdown.placeholders(table.entries["run"])
    given = {"data": data, "folder": SCRATCH}
    for command, members in markdown.commands(table, figures, given):
        tables = markdown.read(table.path, output(command))
        yield from compare(table, members, [markdown.printed(tables, f, settled) for f in members])


def looked_up(table: Table, figures: list[Figure], known: list[Table]) -> list[Comparison]:
    """Compare figures that a table quotes with those of its sources."""
    paths = {(FOLDER / path).resolve() for path in table.listed("quoted")}
    sources = [
        f
        for t in known
        if t.path.resolve() in paths and t.kind in ("run", "kept")
        for f in t.figures()
    ]
    found = [(f, markdown.source(sources, f)) for f in figures]
    return [
        Comparison(table, (figure,), (statistics.fmean(s.value for s in same) if same else None,))
        for figure, same in found
    ]


def write(comparisons: list[Comparison]) -> None:
    """Put new values in place of the stated ones, with as many digits."""
    changed: dict[Path, list[tuple[Figure, float]]] = {}
    for comparison in comparisons:
        for figure, value in zip(comparison.figures, comparison.rerun, strict=True):
            if value is not None:
                changed.setdefault(figure.path, []).append((figure, value))
    for path, pairs in changed.items():
        lines = path.read_text("utf-8").split("\n")
        for figure, value in sorted(pairs, key=lambda p: (p[0].line, -p[0].start)):
            line = lines[figure.line - 1]
            end = figure.start + len(figure.text)
            lines[figure.line - 1] = line[: figure.start] + figure.like(value) + line[end:]
        path.write_text("\n".join(lines), "utf-8")


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="part of the path, or path:line, of the tables to check")
    parser.add_argument("--where", default="", help="rows to check: 'model=deepar,tide seed=0'")
    parser.add_argument("--quick", action="store_true", help="only rows marked as quick")
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets")
    parser.add_argument("--write", action="store_true", help="replace figures that differ")
    parser.add_argument("--all", action="store_true", help="every table that can be rerun")
    given = parser.parse_args(argv)
    try:
        return check(given)
    except (MarkerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def check(given: argparse.Namespace) -> int:
    known = [t for path in markdown.pages() for t in markdown.read(path)]
    for table in known:
        table.check()
    chosen = [t for t in known if not given.only or given.only in t.place]
    if not chosen:
        raise MarkerError(f"no table's place holds {given.only!r}; see the list without arguments")
    if not (given.only or given.quick or given.all):
        for table in chosen:
            print(
                f"{table.place}: {table.kind or 'no figures'} {table.entries.get(table.kind, '')}"
            )
        return 0
    done: list[Comparison] = []
    print(line(HEAD), line(["---"] * len(HEAD)), sep="\n", flush=True)
    for comparison in comparisons(chosen, known, given):
        done.append(comparison)
        print(line(comparison.row()), flush=True)
    if not done:
        raise MarkerError(
            f"no figure to check in {chosen[0].place} and so on; see --where, --quick"
        )
    differ = [c for c in done if not c.agrees]
    print(f"\n{len(done) - len(differ)} agree, {len(differ)} differ")
    if given.write:
        write(differ)
    return 1 if differ else 0


def comparisons(
    chosen: list[Table], known: list[Table], given: argparse.Namespace
) -> Iterator[Comparison]:
    """Yield a comparison for each figure that was asked for, as it is known."""
    for table in chosen:
        means = table.mean_lines()
        figures = [
            f
            for f in table.figures()
            if f.line not in means and markdown.matches(f.keys, given.where)
        ]
        if table.kind == "run":
            quick = [f for f in figures if not given.quick or table.quick(f)]
            yield from rerun(table, quick, given.data)
        elif table.kind == "quoted":
            yield from looked_up(table, figures, known)


if __name__ == "__main__":
    sys.exit(main())
