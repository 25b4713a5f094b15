"""Laws that hold for every method on every panel: series of any kinds, lengths, gaps and magnitudes.

`make test` runs a few panels a method; `pytest tests/contracts/test_any_panel.py --panels 10000` runs as
many as that (a tenth of it for networks, which are fitted on each).
"""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demandcast import registry
from demandcast.errors import DemandcastError
from demandcast.forecast.forecast import Forecast
from demandcast.local.base import LocalForecaster
from demandcast.local.parts.histories import RESOLVED
from demandcast.models.base import NeuralForecaster
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.99)
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 30, 31, 60, 120, 400)
POWERS = (-12, -6, -3, -1, 0, 0, 0, 0, 1, 3, 6, 9, 12, 15)  # of 10
FREQUENCIES = ("D", "D", "W-MON", "MS", "h", "15min", "B", "QE-DEC", "1", "YS-JAN")
ROOM = 1_000  # times a series' largest value, beyond which a forecast is that of another series


@dataclass(frozen=True)
class Kind:
    """One series: what it looks like, its steps, its power of ten and its gaps."""

    kind: str
    length: int
    power: int = 0
    gaps: str = "none"

    def values(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """The history, (length,), NaN where not observed."""
        n, t = self.length, np.arange(self.length)
        counts = rng.poisson(4, n) * (rng.random(n) < 0.3)
        y: Any = {
            "smooth": lambda: 10 + rng.normal(0, 1, n),
            "season": lambda: 5 + 4 * np.sin(2 * np.pi * t / 7) + rng.normal(0, 0.3, n),
            "trend": lambda: 0.5 * t + rng.normal(0, 1, n),
            "growth": lambda: 1.05 ** np.minimum(t, 200) + rng.random(n),
            "counts": lambda: rng.poisson(3, n),
            "large_counts": lambda: rng.negative_binomial(2, 0.002, n),
            "intermittent": lambda: counts,
            "lumpy": lambda: counts * rng.pareto(1.1, n).round(),
            "reals": lambda: counts * rng.random(n),
            "zeros": lambda: np.zeros(n),
            "constant": lambda: np.full(n, 3.0),
            "last": lambda: np.where(t == n - 1, 7.0, 0.0),
            "first": lambda: np.where(t == 0, 7.0, 0.0),
            "dying": lambda: np.where(t < n // 2, rng.poisson(9, n), 0),
            "negative": lambda: -rng.gamma(2, 3, n),
            "walk": lambda: rng.normal(0, 1, n).cumsum(),
            "two": lambda: np.where(t % 2 == 0, 1.0, 1e3),
        }[self.kind]()
        y = np.asarray(y, np.float64) * 10.0**self.power
        gone = {
            "none": lambda: np.zeros(n, bool),
            "few": lambda: rng.random(n) < 0.1,
            "most": lambda: rng.random(n) < 0.9,
            "leading": lambda: t < n // 2,
            "trailing": lambda: t >= n - n // 2,
            "all": lambda: np.ones(n, bool),
            "but_one": lambda: t != n // 2,
        }[self.gaps]()
        return np.where(gone, np.nan, y)


KINDS = (
    "smooth", "season", "trend", "growth", "counts", "large_counts", "intermittent", "lumpy", "reals",
    "zeros", "constant", "last", "first", "dying", "negative", "walk", "two",
)  # fmt: skip
COUNTED = ("counts", "large_counts", "intermittent", "lumpy", "zeros", "constant", "last", "dying")
GAPS = ("none", "none", "none", "few", "most", "leading", "trailing", "all", "but_one")


@dataclass(frozen=True)
class Case:
    """All that a panel follows from, and how far to forecast it."""

    series: tuple[Kind, ...]
    horizon: int = 3
    freq: str = "D"
    seed: int = 0
    covariates: bool = False
    available: bool = False

    def panel(self) -> Panel:
        """The panel, made without reading a table; what follows the history is not observed."""
        rng = np.random.default_rng(self.seed)
        values = [s.values(rng) for s in self.series]
        lengths = np.array([len(v) for v in values], np.int64)
        extents = lengths + self.horizon
        ahead = np.full(self.horizon, np.nan)
        target = np.concatenate([np.concatenate([v, ahead]) for v in values]).astype(np.float32)
        rows, n = len(target), len(values)
        wide = 2 if self.covariates else 0
        known = rng.normal(0, 10.0 ** rng.integers(-3, 6), (rows, wide)).astype(np.float32)
        past = np.where(rng.random((rows, wide // 2)) < 0.2, np.nan, rng.random((rows, wide // 2)))
        return Panel(
            schema=Schema(
                key=("item",), time="time", target="y", freq=self.freq,
                known=("price", "promo")[:wide], past=("visits",)[: wide // 2],
                static=("group", "size")[:wide], available="sold" if self.available else None,
            ),
            keys=pl.DataFrame({"item": [f"item {i}" for i in range(n)]}),
            target=target,
            begins=np.cumsum(extents) - extents,
            extents=extents,
            lengths=lengths,
            starts=500 - lengths + rng.integers(-3, 4, n),
            known=known,
            past=past.astype(np.float32),
            known_names=("price", "promo")[:wide],
            past_names=("visits",)[: wide // 2],
            available=rng.random(rows) < 0.9 if self.available else None,
            static_codes=rng.integers(0, 3, (n, wide // 2)),
            vocabularies={"group": ("a", "b")} if wide else {},
            static_reals=rng.lognormal(0, 3, (n, wide // 2)).astype(np.float32),
            static_real_names=("size",)[: wide // 2],
        )  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Panels of one to six series, of one magnitude or of several."""
    kinds = draw(st.sampled_from((KINDS, COUNTED)))
    power = st.sampled_from(POWERS if kinds is KINDS else [p for p in POWERS if p >= 0])
    if draw(st.booleans()):
        power = st.just(draw(power))
    one = st.builds(
        Kind, st.sampled_from(kinds), st.sampled_from(LENGTHS), power, st.sampled_from(GAPS)
    )
    return Case(
        series=tuple(draw(st.lists(one, min_size=1, max_size=6))),
        horizon=draw(st.sampled_from((1, 2, 3, 7, 14, 20))),
        freq=draw(st.sampled_from(FREQUENCIES)),
        seed=draw(st.integers(0, 2**31)),
        covariates=draw(st.booleans()),
        available=draw(st.booleans()),
    )


def make(name: str, horizon: int) -> Any:
    kind = registry.get(name)
    if issubclass(kind, NeuralForecaster):
        return registry.create(name, horizon=horizon, max_steps=3, batch_size=8, context=16)
    few = {
        "auto": {"budget": "4 steps", "include": ("seasonal_naive", "tsb", "nlinear")},
        "lightgbm": {"trees": 3, "least": 3},
    }
    return registry.create(name, horizon=horizon, **few.get(name, {}))


def broken(name: str, case: Case) -> Iterator[str]:
    """Laws that a method breaks on a panel, in words."""
    panel = case.panel()
    model = make(name, case.horizon)
    paths = 7 if "paths" in model.gives else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        try:
            quiet = "progress" in inspect.signature(model.fit).parameters
            model.fit(panel, **({"progress": False} if quiet else {}))
            forecast = model.predict(panel, levels=LEVELS, n_samples=paths)
        except DemandcastError as error:
            if len(str(error)) < 30:
                yield f"an error that says little: {error}"
            return
        except Exception as error:
            own = [
                f for f in traceback.extract_tb(error.__traceback__) if "demandcast" in f.filename
            ]
            where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
            yield f"raised {type(error).__name__}: {str(error)[:70]} @ {where}"
            return
    # a method that does not read `available` knows no value of a step at which it could not be bought
    known = panel if "available" in model.takes else panel.mask_unavailable()
    yield from broken_by(name, forecast, known, case.horizon)


def broken_by(name: str, forecast: Forecast, panel: Panel, horizon: int) -> Iterator[str]:
    """Laws that a forecast breaks, in words."""
    shape = (panel.n_series, horizon)
    if forecast.mean.shape != shape or forecast.quantiles.shape != (*shape, len(LEVELS)):
        yield f"shape {forecast.quantiles.shape}"
        return
    parts = {"quantiles": forecast.quantiles, "mean": forecast.mean}
    if forecast.samples is not None:
        parts["samples"] = forecast.samples
    floors = panel.floors()
    own, seen = largest(panel)
    whole = panel.whole_numbers() & (own < RESOLVED)  # above, every float32 is whole
    most = float(own.max(initial=0))
    zeros = float(own[own > 0].min(initial=1.0))  # the size of a history of zeros
    bound = ROOM * np.where(own > 0, own, np.where(seen, zeros, max(1.0, most)))
    for part, values in parts.items():
        if not np.isfinite(values).all():
            yield f"{part} not finite"
            return
        flat = values.reshape(len(values), -1).astype(np.float64)
        low = flat.min(1, initial=0)
        if (low < floors).any():
            yield f"{part} negative where the history is not: {low.min()}"
        over = np.abs(flat).max(1, initial=0) > bound * (1 + 1e-6)
        if over.any():
            i = int(np.flatnonzero(over)[0])
            yield f"{part} out of scale: {np.abs(flat[i]).max():.3g} where the history has {own[i]:.3g}"
        if part != "mean" and name in WHOLE and (flat[whole] % 1 != 0).any():
            yield f"{part} not whole"
    if (np.diff(forecast.quantiles, axis=-1) < 0).any():
        yield "quantiles out of order"
    q = forecast.quantiles.astype(np.float64)
    least = (q * np.diff([*LEVELS, 1.0])).sum(
        -1
    )  # of any law with these quantiles and none below 0
    rounding = 1e-12 * own[:, None] + 1e-30  # below it, a forecast is the error of a sum
    short = forecast.mean < least * (1 - 1e-5) - rounding
    if (short & (floors >= 0)[:, None]).any():
        yield "mean below the least its quantiles allow"


def largest(panel: Panel) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The largest |value| of each history, 0 where there is none, and whether one was observed."""
    rows = [panel.history(i) for i in range(panel.n_series)]
    own = np.array([np.abs(r[~np.isnan(r)]).max(initial=0) for r in rows], np.float64)
    return own, np.array([bool((~np.isnan(r)).any()) for r in rows])


NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
NAIVE = ("last_value", "seasonal_naive", "drift", "window_average")  # their law is of amounts
WHOLE = [n for n, kind in registry.classes().items() if issubclass(kind, LocalForecaster)]
WHOLE = [n for n in WHOLE if n not in NAIVE] + ["zero_shot"]
SLOW = {*NEURAL, "auto", "routed", "ets", "multi_stage", "lightgbm"}
MIXED = Case(  # what once gave forecasts of 1e19 beside series of 20, and crashes
    series=(
        Kind("counts", 60),
        Kind("counts", 60, 15),
        Kind("zeros", 60),
        Kind("zeros", 3),
        Kind("smooth", 60, -12),
        Kind("constant", 1, 6),
        Kind("counts", 60, 9, "all"),
        Kind("intermittent", 31, 3, "trailing"),
    ),
    horizon=7,
)
COUNTS = Case(
    series=(
        Kind("counts", 60),
        Kind("counts", 60, 15),
        Kind("large_counts", 120, 12),
        Kind("zeros", 60),
        Kind("lumpy", 120, 0, "few"),
        Kind("last", 30, 9),
        Kind("counts", 0),
        Kind("counts", 1, 0, "all"),
    ),
    horizon=7,
)
SHORT = Case(  # one row each, one value each, and beyond what float32 holds
    series=(Kind("constant", 1), Kind("smooth", 14, 0, "but_one"), Kind("growth", 14, 34)),
    freq="MS",
)
KNOWN = {"mixed": MIXED, "counts": COUNTS, "short": SHORT}


@pytest.mark.parametrize("case", KNOWN)
@pytest.mark.parametrize("name", registry.names())
def test_laws_hold_on_panels_that_once_broke_them(name: str, case: str) -> None:
    assert not [*broken(name, KNOWN[case])]


@pytest.mark.parametrize("name", registry.names())
def test_laws_hold_on_any_panel(name: str, pytestconfig: pytest.Config) -> None:
    asked = pytestconfig.getoption("panels")
    count = (1 if name in SLOW else 3) if asked is None else asked // (10 if name in SLOW else 1)

    @settings(
        max_examples=max(1, count),
        deadline=None,
        derandomize=asked is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases())
    def holds(case: Case) -> None:
        assert not [*broken(name, case)]

    holds()


def test_what_lies_beyond_the_bounds_is_cut_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    panel = Case(series=(Kind("counts", 60), Kind("zeros", 60), Kind("negative", 60))).panel()
    wild = np.full((3, 3, 2), 1e39)
    wild[:, :, 0] = -1e39
    forecast = Forecast.of(panel, (0.1, 0.9), wild[..., ::-1], wild[..., 1], model="wild")
    own, _ = largest(panel)
    high = ROOM * np.where(own > 0, own, 1.0)
    np.testing.assert_allclose(forecast.quantiles[..., 1], np.repeat(high[:, None], 3, 1))
    np.testing.assert_allclose(forecast.quantiles[:, 0, 0], [0, 0, -high[2]])  # sorted, floored
    assert "3 of 3 series" in forecast.notes[0]
    assert "item 0" in caplog.text


@pytest.mark.parametrize("part", ["quantiles", "mean", "samples"])
def test_a_forecast_that_is_not_finite_is_refused_by_name(part: str) -> None:
    panel = Case(series=(Kind("counts", 60), Kind("counts", 60))).panel()
    parts = {
        "quantiles": np.ones((2, 3, 2)),
        "mean": np.ones((2, 3)),
        "samples": np.ones((2, 4, 3)),
    }
    parts[part][1] = np.nan
    with pytest.raises(
        DemandcastError, match=rf"wild .* not finite in the {part} of series .*item 1"
    ):
        Forecast.of(panel, (0.1, 0.9), **parts, model="wild")  # type: ignore[arg-type]
