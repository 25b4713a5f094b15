"""Every kind of source gives the same table; every broken one says what to do."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import polars as pl
import pytest

from demandcast.errors import FileError, SchemaError
from demandcast.frames import read_panel
from demandcast.frames.source import open_table

TABLE = pl.DataFrame({"item": ["a", "b"], "units": [1.5, 2.0]})


def test_every_source_gives_the_same_table(tmp_path: Path) -> None:
    text = TABLE.write_csv()
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.tsv").write_text(TABLE.write_csv(separator="\t"))
    (tmp_path / "semicolon.csv").write_text("item;units\na;1.5\nb;2.0\n")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(text.encode()))
    TABLE.write_parquet(tmp_path / "a.parquet")
    sources = [*tmp_path.iterdir(), TABLE.lazy(), TABLE.to_pandas(), TABLE.to_arrow()]
    for source in sources:
        table = open_table(source)
        wanted = TABLE.with_columns(pl.col("units").cast(pl.String)) if table.is_text else TABLE
        assert table.collect().equals(wanted), source


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.doc", b"x", "expected .csv"),
        ("a.xlsx", b"x", "no workbook"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("a.csv", b"a,b\n\x00\x01,2\n", "binary"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=words):
        open_table(tmp_path / name)


def test_no_file_no_table(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(FileError, match="folder"):
        open_table(tmp_path)
    with pytest.raises(SchemaError, match="no table"):
        open_table(3)


def test_decimal_commas_stand_beside_dotted_dates(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date;units\n01.02.2020;1,5\n02.02.2020;2\n")
    assert read_panel(tmp_path / "a.csv").history(0).tolist() == [1.5, 2]
