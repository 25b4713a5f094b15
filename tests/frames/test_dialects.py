"""A table in any dialect of files becomes the same panel: separator, decimals, encoding, dates, long or wide."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demandcast.errors import FileError
from demandcast.frames import read_panel
from demandcast.frames.source import open_table
from demandcast.panel.panel import Panel

START = date(2024, 1, 29)
PLAIN = "item,date,units\n" + "".join(
    f"{item},{START + timedelta(days=i)},{i * 10 + 1}\n" for item in ("a", "b") for i in range(10)
)


def said(panel: Panel, kind: str) -> str:
    return " ".join(str(n) for n in panel.notes if n.kind == kind)


def written(tmp_path: Path, content: str | bytes, name: str = "sales.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def same(panel: Panel) -> None:
    assert panel.keys.rows() == [("a",), ("b",)]
    for i in (0, 1):
        assert panel.history(i).tolist() == [10 * j + 1 for j in range(10)]
        assert panel.history_times(i)[0] == np.datetime64(START)


def titled(text: str) -> str:
    return f"Report of sales,,\ncreated 01.08.2016,,\n,,\n{text}"


def german(text: str) -> str:
    _, *rows = text.splitlines()
    cells = [row.split(",") for row in rows]
    lines = [f"{i};{date.fromisoformat(d):%d.%m.%Y};{u},00" for i, d, u in cells]
    return "\n".join(["Artikel;Datum;Menge", *lines]) + "\n"


FILES: dict[str, Callable[[str], str | bytes]] = {
    "plain": lambda t: t,
    "mark of utf-8": lambda t: b"\xef\xbb\xbf" + t.encode(),
    "utf-16": lambda t: t.encode("utf-16"),
    "utf-16 big endian": lambda t: b"\xfe\xff" + t.encode("utf-16-be"),
    "utf-16 without its mark": lambda t: t.encode("utf-16-le"),
    "line ends of windows": lambda t: t.replace("\n", "\r\n"),
    "no last line end": lambda t: t.rstrip("\n"),
    "tabs": lambda t: t.replace(",", "\t"),
    "bars": lambda t: t.replace(",", "|"),
    "semicolons": lambda t: t.replace(",", ";"),
    "sep line": lambda t: "sep=;\n" + t.replace(",", ";"),
    "sep line quoted": lambda t: '"sep=;"\r\n' + t.replace(",", ";").replace("\n", "\r\n"),
    "titles above": titled,
    "a title without separators": lambda t: "Report of sales\n\n" + t,
    "empty lines between": lambda t: t.replace("\nb,", "\n,,\nb,", 1),
    "separators at the end": lambda t: t.replace("\n", ",\n"),
    "row numbers of pandas": lambda t: "".join(
        f"{'' if not i else i - 1},{line}\n" for i, line in enumerate(t.splitlines())
    ),
    "a total at the end": lambda t: t + "Total,,920\n",
    "a total in place of a time": lambda t: t + ",Summe,920\n",
    "a total without a word": lambda t: t + ",,920\n",
    "quoted": lambda t: "\n".join(",".join(f'"{c}"' for c in row.split(",")) for row in t.splitlines()),
    "german": german,
    "german in cp1252": lambda t: german(t).replace("Menge", "Menge in Stück").encode("cp1252"),
    "blanks around names": lambda t: t.replace("item,date,units", " item , date , units "),
    "a column with notes": lambda t: t.replace("\n", ',"so, ""it"" is"\n').replace(',"so, ""it"" is"', ",note", 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_are_read_as_they_are(kind: str, tmp_path: Path) -> None:
    same(read_panel(written(tmp_path, FILES[kind](PLAIN))))


def test_what_was_left_out_of_a_file_is_said(tmp_path: Path) -> None:
    assert "'Report of sales'" in said(read_panel(written(tmp_path, titled(PLAIN))), "title")
    panel = read_panel(written(tmp_path, PLAIN + "Total,,920\n,,\n"))
    assert "Total" in said(panel, "total")
    assert said(panel, "empty rows")
    assert "cp1252" in said(
        read_panel(written(tmp_path, FILES["german in cp1252"](PLAIN))), "encoding"
    )


@pytest.mark.parametrize(
    ("word", "encoding", "told"),
    [
        ("M\u00fcsli \u00c4pfel", "cp1252", "cp1252"), ("Pi\u00f1a y champ\u00e1n", "cp1252", "cp1252"),
        ("\u82f9\u679c\u9999\u8549", "gb18030", "gb18030"), ("\u308a\u3093\u3054\u306e\u5546\u54c1", "shift_jis", "cp932"),
        ("\u042f\u0431\u043b\u043e\u043a\u043e \u043a\u0440\u0430\u0441\u043d\u043e\u0435", "cp1251", "cp1251"),
    ],
)  # fmt: skip
def test_encodings_are_told_apart(word: str, encoding: str, told: str, tmp_path: Path) -> None:
    text = PLAIN.replace("\na,", f"\n{word},").replace("\nb,", f"\n{word} 2,")
    panel = read_panel(written(tmp_path, text.encode(encoding)))
    assert panel.keys["item"].to_list() == [word, f"{word} 2"]
    assert told in said(panel, "encoding")
    assert read_panel(tmp_path / "sales.csv", encoding=encoding).keys.equals(panel.keys)


@pytest.mark.parametrize(
    "key", ["00123", "1.10", "1E5", "NA", "null", "true", "2024-01-01", "9" * 20, "-1", " x"]
)
def test_keys_are_kept_letter_for_letter(key: str, tmp_path: Path) -> None:
    text = PLAIN.replace("\nb,", f"\n{key},")
    panel = read_panel(written(tmp_path, text), key="item")
    assert panel.keys["item"].to_list() == ["a", key]


def test_two_files_of_a_glob_agree_on_their_keys(tmp_path: Path) -> None:
    head = "item,date,units\n"
    written(
        tmp_path,
        head + "".join(f"007,{START + timedelta(days=i)},{i}\n" for i in range(5)),
        "1.csv",
    )
    written(
        tmp_path,
        head + "".join(f"007,{START + timedelta(days=5 + i)},{i}.5\n" for i in range(5)),
        "2.csv",
    )
    for source in (str(tmp_path / "*.csv"), tmp_path):
        panel = read_panel(source)
        assert panel.keys.rows() == [("007",)]
        assert panel.history(0).tolist() == [0, 1, 2, 3, 4, 0.5, 1.5, 2.5, 3.5, 4.5]


def test_a_late_cell_does_not_change_what_a_column_is(tmp_path: Path) -> None:
    days = [START + timedelta(days=i) for i in range(3000)]
    rows = [f"{i % 4},{days[i // 4]},{i}" for i in range(11_999)] + [f"Z9,{days[2999]},1.5"]
    panel = read_panel(written(tmp_path, "item,date,units\n" + "\n".join(rows)))
    assert panel.keys["item"].to_list() == ["0", "1", "2", "3", "Z9"]
    assert panel.history(4).tolist() == [1.5]


def test_letters_of_globs_in_a_name_are_letters(tmp_path: Path) -> None:
    for name in ("sales[2024].csv", "a?.csv", "a*.csv"):
        same(read_panel(str(written(tmp_path, PLAIN, name))))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n\n\n", "only empty lines"),
        ("a,2024-01-01,5\na,2024-01-02,6\na,2024-01-03,6\n", "no header line"),
        ("item,item,units\na,b,1\n", "two columns named 'item'"),
        ("item,date,units\na,2024-01-01,5,7,8\n" * 3, "names 3 columns"),
        (b"\x00\x01\x02" * 500, "binary"),
    ],
)
def test_files_that_are_no_tables_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=words):
        read_panel(written(tmp_path, content))


def test_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN.replace("a,", "\u82f9,").encode("gb18030"))
    with pytest.raises(FileError, match="not text in the encoding ascii"):
        read_panel(path, encoding="ascii")


def test_a_wide_export_by_months(tmp_path: Path) -> None:
    text = "Material,Jan-23,Feb-23,Mar-23,Total\nx1,1,2,3,6\nx2,4,5,6,15\n"
    panel = read_panel(written(tmp_path, text))
    assert panel.keys.rows() == [("x1",), ("x2",)]
    assert panel.schema.freq == "MS"
    assert panel.history(1).tolist() == [4, 5, 6]
    assert "'Total'" in said(panel, "total")


def test_wide_numbers_share_one_decimal_sign(tmp_path: Path) -> None:
    text = "Artikel;01.2024;02.2024;03.2024\nx1;1,50;1.234;3\nx2;4;5;6\n"
    panel = read_panel(written(tmp_path, text), key="Artikel")
    assert panel.history(0).tolist() == [1.5, 1234, 3]


@pytest.mark.parametrize(
    ("last", "value"),
    [
        ("430,24- \u20ac", -430.24),
        ("(17,12) \u20ac", -17.12),
        ("(\u20ac 1.017,12)", -1017.12),
        ("1.430,24-", -1430.24),
    ],
)
def test_an_accounting_minus_stands_beside_its_currency(
    last: str, value: float, tmp_path: Path
) -> None:
    rows = [f"a;2024-01-{d:02};{d},50 \u20ac" for d in range(1, 9)]
    panel = read_panel(
        written(tmp_path, "\n".join(["item;date;Umsatz", *rows, f"a;2024-01-09;{last}"]))
    )
    assert panel.history(0)[-1] == np.float32(value)


@pytest.mark.parametrize(
    "times", [["2024-01-01", "2024-01-02", "2024-01-03"], ["Jan-24", "Feb-24", "Mar-24"]]
)
def test_the_header_of_times_stands_above_numbers_with_units(
    times: list[str], tmp_path: Path
) -> None:
    text = "\n".join([";".join(["Artikel", *times]), "x;1.500,00 kg;2,50 kg;3,00 kg", ""])
    assert read_panel(written(tmp_path, text)).history(0).tolist() == [1500, 2.5, 3]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_though_its_letters_hold_zero_bytes(encoding: str, tmp_path: Path) -> None:
    rows = [f"\u9500{k},2024\u5e741\u6708{d}\u65e5,{d}" for k in "ab" for d in range(1, 9)]
    text = "\n".join(["\u5546\u54c1,\u65e5\u671f,\u9500\u91cf", *rows, ""])
    panel = read_panel(written(tmp_path, text.encode(encoding)))
    assert panel.history(1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_file_of_few_bytes_is_looked_at_whole_though_utf_8_needs_more(tmp_path: Path) -> None:
    times = [f"{START + timedelta(days=i):%d.%m.%Y}" for i in range(9)]
    cells = [f"\u20ac {i},50" for i in range(9)]
    text = "\t".join(["Artikel", *times]) + "\n" + "\t".join(["\u82f9\u679c", *cells]) + "\n"
    panel = read_panel(written(tmp_path, text.encode("gb18030")), encoding="gb18030")
    assert panel.history(0).tolist() == [i + 0.5 for i in range(9)]


# Workbooks


def workbook(rows: list[list[Any]], *, cover: bool = False) -> bytes:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    pytest.importorskip("fastexcel")
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"default_date_format": "dd.mm.yyyy"}) as book:
        if cover:
            book.add_worksheet("Deckblatt").write(0, 0, "Bericht")
        sheet = book.add_worksheet("Daten")
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if isinstance(value, date):
                    sheet.write_datetime(i, j, value)
                elif value is not None:
                    sheet.write(i, j, value)
    return buffer.getvalue()


def long_rows() -> list[list[Any]]:
    return [[k, START + timedelta(days=i), 10 * i + 1] for k in ("a", "b") for i in range(10)]


def test_a_workbook_is_read_below_its_titles_and_above_its_total(tmp_path: Path) -> None:
    rows = [
        ["Umsatz je Artikel"],
        [],
        ["Artikel", "Datum", "Menge"],
        *long_rows(),
        ["Summe", None, 920],
    ]
    panel = read_panel(written(tmp_path, workbook(rows, cover=True), "sales.xlsx"))
    same(panel)
    assert "'Daten'" in said(panel, "guess")
    assert said(panel, "title")
    assert said(panel, "total")


def test_a_workbook_by_months_and_its_points_are_decimal(tmp_path: Path) -> None:
    months = [date(2023, m, 1) for m in (1, 2, 3)]
    rows = [["Material", *months], ["x1", 1.234, 2.345, 3.456], ["x2", 4, 5, 6]]
    panel = read_panel(written(tmp_path, workbook(rows), "sales.xlsx"))
    np.testing.assert_allclose(panel.history(0), [1.234, 2.345, 3.456], rtol=1e-6)


def test_a_sheet_is_named_where_several_hold_tables(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    with xlsxwriter.Workbook(tmp_path / "two.xlsx") as book:
        for title, value in (("2023", 1), ("2024", 2)):
            sheet = book.add_worksheet(title)
            sheet.write_row(0, 0, ["item", "date", "units"])
            for i in range(3):
                sheet.write_row(i + 1, 0, ["a", f"2024-01-0{i + 1}", value])
    with pytest.raises(FileError, match=r"'2023', '2024'.*sheet='2023'"):
        read_panel(tmp_path / "two.xlsx")
    assert read_panel(tmp_path / "two.xlsx", sheet="2024").history(0).tolist() == [2, 2, 2]
    with pytest.raises(FileError, match="no sheet '2025'"):
        read_panel(tmp_path / "two.xlsx", sheet="2025")


# Any valid panel in any dialect

DATES = (
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%Y/%m/%d",
    "%d-%b-%Y",
    "%Y年%m月%d日",
    "%Y-%m-%d 00:00:00",
)
DIALECTS = st.fixed_dictionaries(
    {
        "separator": st.sampled_from([",", ";", "\t", "|"]),
        "decimal": st.sampled_from([".", ","]),
        "thousands": st.booleans(),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
        "date": st.sampled_from(DATES),
        "wide": st.booleans(),
        "newline": st.sampled_from(["\n", "\r\n"]),
        "title": st.booleans(),
        "names": st.sampled_from([("item", "date", "units"), ("Artikel", "Datum", "Menge"), ("SKU", "Fecha", "Cantidad")]),
    }
)  # fmt: skip
WORDS = st.text("abcXYZ 0123456789äöüß.-_", min_size=1, max_size=8).map(str.strip).filter(bool)
PANELS = st.dictionaries(
    WORDS.map(lambda w: f"k{w}"),
    st.lists(st.integers(0, 99_999_99), min_size=6, max_size=12),
    min_size=1, max_size=4,
)  # fmt: skip


def number(value: float, dialect: dict[str, Any]) -> str:
    text = f"{value:,.2f}" if dialect["thousands"] else f"{value:.2f}"
    return text if dialect["decimal"] == "." else text.translate(str.maketrans(",.", ".,"))


def cell(text: str, separator: str) -> str:
    quoted = separator in text or '"' in text
    return '"' + text.replace('"', '""') + '"' if quoted else text


def dialect_bytes(
    series: dict[str, list[float]], days: list[date], dialect: dict[str, Any]
) -> bytes:
    separator = dialect["separator"]
    item, when, units = dialect["names"]
    times = [d.strftime(dialect["date"]) for d in days]
    if dialect["wide"]:
        rows = [
            [item, *times],
            *([k, *(number(v, dialect) for v in vs)] for k, vs in series.items()),
        ]
    else:
        rows = [[item, when, units]]
        rows += [
            [k, t, number(v, dialect)]
            for k, vs in series.items()
            for t, v in zip(times, vs, strict=True)
        ]
    lines = [separator.join(cell(c, separator) for c in row) for row in rows]
    if dialect["title"]:
        lines = ["Report", "", *lines]
    return dialect["newline"].join([*lines, ""]).encode(dialect["encoding"], "replace")


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(PANELS, DIALECTS)
def test_any_panel_in_any_dialect_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cents: dict[str, list[int]], dialect: dict[str, Any]
) -> None:
    if "年" in dialect["date"] and dialect["encoding"] == "cp1252":
        dialect = dialect | {"encoding": "utf-8"}
    days = [START + timedelta(days=i) for i in range(min(map(len, cents.values())))]
    series = {k: [v / 100 for v in vs[: len(days)]] for k, vs in cents.items()}
    path = tmp_path_factory.getbasetemp() / "dialect.csv"
    path.write_bytes(dialect_bytes(series, days, dialect))
    given = (
        "cp1252" if dialect["encoding"] == "cp1252" else None
    )  # few random letters tell no encoding
    panel = read_panel(path, key=dialect["names"][0], encoding=given)
    assert panel.keys.to_series().to_list() == list(series)
    assert panel.schema.freq == "D"
    for i, values in enumerate(series.values()):
        np.testing.assert_array_equal(panel.history(i), np.array(values, np.float32))
        assert panel.history_times(i)[0] == np.datetime64(days[0])


def test_an_opened_table_is_text_as_it_stands(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "a,b\n01,x\n1.10,\n"))
    assert table.is_text
    assert table.collect().rows() == [("01", "x"), ("1.10", None)]
    assert not open_table(pl.DataFrame({"a": [1]})).is_text


@pytest.mark.parametrize("mark", ["\r", "\u2028", "\x0b", "\x85", "\n", "\r\n"])
def test_a_line_break_in_a_quoted_name_costs_no_row(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    rows = "".join(f"a,2024-01-{day:02},{day}\n" for day in range(1, 10))
    path.write_text(f'item,date,"units{mark}sold"\n{rows}', newline="")
    panel = read_panel(path, target=f"units{mark}sold")
    assert panel.history(0).tolist() == [*range(1, 10)]
