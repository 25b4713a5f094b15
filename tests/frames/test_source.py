"""Every kind of source gives the same table; every broken one says what to do."""

from __future__ import annotations

import bz2
import gzip
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from demandcast import memory
from demandcast.errors import DataError, FileError, NotEnoughMemoryError, SchemaError
from demandcast.frames import delimited, looks, read_panel, source
from demandcast.frames.dates import read_dates
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
    for given in sources:
        table = open_table(given)
        wanted = TABLE.with_columns(pl.col("units").cast(pl.String)) if table.is_text else TABLE
        assert table.collect().equals(wanted), given


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.doc", b"x", "expected .csv"),
        ("a.xlsx", b"x", "cannot be read as a workbook"),
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


DEGENERATE = {
    "empty.csv": b"",
    "newlines.csv": b"\n\n\n\n",
    "windows.csv": b"\r\n\r\n",
    "mark.csv": b"\xef\xbb\xbf",
    "mark_and_line.csv": b"\xef\xbb\xbf\n",
    "header.csv": b"item,date,units\n",
    "comments.csv": b"# a\n# b\n",
    "commas.csv": b",,,\n,,,\n",
    "one_column.csv": b"units\n1\n2\n",
    "zeros.csv": b"\x00\x00\x00",
    "word.csv.gz": b"no gzip",
    "cut.csv.gz": gzip.compress(b"item,date,units\n" * 100)[:40],
    "flipped.csv.gz": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff",
    "nothing.csv.gz": gzip.compress(b""),
    "word.csv.bz2": b"no bzip",
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_file_with_nothing_to_read_is_an_error_with_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(DEGENERATE[name])
    with pytest.raises(DataError, match=f"{name}|no column is plainly the time"):
        read_panel(path)


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
def test_a_line_that_no_table_has_is_refused_early(
    packed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "LONGEST", 1 << 20)
    path = tmp_path / f"long.csv{packed}"
    text = b"item,date,units\n" + b"a" * (3 << 20) + b",2024-01-01,1\n"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packed](text))
    with pytest.raises(FileError, match=r"long\.csv.* has a line of more than 1 MB"):
        read_panel(path)


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
def test_a_text_that_outgrows_the_memory_is_refused(
    packed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (delimited, memory):
        monkeypatch.setattr(module, "memory_of_process", lambda: (1 << 30, 1 << 20))
    path = tmp_path / f"bomb.csv{packed}"
    text = b"item,date,units\n" + b"a,2024-01-01,1\n" * 100_000
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[packed](text))
    with pytest.raises(NotEnoughMemoryError, match=r"bomb\.csv.* takes about .* MiB .* are left"):
        read_panel(path)


def test_a_parquet_that_outgrows_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_of_process", lambda: (1 << 30, 1 << 20))
    path = tmp_path / "much.parquet"
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 30), eager=True)
    table = pl.DataFrame({"item": ["a"] * 30, "date": days, "units": range(30)})
    table.write_parquet(path)
    assert read_panel(path).n_series == 1
    pl.concat([table] * 2000).write_parquet(path)
    with pytest.raises(NotEnoughMemoryError, match=r"reading .*much\.parquet takes"):
        read_panel(path, duplicates="first")


def test_a_wide_table_is_not_asked_for_its_types_at_every_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars lists all types whenever it is asked for one: 20,000 columns took minutes."""
    asked = []
    own = pl.DataFrame.schema.fget
    monkeypatch.setattr(
        pl.DataFrame, "schema", property(lambda frame: asked.append(0) or own(frame))
    )
    path = tmp_path / "wide.csv"
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 9), eager=True)
    pl.DataFrame({"date": days, **{f"i{i}": range(9) for i in range(200)}}).write_csv(path)
    assert read_panel(path).n_series == 200
    assert len(asked) < 50


def test_columns_without_a_role_are_not_parsed_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    plain = looks.parse_numbers

    def counted(column: pl.Series, *given: Any, **options: Any) -> Any:
        parsed.append(column.name)
        return plain(column, *given, **options)

    monkeypatch.setattr(looks, "parse_numbers", counted)
    monkeypatch.setattr(looks, "read_dates", lambda *a, **o: parsed.append("date") or read_dates(*a, **o))  # fmt: skip
    spare = [f"a rather long name of a column that nobody needs, the {i} th of all of them, so that the header is long" for i in range(3000)]  # fmt: skip
    cells = ["1,5", "word 5", "3 pcs", "NA", "7.25"] * 600
    lines = [";".join(["item", "date", "units", *spare])]
    lines += [";".join(["a", f"2024-01-0{day}", "5", *cells]) for day in range(1, 6)]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(lines))
    panel = read_panel(path)
    assert panel.history(0).tolist() == [5] * 5
    assert len(parsed) < 10


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".zst", ".2.zst"])
@pytest.mark.parametrize("fetched", [False, True])
def test_a_packed_file_that_grows_as_no_table_does_is_refused(
    packed: str, fetched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "UNPACKED", 1 << 20)
    text = b"item,date,units\n" + b"a,2024-01-01,5\n" * 200_000
    if packed == ".zst":  # a header that states 900 MB
        content = b"\x28\xb5\x2f\xfd\xa0" + (900_000_000).to_bytes(4, "little") + b"\0" * 60
    elif packed == ".2.zst":  # no size stated, and 60 blocks of 64 KB of one letter
        block = (((1 << 16) << 3) + 2).to_bytes(3, "little") + b"a"
        last = (1 + (1 << 3)).to_bytes(3, "little") + b"\n"
        content = b"\x28\xb5\x2f\xfd\0\x70" + 60 * block + last
    else:
        content = {".gz": gzip.compress, ".bz2": bz2.compress}[packed](text)
    packed = packed.removeprefix(".2")
    path = tmp_path / f"a.csv{packed}"
    path.write_bytes(content)
    place: Any = path
    if fetched:
        place = f"https://example.org/a.csv{packed}"
        monkeypatch.setattr(source, "_fetch", lambda *_: io.BytesIO(content))
    with pytest.raises(FileError, match=r"unpacks to more than 1 MB.*100 times.*unpack it first"):
        read_panel(place)


def test_columns_of_like_cells_are_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 20,000 columns of amounts with a unit was parsed to tell whether it holds numbers: minutes."""
    parsed = []
    own = looks.parse_numbers
    monkeypatch.setattr(looks, "parse_numbers", lambda *a, **k: parsed.append(0) or own(*a, **k))
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 30), eager=True)
    amounts = {f"i{i}": [f"{(i + day) % 9 + 1} kg" for day in range(30)] for i in range(200)}
    odd = {"odd": ["1 kg", "2 kg"] + ["none"] * 28}  # mostly no numbers, though of such a shape
    pl.DataFrame({"date": days, **amounts}).write_csv(tmp_path / "wide.csv")
    assert read_panel(tmp_path / "wide.csv").n_series == 200
    assert len(parsed) < 10
    pl.DataFrame({"date": days, **amounts, **odd}).write_csv(tmp_path / "odd.csv")
    with pytest.raises(DataError):
        read_panel(tmp_path / "odd.csv", wide=True, text="error")
