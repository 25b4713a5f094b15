"""How many series are held in memory at once is no part of a forecast."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from demandcast import registry
from demandcast.forecast.forecast import Forecast
from demandcast.local.base import LocalForecaster
from demandcast.panel.panel import Panel

LOCAL = [n for n, kind in registry.classes().items() if issubclass(kind, LocalForecaster)]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("name", LOCAL)
def test_pieces_do_not_matter(name: str, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    known = panel.drop_last(7)

    def made() -> Forecast:
        model = registry.create(name, horizon=7).fit(known)
        forecast: Forecast = model.predict(known, levels=(0.1, 0.5, 0.9), n_samples=20)
        return forecast

    whole = made()
    for module in [m for n, m in sys.modules.items() if n.startswith("demandcast.local.")]:
        if hasattr(module, "CELLS"):
            monkeypatch.setattr(module, "CELLS", 300)
        for kind in vars(module).values():
            if isinstance(kind, type) and "cells" in vars(kind):
                monkeypatch.setattr(kind, "cells", 300)
    pieces = made()
    np.testing.assert_allclose(pieces.mean, whole.mean, **CLOSE)
    np.testing.assert_allclose(pieces.quantiles, whole.quantiles, **CLOSE)
    np.testing.assert_allclose(pieces.samples, whole.samples, **CLOSE)


@pytest.mark.parametrize("name", LOCAL)
def test_no_series_are_no_forecasts(name: str, panel: Panel) -> None:
    forecast = registry.create(name, horizon=7).predict(panel.select([]), n_samples=3)
    assert forecast.quantiles.shape[:2] == (0, 7)
    assert forecast.samples is not None
