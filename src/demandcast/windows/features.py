"""Remember the inputs of a fitted model: their names, and the means and deviations that standardise them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from demandcast.errors import NotFittedError, SchemaError, way
from demandcast.forecaster import C, ConfiguredForecaster
from demandcast.frames.steps_ahead import require_known
from demandcast.panel.align import align
from demandcast.panel.panel import Panel

SERIES = "(series)"  # the vocabulary of the series' own keys, beside those of the static columns


@dataclass(frozen=True, kw_only=True)
class Features:
    """Names, means and deviations of the inputs, taken once from the panel that is fitted on.

    Attributes:
        lags: Steps back at which the target is an input of its own, increasing.
        known, past, static_reals: name -> (mean, standard deviation, has gaps).
        scale: Mean and deviation of the logarithm of the series' mean|z|, by which the logarithm of a
            window's scale becomes an input that does not depend on the target's unit.
        vocabularies: Static column -> its values; `SERIES` -> the keys, if series have embeddings.
        calendar: Whether the calendar and the age of the series are inputs.
    """

    freq: str
    lags: tuple[int, ...]
    known: dict[str, tuple[float, float, bool]]
    past: dict[str, tuple[float, float, bool]]
    static_reals: dict[str, tuple[float, float, bool]]
    vocabularies: dict[str, tuple[str, ...]]
    calendar: bool = True
    scale: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def of(
        cls,
        panel: Panel,
        lags: tuple[int, ...],
        *,
        series: bool = False,
        takes: Collection[str] = ("known", "past", "static"),
    ) -> Features:
        """Take from a panel the inputs that a model reads.

        One that takes nothing known ahead does not read the calendar either, which is so known.
        """
        static = "static" in takes
        vocabularies = dict(panel.vocabularies) if static else {}
        if series:
            vocabularies[SERIES] = tuple(panel.key(i) for i in range(panel.n_series))
        return cls(
            freq=panel.schema.freq,
            lags=lags,
            known=_column_moments((p.known for p in panel.parts()), panel.known_names)
            if "known" in takes
            else {},
            past=_column_moments(
                (p.past[p.history_rows()] for p in panel.parts()), panel.past_names
            )
            if "past" in takes
            else {},
            static_reals=_column_moments([panel.static_reals], panel.static_real_names)
            if static
            else {},
            vocabularies=vocabularies,
            calendar="known" in takes,
            scale=_spread(mean_sizes(panel, panel.lengths)),
        )

    def align(self, panel: Panel) -> Panel:
        """Return a newer panel with its covariates and attributes as at the fit; see `panel.align`."""
        return align(
            panel,
            known=tuple(self.known),
            past=tuple(self.past),
            vocabularies=[name for name in self.vocabularies if name != SERIES],
            reals=tuple(self.static_reals),
        )

    def check(self, panel: Panel) -> None:
        """Refuse a panel that lacks what the model was fitted with."""
        if panel.schema.freq != self.freq:
            raise SchemaError(
                f"the model was fitted on steps of {self.freq!r} but this panel has {panel.schema.freq!r}; "
                "fit the model on it, or read it with",
                option="freq", found=panel.schema.freq, expected=self.freq, ways=[way(freq=self.freq)],
            )  # fmt: skip
        statics = [name for name in self.vocabularies if name != SERIES]
        for role, required, available in (
            ("known", list(self.known), panel.known_names),
            ("past", list(self.past), panel.past_names),
            ("static", statics, tuple(panel.vocabularies)),
            ("static", list(self.static_reals), panel.static_real_names),
        ):
            missing = [name for name in required if name not in available]
            if missing:
                raise SchemaError(
                    f"the model was fitted with {role} column(s) {', '.join(map(repr, missing))}, which this "
                    f"panel has not; read it with {role}={required!r}, or fit the model on it"
                )

    def codes(self, panel: Panel) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return static categories of the panel in this vocabulary, (N, K); 0 where a value is new."""
        columns = []
        for name, values in self.vocabularies.items():
            if name == SERIES:
                present = tuple(panel.key(i) for i in range(panel.n_series))
                codes = np.arange(1, panel.n_series + 1)
            else:
                present = panel.vocabularies[name]
                codes = panel.static_codes[:, list(panel.vocabularies).index(name)]
            if present == values:
                columns.append(codes)
                continue
            place = {value: code for code, value in enumerate(values, start=1)}
            table = np.array([0, *(place.get(value, 0) for value in present)], np.int64)
            columns.append(table[codes])
        return np.stack(columns, 1) if columns else np.zeros((panel.n_series, 0), np.int64)


def mean_sizes(
    panel: Panel, ends: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return mean|z| of the observed values of each series before a step, (N,); 0 where there are none."""
    sizes, first = [], 0
    for part in panel.parts():
        stops = part.begins + ends[first : first + part.n_series]
        first += part.n_series
        order = np.argsort(part.begins, kind="stable")
        edges = np.stack([part.begins, stops], 1)[order].ravel()
        values = np.append(np.abs(np.nan_to_num(part.target)), np.float32(0.0))
        observed = np.append(~np.isnan(part.target), False)
        # series by series: in running sums over the whole table small values drown in large ones
        sums = np.add.reduceat(values, edges, dtype=np.float64)[::2]
        counts = np.add.reduceat(observed, edges, dtype=np.int64)[::2]
        size = np.zeros(part.n_series)
        size[order] = np.where(edges[1::2] > edges[::2], sums / np.maximum(counts, 1), 0.0)
        sizes.append(size)
    return np.concatenate(sizes)


def _spread(sizes: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return mean and deviation of the logarithm of sizes above 0; the deviation is at least 1."""
    logs = np.log(sizes[sizes > 0])
    return (float(logs.mean()), max(float(logs.std()), 1.0)) if len(logs) else (0.0, 1.0)


def _column_moments(
    parts: Iterable[np.ndarray[Any, np.dtype[np.float32]]], names: tuple[str, ...]
) -> dict[str, tuple[float, float, bool]]:
    """Return mean, deviation and whether there are gaps of each column, from values given part by part."""
    if not names:
        return {}
    moments = [[_moments(values[:, i]) for i in range(len(names))] for values in parts]
    footing = {}
    for i, name in enumerate(names):
        count, mean, deviation, gaps = moments[0][i]
        for more, at, spread, missing in (part[i] for part in moments[1:]):
            both = max(count + more, 1)
            apart = (at - mean) ** 2 * count * more / both**2
            deviation = ((deviation**2 * count + spread**2 * more) / both + apart) ** 0.5
            mean += (at - mean) * more / both
            count, gaps = count + more, gaps + missing
        footing[name] = (mean, deviation if deviation > 1e-8 else 1.0, gaps > 0)
    return footing


def _moments(values: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[int, float, float, int]:
    """Count the values, take their mean and deviation, and count the missing ones."""
    column = pl.Series(values).fill_nan(None)
    mean = column.mean()
    deviation = column.cast(pl.Float64).std(ddof=0)
    mean = float(mean) if isinstance(mean, (int, float)) else 0.0
    deviation = float(deviation) if isinstance(deviation, (int, float)) else 0.0
    gaps = column.null_count()
    return len(column) - gaps, mean, deviation, gaps


class FeatureForecaster(ConfiguredForecaster[C]):
    """A method that learns in `fit` which inputs there are, and reads the same ones later."""

    learned: ClassVar[tuple[str, ...]] = ("features",)  # attributes that are None before `fit`
    features: Features | None = None

    def align(self, panel: Panel) -> Panel:
        return panel if self.features is None else self.features.align(panel)

    def _check_fitted(self) -> None:
        if any(getattr(self, name) is None for name in self.learned):
            raise NotFittedError(f"{self.name} is not fitted; call model.fit(panel) first")

    def _check_readable(self, panel: Panel) -> None:
        assert self.features is not None
        self.features.check(panel)
        require_known(panel, tuple(self.features.known), self.horizon)
