"""A member of a blend: the fits of one method, its forecasts in validation, and its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast import registry
from demandcast.automl.validation import BLEND_LEVELS
from demandcast.forecaster import Forecaster, Learning, fit
from demandcast.panel.panel import Panel

Floats = NDArray[np.float32]


@dataclass(eq=False)  # told apart by what they are, not by their arrays
class Member:
    """A candidate that was fitted, with its scores and times.

    Attributes:
        name: As on the leaderboard; the method's, where it is tried once.
        learning: Of the method; `TUNED` where the pretrained network goes on learning.
        models: Its fits, whose quantiles are averaged.
        quantiles: In validation, (R, Q).
        means: The same, (R,).
        fit_seconds: Of one fit.
        predict_seconds: Of the validation.
        share: How much of its usual training the time allowed, 1 for all of it.
        whole: Whether it was fitted on the whole history.
        validated: The fit that was validated; None once loaded.
    """

    name: str
    learning: Learning
    models: list[Forecaster]
    quantiles: Floats
    means: Floats
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    share: float = 1.0
    whole: bool = False
    validated: Forecaster | None = None

    @classmethod
    def fitted(cls, models: list[Forecaster], learning: Learning) -> Member:
        """Return a member that nothing is known of but its fits."""
        none = np.zeros((0, len(BLEND_LEVELS)), np.float32)
        return cls(models[0].name, learning, models, none, none[:, 0])

    @property
    def method(self) -> str:
        """Its name in the registry."""
        return self.models[0].name

    @property
    def learns(self) -> bool:
        """Whether fits cost something, and more of them may help."""
        return self.learning.learns

    def forecast(self, panel: Panel, levels: Sequence[float]) -> tuple[Floats, Floats]:
        """Forecast quantiles (N, H, Q) and means (N, H), averaged over its fits."""
        forecasts = [model.predict(panel, levels=levels) for model in self.models]
        quantiles = sum(f.quantiles for f in forecasts) / np.float32(len(forecasts))
        means = sum(f.mean for f in forecasts) / np.float32(len(forecasts))
        return np.asarray(quantiles, np.float32), np.asarray(means, np.float32)


def fit_again(before: Forecaster, panel: Panel) -> Forecaster:
    """Fit a forecaster like this one, trained as long."""
    model = registry.create(before.name, **before.as_trained())
    fit(model, panel, progress=False)
    return model
