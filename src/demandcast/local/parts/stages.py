"""Counts in three stages: is there a demand, is it more than one, and how much more.

Seeger, Salinas and Flunkert, "Bayesian intermittent demand forecasting for large inventories", NIPS 2016.
With latent values f0, f1, f2 and the logistic s:

    log p(y) = 1[y = 0] log s(f0) + 1[y = 1] (log(1 - s(f0)) + log s(f1))
             + 1[y >= 2] (log(1 - s(f0)) + log(1 - s(f1)) + log Poisson(y - 2 | scale g(f2)))

It is a sum over stages, so that each is fitted on its own: the first to all values, the second to those of
1 or more, the third to those of 2 or more. g is log(1 + exp f), or with "twice_logistic"
log(1 + exp(f (1 + a log(1 + exp f)))), which grows faster where f is large; both are calmer than exp.

Departs from the paper: the Poisson mean is in units of a `scale`, a mean of y - 2, so that one f means as
much to large sellers as to small ones; Fisher's information stands for the second derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array

LINKS = ("logistic", "twice_logistic")
BENT = 0.01  # a of the twice-logistic link
LEAST = 1e-6  # of Fisher's information, and of g
NEWTON = 30  # steps at most; halved where they would lose


@dataclass(frozen=True)
class Stage:
    """A choice of two, or with a link what is Poisson.

    Attributes:
        link: None for the first two stages, whose value is 1 with chance s(f).
    """

    link: str | None = None

    def rate(self, f: Array) -> tuple[Array, Array]:
        """g(f) and its slope."""
        soft = np.logaddexp(0.0, f)
        if self.link == "logistic":
            return soft, logistic(f)
        bent = f * (1 + BENT * soft)
        return np.logaddexp(0.0, bent), logistic(bent) * (1 + BENT * (soft + f * logistic(f)))

    def told(self, f: Array, value: Array, scale: Array | float) -> tuple[Array, Array, Array]:
        """Log-likelihood, less what f does not change, its slope, and Fisher's information; shape of f."""
        if self.link is None:
            chance = logistic(f)
            likely = value * f - np.logaddexp(0.0, f)
            return likely, value - chance, np.maximum(chance * (1 - chance), LEAST)
        rate, slope = self.rate(f)
        rate = np.maximum(rate, LEAST)
        information = np.maximum(scale * slope**2 / rate, LEAST)
        return value * np.log(rate) - scale * rate, (value / rate - scale) * slope, information

    def weights(
        self,
        x: Array,
        value: Array,
        scale: Array | float,
        offset: Array | float,
        ridge: float,
        start: Array | None = None,
    ) -> Array:
        """Weights w, (F,), of the largest likelihood at f = offset + x w, less ridge |w|^2 / 2.

        Args:
            x: Figures, (R, F).
            value: (R,), as is `scale` unless it is a number.
            scale: See the head of the file; of no matter to the first two stages.
            offset: (R,) or a number.
            ridge: Above 0.
            start: Where the search begins; None for 0.
        """
        found = np.zeros(x.shape[1]) if start is None else start

        def cost(w: Array) -> float:
            likely = self.told(offset + x @ w, value, scale)[0].sum()
            return float(0.5 * ridge * (w @ w) - likely)

        now = cost(found)
        for _ in range(NEWTON):
            _, slope, information = self.told(offset + x @ found, value, scale)
            curve = (x * information[:, None]).T @ x + ridge * np.eye(x.shape[1])
            # least squares, for beside counts of 1e15 the ridge is lost and the curve singular
            move = np.linalg.lstsq(curve, x.T @ slope - ridge * found, rcond=None)[0]
            while cost(found + move) > now and np.abs(move).max() > 1e-9:
                move = move / 2
            gain = now - cost(found + move)
            if gain <= 1e-8 * abs(now):
                break
            found, now = found + move, now - gain
        return found


def logistic(f: Array) -> Array:
    """s(f), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * f)))


def stage_values(y: Array) -> tuple[Array, Array, Array]:
    """What each stage learns from counts y: no demand?, one?, how many above 2; NaN where not asked."""
    return (
        np.where(np.isnan(y), np.nan, y == 0),
        np.where(y >= 1, y == 1, np.nan),
        np.where(y >= 2, y - 2, np.nan),
    )


def drawn_counts(f: list[Array], rate: Array, draws: Draws) -> Array:
    """Counts from f0, f1 and the mean of y - 2, each of one shape: the stages one after another."""
    shape = f[0].shape
    one = draws.at("one").uniform(shape) < logistic(f[1])
    more = np.where(one, 1, 2 + draws.at("more").poisson(rate))
    return np.where(draws.at("none").uniform(shape) < logistic(f[0]), 0.0, more)
