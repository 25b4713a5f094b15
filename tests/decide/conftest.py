"""Forecasts made of paths that a test chooses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from demandcast.forecast.forecast import Forecast
from demandcast.schema import Schema

Make = Callable[..., Forecast]


@pytest.fixture
def forecast_of() -> Make:
    def make(samples: object, names: list[str] | None = None) -> Forecast:
        paths = np.asarray(samples, np.float32)
        names = names or [f"item {i}" for i in range(len(paths))]
        return Forecast(
            schema=Schema(key=("item",), time="day", target="units", freq="D"),
            keys=pl.DataFrame({"item": names}),
            cutoffs=np.zeros(len(paths), np.int64),
            levels=(0.5,),
            quantiles=np.median(paths, 1)[..., None],
            mean=paths.mean(1),
            samples=paths,
            model="chosen",
        )

    return make
