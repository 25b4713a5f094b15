"""Read the figures of Markdown tables, each with the command or the table that it comes from.

A comment before a table is its marker. One entry a line:

    <!-- figures
    run: accuracy/run.py --tasks {task} --models {model*} [--set {set}] --data {data}
    keys: task, model
    within: wql 3%, coverage_80 0.03
    within model=seasonal_naive: 0
    ignore: fit_seconds
    quick: task=tourism_monthly model=seasonal_naive,tide
    -->

`run` is the command below `benchmarks/` that prints these rows, `quoted` the files whose figures
the table repeats, `kept` the reason why it is not run again; a table has exactly one of them, or
is `<!-- figures: none -->`. In a command `{key}` is the row's key, `{key*}` all rows' by commas;
a part in brackets stands once for each value between semicolons of its key, so not at all where a
row lacks it. `{data}` is the folder of the data sets, `{folder}` an empty one.

`geometric: LABEL` and `mean: LABEL` say that a row holds the means of the rows above it.

`keys` are the columns that name a row. `where: seed=0` adds keys to every row, and
`row LABEL: task=m4_hourly` replaces a label by keys. A column holds the measure of its name; number
i > 0 of a cell is `name[i]`. `column HEADER: wql task=m4_hourly / mase` names the numbers of its
cells instead, with keys of their own. Paths are relative to the folder of `tables.py`.
"""

from __future__ import annotations

import re
import shlex
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
Keys = dict[str, str]
NUMBER = re.compile(
    r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+|\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?(?![\w.])"
)
MARKER = re.compile(r"<!-- figures(?::\s*none\s*|\n(.*?))-->", re.S)
KINDS = ("run", "quoted", "kept")
MEANS = {"geometric": statistics.geometric_mean, "mean": statistics.fmean}


class MarkerError(ValueError):
    """A marker that cannot be read; the message names its file and line."""


@dataclass(frozen=True)
class Figure:
    """One number of a table."""

    path: Path
    line: int  # from 1
    start: int  # of the number's text in the line
    text: str
    keys: Keys
    measure: str

    @property
    def value(self) -> float:
        return float(self.text.replace(",", ""))

    @property
    def rounding(self) -> float:
        """Half a unit of the last digit that is stated."""
        mantissa, _, exponent = self.text.replace(",", "").partition("e")
        decimals = len(mantissa.partition(".")[2])
        return 0.5 * 10.0 ** (int(exponent or 0) - decimals)

    def like(self, value: float) -> str:
        """Text of another value with the digits and the style of this one."""
        mantissa, _, exponent = self.text.partition("e")
        if exponent:
            return f"{value:.4g}"
        text = f"{value:{',' if ',' in mantissa else ''}.{len(mantissa.partition('.')[2])}f}"
        bare = mantissa.lstrip("-").startswith(".")
        return re.sub(r"^(-?)0\.", r"\1.", text) if bare else text


@dataclass
class Table:
    """A table of a Markdown file with the entries of its marker; none where it has no marker."""

    path: Path
    line: int  # of its header, from 1
    header: list[str]
    rows: list[tuple[int, list[tuple[int, str]]]]  # line, then start and text of each cell
    marker: list[tuple[str, str]] | None = None  # name and value of each entry; [] without figures
    entries: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = dict(self.marker or [])

    @property
    def place(self) -> str:
        return (
            f"{self.path.relative_to(ROOT) if ROOT in self.path.parents else self.path}:{self.line}"
        )

    @property
    def kind(self) -> str:
        """`run`, `quoted` or `kept`; empty for a table without figures."""
        return next((kind for kind in KINDS if kind in self.entries), "")

    def listed(self, name: str) -> list[str]:
        """The parts of an entry between commas."""
        return [part.strip() for part in self.entries.get(name, "").split(",") if part.strip()]

    def figures(self) -> list[Figure]:
        """Every number outside the key columns and the ignored ones."""
        if not self.marker:
            return []
        where = _keys(self.entries.get("where", ""))
        named, ignored = self.listed("keys"), self.listed("ignore")
        return [
            Figure(self.path, line, start + found.start(), found[0], {**keys, **extra}, measure)
            for line, cells in self.rows
            for keys in [{**where, **self._row_keys(cells, named)}]
            for head, (start, text) in zip(self.header, cells, strict=True)
            if head not in named and head not in ignored
            for found, (measure, extra) in self._numbers(head, text, line)
        ]

    def means(self) -> Iterator[tuple[Figure, float]]:
        """Yield each figure of a row of means, with the mean of its column above."""
        figures = self.figures()
        for kind, mean in MEANS.items():
            lines = {n for n, cells in self.rows if cells[0][1] == self.entries.get(kind)}
            for figure in (f for f in figures if f.line in lines):
                above = [
                    f.value
                    for f in figures
                    if f.line < figure.line
                    and f.line not in self.mean_lines()
                    and f.measure == figure.measure
                    and all(
                        f.keys.get(k) == v
                        for k, v in figure.keys.items()
                        if k not in self.listed("keys")
                    )
                ]
                yield figure, mean(above)

    def mean_lines(self) -> set[int]:
        """Lines of the rows of means, which no command prints."""
        labels = {self.entries[kind] for kind in MEANS if kind in self.entries}
        return {line for line, cells in self.rows if cells[0][1] in labels}

    def allowed(self, figure: Figure) -> float:
        """How far a rerun may lie from a figure, its rounding included."""
        allowed = 0.0
        for name, value in self.marker or []:
            first, _, condition = name.partition(" ")
            if first != "within" or not matches(figure.keys, condition):
                continue
            for part in value.split(","):
                measure, _, size = part.strip().rpartition(" ")
                if measure in ("", figure.measure):
                    relative = size.endswith("%")
                    number = float(size.rstrip("%"))
                    allowed = abs(figure.value) * number / 100 if relative else number
        return allowed + figure.rounding * 1.001

    def quick(self, figure: Figure) -> bool:
        """Whether the marker lets a figure be run again within a minute."""
        conditions = [value for name, value in self.marker or [] if name == "quick"]
        return any(value == "all" or matches(figure.keys, value) for value in conditions)

    def check(self) -> None:
        """Raise MarkerError if the marker is missing, or names what there is not."""
        if self.marker is None:
            raise MarkerError(f"{self.place}: no marker; see {Path(__file__).name}")
        if not self.marker:
            return
        if sum(kind in self.entries for kind in KINDS) != 1:
            raise MarkerError(f"{self.place}: needs exactly one of {', '.join(KINDS)}")
        columns = [name.partition(" ")[2] for name, _ in self.marker if name.startswith("column ")]
        for column in [*self.listed("keys"), *self.listed("ignore"), *columns]:
            if column not in self.header:
                raise MarkerError(f"{self.place}: no column {column!r}, there are {self.header}")
        labels = {text for _, cells in self.rows for _, text in cells}
        known = {"keys", "ignore", "where", "quick", *KINDS, *MEANS}
        for name, _ in self.marker:
            first, _, rest = name.partition(" ")
            if first == "row" and rest not in labels:
                raise MarkerError(f"{self.place}: no row {rest!r}")
            if name not in known and first not in ("row", "column", "within"):
                raise MarkerError(f"{self.place}: unknown entry {name!r}")
        if self.kind == "run":
            script = FOLDER / shlex.split(self.entries["run"])[0]
            if not script.exists():
                raise MarkerError(f"{self.place}: no script {script}")
        for path in self.listed("quoted"):
            if not (FOLDER / path).exists():
                raise MarkerError(f"{self.place}: no file {FOLDER / path}")
        if not self.figures():
            raise MarkerError(f"{self.place}: no figures; mark it <!-- figures: none -->")
        for figure, mean in self.means():
            if abs(figure.value - mean) > 2.001 * figure.rounding:
                raise MarkerError(
                    f"{self.path}:{figure.line}: {figure.text} is not the mean of the rows above, {mean:.4g}"
                )

    def _row_keys(self, cells: list[tuple[int, str]], named: list[str]) -> Keys:
        keys: Keys = {}
        for head, (_, text) in zip(self.header, cells, strict=True):
            if head in named:
                given = self.entries.get(f"row {text}")
                keys |= {head: text} if given is None else _keys(given)
        return keys

    def _numbers(
        self, head: str, text: str, line: int
    ) -> Iterator[tuple[re.Match[str], tuple[str, Keys]]]:
        found = list(NUMBER.finditer(text))
        if (given := self.entries.get(f"column {head}")) is None:
            names = [(f"{head}[{i}]" if i else head, Keys()) for i in range(len(found))]
        else:
            parts = [shlex.split(part) for part in given.split(" / ")]
            names = [(part[0], dict(p.split("=", 1) for p in part[1:])) for part in parts]
        if len(names) < len(found):
            raise MarkerError(
                f"{self.path}:{line}: {text!r} has {len(found)} numbers, column {head!r} names "
                f"{len(names)}"
            )
        return zip(found, names[: len(found)], strict=True)


def read(path: Path, text: str | None = None) -> list[Table]:
    """Return the tables of a Markdown file, outside its code blocks, with their markers."""
    text = path.read_text("utf-8") if text is None else text
    lines = text.splitlines()
    ends = {  # line on which a marker ends, from 0: its entries
        text.count("\n", 0, m.end()): [
            _entry(entry, path) for entry in (m[1] or "").splitlines() if entry.strip()
        ]
        for m in MARKER.finditer(text)
    }
    tables: list[Table] = []
    marker, fenced, number = None, False, 0
    while number < len(lines):
        line = lines[number]
        fenced ^= line.startswith("```")
        if number in ends:
            marker = ends[number]
        elif line.startswith("|") and not fenced:
            start = number
            while number < len(lines) and lines[number].startswith("|"):
                number += 1
            cells = [(n + 1, _cells(lines[n])) for n in range(start, number)]
            header = [cell for _, cell in cells[0][1]]
            for at, row in cells:
                if len(row) != len(header):
                    raise MarkerError(f"{path}:{at}: {len(row)} cells below {len(header)} columns")
            tables.append(Table(path, start + 1, header, cells[2:], marker))
            marker = None
            continue
        elif line.strip():
            marker = None  # a marker stands right before its table
        number += 1
    return tables


def matches(keys: Keys, condition: str) -> bool:
    """Whether keys meet a condition such as `model=tide,nhits seed=0`; the empty one always."""
    wanted = _keys(condition)
    return all(keys.get(name) in value.split(",") for name, value in wanted.items())


def commands(
    table: Table, figures: list[Figure], given: Keys
) -> Iterator[tuple[str, list[Figure]]]:
    """Yield each command that prints figures of a table, with the figures that it prints."""
    template = table.entries["run"]
    several = set(re.findall(r"{(\w+)\*}", template))
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        rest = {k: v for k, v in figure.keys.items() if k not in several} | given
        parts = re.split(r"\[([^]]*)\]", template)  # the second and every other are in brackets
        line = "".join(_repeat(p, rest) if i % 2 else p for i, p in enumerate(parts))
        groups.setdefault(_fill(line, rest), []).append(figure)
    for line, members in groups.items():
        for name in several:
            values = dict.fromkeys(f.keys[name] for f in members)
            line = line.replace(f"{{{name}*}}", shlex.quote(",".join(values)))
        yield line, members


def placeholders(command: str) -> set[str]:
    return set(re.findall(r"{(\w+)\*?}", command))


def printed(tables: list[Table], figure: Figure, given: set[str]) -> float | None:
    """The figure's value in printed tables; `given` are keys that the command has settled.

    None if no row has it. The first table with such a row counts, so that means may stand before
    the rows they are of; a table with two such rows is ambiguous, which raises MarkerError.
    """
    for table in tables:
        header = table.header
        measure, _, index = figure.measure.partition("[")
        missing = set(figure.keys) - set(header)
        if measure not in header or missing - given:
            continue
        at = header.index(measure)
        found = [
            NUMBER.findall(row[at])[int(index.rstrip("]") or 0)]
            for row in ([text for _, text in cells] for _, cells in table.rows)
            if all(row[header.index(k)] == v for k, v in figure.keys.items() if k in header)
            and len(NUMBER.findall(row[at])) > int(index.rstrip("]") or 0)
        ]
        if len(found) > 1:
            raise MarkerError(f"{figure.path}:{figure.line}: {figure.keys} name {len(found)} rows")
        if found:
            return float(found[0].replace(",", ""))
    return None


def source(figures: list[Figure], figure: Figure) -> list[Figure]:
    """The figures that a quoted one repeats; several where it is their mean over seeds."""
    found = [
        f for f in figures if f.measure == figure.measure and figure.keys.items() <= f.keys.items()
    ]
    unlike = {tuple(sorted((k, v) for k, v in f.keys.items() if k != "seed")) for f in found}
    if len(unlike) > 1:
        raise MarkerError(f"{figure.path}:{figure.line}: {figure.keys} may be any of {unlike}")
    return found


def pages() -> list[Path]:
    """The files whose tables are checked; the log is a dated record of what was tried."""
    found = [*ROOT.glob("README*.md"), *ROOT.glob("docs/models/*.md"), *FOLDER.rglob("*.md")]
    return sorted(path for path in found if path.name != "LOG.md")


def _fill(text: str, keys: Keys) -> str:
    for name in re.findall(r"{(\w+)}", text):
        if name not in keys:
            raise MarkerError(f"no key {name!r} for {text!r}, there are {sorted(keys)}")
        text = text.replace(f"{{{name}}}", shlex.quote(keys[name]))
    return text


def _repeat(part: str, keys: Keys) -> str:
    """A part of a command once for each value of its key, the empty string without one."""
    (name,) = re.findall(r"{(\w+)}", part)
    values = keys[name].split(";") if name in keys else []
    return " ".join(_fill(part, {name: value}) for value in values)


def _keys(text: str) -> Keys:
    return dict(part.split("=", 1) for part in shlex.split(text))


def _entry(line: str, path: Path) -> tuple[str, str]:
    found = re.fullmatch(r"(.+?):(?:\s+(.*))?", line.strip())
    if not found:
        raise MarkerError(f"{path}: {line!r} is no entry, which is `name: value`")
    return found[1], found[2] or ""


def _cells(line: str) -> list[tuple[int, str]]:
    """Start and text of each cell; a bar behind a backslash is text, bold and code marks are not."""
    found = []
    for m in re.finditer(r"((?:[^|\\]|\\.)*)\|", line[1:]):
        start = 1 + m.start() + len(m[1]) - len(m[1].lstrip())
        found.append((start, m[1].strip()))
    return found
