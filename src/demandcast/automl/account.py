"""The account of a blend: scores of all methods tried, coverage and weights by class of demand, covariates.

All figures are of the validation windows. The weights of the blend were chosen on the same windows, so its own figures
are slightly optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast import registry
from demandcast.automl.blend import DECILES, Blend, Evidence
from demandcast.automl.ensemble import Ensemble
from demandcast.automl.member import Member
from demandcast.automl.portfolio import NAIVE
from demandcast.automl.validation import BLEND_LEVELS, Validation
from demandcast.errors import CheckpointError
from demandcast.evaluate.quantile_metrics import wql
from demandcast.panel.classes import CLASSES
from demandcast.panel.panel import Panel

Floats = NDArray[np.float32]
INTERVALS = {80: (0.1, 0.9), 90: (0.05, 0.95), 98: (0.01, 0.99)}
SAVED = ("board", "coverage", "reasons")
ALL = "all"  # the row that stands for every class


@dataclass(frozen=True)
class Account:
    """The report of a search, as frames.

    Attributes:
        board: A row for each method and the blend; see `Auto.leaderboard`.
        coverage: A row for each class of demand; see `Auto.coverage`.
        reasons: A row for each class and method; see `Auto.explain`.
        held_out: What the blend forecast in validation; not saved.
    """

    board: pl.DataFrame
    coverage: pl.DataFrame
    reasons: pl.DataFrame
    held_out: HeldOut | None = None

    @classmethod
    def of(
        cls,
        members: list[Member],
        evidence: Evidence,
        blend: Blend,
        blended: Floats,
        allowed: NDArray[np.bool_],
        name: str,
        validation: Validation,
    ) -> Account:
        """Build the report from members, their weights, and the blend's forecasts in validation, (R, Q)."""
        weights = blend.weights(evidence.group, evidence.series)
        return cls(
            _board(members, evidence, weights.mean(0), blended, name),
            _coverage(evidence, blended),
            _reasons(members, evidence, blend, allowed),
            HeldOut.of(validation, members, evidence, blended),
        )

    def verdict(self, ensemble: Ensemble, name: str, ahead: int) -> str:
        """Return a paragraph: what the forecast is made of, and whether it beats the naive one."""
        row = self.board.filter(pl.col("model") == name).row(0, named=True)
        tried, blend = self.board.height - 1, ensemble.blend
        text = f"The forecast blends {ensemble.parts()}, the best of {tried} methods tried"
        ratio = row["vs_seasonal_naive"]
        if ratio is not None:
            value = f"{1 - ratio:.0%} better" if ratio < 1 else "no better"
            text += f"; on the last {ahead} steps held out it is {value} than the seasonal naive"
        how = "distributions mixed" if blend.mixed else "quantiles averaged"
        text += f" (wQL {row['wql']:.3g}, {how}"
        text += ", weights by class of demand" if blend.by_group else ""
        text += ", and by series" if blend.tilts is not None else ""
        text += ensemble.adjustment.describe() if ensemble.adjustment is not None else ""
        if ensemble.zeros:
            text += f", quantiles up to {BLEND_LEVELS[ensemble.zeros - 1]:g} at 0, which does no worse there"
        return text + f"). Its 80 % interval held {row['coverage_80']:.0%} of what came."

    def to_dict(self) -> dict[str, Any]:
        return {k: getattr(self, k).to_dicts() for k in SAVED}

    @classmethod
    def from_dict(cls, rows: dict[str, Any]) -> Account:
        """Read what `to_dict` wrote.

        Raises:
            CheckpointError: The rows are not those of tables.
        """
        try:
            board, coverage, reasons = (
                pl.DataFrame(rows[k], infer_schema_length=None) for k in SAVED
            )
        except (pl.exceptions.PolarsError, KeyError) as error:
            raise CheckpointError(f"the account of the search is damaged: {error}") from error
        return cls(board, coverage, reasons)


@dataclass(frozen=True)
class HeldOut:
    """The blend's forecasts of the windows held out, a row for each value that was observed.

    Attributes:
        keys: The key columns of the series searched.
        series: Row of `keys`, (R,).
        cutoff: Grid step of the last value that the forecast knew, (R,).
        step: Steps ahead, from 0, (R,).
        actual: Values that came, (R,).
        quantiles: At `BLEND_LEVELS`, (R, Q).
        naive: The same of the seasonal naive, (R, Q), or None.
    """

    keys: pl.DataFrame
    series: NDArray[np.int64]
    cutoff: NDArray[np.int64]
    step: NDArray[np.int64]
    actual: NDArray[np.float64]
    quantiles: Floats
    naive: Floats | None

    @classmethod
    def of(
        cls,
        validation: Validation,
        members: list[Member],
        evidence: Evidence,
        blended: Floats,
    ) -> HeldOut:
        """Collect the errors of the blend in validation, from its quantiles (R, Q)."""
        folds = validation.folds
        ends = np.concatenate([fold.known.ends()[fold.rows] for fold in folds])
        keys = pl.concat([fold.known.keys[fold.rows.tolist()] for fold in folds])
        numbers = np.concatenate([fold.series for fold in folds])
        _, first, series = np.unique(numbers, return_index=True, return_inverse=True)
        return cls(
            keys=keys[first.tolist()],
            series=series[evidence.cell],
            cutoff=ends[evidence.cell],
            step=evidence.step,
            actual=evidence.actual,
            quantiles=blended,
            naive=next((m.quantiles for m in members if m.name == NAIVE), None),
        )

    def errors(self, keys: pl.DataFrame) -> tuple[NDArray[np.float64], ...]:
        """Return the absolute error of the median, of the blend and of the seasonal naive, and what came.

        Args:
            keys: The series asked for, (N rows).

        Returns:
            Three sums over all windows, (N,), NaN for series that were not scored.
        """
        row = self._rows(keys)
        median = BLEND_LEVELS.index(0.5)
        naive = np.full(len(self.actual), np.nan) if self.naive is None else self.naive[:, median]
        missed = (self.actual - self.quantiles[:, median], self.actual - naive, self.actual)
        sums = (np.bincount(self.series, np.abs(v), self.keys.height) for v in missed)
        return tuple(np.where(row >= 0, s[np.maximum(row, 0)], np.nan) for s in sums)

    def last(
        self, keys: pl.DataFrame
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats, Floats] | None:
        """Return the forecasts from the last cutoff of each series that was scored.

        Args:
            keys: The series asked for.

        Returns:
            Rows of `keys`, (M,); cutoffs, (M,); and the quantiles at 0.1, 0.5 and 0.9, (M, steps), NaN where
            nothing was observed. None where no series asked for was scored.
        """
        row = self._rows(keys)
        latest = np.full(self.keys.height, np.iinfo(np.int64).min)
        np.maximum.at(latest, self.series, self.cutoff)
        wanted = np.flatnonzero(row >= 0)
        wanted = wanted[latest[row[wanted]] > np.iinfo(np.int64).min]
        if not len(wanted):
            return None
        place = np.full(self.keys.height, -1, np.int64)
        place[row[wanted]] = np.arange(len(wanted))
        entries = np.flatnonzero((self.cutoff == latest[self.series]) & (place[self.series] >= 0))
        grids = []
        for level in (0.1, 0.5, 0.9):
            values = np.full((len(wanted), int(self.step.max()) + 1), np.nan, np.float32)
            values[place[self.series[entries]], self.step[entries]] = self.quantiles[
                entries, BLEND_LEVELS.index(level)
            ]
            grids.append(values)
        return wanted, latest[row[wanted]], grids[0], grids[1], grids[2]

    def _rows(self, keys: pl.DataFrame) -> NDArray[np.int64]:
        """Return the row of `self.keys` of each series asked for, -1 where it was not searched."""
        place = {key: i for i, key in enumerate(self.keys.iter_rows())}
        return np.array([place.get(key, -1) for key in keys.iter_rows()], np.int64)


def _wql(evidence: Evidence, quantiles: Floats, rows: NDArray[np.bool_] | slice) -> float:
    columns = [BLEND_LEVELS.index(level) for level in DECILES]
    return wql(evidence.actual[rows, None], quantiles[rows][:, None][..., columns], DECILES)


def _coverage_shares(
    evidence: Evidence, quantiles: Floats, rows: Any = slice(None)
) -> dict[str, float]:
    """Return the share of observed values inside each interval."""
    actual, shares = evidence.actual[rows], {}
    for percent, (low, high) in INTERVALS.items():
        a, b = (quantiles[rows][:, BLEND_LEVELS.index(level)] for level in (low, high))
        shares[f"coverage_{percent}"] = float(((actual >= a) & (actual <= b)).mean())
    return shares


def _board(
    members: list[Member],
    evidence: Evidence,
    weights: NDArray[np.float64],
    blended: Floats,
    name: str,
) -> pl.DataFrame:
    every: list[tuple[str, Floats, float, Member | None]] = [(name, blended, 1.0, None)]
    every += [(m.name, m.quantiles, float(w), m) for m, w in zip(members, weights, strict=True)]
    naive = next((m for m in members if m.name == NAIVE), None)
    yardstick = _wql(evidence, naive.quantiles, slice(None)) if naive is not None else 0.0
    rows = []
    for label, quantiles, weight, member in every:
        score = _wql(evidence, quantiles, slice(None))
        ratio = score / yardstick if yardstick else None
        rows.append(
            {
                "model": label,
                "wql": score,
                "vs_seasonal_naive": ratio,
                "value_added": None if ratio is None else 100 * (1 - ratio),
                **_coverage_shares(evidence, quantiles),
                "weight": weight,
                "fit_seconds": member.fit_seconds if member else None,
                "predict_seconds": member.predict_seconds if member else None,
            }
        )
    board = pl.DataFrame(rows, infer_schema_length=None)
    kinds = ("vs_seasonal_naive", "value_added", "fit_seconds", "predict_seconds")
    return board.with_columns(pl.col(kinds).cast(pl.Float64)).sort("wql")


def _coverage(evidence: Evidence, blended: Floats) -> pl.DataFrame:
    rows = []
    for label, mask in _classes(evidence):
        rows.append(
            {
                "class": label,
                "series": len(np.unique(evidence.series[mask])),
                "values": len(evidence.series[mask]),
                **_coverage_shares(evidence, blended, mask),
            }
        )
    return pl.DataFrame(rows)


def _classes(evidence: Evidence) -> list[tuple[str, Any]]:
    there = [(CLASSES[code], evidence.group == code) for code in np.unique(evidence.group)]
    return [(ALL, slice(None)), *there]


def _reasons(
    members: list[Member], evidence: Evidence, blend: Blend, allowed: NDArray[np.bool_]
) -> pl.DataFrame:
    naive = next((m for m in members if m.name == NAIVE), None)
    rows = []
    for label, mask in _classes(evidence):
        code = CLASSES.index(label) if label != ALL else -1
        weights = blend.by_group.get(code, blend.shared)
        scores = [_wql(evidence, m.quantiles, mask) for m in members]
        yardstick = _wql(evidence, naive.quantiles, mask) if naive is not None else float("nan")
        best = int(np.nanargmin(np.where(allowed, scores, np.inf)))
        for i, (member, score) in enumerate(zip(members, scores, strict=True)):
            rows.append(
                {
                    "class": label,
                    "model": member.name,
                    "weight": float(weights[i]),
                    "wql": score,
                    "vs_seasonal_naive": score / yardstick if yardstick else None,
                    "why": _why(member, weights[i], i == best, bool(allowed[i]), score, yardstick),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _why(
    member: Member, weight: float, best: bool, allowed: bool, score: float, yardstick: float
) -> str:
    if weight > 0:
        if member.name == NAIVE:
            return "nothing beats it"
        return "the best alone" if best else "lowers the loss beside the others"
    if member.name == NAIVE:
        return "the yardstick"
    if not allowed:
        loses = score >= yardstick
        return (
            "does not beat the seasonal naive"
            if loses
            else "too slow for all series, or no better by the metric"
        )
    return "adds nothing to the others"


# What covariates are worth


def importance(
    validation: Validation, members: list[Member], blend: Blend, rng: np.random.Generator
) -> pl.DataFrame:
    """Return by how much the blend's loss rises when a covariate is permuted, one row per covariate.

    Covariates known ahead and past ones are moved along each series by a random number of steps, ends
    joined; static ones are dealt out anew among the series. Members that read none are asked once.
    """
    used = [i for i, m in enumerate(members) if m.validated is not None]
    reads = [i for i in used if members[i].models[0].takes != "target"]
    tried_mask = np.array([float(i in used) for i in range(len(members))])

    def loss(parts: list[tuple[Floats, Floats]]) -> float:
        evidence = validation.evidence(
            np.stack([q for q, _ in parts]), np.stack([m for _, m in parts])
        )
        weights = blend.weights(evidence.group, evidence.series) * tried_mask
        weights = weights[:, used] / np.maximum(weights.sum(1, keepdims=True), 1e-12)
        blended = blend.combine(evidence.quantiles, weights, BLEND_LEVELS)
        return evidence.loss(blended, blend.mean(evidence.means, weights))

    plain = [(members[i].quantiles, members[i].means) for i in used]
    base = loss(plain)
    rows = []
    for role, name in covariates(validation.first):
        mixed = replace(
            validation,
            folds=tuple(
                replace(f, known=permute_covariate(f.known, role, name, rng))
                for f in validation.folds
            ),
        )
        parts = []
        for i, known in zip(used, plain, strict=True):
            if i not in reads:
                parts.append(known)
                continue
            validated: Any = members[i].validated
            if not members[i].learns:
                validated = registry.create(members[i].name, **validated.hyperparameters())
            parts.append(mixed.forecast(validated, refit=not members[i].learns))
        rows.append({"covariate": name, "role": role, "importance": 100 * (loss(parts) / base - 1)})
    schema = {"covariate": pl.String, "role": pl.String, "importance": pl.Float64}
    return pl.DataFrame(rows, schema=schema).sort("importance", descending=True)


def covariates(panel: Panel) -> list[tuple[str, str]]:
    """Return the role and name of each covariate."""
    return [
        *(("known", name) for name in panel.known_names),
        *(("past", name) for name in panel.past_names),
        *(("static", name) for name in (*panel.vocabularies, *panel.static_real_names)),
    ]


def permute_covariate(panel: Panel, role: str, name: str, rng: np.random.Generator) -> Panel:
    """Return the same panel with the values of one covariate permuted."""
    if role == "static":
        order = rng.permutation(panel.n_series)
        if name in panel.vocabularies:
            codes, j = panel.static_codes.copy(), list(panel.vocabularies).index(name)
            codes[:, j] = codes[order, j]
            return replace(panel, static_codes=codes)
        reals, j = panel.static_reals.copy(), panel.static_real_names.index(name)
        reals[:, j] = reals[order, j]
        return replace(panel, static_reals=reals)
    names = panel.known_names if role == "known" else panel.past_names
    values, j = (panel.known if role == "known" else panel.past).copy(), names.index(name)
    extents = panel.extents
    series = np.repeat(np.arange(panel.n_series), extents)
    place = np.arange(len(series)) - np.repeat(np.cumsum(extents) - extents, extents)
    moved = (place + rng.integers(1, np.maximum(extents, 2))[series]) % extents[series]
    begins = panel.begins[series]
    values[begins + place, j] = values[begins + moved, j]
    return replace(panel, known=values) if role == "known" else replace(panel, past=values)
