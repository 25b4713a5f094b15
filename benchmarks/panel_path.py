"""The functions that a panel is handed to on its way through a fit, and how often it comes back to a file it left.

Every call in the package that has a `Panel` among its arguments counts; the panel's own methods are listed apart.

python benchmarks/panel_path.py --model nhits
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from types import FrameType

import demandcast
from demandcast import Panel, read_panel, registry
from demandcast.forecaster import fit
from demandcast.frames.examples import retail

ROOT = Path(demandcast.__file__).parent


def calls_with_a_panel(name: str) -> list[tuple[str, str, bool]]:
    """Return file, function, and whether it is the panel's own, of each call that gets a panel, in order."""
    table = retail(n_items=6, n_days=90, seed=0).frame
    panel = read_panel(table, key="item", time="date", target="units", known=["price", "promo"])
    short = {"max_steps": 3} if "max_steps" in registry.get(name).defaults() else {}
    model = registry.create(name, horizon=7, **short)
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
        given = [n for n in names if isinstance(frame.f_locals.get(n), Panel)]
        if given:
            calls.append(
                (
                    str(path.relative_to(ROOT)),
                    getattr(code, "co_qualname", code.co_name),
                    given == ["self"],
                )
            )

    sys.setprofile(record)
    try:
        fit(model, panel, progress=False)
    finally:
        sys.setprofile(None)
    return calls


def main() -> None:
    """Print the functions in the order in which the panel first comes to them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--model", default="nhits")
    calls = calls_with_a_panel(parser.parse_args().model)
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
