"""The line magic `%demandcast`: the command line inside a notebook."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """Register `%demandcast`; what `%load_ext demandcast` calls.

    IPython itself expands {name} and $name. A word that names a variable holding a frame stands
    for that frame: `%demandcast check sales`.
    """

    def demandcast(line: str) -> None:
        from demandcast.cli import main

        with tempfile.TemporaryDirectory(prefix="demandcast-") as folder:
            main([_as_path(word, ipython.user_ns, Path(folder)) for word in shlex.split(line)])

    ipython.register_magic_function(demandcast, "line", "demandcast")


def _as_path(word: str, names: dict[str, Any], folder: Path) -> str:
    """Return a word of the line; if it names a frame, write the frame to a file and return its path."""
    import narwhals as nw

    frame = nw.from_native(names.get(word), pass_through=True, eager_only=True)
    if not isinstance(frame, nw.DataFrame):
        return word
    path = folder / f"{word}.parquet"
    frame.write_parquet(path)
    return str(path)
