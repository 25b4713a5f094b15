"""Ask the model of a forecast again, with the same random numbers: for its own panel, or with other covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
NOTHING = 1e-5  # share of the forecast below which a change counts as none
CLOSE = 1e-3  # share by which the repeated forecast may differ from the given one


class Predictor(Protocol):
    """The part of a model that a forecast keeps."""

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> str: ...

    def predict(self, panel: Panel, *, levels: Any, n_samples: int | None) -> Forecast: ...


def forecaster_of(forecast: Forecast) -> tuple[Panel, Predictor]:
    """Return the panel and the model of a forecast.

    Raises:
        DataError: The forecast does not hold them.
    """
    if forecast.forecaster is None or forecast.panel is None:
        raise DataError(
            "this forecast does not know the model that made it; ask of what model.predict returned",
            option="forecast",
            expected="what model.predict returned",
        )
    return forecast.panel, forecast.forecaster


def repeat_forecast(forecast: Forecast) -> tuple[Panel, Predictor, Forecast]:
    """Forecast the panel of a forecast again with its model; return the panel, the model and the new forecast.

    Raises:
        DataError: The model forecasts other values: the forecast was adjusted, or the model was fitted again.
    """
    panel, model = forecaster_of(forecast)
    again = predict_like(model, panel, forecast)
    difference = np.abs(again.mean - forecast.mean)
    if not (difference <= CLOSE * (np.abs(forecast.mean) + np.abs(forecast.mean).mean())).all():
        raise DataError(
            f"{model.name} forecasts other values than this forecast has: it was adjusted since, or the model was fitted "
            "again; ask of what model.predict returns now",
            option="forecast",
            expected="what model.predict returns now",
        )
    return panel, model, again


def predict_like(model: Predictor, panel: Panel, like: Forecast) -> Forecast:
    """Forecast a panel at the levels of another forecast, with as many paths."""
    paths = None if like.samples is None else like.samples.shape[1]
    return model.predict(panel, levels=like.levels, n_samples=paths)


def forecasts_differ(one: Forecast, other: Forecast) -> bool:
    """Return whether two forecasts differ by more than rounding, in their means or quantiles."""
    moved: Doubles = np.abs(other.quantiles - one.quantiles).max(2).astype(np.float64)
    return differs(one.mean, other.mean) or differs(one.mean, one.mean + moved)


def differs(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether values (N, H) differ by more than rounding."""
    size = np.abs(one).astype(np.float64)
    return bool((np.abs(other - one) > NOTHING * (size + size.mean())).any())
