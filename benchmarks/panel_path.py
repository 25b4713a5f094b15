"""The functions that a panel or a table is handed to on its way, and how often it comes back to a file it left.

Every call in the package that has a `Panel` among its arguments counts during a fit; with --table, every call that has
the table of `demandcast forecast` does, as the command's options, as the opened file, as a frame, or as parsed rows.
Methods and properties of the panel or table itself are listed apart.

python benchmarks/panel_path.py --model nhits
python benchmarks/panel_path.py --model ses --table
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl

import demandcast
from demandcast import Panel, read_panel, registry
from demandcast.cli import options
from demandcast.cli.main import main as run_command
from demandcast.forecaster import fit
from demandcast.frames.examples import retail
from demandcast.frames.opened import Table
from demandcast.frames.table_rows import Rows

ROOT = Path(demandcast.__file__).parent


def calls_with(kinds: tuple[type, ...], run: Callable[[], object]) -> list[tuple[str, str, bool]]:
    """Return file, function, and whether it is a method of its only argument of `kinds`, of each call that has one."""
    calls: list[tuple[str, str, bool]] = []
    generators: set[FrameType] = set()

    def record(frame: FrameType, event: str, _: object) -> None:
        path, code = Path(frame.f_code.co_filename), frame.f_code
        if event != "call" or ROOT not in path.parents or code.co_name.startswith("<"):
            return
        if code.co_flags & inspect.CO_GENERATOR:
            if frame in generators:
                return  # it goes on after a `yield`: nothing is handed to it again
            generators.add(frame)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [n for n in names if isinstance(frame.f_locals.get(n), kinds)]
        if given:
            name = getattr(code, "co_qualname", code.co_name)
            calls.append((str(path.relative_to(ROOT)), name, given == ["self"]))

    sys.setprofile(record)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def fit_panel(name: str) -> Callable[[], object]:
    """Return the fit of a method to a small panel."""
    table = retail(n_items=6, n_days=90, seed=0).frame
    panel = read_panel(table, key="item", time="date", target="units", known=["price", "promo"])
    short = {"max_steps": 3} if "max_steps" in registry.get(name).defaults() else {}
    model: Any = registry.create(name, horizon=7, **short)
    return lambda: fit(model, panel, progress=False)


def forecast_table(name: str, folder: Path) -> Callable[[], object]:
    """Return the command that forecasts a small CSV with a method."""
    retail(n_items=6, n_days=90, seed=0).frame.write_csv(folder / "sales.csv")
    words = ["forecast", str(folder / "sales.csv"), "--horizon", "7", "--model", name]
    words += ["--out", str(folder / "forecast.csv")]

    def run() -> None:
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            assert run_command(words) == 0, silent.getvalue()

    return run


def main() -> None:
    """Print the functions in the order in which the panel or table first comes to them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--model", default="nhits")
    parser.add_argument("--table", action="store_true", help="follow the table of `demandcast forecast`")  # fmt: skip
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.table:
            kinds: tuple[type, ...] = (options.Table, Table, Rows, pl.DataFrame, pl.LazyFrame)
            calls = calls_with(kinds, forecast_table(args.model, Path(folder)))
        else:
            calls = calls_with((Panel,), fit_panel(args.model))
    handed = dict.fromkeys((file, name) for file, name, own in calls if not own)
    own = dict.fromkeys(name for _, name, own in calls if own)
    files = [file for file, _, own in calls if not own]
    moves = [file for file, before in zip(files, [None, *files], strict=False) if file != before]
    for file, name in handed:
        print(f"{file}: {name}")
    print(
        f"handed to {len(handed)} functions in {len({file for file, _ in handed})} files, "
        f"{len(moves) - len(set(moves))} returns to a file it had left; {len(own)} methods and properties of its own"
    )


if __name__ == "__main__":
    main()
