"""The likelihood of a count in three stages: is there a demand, is it more than one, and how much more.

Seeger, Salinas and Flunkert, "Bayesian intermittent demand forecasting for large inventories", NIPS 2016.
With latent values f0, f1, f2 and the logistic s:

    log p(y) = 1[y = 0] log s(f0) + 1[y = 1] (log(1 - s(f0)) + log s(f1))
             + 1[y >= 2] (log(1 - s(f0)) + log(1 - s(f1)) + log Poisson(y - 2 | scale g(f2)))

It is a sum over stages, so each stage is fitted on its own: the first to all values, the second to values of 1 or more,
the third to values of 2 or more. g is log(1 + exp f), or with "twice_logistic" log(1 + exp(f (1 + a log(1 + exp f)))),
which grows faster where f is large. Both grow more slowly than exp.

Departs from the paper: the Poisson mean is in units of a `scale`, a mean of y - 2, so that f does not depend on how much
an item sells; Fisher's information takes the place of the second derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array

LINKS = ("logistic", "twice_logistic")
TWICE_LOGISTIC_A = 0.01  # a of the twice-logistic link
MIN_INFORMATION = 1e-6  # of Fisher, and smallest g
MAX_NEWTON_STEPS = 30  # a step that would raise the loss is halved


@dataclass(frozen=True)
class Stage:
    """One stage of a count: binary without a link, Poisson with one.

    Attributes:
        link: "logistic" or "twice_logistic"; None for the first two stages, whose value is 1 with probability s(f).
    """

    link: str | None = None

    def rate(self, f: Array) -> tuple[Array, Array]:
        """Return g(f) and its derivative."""
        softplus = np.logaddexp(0.0, f)
        if self.link == "logistic":
            return softplus, logistic(f)
        stretched = f * (1 + TWICE_LOGISTIC_A * softplus)
        derivative = 1 + TWICE_LOGISTIC_A * (softplus + f * logistic(f))
        return np.logaddexp(0.0, stretched), logistic(stretched) * derivative

    def likelihood(
        self, f: Array, value: Array, scale: Array | float
    ) -> tuple[Array, Array, Array]:
        """Return the log-likelihood up to a constant, its derivative, and Fisher's information, in the shape of f."""
        if self.link is None:
            probability = logistic(f)
            log_likelihood = value * f - np.logaddexp(0.0, f)
            information = np.maximum(probability * (1 - probability), MIN_INFORMATION)
            return log_likelihood, value - probability, information
        rate, slope = self.rate(f)
        rate = np.maximum(rate, MIN_INFORMATION)
        information = np.maximum(scale * slope**2 / rate, MIN_INFORMATION)
        return value * np.log(rate) - scale * rate, (value / rate - scale) * slope, information

    def fit_weights(
        self,
        x: Array,
        value: Array,
        scale: Array | float,
        offset: Array | float,
        ridge: float,
        start: Array | None = None,
    ) -> Array:
        """Return the weights w, (F,), that maximise the likelihood at f = offset + x w, minus ridge |w|^2 / 2.

        Args:
            x: Features, (R, F).
            value: Values of the stage, (R,).
            scale: Unit of the Poisson mean, (R,) or a number; the first two stages do not use it.
            offset: f without the features, (R,) or a number.
            ridge: Weight of the penalty, above 0.
            start: Weights that the search starts from, (F,); None for 0.
        """
        weights = np.zeros(x.shape[1]) if start is None else start

        def loss_at(w: Array) -> float:
            log_likelihood = self.likelihood(offset + x @ w, value, scale)[0].sum()
            return float(0.5 * ridge * (w @ w) - log_likelihood)

        loss = loss_at(weights)
        for _ in range(MAX_NEWTON_STEPS):
            _, slope, information = self.likelihood(offset + x @ weights, value, scale)
            curvature = (x * information[:, None]).T @ x + ridge * np.eye(x.shape[1])
            # least squares: with counts of 1e15 the ridge is rounded away and the curvature is singular
            move = np.linalg.lstsq(curvature, x.T @ slope - ridge * weights, rcond=None)[0]
            while loss_at(weights + move) > loss and np.abs(move).max() > 1e-9:
                move = move / 2
            gain = loss - loss_at(weights + move)
            if gain <= 1e-8 * abs(loss):
                break
            weights, loss = weights + move, loss - gain
        return weights


def logistic(f: Array) -> Array:
    """Return s(f) = 1 / (1 + exp(-f)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * f)))


def stage_values(y: Array) -> tuple[Array, Array, Array]:
    """Return the values of the three stages of counts y: y = 0, y = 1, y - 2; NaN where a stage does not apply."""
    return (
        np.where(np.isnan(y), np.nan, y == 0),
        np.where(y >= 1, y == 1, np.nan),
        np.where(y >= 2, y - 2, np.nan),
    )


def draw_counts(f: list[Array], rate: Array, draws: Draws) -> Array:
    """Draw counts from f0, f1 and the mean of y - 2, arrays of one shape, one stage after the other."""
    shape = f[0].shape
    is_one = draws.at("one").uniform(shape) < logistic(f[1])
    demand = np.where(is_one, 1, 2 + draws.at("more").poisson(rate))
    return np.where(draws.at("none").uniform(shape) < logistic(f[0]), 0.0, demand)
