"""Every series on one grid: a few flat arrays, never an object per series.

The arrays lie in memory, or in the files of a store, from where they are read as they are needed.

A series is a run of rows. Its first `length` rows are history; the rows behind them, up to `extent`,
hold covariates known ahead. So a truncation at a cutoff only shortens `lengths`, a subset only picks
from the per-series arrays, and neither copies a value of the table.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, ShapeError
from demandcast.panel.classes import profile
from demandcast.panel.keys import find
from demandcast.panel.note import Note as Note
from demandcast.panel.store import read_store, write_store
from demandcast.schema import Frequency, Schema

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
PART = 1 << 22  # rows of a file that are read into memory at once: 16 MB of the target


@dataclass(frozen=True, kw_only=True)
class Panel:
    """N series on one time grid, in T_total rows.

    Attributes:
        schema: Which of the user's columns is what.
        keys: The key columns as the user has them, (N rows).
        target: Values in the user's units, (T_total,); NaN where not observed.
        begins: First row of each series, (N,).
        extents: Rows of each series, those known ahead included, (N,).
        lengths: Rows of history of each series, (N,); `lengths <= extents`.
        starts: Grid step of each first row, (N,); see `Frequency.ordinal`.
        known: Covariates known ahead, (T_total, F_known); NaN where not given.
        past: Covariates known to the cutoff only, (T_total, F_past).
        available: False where the item could not be bought, (T_total,), or None.
        static_codes: Codes of static categories, (N, K); 0 is unknown.
        vocabularies: Static column -> its values; code k is entry k - 1.
        static_reals: Static numbers, (N, R), named by `static_real_names`.
        notes: What was found in the table and what was done about it.
        left_out: Keys of series that the table has and the panel has not, as those that ended; None for none.
    """

    schema: Schema
    keys: pl.DataFrame
    target: Floats
    begins: Ints
    extents: Ints
    lengths: Ints
    starts: Ints
    known: Floats
    past: Floats
    known_names: tuple[str, ...] = ()
    past_names: tuple[str, ...] = ()
    available: NDArray[np.bool_] | None = None
    static_codes: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    vocabularies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    static_reals: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    static_real_names: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    time_zone: str | None = None
    time_dtype: pl.DataType | None = None
    left_out: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        n = len(self.begins)
        if not (
            len(self.extents) == len(self.lengths) == len(self.starts) == self.keys.height == n
        ):
            raise ShapeError(
                f"{n} begins, {len(self.extents)} extents, {len(self.lengths)} lengths, "
                f"{len(self.starts)} starts and {self.keys.height} keys; all need one entry a series"
            )
        if len(self.static_codes) != n:
            object.__setattr__(self, "static_codes", np.zeros((n, 0), np.int64))
        if len(self.static_reals) != n:
            object.__setattr__(self, "static_reals", np.zeros((n, 0), np.float32))

    @property
    def freq(self) -> Frequency:
        return Frequency.parse(self.schema.freq)

    @property
    def n_series(self) -> int:
        return len(self.begins)

    @property
    def n_steps(self) -> int:
        """Steps of history, all series together."""
        return int(self.lengths.sum())

    @property
    def flat(self) -> dict[str, NDArray[Any]]:
        """The arrays of a row a step, by name: what a panel's size is made of."""
        own = {"target": self.target, "known": self.known, "past": self.past}
        return own if self.available is None else own | {"available": self.available}

    @property
    def nbytes(self) -> int:
        """Bytes of the flat arrays."""
        return sum(values.nbytes for values in self.flat.values())

    @property
    def is_mapped(self) -> bool:
        """Whether values lie in a file, and not in memory."""
        return any(isinstance(values, np.memmap) for values in self.flat.values())

    def rows(self) -> slice | Ints:
        """Rows of the flat arrays that hold these series, one series after the other."""
        ends = self.begins + self.extents
        if np.array_equal(self.begins[1:], ends[:-1]):
            return slice(int(self.begins[0]), int(ends[-1])) if len(ends) else slice(0, 0)
        before = np.cumsum(self.extents) - self.extents
        return np.repeat(self.begins - before, self.extents) + np.arange(int(self.extents.sum()))

    def parts(self, rows: int | None = None) -> Iterator[Panel]:
        """The panel, some series at a time, of about `rows` rows together; a series is never cut.

        Without `rows` a panel in memory comes as it is, as one part; of one in a file each part is
        read into memory.
        """
        if rows is None and not self.is_mapped:
            yield self
            return
        group = (np.cumsum(self.extents) - 1) // (rows or PART)
        edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
        for first, last in pairwise(edges.tolist()):
            part = self.select(np.arange(first, last))
            yield part if rows is not None else part.compact()

    def compact(self) -> Panel:
        """The same series in arrays of their own, in memory."""
        rows = self.rows()
        begins = np.cumsum(self.extents) - self.extents
        flat = {name: np.array(values[rows]) for name, values in self.flat.items()}
        return replace(self, begins=begins, **flat)  # type: ignore[arg-type]

    def to_store(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the panel as a folder that `read_panel` opens memory-mapped.

        Only these series are written, with all that the table holds of them. The folder appears whole
        or not at all.

        Args:
            path: The folder to make.
            overwrite: Put it in the place of a store that is there.

        Raises:
            FileError: Something is there already, or the disk refuses.
        """
        write_store(self, path, overwrite=overwrite)

    @classmethod
    def from_store(cls, path: str | Path, *, check: bool = True) -> Panel:
        """The panel of a folder that `to_store` wrote, its values left where they are.

        Args:
            path: The folder.
            check: Read all values once and compare their digests, so that a damaged disk is noticed.

        Raises:
            FileError: The folder is damaged, half-written or of another version.
        """
        return cls(**read_store(path, check=check))

    def _of_each(self, of: Callable[[Panel], NDArray[Any]]) -> NDArray[Any]:
        """One entry a series, of a function that looks at whole arrays; part by part."""
        return np.concatenate([of(part) for part in self.parts()]) if self.is_mapped else of(self)

    def key(self, i: int) -> str:
        """The key of series i as one word for messages and titles."""
        return "/".join(str(v) for v in self.keys.row(i))

    def history(self, i: int) -> Floats:
        """Values of series i up to its last step, (length,); a view."""
        return self.target[self.begins[i] : self.begins[i] + self.lengths[i]]

    def history_times(self, i: int) -> NDArray[Any]:
        return self.freq.times(self.starts[i] + np.arange(self.lengths[i]))

    def ends(self) -> Ints:
        """Grid step of the last row of history of each series, (N,)."""
        return self.starts + self.lengths - 1

    def n_observed(self, last: int | None = None) -> Ints:
        """Observed values in the history of each series, or in its last steps, (N,)."""
        return self._of_each(partial(_n_observed, last=last))

    def n_unavailable(self) -> Ints:
        """Steps in the history of each series at which it could not be bought, (N,)."""
        return self._of_each(_n_unavailable)

    def floors(self) -> Floats:
        """0 for a series whose history is never negative, minus infinity for others, (N,)."""
        return self._of_each(_floors)

    def largest(self) -> Floats:
        """Return the largest |value| in the history of each series, (N,); 0 where there is none."""
        return self._of_each(_largest)

    def whole_numbers(self) -> NDArray[np.bool_]:
        """Series whose observed history is of whole numbers, (N,); also those without a value."""
        return self._of_each(_whole_numbers)

    def padded_history(self, steps: int) -> Floats:
        """The last `steps` values of every series, (N, steps), right-aligned, NaN before the start."""
        return self._rows(
            self.target, self.lengths[:, None] - steps + np.arange(steps), self.lengths
        )

    def future_target(self, horizon: int) -> Floats:
        """Values behind the cutoff where the table holds them, (N, horizon); NaN elsewhere."""
        return self._rows(self.target, self.lengths[:, None] + np.arange(horizon), self.extents)

    def _rows(self, values: Floats, step: Ints, limit: Ints) -> Floats:
        inside = (step >= 0) & (step < limit[:, None])
        rows = np.where(inside, self.begins[:, None] + step, 0)
        return np.where(inside, values[rows], np.float32(np.nan))

    def select(self, series: Any) -> Panel:
        """Some of the series, in the order given; the flat arrays are shared.

        Args:
            series: Numbers of series, or a mask, (N,). Or keys: a text, a tuple of all key columns, a
                dict of some of them (`{"store": 1}` takes every series of the store), or a list of these.

        Raises:
            DataError: No series has a key; the nearest is named.
        """
        keys = [series] if isinstance(series, (str, tuple, Mapping)) else series
        if isinstance(keys, list) and any(isinstance(k, (str, tuple, Mapping)) for k in keys):
            index = np.concatenate([find(self.keys, key) for key in keys])
        else:
            index = np.asarray(series)
            index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            keys=self.keys[index.tolist()],
            begins=self.begins[index],
            extents=self.extents[index],
            lengths=self.lengths[index],
            starts=self.starts[index],
            static_codes=self.static_codes[index],
            static_reals=self.static_reals[index],
        )

    def drop_last(self, steps: int) -> Panel:
        """The panel as it was `steps` earlier; series that had not begun are left out.

        What is held out stays readable through `future_target`; covariates known ahead stay known.
        """
        lengths = self.lengths - steps
        if not (lengths > 0).any():
            raise DataError(
                f"no series is longer than {steps} steps (the longest has {self.lengths.max(initial=0)}), "
                "so nothing is left to learn from; use a smaller horizon or fewer folds"
            )
        return replace(self, lengths=lengths).select(lengths > 0)

    def truncate(self, cutoff: Any) -> Panel:
        """The panel as it was at `cutoff`, that timestamp included; series begun later are left out."""
        raw = (
            np.asarray([cutoff]) if self.freq.is_integer else np.asarray([cutoff], "datetime64[us]")
        )
        last = int(self.freq.ordinal(raw)[0])
        lengths = np.minimum(self.lengths, last - self.starts + 1)
        if not (lengths > 0).any():
            raise DataError(f"no series has begun by {cutoff}; choose a later cutoff")
        return replace(self, lengths=lengths).select(lengths > 0)

    def summary(self) -> dict[str, Any]:
        """The figures of the panel that a reader wants first."""
        seen, zeros, total = 0, 0, 0.0
        for part in self.parts():
            before = np.cumsum(part.lengths) - part.lengths
            rows = np.repeat(part.begins - before, part.lengths) + np.arange(part.n_steps)
            values = part.target[rows]
            values = values[~np.isnan(values)]
            seen, zeros = seen + len(values), zeros + int((values == 0).sum())
            total += float(values.sum(dtype=np.float64))
        first, last = self.freq.times(np.array([self.starts.min(), self.ends().max()]))
        return {
            "series": self.n_series,
            "steps": self.n_steps,
            "frequency": self.schema.freq,
            "first": str(first),
            "last": str(last),
            "shortest": int(self.lengths.min()),
            "longest": int(self.lengths.max()),
            "missing": 1 - seen / max(1, self.n_steps),
            "zeros": zeros / seen if seen else 0.0,
            "mean": total / seen if seen else float("nan"),
        }

    def profile(self, *, cuts: str = "syntetos_boylan") -> pl.DataFrame:
        """What kind of demand each series has, one row a series; see `demandcast.panel.classes`.

        Args:
            cuts: "syntetos_boylan" (ADI 1.32, CV2 0.49) or "kostenko_hyndman" (4/3, 0.5).

        Returns:
            The key columns, `steps`, `demands`, `adi`, `cv2`, `class` (smooth, erratic, intermittent,
            lumpy, or insufficient below 5 demands), `fading`, `new`, `freq`.

        Raises:
            ConfigError: `cuts` is not known.
        """
        return pl.concat([profile(part, cuts=cuts) for part in self.parts()])

    def __repr__(self) -> str:
        s = self.summary()
        return (
            f"Panel({s['series']:,} series, {s['steps']:,} steps of {s['frequency']}, "
            f"{s['first']} .. {s['last']}, {s['zeros']:.0%} zeros, {s['missing']:.1%} missing)"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>"
            for k, v in self.summary().items()
        )
        notes = "".join(f"<li>{html.escape(str(n))}</li>" for n in self.notes)
        return f"<b>Panel</b><table>{rows}</table><ul>{notes}</ul>"


def _n_observed(panel: Panel, last: int | None = None) -> Ints:
    sums = np.concatenate([[0], np.cumsum(~np.isnan(panel.target))])
    ends = panel.begins + panel.lengths
    first = panel.begins if last is None else np.maximum(panel.begins, ends - last)
    return np.asarray(sums[ends] - sums[first], np.int64)


def _n_unavailable(panel: Panel) -> Ints:
    if panel.available is None:
        return np.zeros(panel.n_series, np.int64)
    sums = np.concatenate([[0], np.cumsum(~panel.available)])
    return np.asarray(sums[panel.begins + panel.lengths] - sums[panel.begins], np.int64)


def _floors(panel: Panel) -> Floats:
    low = np.minimum.reduceat(
        np.append(np.nan_to_num(panel.target, nan=np.inf), np.inf),
        np.stack([panel.begins, panel.begins + panel.lengths], 1).ravel(),
    )[::2]
    return np.where(low >= 0, 0, -np.inf).astype(np.float32)


def _largest(panel: Panel) -> Floats:
    most = np.maximum.reduceat(
        np.append(np.abs(np.nan_to_num(panel.target, nan=0.0)), np.float32(0)),
        np.stack([panel.begins, panel.begins + panel.lengths], 1).ravel(),
    )[::2]
    return np.where(panel.lengths > 0, most, 0).astype(np.float32)


def _whole_numbers(panel: Panel) -> NDArray[np.bool_]:
    odd = np.nan_to_num(panel.target) % 1 != 0
    sums = np.concatenate([[0], np.cumsum(odd)])
    return np.asarray(sums[panel.begins + panel.lengths] == sums[panel.begins])
