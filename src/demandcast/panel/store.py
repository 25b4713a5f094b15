"""Write a panel as a folder (a store) and open it memory-mapped, for tables larger than memory.

    panel.json                    schema, names, notes, and the shape of every array
    keys.parquet, times.parquet   the key columns; the type of the user's time column, without rows
    target.npy ...                one array a file; arrays with one row a step are memory-mapped when read

A store is written to a temporary folder and renamed at the end, so it is complete or absent.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import FileError, Way
from demandcast.frequency import Frequency
from demandcast.panel.note import Note
from demandcast.saved import UPGRADES, Saving, read_saved, saving
from demandcast.schema import Schema
from demandcast.typed import build

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

FORMAT = 3
MANIFEST = "panel.json"
STEP_ARRAYS = ("target", "known", "past", "available", "share")  # one row a step
SERIES_ARRAYS = ("begins", "extents", "lengths", "starts", "static_codes", "static_reals")
KINDS = {
    "target": "f",
    "known": "f",
    "past": "f",
    "static_reals": "f",
    "available": "b",
    "share": "f",
}  # others: i
BLOCK_ROWS = 1 << 22  # rows read or written at once: 16 MB of the target
COLUMN_NAMES = ("known_names", "past_names", "static_real_names")


def is_store(path: Any) -> bool:
    """Return whether a path is a folder that looks like a store, complete or not."""
    if not isinstance(path, (str, Path)):
        return False
    return (Path(path) / MANIFEST).exists() or (Path(path) / "target.npy").exists()


def write_store(panel: Panel, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a panel as a store; arguments and errors as `Panel.to_store`."""
    folder = Path(path)
    if folder.exists() and not (overwrite and is_store(folder)):
        raise FileError(
            f"the store {folder} exists already; choose another path, or replace it with "
            "to_store(path, overwrite=True)"
            if is_store(folder)
            else f"{folder} exists already and is not a store; choose another path"
        )
    with saving(folder, what="the store", manifest=MANIFEST) as store:
        _write(panel, store)


def _write(panel: Panel, store: Saving) -> None:
    """Write the files of a store, its manifest last."""
    begins = np.cumsum(panel.extents) - panel.extents  # only the rows of these series are written
    series: dict[str, NDArray[Any]] = {name: getattr(panel, name) for name in SERIES_ARRAYS} | {
        "begins": begins
    }
    shapes = {name: (str(v.dtype), v.shape) for name, v in series.items()}
    for name, values in series.items():
        with store.file(f"{name}.npy") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
    rows = int(panel.extents.sum())
    for name, values in panel.flat.items():
        shape = (rows, *values.shape[1:])
        shapes[name] = (str(values.dtype), shape)
        with store.file(f"{name}.npy") as file:
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in panel.parts(BLOCK_ROWS):
                file.write(np.ascontiguousarray(part.flat[name][part.rows()]).data)
    with store.file("keys.parquet") as file:
        panel.keys.write_parquet(file)
    with store.file("times.parquet") as file:
        pl.DataFrame({"time": pl.Series([], dtype=panel.time_dtype or pl.Null)}).write_parquet(file)
    facts = _Facts(
        schema=panel.schema,
        arrays=shapes,
        **{name: getattr(panel, name) for name in COLUMN_NAMES},
        vocabularies=panel.vocabularies,
        time_zone=panel.time_zone,
        notes=panel.notes,
    )
    notes = [{**asdict(note), "ways": [_of_way(way) for way in note.ways]} for note in panel.notes]
    store.finish({"format": FORMAT, "panel": {**asdict(facts), "notes": notes}})


def _of_way(way: Way) -> dict[str, Any]:
    """Return a way for JSON; an argument that is for the reader to choose is a name without a value."""
    arguments = [[name] if value is ... else [name, value] for name, value in way.arguments]
    return {**vars(way), "arguments": arguments}


def _to_note(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a note from JSON."""
    ways = [
        {**way, "arguments": [pair if pair[1:] else [*pair, ...] for pair in way["arguments"]]}
        for way in facts.get("ways", [])
    ]
    return {**facts, "ways": ways}


def _with_done(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of format 2 as those of format 3: a note's ways were words at the end of its `action`."""
    panel = dict(facts["panel"])
    panel["notes"] = [
        {"done" if name == "action" else name: value for name, value in dict(note).items()}
        for note in panel["notes"]
    ]
    return {**facts, "panel": panel}


UPGRADES[MANIFEST, 2] = _with_done


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Contents of a store's manifest, apart from its list of files."""

    schema: Schema
    arrays: dict[str, tuple[str, tuple[int, ...]]]  # name -> type and shape
    known_names: tuple[str, ...]
    past_names: tuple[str, ...]
    static_real_names: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]
    time_zone: str | None
    notes: tuple[Note, ...]


def read_store(path: str | Path, *, check: bool = True) -> dict[str, Any]:
    """Return the fields of the `Panel` in a store, its values memory-mapped.

    Raises:
        FileError: The store is incomplete, damaged, or of another version.
    """
    folder = Path(path)
    try:
        store = read_saved(
            folder, manifest=MANIFEST, format=FORMAT, error=FileError, holds="no whole store",
            hint="it is damaged or was not written to its end; write it again with panel.to_store",
        )  # fmt: skip
        content = dict(store.facts["panel"])
        content["notes"] = [_to_note(dict(note)) for note in content["notes"]]
        facts = build(_Facts, content, "panel")
        arrays = {
            name: _read_array(store.file(f"{name}.npy", check=check), name, *facts.arrays[name])
            for name in (*SERIES_ARRAYS, "begins", *STEP_ARRAYS)
            if name in facts.arrays or name not in STEP_ARRAYS
        }
        keys = pl.read_parquet(store.file("keys.parquet"), glob=False)
        times = pl.read_parquet(store.file("times.parquet"), glob=False)
        time_dtype = times["time"].dtype
        _check_facts(arrays, keys, facts)
        return {
            "schema": facts.schema,
            "keys": keys,
            "time_zone": facts.time_zone,
            "time_dtype": None if time_dtype == pl.Null else time_dtype,
            "notes": facts.notes,
            "vocabularies": facts.vocabularies,
            **{name: getattr(facts, name) for name in COLUMN_NAMES},
            **arrays,
        }
    except FileError as error:
        if "to_store" in str(error):
            raise
        raise FileError(
            f"the store {folder} is damaged or was not written to its end ({error}); write it "
            "again with panel.to_store"
        ) from error
    except (
        OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError, pl.exceptions.PolarsError
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileError(
            f"the store {folder} is damaged or was not written to its end ({reason}); write it again "
            "with panel.to_store"
        ) from error


def _check_facts(arrays: dict[str, NDArray[Any]], keys: pl.DataFrame, facts: _Facts) -> None:
    """Refuse facts that do not agree, before any of them is used as an index or to build a time."""
    n, rows = keys.height, len(arrays["target"])
    begins, extents = arrays["begins"].astype(np.int64), arrays["extents"].astype(np.int64)
    shapes = {
        **dict.fromkeys(("begins", "extents", "lengths", "starts"), (n,)),
        "static_codes": (n, len(facts.vocabularies)),
        "static_reals": (n, len(facts.static_real_names)),
        "target": (rows,),
        "known": (rows, len(facts.known_names)),
        "past": (rows, len(facts.past_names)),
        "available": (rows,),
        "share": (rows,),
    }
    wrong = [name for name, values in arrays.items() if values.shape != shapes[name]]
    codes, sizes = arrays["static_codes"], [len(values) for values in facts.vocabularies.values()]
    if not wrong and not ((codes >= 0) & (codes <= np.array(sizes, np.int64))).all():
        raise ValueError("its codes of categories are out of range")
    if facts.time_zone is not None:
        ZoneInfo(facts.time_zone)
    Frequency.parse(facts.schema.freq)
    outside = (begins < 0) | (extents < 0) | (begins + extents > rows)
    longer = (arrays["lengths"] < 0) | (arrays["lengths"] > extents)
    if wrong or outside.any() or longer.any() or [*facts.schema.key] != keys.columns:
        raise ValueError("its arrays do not fit together")


def _read_array(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read an array of a store; memory-map it where it has one row a step.

    Type and shape in the file's header have to be those of the manifest, and to fill the file; that is checked
    before any memory is taken.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not of NumPy's file format 1.0")
        stored_shape, by_column, kind = np.lib.format.read_array_header_1_0(file)
        size = file.tell() + math.prod(stored_shape) * kind.itemsize
    if (str(kind), stored_shape, by_column) != (dtype, shape, False) or kind.kind != KINDS.get(
        name, "i"
    ):
        raise ValueError(f"{name} is {kind} {stored_shape}, but should be {dtype} {shape}")
    if min(shape, default=0) < 0 or path.stat().st_size != size:
        raise ValueError(f"{name} has {path.stat().st_size:,} bytes, but should have {size:,}")
    mapped = name in STEP_ARRAYS and 0 not in shape
    values: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return values
