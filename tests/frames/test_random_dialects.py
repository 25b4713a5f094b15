"""A random valid panel, written in a random dialect, is read back the same; a seed each.

The whole of a case follows from its seed, which the message of a failure names: `read_back(seed, folder)`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from demandcast.frames import read_panel

CASES = int(os.environ.get("DIALECTS", "250"))  # 1,000 in CI, in 20 seconds; DIALECTS=20000 by hand
BLOCK = 50
LETTERS = "bfgXZ 0123456789äöüß.-_"  # no word of the vocabulary
NAMES = {
    "D": [("item", "date", "units"), ("Artikel", "Datum", "Menge"), ("SKU", "Fecha", "Cantidad"), ("商品", "日期", "销量"),
          ("produit", "jour", "ventes")],
    "MS": [("item", "month", "units"), ("Artikel", "Monat", "Menge"), ("Material", "Period", "Qty Sold")],
    "W-MON": [("item", "week", "units"), ("Artikel", "KW", "Absatz")],
}  # fmt: skip
TIMES: dict[str, list[Callable[[date], str]]] = {
    "D": [
        *(lambda d, f=f: d.strftime(f) for f in (
            "%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%Y/%m/%d", "%d-%b-%Y", "%Y年%m月%d日", "%Y-%m-%d 00:00:00", "%Y%m%d",
            "%Y-%m-%dT00:00:00Z", "%a %d %B %Y", "%d/%m/%Y", "%m/%d/%Y")),
        lambda d: f"{d.day}.{d.month}.{d.year}",
    ],
    "MS": [lambda d, f=f: d.strftime(f) for f in (
        "%Y-%m", "%b-%y", "%m/%Y", "%Y%m", "%Y年%m月", "%Y-%m-01", "%B %Y", "01.%m.%Y", "%YM%m")],
    "W-MON": [
        *(lambda d, f=f: d.strftime(f) for f in ("%G-W%V", "KW%V/%G", "%G%V", "%Y-%m-%d")),
    ],
}  # fmt: skip


def days_of(rng: Random, freq: str) -> list[date]:
    """Steps enough to tell the grid and, in most formats, the order of day and month."""
    n = rng.randint(14, 18)
    if freq == "MS":
        first = rng.randint(0, 11)
        return [date(2023 + (first + i) // 12, (first + i) % 12 + 1, 1) for i in range(n)]
    begin = date(2024, 1, 1) + timedelta(weeks=rng.randint(0, 80))
    return [begin + timedelta(days=i * (7 if freq == "W-MON" else 1)) for i in range(n)]


def number_of(rng: Random) -> Callable[[float], str]:
    """How one table writes its numbers: decimal sign, thousands, currency or unit, minus."""
    decimal, thousands = rng.choice(".,"), rng.choice(["", "", "group", "'"])
    before, after = rng.choice(
        [("", "")] * 6
        + [("$", ""), ("€ ", ""), ("", " €"), ("", " kg"), ("", " Stk"), ("CHF ", "")]
    )
    minus = rng.choice(["-{}", "({})", "{}-", "\u2212{}"])

    def number(value: float) -> str:
        text = f"{abs(value):,.2f}" if thousands else f"{abs(value):.2f}"
        text = text.replace(",", "'") if thousands == "'" else text
        text = text.translate(str.maketrans(",.", ".,")) if decimal == "," else text
        text = minus.format(f"{before}{text}") if value < 0 else f"{before}{text}"
        return text + after

    return number


def panel_of(rng: Random) -> tuple[str, list[date], dict[str, list[float]]]:
    freq = rng.choice(["D", "D", "D", "MS", "MS", "W-MON"])
    days = days_of(rng, freq)
    keys = {
        "k" + "".join(rng.choices(LETTERS, k=rng.randint(1, 7))).strip()
        for _ in range(rng.randint(1, 4))
    }
    low = rng.choice([0, 0, -500_00])
    return (
        freq,
        days,
        {key: [rng.randint(low, 99_999_99) / 100 for _ in days] for key in sorted(keys)},
    )


def rows_of(
    rng: Random, freq: str, days: list[date], series: dict[str, list[float]], typed: bool
) -> list[list[Any]]:
    """The cells of the table, its header first: long, wide by times, wide by series, or with year and month apart."""
    item, when, units = rng.choice(NAMES[freq])
    time = rng.choice(TIMES[freq])
    number: Any = (lambda v: v) if typed else number_of(rng)
    shown: list[Any] = days if typed else [time(d) for d in days]
    shape = rng.choice(["long", "long", "long", "times", "series", "parts"])
    if shape == "times" and not typed:
        whole = all(s.isdigit() for s in shown)  # a header of bare figures is for other tests
        shown = [d.isoformat() for d in days] if whole else shown
        return [[item, *shown], *([key, *map(number, values)] for key, values in series.items())]
    if shape == "series" and len(series) > 1:
        return [
            [when, *series],
            *([t, *(number(v[i]) for v in series.values())] for i, t in enumerate(shown)),
        ]
    if shape == "parts" and freq == "MS":
        return [[item, "Year", "Month", units], *(
            [key, str(d.year), str(d.month), number(v)]
            for key, values in series.items() for d, v in zip(days, values, strict=True)
        )]  # fmt: skip
    rows = [
        [key, t, number(v)]
        for key, values in series.items()
        for t, v in zip(shown, values, strict=True)
    ]
    if rng.random() < 0.2:
        rng.shuffle(rows)
    header: list[Any] = [item, when, units]
    if rng.random() < 0.3:
        header, rows = (
            [*header, "note"],
            [[*row, rng.choice(["", "a,b", 'so "it" is'])] for row in rows],
        )
    order = (
        rng.sample(range(len(header)), len(header)) if rng.random() < 0.3 else range(len(header))
    )
    return [[row[i] for i in order] for row in [header, *rows]]


def write(
    rng: Random, rows: list[list[Any]], typed: bool, folder: Path
) -> tuple[Path, dict[str, Any]]:
    if typed:
        xlsxwriter = pytest.importorskip("xlsxwriter")
        path = folder / "t.xlsx"
        with xlsxwriter.Workbook(path, {"default_date_format": "dd.mm.yyyy"}) as book:
            sheet = book.add_worksheet("Daten")
            above = rng.choice([0, 0, 3])
            if above:
                sheet.write(0, 0, "Report")
            for i, row in enumerate(rows, above):
                for j, value in enumerate(row):
                    (sheet.write_datetime if isinstance(value, date) else sheet.write)(i, j, value)
        return path, {}
    separator = rng.choice([",", ";", "\t", "|"])

    def cell(text: str) -> str:
        if separator in text or '"' in text:
            return '"' + text.replace('"', '""') + '"'
        return text

    lines = [separator.join(map(cell, row)) for row in rows]
    lines = rng.choice([lines, lines, ["Report", "", *lines], [f"sep={separator}", *lines]])
    text = rng.choice(["\n", "\r\n"]).join([*lines, ""])
    encodings = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le"]
    encoding = rng.choice([*encodings, "cp1252", "gb18030"])
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        encoding, content = "utf-8", text.encode()
    path = folder / rng.choice(["t.csv", "t.csv", "t.csv", "t.txt", "t.csv.gz"])
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    few = encoding in ("cp1252", "gb18030")  # few random letters tell no encoding
    return path, {"encoding": encoding} if few else {}


def read_back(seed: int, folder: Path) -> None:
    rng = Random(seed)
    freq, days, series = panel_of(rng)
    typed = rng.random() < 0.06
    rows = rows_of(rng, freq, days, series, typed)
    path, options = write(rng, rows, typed, folder)
    panel = read_panel(path, **options)
    assert panel.schema.freq == freq
    names = panel.keys.to_series().to_list()
    assert sorted(names) == sorted(series)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(panel.history(i), np.array(series[name], np.float32))
        assert panel.history_times(i)[0] == np.datetime64(days[0])


@pytest.mark.parametrize("block", range(CASES // BLOCK))
def test_a_random_panel_in_a_random_dialect_is_read_back(block: int, tmp_path: Path) -> None:
    failed = {}
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            read_back(seed, tmp_path)
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {str(error)[:300]}"
    assert not failed
