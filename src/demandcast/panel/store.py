"""A panel as a folder whose values are read where they lie: for tables larger than memory.

    panel.json                    schema, names, notes, and the shape of every array
    keys.parquet, times.parquet   the key columns; the type of the user's times, without a row
    target.npy ...                an array each; those of a row a step are memory-mapped when read

Written beside its place and moved there as the last act, so that a store is whole or not there at all.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import FileError
from demandcast.schema import Schema

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

FORMAT = 1
FACTS = "panel.json"
FLAT = ("target", "known", "past", "available")  # a row a step
SERIES = ("begins", "extents", "lengths", "starts", "static_codes", "static_reals")
PART = 1 << 22  # rows that are written at once
NAMES = ("known_names", "past_names", "static_real_names")


def is_store(path: Any) -> bool:
    """Whether a path is a folder that looks like a store, whole or not."""
    if not isinstance(path, (str, Path)):
        return False
    return (Path(path) / FACTS).exists() or (Path(path) / "target.npy").exists()


def write_store(panel: Panel, path: str | Path, *, overwrite: bool = False) -> None:
    """See `Panel.to_store`."""
    folder = Path(path)
    if folder.exists() and not (overwrite and is_store(folder)):
        raise FileError(
            f"{folder} is there already; take another path, or to_store(path, overwrite=True) to put "
            "this store in the place of that one"
            if is_store(folder)
            else f"{folder} is there already and is no store; take another path"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        _write(panel, beside)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            os.replace(folder, old)
            os.replace(beside, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(beside, folder)
    except OSError as error:
        raise FileError(
            f"{folder} cannot be written ({error}); free the disk or take another place"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(panel: Panel, folder: Path) -> None:
    begins = np.cumsum(panel.extents) - panel.extents  # the rows of these series and no others
    series: dict[str, NDArray[Any]] = {name: getattr(panel, name) for name in SERIES} | {
        "begins": begins
    }
    shapes = {name: [str(v.dtype), list(v.shape)] for name, v in series.items()}
    for name, values in series.items():
        with _file(folder / f"{name}.npy") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
    rows = int(panel.extents.sum())
    for name, values in panel.flat.items():
        shape = (rows, *values.shape[1:])
        shapes[name] = [str(values.dtype), list(shape)]
        with _file(folder / f"{name}.npy") as file:
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for some in panel.parts(PART):
                file.write(np.ascontiguousarray(some.flat[name][some.rows()]).data)
    with _file(folder / "keys.parquet") as file:
        panel.keys.write_parquet(file)
    with _file(folder / "times.parquet") as file:
        pl.DataFrame({"time": pl.Series([], dtype=panel.time_dtype or pl.Null)}).write_parquet(file)
    facts = {
        "format": FORMAT,
        "schema": asdict(panel.schema),
        "arrays": shapes,
        **{name: list(getattr(panel, name)) for name in NAMES},
        "vocabularies": {name: list(words) for name, words in panel.vocabularies.items()},
        "time_zone": panel.time_zone,
        "notes": [asdict(note) for note in panel.notes],
    }
    with _file(folder / FACTS) as file:
        file.write(json.dumps(facts, indent=1).encode())


class _file:
    """A file to write, on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def __enter__(self) -> Any:
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def read_store(path: str | Path) -> dict[str, Any]:
    """What a `Panel` is made of, its values memory-mapped.

    Raises:
        FileError: The store is half-written, damaged, or of a later version.
    """
    folder = Path(path)
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        if facts["format"] != FORMAT:
            raise FileError(
                f"{folder} is a store of format {facts['format']}, and this version reads {FORMAT}; "
                "read it with the version that wrote it, or write it again with panel.to_store"
            )
        arrays = {
            name: _array(folder / f"{name}.npy", *described)
            for name, described in facts["arrays"].items()
        }
        keys = pl.read_parquet(folder / "keys.parquet", glob=False)
        time_dtype = pl.read_parquet(folder / "times.parquet", glob=False)["time"].dtype
        last = int((arrays["begins"] + arrays["extents"]).max(initial=0))
        if keys.height != len(arrays["begins"]) or last > len(arrays["target"]):
            raise ValueError("its parts do not belong together")
        return {
            "schema": Schema(**{k: _tuple(v) for k, v in facts["schema"].items()}),
            "keys": keys,
            "time_zone": facts["time_zone"],
            "time_dtype": None if time_dtype == pl.Null else time_dtype,
            "notes": facts["notes"],
            "vocabularies": {name: tuple(words) for name, words in facts["vocabularies"].items()},
            **{name: tuple(facts[name]) for name in NAMES},
            **arrays,
        }
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        if isinstance(error, FileError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileError(
            f"the store {folder} is damaged or was not written to its end ({reason}); write it again "
            "with panel.to_store"
        ) from error


def _array(path: Path, dtype: str, shape: list[int]) -> NDArray[Any]:
    """An array of a store as it was described; memory-mapped where it has a row a step."""
    mapped = path.stem in FLAT and 0 not in shape
    values: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    if str(values.dtype) != dtype or list(values.shape) != shape:
        raise ValueError(
            f"{path.name} is {values.dtype} {values.shape}, and should be {dtype} {tuple(shape)}"
        )
    return values


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
