"""Whatever the user has, as one table without roles: a path, a glob, a folder, an URL, or any frame.

Cells of delimited files and of sheets stay text, letter for letter: what type a column has is decided when its
role is known. Frames and Parquet keep their types.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import glob
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from demandcast.errors import FileError, SchemaError
from demandcast.frames.indexes import as_columns
from demandcast.frames.layout import Cells, column_names, find_header
from demandcast.frames.memory import check_memory, memory_of_process
from demandcast.frames.numerals import Hints, decimal_of
from demandcast.frames.sheets import read_sheet
from demandcast.panel.panel import Note

TEXT = (".csv", ".tsv", ".txt")
SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
PARQUET = (".parquet", ".pq")
PACKED = (".gz", ".zst", ".bz2")
SEPARATORS = (",", ";", "\t", "|")
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
ENCODINGS = ("gb18030", "cp932", "cp1251", "big5", "cp949", "cp1252")  # of programs, not of the web
CENTRAL = re.compile(
    rb"[A-Za-z][\xb9\xb3\xbf\xa3\xe6\xea\xf8\xf9][A-Za-z]"
)  # letters in cp1250 only
WESTERN = re.compile(rb"[\xe4\xf6\xfc\xdf\xe9\xe8\xf1]")
HEAD = 1 << 18  # bytes looked at to tell how a file is written
LINES = 20  # to look at in any case, as far as LONGEST reaches
SAMPLE = 2000  # rows by which columns are guessed
LONGEST = 1 << 24  # letters in a line; with 100,000 columns a line has about 1 MB
CHUNK = 1 << 20  # bytes looked at at once
UNPACKED = 1 << 28  # bytes that a packed text may unpack to, where that is more than
GROWTH = 100  # times its packed size; exports of demand pack to a fifth or a twentieth
EXPANSION = 5  # memory that a table takes while it becomes a panel, over the bytes of its text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose columns have no roles yet.

    Attributes:
        frame: Its rows, read when columns are selected.
        sample: The first of its rows.
        is_text: Whether every column is text as it stands in the file.
        hints: What the file tells of the numbers in it.
        notes: What was found and done on the way.
        name: What messages call it.
        keys: Key columns that the source itself tells, as the index of a frame does.
    """

    frame: pl.LazyFrame
    sample: pl.DataFrame
    is_text: bool = False
    hints: Hints = field(default_factory=Hints)
    notes: tuple[Note, ...] = ()
    name: str = "the table"
    keys: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return self.sample.columns

    def select(self, columns: Sequence[str], *, coded: Sequence[str] = ()) -> pl.DataFrame:
        """The rows of some columns, in memory.

        Args:
            columns: Which.
            coded: Those of them that say the same in many rows: of text they come as categories.

        Raises:
            FileError: A row does not fit the header, or the file cannot be decoded to its end.
        """
        try:
            frame = self.frame.select(columns)
            if self.is_text:
                frame = frame.with_columns(pl.col(list(coded)).cast(pl.Categorical))
            return frame.collect()
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            if "more fields" in reason:
                reason = "a row has more cells than the header has names; is a cell with the separator unquoted?"
            raise FileError(f"{self.name} cannot be read ({reason})") from error

    def collect(self) -> pl.DataFrame:
        """All of it."""
        return self.select(self.columns)


def open_table(
    source: Any,
    *,
    encoding: str | None = None,
    sheet: str | None = None,
    decimal: str | None = None,
) -> Table:
    """The table behind `source`: nothing renamed, sorted or dropped.

    Args:
        source: A path, glob, folder or URL of CSV, TSV (also .gz, .zst, .bz2), Excel, ODS or Parquet; a list
            of paths; or a frame of pandas, polars (lazy too), pyarrow, DuckDB or any library that narwhals reads.
        encoding: Of delimited text; told by itself if None.
        sheet: The sheet of a workbook; found if None.
        decimal: The decimal sign of numbers in text, "." or ","; told by itself if None.

    Raises:
        FileError: A file is absent, empty, of another type, or differs in its columns.
        SchemaError: `source` is neither a path nor a frame.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)):
        source = [source]
    if isinstance(source, (list, tuple)) and all(isinstance(s, (str, Path)) for s in source):
        paths = [path for s in source for path in _paths(s)]
        if not paths:
            raise FileError('the list of paths is empty; give a file, as in read_panel(["a.csv"])')
        return _stack([_open(path, encoding, sheet, decimal) for path in paths])
    keys: tuple[str, ...] = ()
    notes = list[Note]()
    if nw.dependencies.is_pandas_dataframe(source) or nw.dependencies.is_pandas_series(source):
        source, keys, notes = as_columns(source)
    elif isinstance(source, (dict, list)):
        source = _of_python(source)
    frame = _frame(source)
    sample = frame.head(SAMPLE).collect()
    return Table(
        frame=frame, sample=sample, hints=Hints(decimal=decimal), notes=tuple(notes), keys=keys
    )


def _of_python(source: Any) -> Any:
    """A dict of columns, or a list of rows that are dicts, as a frame; anything else as it is."""
    rows = isinstance(source, list) and bool(source) and all(isinstance(r, dict) for r in source)
    if not rows and not isinstance(source, dict):
        return source
    try:
        return pl.DataFrame(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise SchemaError(
            f"the columns are no table ({str(error).splitlines()[0]}); give lists of one length and type a column"
        ) from None


def _frame(source: Any) -> pl.LazyFrame:
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    try:
        frame = nw.from_native(source)
        eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    except nw.exceptions.DuplicateError as error:
        raise SchemaError(f"{' '.join(str(error).split())}; rename the columns") from None
    except TypeError:
        if hasattr(source, "__arrow_c_stream__"):
            return pl.DataFrame(source).lazy()
        raise SchemaError(
            f"a source of type {type(source).__name__} is no table; give a path, a glob, or "
            'a frame of pandas, polars or pyarrow, as in read_panel("sales.csv")'
        ) from None
    try:
        return eager.to_polars().lazy()
    except (TypeError, ValueError):  # a pandas column of mixed objects
        return pl.DataFrame([_column(eager[name]) for name in eager.columns]).lazy()


def _column(column: nw.Series[Any]) -> pl.Series:
    """A column as polars has it, or as text where it mixes types; later rules judge the text."""
    try:
        return column.to_polars()
    except (TypeError, ValueError):
        words = [None if v is None or v != v else str(v) for v in column.to_list()]
        return pl.Series(column.name, words, dtype=pl.String)


# Files


def _paths(source: str | Path) -> list[Path | str]:
    if re.match(r"^[a-z][a-z0-9+.-]+://", str(source)):
        return [str(source)]
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file() and _kind(p.name)[0])
        if not inside:
            raise FileError(
                f"the folder {path} holds no table; give a file, or a glob like {path}/*.parquet"
            )
        return list(inside)
    found = sorted(Path(p) for p in glob.glob(str(source), recursive=True) if Path(p).is_file())
    if not found:
        raise FileError(f"no file at {source}; check the path, seen from {Path.cwd()}")
    return list(found)


def _kind(name: str) -> tuple[str, str]:
    """The ending that says what a file is, "" where none does, and that of its compression."""
    bare = name.split("?")[0] if "://" in name else name
    endings = [suffix.lower() for suffix in Path(bare).suffixes]
    packed = endings.pop() if endings and endings[-1] in PACKED else ""
    kind = endings[-1] if endings else ""
    known = kind in (*TEXT, *PARQUET, *SHEETS) and not (packed and kind not in TEXT)
    return (kind if known else ""), packed


def _stack(tables: Sequence[Table]) -> Table:
    """The tables one below the other; their columns must agree."""
    first = tables[0]
    if not any(table.sample.height for table in tables):
        raise FileError(
            f"{first.name} has a header line but no rows; give at least one row of key, time and target"
        )
    if len(tables) == 1:
        return first
    for table in tables:
        if set(table.columns) != set(first.columns):
            differ = sorted(set(table.columns) ^ set(first.columns))
            raise FileError(
                f"{table.name} and {first.name} differ in the columns {differ}; files read as one table "
                "need the same columns: narrow the glob, or mend the file"
            )
    as_text = all(table.is_text for table in tables)
    frames = [table.frame.select(first.columns) for table in tables]
    usual = {table.hints.usual for table in tables}
    typed = {table.hints.typed for table in tables}
    frame = pl.concat(frames, how="vertical" if as_text else "vertical_relaxed")
    hints = Hints(
        decimal=first.hints.decimal, usual=usual.pop() if len(usual) == 1 else None,
        separator=first.hints.separator, typed=typed == {True},
    )  # fmt: skip
    notes = tuple(dict.fromkeys(note for table in tables for note in table.notes))
    name = f"{first.name} and {len(tables) - 1} more files"
    sample = pl.concat([t.sample.select(first.columns) for t in tables], how="vertical_relaxed")
    return Table(
        frame=frame,
        sample=sample.head(SAMPLE),
        is_text=as_text,
        hints=hints,
        notes=notes,
        name=name,
    )


def _open(path: Path | str, encoding: str | None, sheet: str | None, decimal: str | None) -> Table:
    kind, packed = _kind(str(path))
    if not kind:
        raise FileError(
            f"{path} ends in {Path(path).suffix or 'nothing'}; expected .csv, .tsv, .xlsx, .ods or .parquet "
            "(text also with .gz, .zst or .bz2): rename it, or load it yourself and pass the frame"
        )
    if isinstance(path, str) and kind not in PARQUET:
        return _opened(_fetched(path), str(path), kind, packed, encoding, sheet, decimal)
    if isinstance(path, Path) and path.stat().st_size == 0:
        raise FileError(f"{path} is empty (0 bytes); give a file with a header line and rows")
    return _opened(path, str(path), kind, packed, encoding, sheet, decimal)


def _opened(
    source: Any, name: str, kind: str, packed: str, encoding: str | None, sheet: str | None,
    decimal: str | None,
) -> Table:  # fmt: skip
    try:
        if kind in PARQUET:
            frame = pl.scan_parquet(source, glob=False)
            hints = Hints(decimal=decimal)
            return Table(frame=frame, sample=frame.head(SAMPLE).collect(), hints=hints, name=name)
        if kind in SHEETS:
            return _sheet(source, name, sheet, decimal)
        return _delimited(source, name, packed, encoding, decimal)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, FileError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"{name} cannot be read as {kind[1:]} ({reason}); write the file anew"
        ) from error


def _fetched(url: str) -> io.BytesIO:
    """What lies at an URL, in memory; object stores by polars, the web by the standard library."""
    if not url.startswith(("http://", "https://")):
        raise FileError(
            f"{url}: of object stores only Parquet is read; write the table as Parquet, or fetch the file first"
        )
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, headers={"User-Agent": "demandcast"}), timeout=60) as answer:
            return io.BytesIO(answer.read())
    except OSError as error:
        raise FileError(f"{url} cannot be fetched ({error}); check the address") from error


# Sheets


def _sheet(source: Any, name: str, sheet: str | None, decimal: str | None) -> Table:
    cells, title, notes = read_sheet(source, name, sheet)
    place = f"{name}, sheet {title!r}"
    rows = cells.head(SAMPLE).rows()
    header = find_header(rows, place)
    names = column_names(rows[header], place)
    frame = cells.slice(header + 1)
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    labels = dict(zip(frame.columns, names, strict=True))
    full = [c for c in frame.columns if labels[c] or frame[c].null_count() < frame.height]
    chosen, told = _choose(labels, frame.select(full))
    frame = frame.select(pl.col(old).alias(new) for new, old in chosen.items())
    titles = _titles(header, rows)
    return Table(
        frame=frame.lazy(), sample=frame.head(SAMPLE), is_text=True, name=place,
        hints=Hints(decimal=decimal, typed=decimal is None), notes=(*notes, *titles, *told),
    )  # fmt: skip


def _titles(header: int, rows: Sequence[Cells]) -> list[Note]:
    """That the rows above the header are left out, where they hold anything."""
    said = [" ".join(cell for cell in row if cell) for row in rows[:header]]
    if not any(said):
        return []
    first = next(line for line in said if line)
    action = f"{header} rows above the header are left out, the first of them {first[:60]!r}"
    return [Note(kind="title", count=header, series=0, example="", action=action)]


def _choose(names: Mapping[str, str], cells: pl.DataFrame) -> tuple[dict[str, str], list[Note]]:
    """The columns under their names, and what became of those that have none in the header.

    Args:
        names: Of each column as the header has it, "" where it has none.
        cells: The columns to keep, or the first of their rows.
    """
    kept: dict[str, str] = {}
    notes: list[Note] = []
    positions = {column: i for i, column in enumerate(names, 1)}
    for column in cells.columns:
        name, position = names[column], positions[column]
        if name and not re.fullmatch(r"Unnamed: \d+", name):
            kept[name] = column
            continue
        steps = cells[column].cast(pl.Int64, strict=False).diff()[1:]
        if len(steps) and not steps.null_count() and (steps == 1).all():
            action = f"column {position} has no name and numbers the rows, as pandas writes them: left out"
        else:
            kept[f"column {position}"] = column
            action = f"column {position} has no name in the header: called 'column {position}'"
        notes.append(Note(kind="unnamed", count=1, series=0, example="", action=action))
    return kept, notes


# Delimited text


def _delimited(
    source: Any, name: str, packed: str, encoding: str | None, decimal: str | None
) -> Table:
    notes: list[Note] = []
    _check_size(source, name, packed)
    if packed == ".bz2":
        source = bz2.decompress(
            source.read_bytes() if isinstance(source, Path) else source.getvalue()
        )
    elif packed and not isinstance(source, Path):
        source = gzip.decompress(source.getvalue()) if packed == ".gz" else source
    head = _head(source, packed, HEAD)
    if len(head) == HEAD and head.count(b"\n") < LINES:  # of very many columns
        head = _head(source, packed, LONGEST)
    written = encoding or _encoding(source, head, packed)
    if written.lower() not in ("utf-8", "utf8", "utf-8-sig"):
        source, packed = _transcoded(source, packed, written, name).encode(), ""
        head = source[: len(head)]
        if encoding is None and not written.startswith("utf"):
            action = f"the file is not UTF-8: read as {written}; encoding='...' changes it"
            notes.append(Note(kind="encoding", count=1, series=0, example="", action=action))
    text = head.decode("utf-8", errors="ignore").removeprefix("\ufeff")
    if "\x00" in text:
        raise FileError(
            f"{name} holds binary data, not text; give a CSV, or name it .parquet if it is one"
        )
    if not text.strip():
        raise FileError(
            f"{name} holds no text, only empty lines; give a file with a header line and rows"
        )
    if max(map(len, text.splitlines())) >= LONGEST - 4:
        raise FileError(
            f"{name} has a first line of over {LONGEST:,} letters; is it a table with line ends?"
        )
    separator, start = _separator(text)
    rows, ends = _parsed(text, separator, start, whole=len(head) not in (HEAD, LONGEST))
    if not rows:
        raise FileError(f"{name} holds no table; give a file with a header line and rows")
    header = find_header(rows, name)
    names = column_names(rows[header], name)
    width = max(len(row) for row in rows[header:])
    for row, end in zip(rows[header + 1 :], ends[header + 1 :], strict=True):
        if any(row[len(names) :]):
            raise FileError(
                f"{name}, line {start + end}: the row has {len(row)} cells, the header names {len(names)} columns; "
                "quote cells that hold the separator, such as numbers with a decimal comma"
            )
    names += [""] * (width - len(names))
    notes += _titles(header, rows)
    schema = {f"column_{i}": pl.String() for i in range(width)}
    if len(rows) == header + 1:
        frame = pl.LazyFrame(schema=schema)
    else:
        frame = pl.scan_csv(
            source, has_header=False, separator=separator, skip_lines=start + ends[header],
            schema=schema, glob=False, raise_if_empty=False,
        )  # fmt: skip
    sample = frame.head(SAMPLE).collect()
    nameless = [c for c, label in zip(schema, names, strict=True) if not label]
    filled = frame.select(pl.col(nameless).is_not_null().any()).collect() if nameless else sample
    kept = [c for c in schema if c not in nameless or filled[c].any()]
    chosen, told = _choose(dict(zip(schema, names, strict=True)), sample.select(kept))
    picked = [pl.col(old).alias(new) for new, old in chosen.items()]
    return Table(
        frame=frame.select(picked), sample=sample.select(picked), is_text=True, name=name,
        hints=Hints(decimal=decimal, separator=separator, usual=_usual(sample)),
        notes=(*notes, *told),
    )  # fmt: skip


def _check_size(source: Any, name: str, packed: str) -> None:
    """Refuse, without holding it, a text that outgrows the memory or has a line that no table has.

    Polars ends the process where an allocation fails, and a small file can unpack to a large text.
    """
    on_disk = isinstance(source, Path)
    stored = source.stat().st_size if on_disk else len(source.getbuffer())
    if packed == ".zst":  # Python unpacks it from 3.14 on; most of them state their size
        with source.open("rb") if on_disk else io.BytesIO(source.getbuffer()[:18]) as stream:
            _check_unpacked(_stated_size(stream.read(18)), stored, name, packed)
        return
    size = line = 0
    total, free = memory_of_process()
    unpack: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(packed, open)
    with unpack(source, "rb") if on_disk else _unpacking(source, packed) as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            last = chunk.rfind(b"\n")
            line = line + len(chunk) if last < 0 else len(chunk) - 1 - last
            if line > LONGEST:
                raise FileError(
                    f"{name} has a line of more than {LONGEST >> 20} MB; a table has a line a row: "
                    "check what wrote the file"
                )
            size += len(chunk)
            if packed:
                _check_unpacked(size, stored, name, packed)
            if total and size * EXPANSION > free:
                check_memory(max(size, stored) * EXPANSION, f"reading {name}")


def _unpacking(source: io.BytesIO, packed: str) -> Any:
    """What was fetched, as a stream of its unpacked bytes; the source itself is not moved."""
    copy = io.BytesIO(source.getbuffer())
    if not packed:
        return copy
    return gzip.open(copy) if packed == ".gz" else bz2.open(copy)


def _check_unpacked(size: int, stored: int, name: str, packed: str) -> None:
    """Refuse a packed file that grows as tables do not; all of it would be held in memory."""
    if size > UNPACKED and size > GROWTH * stored:
        tool = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".zst": "zstd -d"}[packed]
        raise FileError(
            f"{name} has {stored / 1e6:,.1f} MB and unpacks to more than {UNPACKED >> 20} MB and {GROWTH} times "
            f"its size, as tables rarely do; if it is one, unpack it first ({tool} {name}) and read that file"
        )


def _stated_size(head: bytes) -> int:
    """The size of what a .zst file holds, as its header states it (RFC 8878, 3.1.1.1); 0 if it does not."""
    if len(head) < 18 or head[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    single = head[4] >> 5 & 1
    width = (single, 2, 4, 8)[head[4] >> 6]
    start = 6 - single + (0, 1, 2, 4)[head[4] & 3]
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


def _usual(sample: pl.DataFrame) -> str | None:
    return decimal_of(pl.concat([c.alias("cell") for c in sample.iter_columns()]))


def _head(source: Any, packed: str, size: int) -> bytes:
    """The first bytes of a file, unpacked; at most `size` of them."""
    if isinstance(source, bytes):
        return source[:size]
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:size]
    if packed == ".gz":
        with gzip.open(source) as file:
            return file.read(size)
    if packed == ".zst":
        frame = pl.read_csv(
            source,
            has_header=False,
            separator="\x01",
            quote_char=None,
            n_rows=SAMPLE,
            infer_schema=False,
        )
        return "\n".join(line or "" for line in frame.to_series()).encode()[:size]
    with Path(source).open("rb") as file:
        return file.read(size)


def _pieces(source: Any, packed: str) -> Iterator[bytes]:
    if isinstance(source, (bytes, io.BytesIO)):
        yield source if isinstance(source, bytes) else source.getvalue()
        return
    with gzip.open(source) if packed == ".gz" else Path(source).open("rb") as file:
        while piece := file.read(1 << 24):
            yield piece


def _encoding(source: Any, head: bytes, packed: str) -> str:
    """How the bytes of a file stand for letters: by its mark, as UTF-8, or the likeliest other."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    even, odd_bytes = head[:400:2], head[1:400:2]
    for zeros, others, name in ((odd_bytes, even, "utf-16-le"), (even, odd_bytes, "utf-16-be")):
        if 2 * zeros.count(0) > len(zeros) > 0 == others.count(0):  # UTF-16 without its mark
            return name
    if packed == ".zst":
        return "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8")()
    odd = None
    try:
        for piece in _pieces(source, packed):
            odd = piece
            if not piece.isascii() or decoder.getstate()[0]:
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        assert odd is not None
        start = max(0, error.start - HEAD // 2)
        return _likeliest(odd[start : start + HEAD] if error.start > HEAD else odd[:HEAD])
    return "utf-8"


def _likeliest(data: bytes) -> str:
    """The likeliest encoding of bytes that are no UTF-8."""
    from charset_normalizer import from_bytes

    runs = re.findall(rb"[\x80-\xff]+", data)
    if 2 * sum(len(run) == 1 for run in runs) > len(runs):  # letters with accents among plain ones
        return "cp1250" if CENTRAL.search(data) and not WESTERN.search(data) else "cp1252"
    best = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
    return str(best.encoding) if best is not None else "cp1252"


def _transcoded(source: Any, packed: str, encoding: str, name: str) -> str:
    data = b"".join(_pieces(source, packed))
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except (LookupError, UnicodeDecodeError) as error:
        raise FileError(
            f"{name} cannot be decoded as {encoding} ({error}); name its encoding, as in encoding='cp1252', "
            "or save it as CSV UTF-8"
        ) from error


def _separator(text: str) -> tuple[str, int]:
    """What separates the columns, and how many lines at the start say so ("sep=;")."""
    first = text.split("\n", 1)[0].strip().strip('"')
    said = re.fullmatch(r"sep=(.|\\t)", first, re.IGNORECASE)
    if said:
        return ("\t" if said[1] == "\\t" else said[1]), 1
    best, score = ",", (-1.0, 0)
    for mark in SEPARATORS:
        widths = [len(row) for row in _parsed(text, mark, 0)[0][:200] if len(row) > 1]
        if widths:
            usual = max(set(widths), key=widths.count)
            found = (widths.count(usual) * min(usual, 4), usual)
            if found > score:
                best, score = mark, found
    return best, 0


def _parsed(
    text: str, separator: str, start: int, *, whole: bool = True
) -> tuple[list[list[str]], list[int]]:
    """Rows of cells of the first lines, and the line that each ends in."""
    lines = text.splitlines(keepends=True)[start:]
    if not whole:
        lines = lines[:-1]  # cut off
    rows, ends = [], []
    reader = csv.reader(lines, delimiter=separator)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    try:
        for row in reader:
            rows.append([cell.strip() for cell in row])
            ends.append(reader.line_num)
            if len(rows) >= 500:
                break
    except csv.Error:
        pass
    return rows, ends
