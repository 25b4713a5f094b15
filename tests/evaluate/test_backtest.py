"""Which steps a backtest holds out, counted by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import demandcast
from demandcast.errors import ConfigError
from demandcast.evaluate.backtest import backtest


@pytest.mark.parametrize(("step", "cutoffs"), [(None, (13, 16)), (2, (14, 16)), (5, (11, 16))])
def test_cutoffs_leave_one_horizon_and_lie_a_step_apart(
    step: int | None, cutoffs: tuple[int, int]
) -> None:
    """Steps 0 to 19 hold their own number: last_value forecasts the cutoff, and the next 3 came."""
    steps = range(20)
    panel = demandcast.read_panel(
        pl.DataFrame({"unique_id": ["a"] * 20, "ds": steps, "y": [float(s) for s in steps]})
    )
    result = backtest("last_value", panel, horizon=3, folds=2, step=step, progress=False)
    for fold, cutoff in enumerate(cutoffs):
        forecast = result.forecasts["last_value"][fold]
        assert forecast.cutoffs.tolist() == [cutoff]
        np.testing.assert_array_equal(forecast.quantile(0.5), [[cutoff] * 3])
        np.testing.assert_array_equal(result.actuals[fold], [[cutoff + 1, cutoff + 2, cutoff + 3]])
    of_model = result.rows.filter(pl.col("model") == "last_value")
    assert of_model["cutoff"].cast(pl.String).to_list() == [str(c) for c in cutoffs]


def test_no_model_is_refused() -> None:
    """The seasonal naive alone would look like an answer."""
    panel = demandcast.read_panel(pl.DataFrame({"ds": range(20), "y": np.arange(20.0)}))
    with pytest.raises(ConfigError, match="models is empty"):
        backtest([], panel, horizon=2)
