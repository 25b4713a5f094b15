"""What the scripts of this folder share: their arguments, and how their tables are printed and kept."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import polars as pl

DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def arguments(
    doc: str | None, *, seeds: str = "", settings: bool = False
) -> argparse.ArgumentParser:
    """Return a parser that knows --data and --out, and --seeds and --set where a script has them."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="its folder")
    parser.add_argument("--out", type=Path, help="a Markdown file to write the tables to as well")
    if seeds:
        parser.add_argument("--seeds", default=seeds, help="by commas")
    if settings:
        parser.add_argument(
            "--set", action="append", default=[], help="name=value, for the models that have it"
        )
    return parser


def parse(parser: argparse.ArgumentParser, needs: str = "") -> argparse.Namespace:
    """Parse the command line; end with status 0 and the reason where the data is absent."""
    given = parser.parse_args()
    if not (source := given.data / needs).exists():
        print(f"skipped: no data in {source}; name the folder with --data", file=sys.stderr)
        sys.exit()
    return given


def integers(text: str) -> list[int]:
    """The numbers of `0,1,2`."""
    return [int(part) for part in text.split(",")]


def publish(given: argparse.Namespace, *tables: pl.DataFrame) -> None:
    """Print tables below the commit and the arguments, and write them to --out if it is given."""
    parts = [f"Commit {commit()}; {' '.join(sys.argv[1:])}", *map(table, tables)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


def table(rows: pl.DataFrame) -> str:
    """Return a Markdown table, figures to four digits."""
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + " --- |" * rows.width]
    for row in rows.iter_rows():
        cells = ["" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commit() -> str:
    """Return the commit that is checked out, with "-dirty" where files are changed."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return found.stdout.strip() or "no commit"
