"""Tweedie against Wright's function, Bessel's function, and what it comes to at both ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from demandcast.errors import DataError
from demandcast.likelihoods import Tweedie
from demandcast.likelihoods.tweedie import _Tail, log_density, log_zero


def density(y: np.ndarray, mu: float, phi: float, p: float) -> np.ndarray:
    values = log_density(torch.as_tensor(y, dtype=torch.float64), *numbers(mu, phi, p))
    return values.exp().numpy()


def numbers(*values: float) -> list[Tensor]:
    return [torch.tensor(v, dtype=torch.float64) for v in values]


@pytest.mark.parametrize("p", [1.1, 1.3, 1.5, 1.7, 1.9])
@pytest.mark.parametrize(("mu", "phi"), [(0.02, 1.0), (1.0, 0.4), (3.0, 2.0), (40.0, 5.0)])
def test_density_is_wrights_function(p: float, mu: float, phi: float) -> None:
    """Dunn and Smyth (2005), equation 8: the series is Wright's generalised Bessel function."""
    y = mu * np.array([0.01, 0.3, 1.0, 2.5, 6.0])
    shape, size = (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)
    rate = mu ** (2 - p) / (phi * (2 - p))
    series = scipy.special.wright_bessel(shape, 0, rate * (y / size) ** shape)
    known = np.isfinite(series) & (series > 0)  # SciPy's own range
    oracle = np.log(series[known] / y[known]) - rate - y[known] / size
    assert known.sum() >= 3
    np.testing.assert_allclose(np.log(density(y, mu, phi, p))[known], oracle, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("mu", "phi"), [(1.0, 1.0), (2.0, 0.02), (50.0, 0.003)])
def test_density_at_one_and_a_half_is_bessels_function(mu: float, phi: float) -> None:
    """There the amounts are exponential; up to rates of 10,000, where nodes are far apart."""
    y = mu * np.array([0.5, 1.0, 1.5])
    rate, size = mu**0.5 / (phi * 0.5), phi * 0.5 * mu**0.5
    z = 2 * np.sqrt(rate * y / size)
    oracle = np.log(scipy.special.ive(1, z)) + z - rate - y / size + 0.5 * np.log(rate / size / y)
    np.testing.assert_allclose(np.log(density(y, mu, phi, 1.5)), oracle, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("p", [1.15, 1.5, 1.85])
def test_mass_mean_and_variance(p: float) -> None:
    mu, phi = 2.0, 0.7
    x = np.linspace(-60, math.log(mu) + 5, 20_001)  # log y: the density has a pole at 0
    y = np.exp(x)
    f = density(y, mu, phi, p) * y
    zero = float(log_zero(*numbers(mu, phi, p)).exp())
    assert zero + scipy.integrate.simpson(f, x=x) == pytest.approx(1, abs=1e-6)
    assert scipy.integrate.simpson(f * y, x=x) == pytest.approx(mu, rel=1e-6)
    second = scipy.integrate.simpson(f * y * y, x=x)
    assert second - mu**2 == pytest.approx(phi * mu**p, rel=1e-6)


def test_ends_are_poissons_and_the_gamma() -> None:
    """As p comes to 1 all mass lies at whole numbers, as Poisson's; as p comes to 2 it is a gamma."""
    mu = 3.0
    for k in (1, 2, 5):
        y = np.linspace(k - 0.5, k + 0.5, 4001)
        found = scipy.integrate.simpson(density(y, mu, 1.0, 1.0005), x=y)
        assert found == pytest.approx(scipy.stats.poisson.pmf(k, mu), rel=5e-3)
    y = np.array([0.5, 2.0, 8.0])
    oracle = scipy.stats.gamma(1 / 0.4, scale=0.4 * mu).logpdf(y)
    np.testing.assert_allclose(np.log(density(y, mu, 0.4, 1.9999)), oracle, atol=2e-3)


def test_survival_is_the_integral_of_the_density() -> None:
    for mu, phi, p in ((2.0, 0.7, 1.3), (2.0, 3.0, 1.8), (1.0, 0.005, 1.5)):
        for start in (0.3 * mu, mu, 4 * mu if phi > 0.1 else 1.3 * mu):
            x = np.linspace(math.log(start), math.log(start + 60 * mu), 10_001)
            mass = scipy.integrate.simpson(density(np.exp(x), mu, phi, p) * np.exp(x), x=x)
            tail = _Tail.apply(*numbers(start, mu, phi, p))
            assert float(tail) == pytest.approx(math.log(mass), rel=1e-5, abs=1e-7)


def test_survival_and_density_have_the_gradient_of_their_parameters() -> None:
    y = torch.tensor([0.4, 2.0, 9.0], dtype=torch.float64)
    inputs = [x.expand(3).clone().requires_grad_() for x in numbers(1.5, 0.8, 1.4)]
    assert torch.autograd.gradcheck(lambda *x: _Tail.apply(y, *x), inputs, atol=1e-5)
    assert torch.autograd.gradcheck(lambda *x: log_density(y, *x), inputs, atol=1e-5)


def test_quantiles_reach_their_levels() -> None:
    """P(Y >= quantile) is what is left of 1, over sizes, spreads and powers."""
    generator = torch.Generator().manual_seed(0)
    params = 3 * torch.randn(500, 3, generator=generator, dtype=torch.float64)
    scale = torch.full((500,), 12.0, dtype=torch.float64)
    levels = torch.tensor([0.02, 0.3, 0.7, 0.99], dtype=torch.float64)
    law = Tweedie()
    values = law.quantile(params, scale, levels)
    zero = log_zero(*law._map(params)).exp()[:, None].expand_as(values)
    assert ((values == 0) == (levels <= zero)).all()
    rest = law.log_survival(params[:, None].expand(-1, 4, -1), values, scale[:, None]).exp()
    # quantiles that underflow: a pole at 0 holds the level
    seen = (values > 1e-12) & (levels > zero)
    assert seen.float().mean() > 0.4
    np.testing.assert_allclose(rest[seen], (1 - levels).expand_as(values)[seen], atol=2e-5)


def test_scale_enters_exactly() -> None:
    """Amounts ten times as large under a scale ten times as large have a tenth of the density."""
    law, params = Tweedie(), torch.tensor([[0.5, -1.0, 0.3]])
    y, scale = torch.tensor([3.0]), torch.tensor([2.0])
    large, small = law.log_prob(params, 10 * y, 10 * scale), law.log_prob(params, y, scale)
    torch.testing.assert_close(large, small - math.log(10))


def test_amounts_below_zero_are_refused() -> None:
    with pytest.raises(DataError, match=r"-3.*student_t"):
        Tweedie().check_target(np.array([1.5, -3, np.nan], np.float32))
    Tweedie().check_target(np.array([1.5, 0, np.nan], np.float32))
