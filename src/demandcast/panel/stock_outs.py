"""Find runs of zeros that look like stock-outs nobody flagged: a steady seller falls to zero and comes back.

With p0 the share of zeros among the other observed steps of a series, a run of L zeros has the probability p0^L to
begin at a given step. A run is suspected where one such run or a longer one is expected less than `EXPECTED` times
among all the steps of the series. Steps at which most series stand still, such as holidays, are no stock-outs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import way
from demandcast.panel.note import Note
from demandcast.panel.time_column import time_column

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Ints = NDArray[np.int64]
EXPECTED = 0.001  # runs by chance among the steps of one series
MIN_STEPS = 30  # observed steps of a series that can be judged
MAX_ZERO_SHARE = 0.5  # share of zeros below which a series sells steadily
MIN_SERIES = 5  # from so many series on, steps at which most of them are zero are left out
CLOSED_SHARE = 0.8  # share of the series that is zero at such a step


def find_suspected(panel: Panel) -> pl.DataFrame:
    """Find suspected stock-outs; the columns are those of `Panel.suspected_stock_outs`."""
    return pl.concat([_find_runs(part) for part in panel.parts()])


def note_of_suspected(panel: Panel) -> list[Note]:
    """Return a note on the suspected stock-outs; none where there are none or the panel has its own flags."""
    if panel.available is not None:
        return []
    runs = find_suspected(panel)
    if not runs.height:
        return []
    worst = runs.row(int(np.argmax(runs["steps"].to_numpy())), named=True)
    series = "/".join(str(worst[k]) for k in panel.keys.columns)
    at = f"{worst['first']} to {worst['last']}"
    return [
        Note(
            kind="suspected stock-outs", count=int(runs["steps"].sum()),
            series=runs.select(panel.keys.columns).n_unique() if panel.keys.columns else 1,
            example=f"{series}, {at}" if series else at,
            done="zeros of steady sellers that came back, taken as no demand; name the column that says when "
            "an item could be bought:",
            ways=(way("panel.suspected_stock_outs() lists them", available="in_stock"),),
        )
    ]  # fmt: skip


def _find_runs(panel: Panel) -> pl.DataFrame:
    first = np.cumsum(panel.lengths) - panel.lengths
    rows = panel.history_rows()
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    values = panel.target[rows]
    if panel.available is not None:
        values = np.where(panel.available[rows], values, np.float32(np.nan))
    zero = values == 0
    begin, length = _runs(zero, series)
    end = begin + length
    # both neighbours are demands of the same series
    inside = (begin > first[series[begin]]) & (end < (first + panel.lengths)[series[begin]])
    begin, length, end = begin[inside], length[inside], end[inside]
    sold = (values[begin - 1] > 0) & (values[end] > 0)
    begin, length = begin[sold], length[sold]
    series_of_run = series[begin]
    observed = np.bincount(series[~np.isnan(values)], minlength=panel.n_series)[series_of_run]
    zeros = np.bincount(series[zero], minlength=panel.n_series)[series_of_run]
    n_outside = observed - length
    share = (zeros - length + 0.5) / np.maximum(n_outside + 1, 1)
    rare = np.log(observed) + length * np.log(share) < np.log(EXPECTED)
    steady = (share < MAX_ZERO_SHARE) & rare
    is_run = (
        steady & (observed >= MIN_STEPS) & ~_is_closed(panel, zero, rows, series, begin, length)
    )
    begin, length, series_of_run = begin[is_run], length[is_run], series_of_run[is_run]
    step = panel.starts[series_of_run] + begin - first[series_of_run]
    times = partial(time_column, panel.schema, zone=panel.time_zone, dtype=panel.time_dtype)
    runs = pl.DataFrame(
        {
            "first": times(step),
            "last": times(step + length - 1),
            "steps": length,
            "zeros_otherwise": share[is_run],
        }
    )
    keyed: pl.DataFrame = pl.concat([panel.keys[series_of_run.tolist()], runs], how="horizontal")
    return keyed


def _runs(zero: NDArray[np.bool_], series: Ints) -> tuple[Ints, Ints]:
    """Return the begin and the length of each run of zeros; a run does not go on in the next series."""
    edge = np.empty(len(zero) + 1, np.bool_)
    edge[0] = edge[-1] = True
    edge[1:-1] = (zero[1:] != zero[:-1]) | (series[1:] != series[:-1])
    at = np.flatnonzero(edge)
    begin, length = at[:-1], np.diff(at)
    of_zeros = zero[begin] if len(zero) else np.zeros(0, np.bool_)
    return begin[of_zeros], length[of_zeros]


def _is_closed(
    panel: Panel, zero: NDArray[np.bool_], rows: Ints, series: Ints, begin: Ints, length: Ints
) -> NDArray[np.bool_]:
    """Return whether most series of the panel are zero at the steps of each run."""
    if panel.n_series < MIN_SERIES or not len(begin):
        return np.zeros(len(begin), np.bool_)
    step = panel.starts[series] + rows - panel.begins[series]
    step -= step.min()
    n_steps = np.bincount(step)
    share = np.bincount(step, zero, len(n_steps)) / np.maximum(n_steps, 1)
    sums = np.concatenate([[0.0], np.cumsum(share)])
    at = step[begin]
    return np.asarray((sums[at + length] - sums[at]) / length >= CLOSED_SHARE)
