"""The `Panel`: all series on one time grid, as a few flat arrays.

The arrays are in memory, or memory-mapped from the files of a store.

A series is a run of rows. Its first `length` rows are its history. The rows after them, up to `extent`, hold
covariates known ahead. Truncating a panel at a cutoff only shortens `lengths`; selecting series only indexes the
arrays with one entry a series. Neither copies a value of the table.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, ShapeError
from demandcast.frequency import Frequency
from demandcast.panel.classes import profile
from demandcast.panel.groups import add_steps, add_up
from demandcast.panel.keys import find_rows
from demandcast.panel.note import Note as Note
from demandcast.panel.stock_outs import find_suspected
from demandcast.panel.store import BLOCK_ROWS, read_store, write_store
from demandcast.panel.successors import with_successors
from demandcast.panel.unconstrained import impute, unconstrained
from demandcast.schema import Schema

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """N series on one time grid, in T_total rows.

    Attributes:
        schema: Which of the user's columns is what.
        keys: The key columns as the user has them, (N rows).
        target: Values in the user's units, (T_total,); NaN where not observed.
        begins: First row of each series, (N,).
        extents: Rows of each series, including those after its history, (N,).
        lengths: Rows of history of each series, (N,); `lengths <= extents`.
        starts: Grid step of the first row of each series, (N,); see `Frequency.ordinal`.
        known: Covariates known ahead, (T_total, F_known); NaN where not given.
        past: Covariates known up to the cutoff only, (T_total, F_past).
        available: False where the item could not be bought, or not all of the step, (T_total,), or None.
        share: Share of each step for which it could be bought, (T_total,); None where the table has flags only.
        static_codes: Codes of static categories, (N, K); 0 is unknown.
        vocabularies: Values of each static category column; code k is entry k - 1.
        static_reals: Static numbers, (N, R), named by `static_real_names`.
        notes: Findings in the table, and what was done about each.
        left_out: Keys of the table's series that are not in the panel, such as ended ones; None without any.
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
    share: Floats | None = None
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
                f"{len(self.starts)} starts and {self.keys.height} keys; give each one entry a series"
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
        """Number of steps of history, summed over all series."""
        return int(self.lengths.sum())

    @property
    def flat(self) -> dict[str, NDArray[Any]]:
        """The arrays with one row a step, by name."""
        arrays = {"target": self.target, "known": self.known, "past": self.past}
        bounds = {"available": self.available, "share": self.share}
        return arrays | {name: values for name, values in bounds.items() if values is not None}

    @property
    def nbytes(self) -> int:
        """Size of the flat arrays in bytes."""
        return sum(values.nbytes for values in self.flat.values())

    @property
    def is_mapped(self) -> bool:
        """Whether values are memory-mapped from files."""
        return any(isinstance(values, np.memmap) for values in self.flat.values())

    def rows(self) -> slice | Ints:
        """Return the rows of the flat arrays that hold these series, one series after the other."""
        ends = self.begins + self.extents
        if np.array_equal(self.begins[1:], ends[:-1]):
            return slice(int(self.begins[0]), int(ends[-1])) if len(ends) else slice(0, 0)
        before = np.cumsum(self.extents) - self.extents
        return np.repeat(self.begins - before, self.extents) + np.arange(int(self.extents.sum()))

    def history_rows(self) -> Ints:
        """Return the rows of the flat arrays that are history, one series after the other, (n_steps,)."""
        before = np.cumsum(self.lengths) - self.lengths
        return np.asarray(np.repeat(self.begins - before, self.lengths) + np.arange(self.n_steps))

    def parts(self, rows: int | None = None) -> Iterator[Panel]:
        """Split the panel into parts of about `rows` rows each; a series is never cut.

        Without `rows`, a panel in memory is yielded whole, and a memory-mapped one in parts that are read into
        memory.
        """
        if rows is None and not self.is_mapped:
            yield self
            return
        group = (np.cumsum(self.extents) - 1) // (rows or BLOCK_ROWS)
        edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
        for first, last in pairwise(edges.tolist()):
            part = self.select(np.arange(first, last))
            yield part if rows is not None else part.compact()

    def compact(self) -> Panel:
        """Copy the panel's series into arrays that hold no other rows, in memory."""
        rows = self.rows()
        begins = np.cumsum(self.extents) - self.extents
        flat = {name: np.array(values[rows]) for name, values in self.flat.items()}
        return replace(self, begins=begins, **flat)  # type: ignore[arg-type]

    def to_store(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the panel as a store: a folder that `read_panel` opens memory-mapped.

        The store holds the panel's series with all of their rows, those after the cutoff too. The folder appears
        complete or not at all.

        Args:
            path: The folder to create.
            overwrite: Replace a store at this path.

        Raises:
            FileError: The path exists already, or it cannot be written.
        """
        write_store(self, path, overwrite=overwrite)

    @classmethod
    def from_store(cls, path: str | Path, *, check: bool = True) -> Panel:
        """Open a folder that `to_store` wrote, with its values memory-mapped.

        Args:
            path: The folder.
            check: Read all values once and compare their digests, to detect a damaged file.

        Raises:
            FileError: The folder is damaged, incomplete, or of another version.
        """
        return cls(**read_store(path, check=check))

    def _per_series(self, compute: Callable[[Panel], NDArray[Any]]) -> NDArray[Any]:
        """Compute one entry a series, part by part where the values are memory-mapped."""
        if not self.is_mapped:
            return compute(self)
        return np.concatenate([compute(part) for part in self.parts()])

    def key(self, i: int) -> str:
        """Return the key of series i as one text, for messages and titles."""
        return "/".join(str(v) for v in self.keys.row(i))

    def history(self, i: int) -> Floats:
        """Return the values of series i up to its last step, (length,), as a view."""
        return self.target[self.begins[i] : self.begins[i] + self.lengths[i]]

    def history_times(self, i: int) -> NDArray[Any]:
        """Return the timestamps of the history of series i, (length,)."""
        return self.freq.times(self.starts[i] + np.arange(self.lengths[i]))

    def ends(self) -> Ints:
        """Return the grid step of the last row of history of each series, (N,)."""
        return self.starts + self.lengths - 1

    def n_observed(self, last: int | None = None) -> Ints:
        """Count the observed values in the history of each series, or in its `last` steps, (N,)."""
        return self._per_series(partial(_n_observed, last=last))

    def n_unavailable(self) -> Ints:
        """Count the steps in the history of each series at which it could not be bought, (N,)."""
        return self._per_series(_n_unavailable)

    def floors(self) -> Floats:
        """Return 0 for a series whose history is never negative, minus infinity for others, (N,)."""
        return self._per_series(_floors)

    def largest(self) -> Floats:
        """Return the largest |value| in the history of each series, (N,); 0 where there is none."""
        return self._per_series(_largest)

    def whole_numbers(self) -> NDArray[np.bool_]:
        """Return whether all observed values of each series are whole numbers, (N,); true without a value."""
        return self._per_series(_whole_numbers)

    def padded_history(self, steps: int) -> Floats:
        """Return the last `steps` values of every series, (N, steps), right-aligned, NaN before the start."""
        return self._take_steps(
            self.target, self.lengths[:, None] - steps + np.arange(steps), self.lengths
        )

    def future_target(self, horizon: int, *, available: bool = False) -> Floats:
        """Return the values after the cutoff, (N, horizon), NaN where the table does not hold them.

        Args:
            horizon: Steps after the cutoff.
            available: Give NaN where the item could not be bought, too: a sale there is not its demand.
        """
        steps = self.lengths[:, None] + np.arange(horizon)
        values = self._take_steps(self.target, steps, self.extents)
        if available and self.available is not None:
            values[self._take_steps(self.available, steps, self.extents) == 0] = np.nan
        return values

    def _take_steps(self, values: NDArray[Any], steps: Ints, limits: Ints) -> Floats:
        """Return the values at steps (N, S) of each series; NaN before step 0 and from the limit (N,) on."""
        inside = (steps >= 0) & (steps < limits[:, None])
        rows = np.where(inside, self.begins[:, None] + steps, 0)
        return np.where(inside, values[rows], np.float32(np.nan))

    def select(self, series: Any) -> Panel:
        """Return a panel of some series, in the given order, which shares the flat arrays with this one.

        Args:
            series: Row numbers of series, or a mask, (N,). Or keys: a text, a tuple of all key columns, a
                dict of some of them (`{"store": 1}` takes every series of the store), or a list of these.

        Raises:
            DataError: No series has a key; the message names the nearest.
        """
        keys = [series] if isinstance(series, (str, tuple, Mapping)) else series
        if isinstance(keys, list) and any(isinstance(k, (str, tuple, Mapping)) for k in keys):
            index = np.concatenate([find_rows(self.keys, key) for key in keys])
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
        """Return the panel as it was `steps` steps earlier, without the series that had not begun.

        `future_target` reads the values that were held out. Covariates known ahead stay known.
        """
        lengths = self.lengths - steps
        if not (lengths > 0).any():
            raise DataError(
                f"no series is longer than {steps} steps (the longest has {self.lengths.max(initial=0)}), "
                "so no history is left to fit on; use a smaller horizon or fewer folds"
            )
        return replace(self, lengths=lengths).select(lengths > 0)

    def truncate(self, cutoff: Any) -> Panel:
        """Return the panel as it was at the timestamp `cutoff` (included), without series that begin later."""
        raw = (
            np.asarray([cutoff]) if self.freq.is_integer else np.asarray([cutoff], "datetime64[us]")
        )
        last = int(self.freq.ordinal(raw)[0])
        lengths = np.minimum(self.lengths, last - self.starts + 1)
        if not (lengths > 0).any():
            raise DataError(f"no series begins at or before {cutoff}; choose a later cutoff")
        return replace(self, lengths=lengths).select(lengths > 0)

    def summary(self) -> dict[str, Any]:
        """Return the panel's main figures: series, steps, first and last time, shares of missing and zero values."""
        observed, zeros, total = 0, 0, 0.0
        for part in self.parts():
            values = part.target[part.history_rows()]
            values = values[~np.isnan(values)]
            observed, zeros = observed + len(values), zeros + int((values == 0).sum())
            total += float(values.sum(dtype=np.float64))
        first, last = self.freq.times(np.array([self.starts.min(), self.ends().max()]))
        return {
            "series": self.n_series,
            "steps": self.n_steps,
            "frequency": self.schema.freq,
            "first": _stamp(first),
            "last": _stamp(last),
            "shortest": int(self.lengths.min()),
            "longest": int(self.lengths.max()),
            "missing": 1 - observed / max(1, self.n_steps),
            "zeros": zeros / observed if observed else 0.0,
            "mean": total / observed if observed else float("nan"),
        }

    def profile(self, *, cuts: str = "syntetos_boylan") -> pl.DataFrame:
        """Return the demand class of each series, one row a series; see `demandcast.panel.classes`.

        Args:
            cuts: "syntetos_boylan" (ADI 1.32, CV2 0.49) or "kostenko_hyndman" (4/3, 0.5).

        Returns:
            The key columns, `steps`, `demands`, `adi`, `cv2`, `class` (smooth, erratic, intermittent,
            lumpy, or insufficient below 5 demands), `fading`, `new`, `freq`.

        Raises:
            ConfigError: `cuts` is not known.
        """
        return pl.concat([profile(part, cuts=cuts) for part in self.parts()])

    def total(self, by: str | Sequence[str] = (), *, steps: str | None = None) -> Panel:
        """Add series up by group: one series for each value of key columns or static categories.

        A step at which a series of the group was not observed is not observed in the total. A series counts from
        its first step to its last. Covariates are left out.

        Args:
            by: The columns; all series together for none, under the key `series`, "total". The key columns leave
                series as they are.
            steps: "week" (from Monday), "month", "quarter", "year" or a frequency: add up to such steps, too. Steps that
                the history holds in part, at its start and end, are left out, which a note says.

        Raises:
            SchemaError: A column is neither a key nor a static category.
            DataError: A series holds no whole step.
            FrequencyError: The times cannot be rounded to such steps.
        """
        added = add_up(self, [by] if isinstance(by, str) else by)
        return added if steps is None else add_steps(added, steps)

    def unconstrained(self, levels: Sequence[float] | float = (0.1, 0.9)) -> pl.DataFrame:
        """Estimate past demand where the item could not be bought, given what was sold.

        The sale of an unavailable step is taken as the stock of that step: a lower bound of demand. Where the table says
        for which share of the step the item was there, it is the demand of that part, and the rest is estimated. The module
        `demandcast.panel.unconstrained` describes the model.

        Args:
            levels: Quantile levels of demand, increasing, each in (0, 1).

        Returns:
            One row for each series and step of history: the key, the time, the target as it was sold, `available`,
            `mean` (expected demand) and a column for each level. At available steps demand is what was sold.
            Where the table has a column of one of these names, ours is "demand_mean" and so on.

        Raises:
            DataError: The panel does not say when an item could not be bought.
        """
        return unconstrained(self, levels)

    def suspected_stock_outs(self) -> pl.DataFrame:
        """List runs of zeros that look like stock-outs: a steady seller falls to zero and comes back.

        Nothing is changed. To have them taken as stock-outs, name a column that flags them: `available`.

        Returns:
            One row for each run: the key, its `first` and `last` time, its `steps`, and `zeros_otherwise`, the share
            of zeros among the other steps of the series.
        """
        return find_suspected(self)

    def impute_demand(self, seed: int = 0, *, known: bool = True) -> Panel:
        """Return the panel with demand drawn for the steps at which the item could not be bought.

        Each value is one draw from the distribution that `unconstrained` describes, so the mean and the spread of
        the history are those of demand. Draws depend on the key and the seed alone.

        Args:
            seed: Of the draws.
            known: Use the effects of covariates known ahead, estimated over all series of the panel.
        """
        return impute(self, seed, known=known)

    def with_successors(self, table: Any) -> Panel:
        """Return the panel in which new items have the history of the items they replace, up to their own first step.

        An item without any history gets that of its predecessor whole, and becomes a series of the panel. Steps between
        the two are not observed. A note says what was taken. The predecessors stay in the panel.

        Args:
            table: A frame with the key columns and `predecessor`, the key of the item replaced; of several key
                columns, `predecessor_<column>` for each one in which it differs. Rows without a value have none. A
                stock table with such a column will do.

        Raises:
            SchemaError: A column is absent or of no key column.
            DataError: A predecessor has no history here, or items replace each other.
        """
        try:
            frame = nw.from_native(table, eager_only=True).to_polars()
        except TypeError:
            raise SchemaError(
                f"predecessors are in a frame of pandas, polars or pyarrow, not {type(table).__name__}; read the file first"
            ) from None
        return with_successors(self, frame)

    def mask_unavailable(self) -> Panel:
        """Return the panel with the steps at which the item could not be bought as not observed."""
        if self.available is None:
            return self
        return self.with_demand(np.where(self.available, self.target, np.float32(np.nan)))

    def with_demand(self, target: Floats) -> Panel:
        """Return the panel with a target that is demand at every step, (T_total,): nothing is unavailable in it."""
        return replace(
            self,
            target=target,
            available=None,
            share=None,
            schema=replace(self.schema, available=None),
        )

    def __repr__(self) -> str:
        s = self.summary()
        return (
            f"Panel({s['series']:,} series, {s['steps']:,} steps of {s['frequency']}, "
            f"{s['first']} .. {s['last']}, {s['zeros']:.0%} zeros, {s['missing']:.1%} missing)"
        )

    def _repr_html_(self) -> str:
        s = self.summary()
        facts = s | {
            "steps": f"{s['steps']:,}",
            "missing": f"{s['missing']:.1%}",
            "zeros": f"{s['zeros']:.0%}",
            "mean": f"{s['mean']:.4g}",
        }
        rows = "".join(
            f"<tr><th>{k}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items()
        )
        notes = "".join(f"<li>{html.escape(str(n))}</li>" for n in self.notes)
        return f"<b>Panel</b><table>{rows}</table><ul>{notes}</ul>"


def _n_observed(panel: Panel, last: int | None = None) -> Ints:
    """Compute `Panel.n_observed` for a panel in memory."""
    sums = np.concatenate([[0], np.cumsum(~np.isnan(panel.target))])
    ends = panel.begins + panel.lengths
    first = panel.begins if last is None else np.maximum(panel.begins, ends - last)
    return np.asarray(sums[ends] - sums[first], np.int64)


def _n_unavailable(panel: Panel) -> Ints:
    """Compute `Panel.n_unavailable` for a panel in memory."""
    if panel.available is None:
        return np.zeros(panel.n_series, np.int64)
    sums = np.concatenate([[0], np.cumsum(~panel.available)])
    return np.asarray(sums[panel.begins + panel.lengths] - sums[panel.begins], np.int64)


def _floors(panel: Panel) -> Floats:
    """Compute `Panel.floors` for a panel in memory."""
    smallest = np.minimum.reduceat(
        np.append(np.nan_to_num(panel.target, nan=np.inf), np.inf),
        np.stack([panel.begins, panel.begins + panel.lengths], 1).ravel(),
    )[::2]
    return np.where(smallest >= 0, 0, -np.inf).astype(np.float32)


def _largest(panel: Panel) -> Floats:
    """Compute `Panel.largest` for a panel in memory."""
    largest = np.maximum.reduceat(
        np.append(np.abs(np.nan_to_num(panel.target, nan=0.0)), np.float32(0)),
        np.stack([panel.begins, panel.begins + panel.lengths], 1).ravel(),
    )[::2]
    return np.where(panel.lengths > 0, largest, 0).astype(np.float32)


def _whole_numbers(panel: Panel) -> NDArray[np.bool_]:
    """Compute `Panel.whole_numbers` for a panel in memory."""
    fractional = np.nan_to_num(panel.target) % 1 != 0
    sums = np.concatenate([[0], np.cumsum(fractional)])
    return np.asarray(sums[panel.begins + panel.lengths] == sums[panel.begins])


def _stamp(time: Any) -> str:
    """Return a time without the parts that are zero: 2024-03-01, or 2024-03-01T08:00."""
    return (
        str(np.datetime_as_string(time, unit="auto"))
        if isinstance(time, np.datetime64)
        else str(time)
    )
