"""Parameters of a network -> a distribution of demand."""

from __future__ import annotations

import difflib
from typing import Any

from demandcast.errors import ConfigError
from demandcast.likelihoods.base import Likelihood
from demandcast.likelihoods.implicit_quantile import ImplicitQuantile
from demandcast.likelihoods.log_normal import LogNormal
from demandcast.likelihoods.negative_binomial import NegativeBinomial
from demandcast.likelihoods.normal import Normal
from demandcast.likelihoods.poisson import Poisson
from demandcast.likelihoods.quantile import QuantileGrid
from demandcast.likelihoods.spline_quantile import SplineQuantile
from demandcast.likelihoods.student_t import StudentT
from demandcast.likelihoods.tweedie import Tweedie
from demandcast.likelihoods.zeros import HurdleNegativeBinomial, ZeroInflatedNegativeBinomial

_ALL: dict[str, type[Likelihood]] = {
    kind.name: kind
    for kind in (
        Normal,
        StudentT,
        LogNormal,
        Poisson,
        NegativeBinomial,
        ZeroInflatedNegativeBinomial,
        HurdleNegativeBinomial,
        Tweedie,
        QuantileGrid,
        SplineQuantile,
        ImplicitQuantile,
    )
}


def names() -> tuple[str, ...]:
    """Return every likelihood's name."""
    return tuple(_ALL)


def create(name: str, **options: Any) -> Likelihood:
    """Return a likelihood by its name."""
    if name not in _ALL:
        near = difflib.get_close_matches(name, _ALL, n=1, cutoff=0.0)
        raise ConfigError(
            f"likelihood {name!r} is not known; did you mean {near[0]!r}? There are {', '.join(_ALL)}",
            found=name,
        ).suggest(near[0])
    return _ALL[name](**options)


__all__ = [
    "HurdleNegativeBinomial",
    "ImplicitQuantile",
    "Likelihood",
    "LogNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "QuantileGrid",
    "SplineQuantile",
    "StudentT",
    "Tweedie",
    "ZeroInflatedNegativeBinomial",
    "create",
    "names",
]
