"""A panel as a folder whose values are read where they lie: for tables larger than memory.

    panel.json                    schema, names, notes, and the shape of every array
    keys.parquet, times.parquet   the key columns; the type of the user's times, without a row
    target.npy ...                an array each; those of a row a step are memory-mapped when read

Written beside its place and moved there as the last act, so that a store is whole or not there at all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import FileError
from demandcast.panel.note import Note
from demandcast.saved import Saving, read_saved, saving
from demandcast.schema import Schema
from demandcast.typed import build

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

FORMAT = 2
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
    with saving(folder, what="the store", manifest=FACTS) as store:
        _write(panel, store)


def _write(panel: Panel, store: Saving) -> None:
    begins = np.cumsum(panel.extents) - panel.extents  # the rows of these series and no others
    series: dict[str, NDArray[Any]] = {name: getattr(panel, name) for name in SERIES} | {
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
            for some in panel.parts(PART):
                file.write(np.ascontiguousarray(some.flat[name][some.rows()]).data)
    with store.file("keys.parquet") as file:
        panel.keys.write_parquet(file)
    with store.file("times.parquet") as file:
        pl.DataFrame({"time": pl.Series([], dtype=panel.time_dtype or pl.Null)}).write_parquet(file)
    facts = _Facts(
        schema=panel.schema,
        arrays=shapes,
        **{name: getattr(panel, name) for name in NAMES},
        vocabularies=panel.vocabularies,
        time_zone=panel.time_zone,
        notes=panel.notes,
    )
    store.finish({"format": FORMAT, "panel": asdict(facts)})


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What a store's manifest holds beside its list of files."""

    schema: Schema
    arrays: dict[str, tuple[str, tuple[int, ...]]]  # name -> its type and shape
    known_names: tuple[str, ...]
    past_names: tuple[str, ...]
    static_real_names: tuple[str, ...]
    vocabularies: dict[str, tuple[str, ...]]
    time_zone: str | None
    notes: tuple[Note, ...]


def read_store(path: str | Path, *, check: bool = True) -> dict[str, Any]:
    """What a `Panel` is made of, its values memory-mapped.

    Raises:
        FileError: The store is half-written, damaged, or of another version.
    """
    folder = Path(path)
    try:
        store = read_saved(
            folder, manifest=FACTS, format=FORMAT, error=FileError, holds="no whole store",
            hint="it is damaged or was not written to its end; write it again with panel.to_store",
        )  # fmt: skip
        facts = build(_Facts, store.facts["panel"], "panel")
        arrays = {
            name: _array(store.file(f"{name}.npy", check=check), name, *facts.arrays[name])
            for name in (*SERIES, "begins", *FLAT)
            if name in facts.arrays or name not in FLAT
        }
        keys = pl.read_parquet(store.file("keys.parquet"), glob=False)
        times = pl.read_parquet(store.file("times.parquet"), glob=False)
        time_dtype = times["time"].dtype
        _check_parts(arrays, keys, facts)
        return {
            "schema": facts.schema,
            "keys": keys,
            "time_zone": facts.time_zone,
            "time_dtype": None if time_dtype == pl.Null else time_dtype,
            "notes": facts.notes,
            "vocabularies": facts.vocabularies,
            **{name: getattr(facts, name) for name in NAMES},
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


def _check_parts(arrays: dict[str, NDArray[Any]], keys: pl.DataFrame, facts: _Facts) -> None:
    """Refuse arrays that are not of one panel, before anything indexes by them."""
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
    }
    wrong = [name for name, values in arrays.items() if values.shape != shapes[name]]
    outside = (begins < 0) | (extents < 0) | (begins + extents > rows)
    longer = (arrays["lengths"] < 0) | (arrays["lengths"] > extents)
    if wrong or outside.any() or longer.any() or [*facts.schema.key] != keys.columns:
        raise ValueError("its parts do not belong together")


def _array(path: Path, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of a store as it was described; memory-mapped where it has a row a step."""
    mapped = name in FLAT and 0 not in shape
    values: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    if str(values.dtype) != dtype or values.shape != shape:
        raise ValueError(f"{name} is {values.dtype} {values.shape}, and should be {dtype} {shape}")
    return values
