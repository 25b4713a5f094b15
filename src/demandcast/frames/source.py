"""Open a source as one table without roles: a path, a glob, a folder, a URL, or any frame.

Cells of delimited files and of sheets stay text, letter for letter: what type a column has is decided when its
role is known. Frames and Parquet keep their types.
"""

from __future__ import annotations

import difflib
import glob
import io
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

import narwhals as nw
import polars as pl

from demandcast.errors import FileError, SchemaError
from demandcast.frames.delimited import open_delimited
from demandcast.frames.indexes import as_columns
from demandcast.frames.numerals import Hints
from demandcast.frames.opened import SAMPLE, Table
from demandcast.frames.sheets import open_sheet
from demandcast.frames.sql import Query, without_credentials
from demandcast.memory import check_memory
from demandcast.panel.panel import Note

TEXT = (".csv", ".tsv", ".txt")
SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
PARQUET = (".parquet", ".pq")
PACKED = (".gz", ".zst", ".bz2")
NEAR = 0.7  # similarity of two file names above which one is probably a misspelling
PIECE = 1 << 24  # bytes fetched at once
ROW = "key, time and target"  # what a row of demand holds


def open_table(
    source: Any,
    *,
    encoding: str | None = None,
    sheet: str | None = None,
    decimal: str | None = None,
    row: str = ROW,
) -> Table:
    """Open the table at `source` as it is: no column is renamed, no row sorted or dropped.

    Args:
        source: A path, glob, folder or URL of CSV, TSV (also .gz, .zst, .bz2), Excel, ODS or Parquet; a list
            of paths; a query; or a frame of pandas, polars (lazy too), pyarrow, DuckDB or any library that narwhals reads.
        encoding: Encoding of delimited text; detected if None.
        sheet: The sheet of a workbook; found if None.
        decimal: The decimal sign of numbers in text, "." or ","; inferred if None.
        row: What a row holds, for the error of a file without rows.

    Raises:
        FileError: A file is absent, empty, of another type, or differs in its columns.
        SchemaError: `source` is neither a path nor a frame.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, Query):
        rows = source.rows
        hints = Hints(decimal=decimal)
        return Table(frame=rows.lazy(), sample=rows.head(SAMPLE), hints=hints, name=str(source))
    if isinstance(source, (str, Path)):
        source = [source]
    if isinstance(source, (list, tuple)) and all(isinstance(s, (str, Path)) for s in source):
        paths = [path for s in source for path in _paths(s)]
        if not paths:
            raise FileError("the list of paths is empty; give at least one file")
        return _stack([_open(path, encoding, sheet, decimal) for path in paths], row)
    source = nw.to_native(source, pass_through=True)
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


def open_bytes(content: bytes, ending: str, *, name: str) -> Table:
    """Return the table of a file whose content is in memory.

    Args:
        content: The file's bytes, not compressed.
        ending: What kind of file it is: ".csv", ".tsv" or ".parquet".
        name: What messages call it.

    Raises:
        FileError: The content is empty or of another kind.
    """
    check_memory(len(content), f"reading {name}")
    return _stack([_open_kind(io.BytesIO(content), name, ending, "", None, None, None)], ROW)


def _of_python(source: Any) -> Any:
    """Convert a dict of columns or a list of dicts to a frame; return anything else unchanged."""
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
            "a frame of pandas, polars or pyarrow"
        ) from None
    try:
        return eager.to_polars().lazy()
    except (TypeError, ValueError):  # a pandas column of mixed objects
        return pl.DataFrame([_column(eager[name]) for name in eager.columns]).lazy()


def _column(column: nw.Series[Any]) -> pl.Series:
    """Convert a column to a Polars series, or to text if it mixes types; later rules read the text."""
    try:
        return column.to_polars()
    except (TypeError, ValueError):
        words = [None if v is None or v != v else str(v) for v in column.to_list()]
        return pl.Series(column.name, words, dtype=pl.String)


# Files


def _paths(source: str | Path) -> list[Path | str]:
    if str(source).startswith("file://"):
        source = url2pathname(urlsplit(str(source)).path)
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
    paths = sorted(Path(p) for p in glob.glob(str(source), recursive=True) if Path(p).is_file())
    if not paths:
        raise _no_file(str(source))
    return list(paths)


def _no_file(path: str) -> FileError:
    """Return the error of an absent file; it suggests one of a similar name in the same folder."""
    folder = Path(path).parent
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    near = next(iter(difflib.get_close_matches(Path(path).name, names, n=1, cutoff=NEAR)), None)
    if near is None:
        return FileError(
            f"there is no file at {path}; check the path, which begins in the folder {Path.cwd()}"
        )
    similar = str(folder / near)
    return FileError(f"there is no file at {path}; did you mean {similar!r}?", found=path).suggest(
        similar
    )


def _kind(name: str) -> tuple[str, str]:
    """Return the file endings of the kind and of the compression; "" where there is none."""
    bare = name.split("?")[0] if "://" in name else name
    endings = [suffix.lower() for suffix in Path(bare).suffixes]
    packed = endings.pop() if endings and endings[-1] in PACKED else ""
    kind = endings[-1] if endings else ""
    known = kind in (*TEXT, *PARQUET, *SHEETS) and not (packed and kind not in TEXT)
    return (kind if known else ""), packed


def _stack(tables: Sequence[Table], row: str) -> Table:
    """Concatenate tables vertically; their columns must agree."""
    first = tables[0]
    if not any(table.sample.height for table in tables):
        raise FileError(
            f"{first.name} has a header line but no rows; give at least one row of {row}"
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
    name = without_credentials(path) if isinstance(path, str) else str(path)
    for option, value, kinds in (("sheet", sheet, SHEETS), ("encoding", encoding, TEXT)):
        if value is not None and kind not in kinds:
            raise FileError(
                f"{option} is {value!r}, but {name} has none: only {', '.join(kinds)} have; leave it out",
                option=option,
            )
    if isinstance(path, Path) and path.stat().st_size == 0:
        raise FileError(f"{path} is empty (0 bytes); give a file with a header line and rows")
    if isinstance(path, Path):  # before polars, which ends the process if memory runs out
        check_memory(path.stat().st_size, f"reading {name}")
    return _open_kind(path, name, kind, packed, encoding, sheet, decimal)


def _open_kind(
    source: Any, name: str, kind: str, packed: str, encoding: str | None, sheet: str | None,
    decimal: str | None,
) -> Table:  # fmt: skip
    try:
        if isinstance(source, str) and kind not in PARQUET:
            source = _fetch(source, kind, packed)
        if kind in PARQUET:
            frame = pl.scan_parquet(source, glob=False)
            hints = Hints(decimal=decimal)
            return Table(frame=frame, sample=frame.head(SAMPLE).collect(), hints=hints, name=name)
        if kind in SHEETS:
            return open_sheet(source, name, sheet, decimal)
        return open_delimited(source, name, packed, encoding, decimal)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, FileError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"{name} cannot be read as {kind[1:]} ({reason}); write the file anew"
        ) from error


def _fetch(url: str, kind: str, packed: str) -> io.BytesIO:
    """Download a URL into memory: the web with the standard library, text in object stores with Polars."""
    name = without_credentials(url)
    if not url.startswith(("http://", "https://")):
        if kind not in TEXT or packed:
            raise FileError(
                f"{name}: of object stores only Parquet and plain text are read; write the table as .parquet or "
                ".csv, or fetch the file first"
            )
        return io.BytesIO("\n".join(pl.scan_lines(url).collect()["line"]).encode())
    try:
        with urlopen(Request(url, headers={"User-Agent": "demandcast"}), timeout=60) as answer:
            fetched = io.BytesIO()
            while piece := answer.read(PIECE):
                check_memory(fetched.tell() + len(piece), f"fetching {name}")
                fetched.write(piece)
            fetched.seek(0)
            return fetched
    except OSError as error:
        if isinstance(error, HTTPError):
            error.close()
        raise FileError(f"{name} cannot be fetched ({error}); check the address") from None
