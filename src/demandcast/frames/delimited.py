"""Delimited text, plain or packed: its encoding, its separator, its header and where its rows begin."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from demandcast.errors import FileError, way
from demandcast.frames.layout import choose_columns, column_names, describe_titles, find_header
from demandcast.frames.numerals import Hints, decimal_of
from demandcast.frames.opened import SAMPLE, Table
from demandcast.memory import check_memory, memory_of_process
from demandcast.panel.panel import Note

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
LONGEST = 1 << 24  # letters in a line; with 100,000 columns a line has about 1 MB
SMALL = 1 << 16  # bytes of a file that fits any memory
CHUNK = 1 << 20  # bytes looked at at once
UNPACKED = 1 << 28  # bytes that a packed text may unpack to, where that is more than
GROWTH = 100  # times its packed size; exports of demand pack to a fifth or a twentieth
ZST_BLOCK = 1 << 17  # bytes that a compressed block of a .zst file holds at most
EXPANSION = 5  # memory that a table takes while it becomes a panel, over the bytes of its text


def open_delimited(
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
    is_whole = len(head) not in (HEAD, LONGEST)
    written = encoding or _encoding(source, head, packed)
    if written.lower() not in ("utf-8", "utf8", "utf-8-sig"):
        source, packed = _transcode(source, packed, written, name).encode(), ""
        head = source if is_whole else source[: len(head)]
        if encoding is None and not written.startswith("utf"):
            action = f"the file is not UTF-8: read as {written}; to change it, pass"
            notes.append(
                Note(
                    kind="encoding",
                    count=1,
                    series=0,
                    example="",
                    done=action,
                    ways=(way(encoding=...),),
                )
            )
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
    rows, ends = _parse(text, separator, start, whole=is_whole)
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
    notes += describe_titles(header, rows)
    schema = {f"column_{i}": pl.String() for i in range(width)}
    if len(rows) == header + 1:
        frame = pl.LazyFrame(schema=schema)
    else:
        frame = pl.scan_csv(
            source, has_header=False, separator=separator, skip_lines=start + ends[header],
            schema=schema, glob=False, raise_if_empty=False,
        )  # fmt: skip
    if is_whole:  # a small file is parsed once
        all_text = Table(frame=frame, sample=pl.DataFrame(schema=schema), name=name)
        frame = all_text.collect().lazy()
    sample = frame.head(SAMPLE).collect()
    nameless = [c for c, label in zip(schema, names, strict=True) if not label]
    filled = frame.select(pl.col(nameless).is_not_null().any()).collect() if nameless else sample
    non_empty = [c for c in schema if c not in nameless or filled[c].any()]
    names_by_column, column_notes = choose_columns(
        dict(zip(schema, names, strict=True)), sample.select(non_empty)
    )
    picked = [pl.col(old).alias(new) for new, old in names_by_column.items()]
    return Table(
        frame=frame.select(picked), sample=sample.select(picked), is_text=True, name=name,
        hints=Hints(decimal=decimal, separator=separator, usual=_decimal_of_sample(sample)),
        notes=(*notes, *column_notes),
    )  # fmt: skip


def _check_size(source: Any, name: str, packed: str) -> None:
    """Refuse, without holding it, a text that outgrows the memory or has a line that no table has.

    Polars ends the process where an allocation fails, and a small file can unpack to a large text.
    """
    on_disk = isinstance(source, Path)
    stored = source.stat().st_size if on_disk else len(source.getbuffer())
    if packed == ".zst":  # Python unpacks it from 3.14 on; the headers of its blocks bound the size
        with source.open("rb") if on_disk else io.BytesIO(source.getbuffer()) as stream:
            size = _largest_size(stream)
        _check_unpacked(size, stored, name, packed)
        check_memory(size * EXPANSION, f"reading {name}")
        return
    size = line = 0
    total, free = memory_of_process() if stored > SMALL or packed else (0, 0)
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
    """Open fetched bytes as a stream, decompressed; the position of the source does not change."""
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


def _largest_size(stream: IO[bytes]) -> int:
    """Bytes that a .zst file unpacks to at most, by the headers of its frames and blocks (RFC 8878, 3.1)."""
    total = 0
    while len(mark := stream.read(4)) == 4:
        if mark[1:] == b"\x2a\x4d\x18" and mark[0] >> 4 == 5:  # a frame to be skipped
            stream.seek(int.from_bytes(stream.read(4), "little"), io.SEEK_CUR)
            continue
        if mark != b"\x28\xb5\x2f\xfd":
            break  # no frame; polars says so
        facts = (stream.read(1) or b"\0")[0]
        single, width = facts >> 5 & 1, (facts >> 5 & 1, 2, 4, 8)[facts >> 6]
        stream.seek(1 - single + (0, 1, 2, 4)[facts & 3], io.SEEK_CUR)
        stated = int.from_bytes(stream.read(width), "little") + (256 if width == 2 else 0)
        blocks, last = 0, False
        while not last and len(head := stream.read(3)) == 3:
            block = int.from_bytes(head, "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            blocks += ZST_BLOCK if kind == 2 else size
            stream.seek(1 if kind == 1 else size, io.SEEK_CUR)
        stream.seek(4 * (facts >> 2 & 1), io.SEEK_CUR)  # checksum
        total += max(stated if width else 0, blocks)
    return total


def _decimal_of_sample(sample: pl.DataFrame) -> str | None:
    return decimal_of(pl.concat([c.alias("cell") for c in sample.iter_columns()]))


def _head(source: Any, packed: str, size: int) -> bytes:
    """Return at most `size` first bytes of a file, decompressed."""
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
    """Return the encoding of a file: that of its byte order mark, UTF-8, or the likeliest other."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    even, odd_bytes = head[:400:2], head[1:400:2]
    for zeros, partners, name in ((odd_bytes, even, "utf-16-le"), (even, odd_bytes, "utf-16-be")):
        if 2 * zeros.count(0) > len(zeros) and 10 * partners.count(0) < zeros.count(
            0
        ):  # UTF-16, no mark
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
    """Return the likeliest encoding of bytes that are not UTF-8."""
    from charset_normalizer import from_bytes

    runs = re.findall(rb"[\x80-\xff]+", data)
    if 2 * sum(len(run) == 1 for run in runs) > len(runs):  # letters with accents among plain ones
        return "cp1250" if CENTRAL.search(data) and not WESTERN.search(data) else "cp1252"
    best = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
    return str(best.encoding) if best is not None else "cp1252"


def _transcode(source: Any, packed: str, encoding: str, name: str) -> str:
    data = b"".join(_pieces(source, packed))
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except (LookupError, UnicodeDecodeError) as error:
        reason = "no such encoding" if isinstance(error, LookupError) else str(error)
        raise FileError(
            f"{name} is not text in the encoding {encoding} ({reason}); save it as CSV UTF-8, or name its encoding, "
            "as in",
            option="encoding",
            ways=[way(encoding="cp1252")],
        ) from error


def _separator(text: str) -> tuple[str, int]:
    """Return the separator of the columns, and how many lines at the start declare it ("sep=;")."""
    first = text.split("\n", 1)[0].strip().strip('"')
    declared = re.fullmatch(r"sep=(.|\\t)", first, re.IGNORECASE)
    if declared:
        return ("\t" if declared[1] == "\\t" else declared[1]), 1
    best, score = ",", (-1.0, 0)
    for mark in SEPARATORS:
        widths = [len(row) for row in _parse(text, mark, 0)[0][:200] if len(row) > 1]
        if widths:
            usual = max(set(widths), key=widths.count)
            rating = (widths.count(usual) * min(usual, 4), usual)
            if rating > score:
                best, score = mark, rating
    return best, 0


def _parse(
    text: str, separator: str, start: int, *, whole: bool = True
) -> tuple[list[list[str]], list[int]]:
    """Split the first lines into rows of cells, and return the line in which each row ends."""
    # lines as polars counts them to skip the header: a "\r" or U+2028 in a cell ends none
    all_lines = (
        io.StringIO(text, newline="\n").readlines() if "\n" in text else text.splitlines(True)
    )
    lines = all_lines[start:]
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
