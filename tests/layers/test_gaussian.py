"""Dense joint normals against torch's own, and against the textbook's formulas for a conditional."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats
import torch
from torch import Tensor

from demandcast.draws.tensors import TensorDraws
from demandcast.layers.gaussian import condition, draw, log_density


@pytest.fixture
def covariance() -> Tensor:
    half = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return half @ half.mT + 0.1 * torch.eye(6, dtype=torch.float64)


def test_density_is_the_multivariate_normals(covariance: Tensor) -> None:
    error = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    everything = torch.ones(3, 6, dtype=torch.bool)
    oracle = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
    torch.testing.assert_close(log_density(error, covariance, everything), oracle.log_prob(error))
    assert torch.autograd.gradcheck(
        lambda e, c: log_density(e, (c + c.mT) / 2, everything),
        (error.requires_grad_(), covariance.requires_grad_()),
    )


def test_density_of_a_student_process_is_scipys(covariance: Tensor) -> None:
    """SciPy takes the shape, (df - 2) / df of the covariance; with many degrees it is the normal."""
    error = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    everything, df = torch.ones(3, 6, dtype=torch.bool), torch.tensor(3.7, dtype=torch.float64)
    ours = log_density(error, covariance, everything, df)
    for i in range(3):
        shape = covariance[i].numpy() * (1.7 / 3.7)
        oracle = scipy.stats.multivariate_t(shape=shape, df=3.7).logpdf(error[i])
        assert float(ours[i]) == pytest.approx(oracle)
    normal = log_density(error, covariance, everything)
    many = log_density(error, covariance, everything, torch.tensor(1e7, dtype=torch.float64))
    torch.testing.assert_close(many, normal, rtol=1e-4, atol=1e-4)
    assert torch.autograd.gradcheck(
        lambda e, c, d: log_density(e, (c + c.mT) / 2, everything, d),
        (error.requires_grad_(), covariance.requires_grad_(), df.requires_grad_()),
    )


def test_steps_not_observed_are_integrated_out(covariance: Tensor) -> None:
    error = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = torch.tensor([1, 0, 1, 1, 0, 1], dtype=torch.bool)
    oracle = torch.distributions.MultivariateNormal(
        torch.zeros(4).double(), covariance[:, seen][:, :, seen]
    )
    spoiled = torch.where(seen, error, torch.nan)
    found = log_density(spoiled, covariance, seen.expand(3, -1))
    torch.testing.assert_close(found, oracle.log_prob(error[:, seen]))
    nothing = log_density(error, covariance, torch.zeros(3, 6, dtype=torch.bool))
    assert (nothing == 0).all()


def test_conditional_is_the_textbooks(covariance: Tensor) -> None:
    error = torch.tensor([[0.4, -1.0, 2.0]] * 3, dtype=torch.float64)
    seen = torch.tensor([[True, False, True]] * 3)
    mean, rest, square = condition(error, covariance, seen)
    for i in range(3):
        whole, past, ahead = covariance[i].numpy(), [0, 2], [3, 4, 5]
        gain = whole[np.ix_(ahead, past)] @ np.linalg.inv(whole[np.ix_(past, past)])
        np.testing.assert_allclose(mean[i], gain @ error[i, past].numpy(), rtol=1e-9)
        wanted = whole[np.ix_(ahead, ahead)] - gain @ whole[np.ix_(past, ahead)]
        np.testing.assert_allclose(rest[i], wanted, rtol=1e-9)
        known = error[i, past].numpy()
        inverse = np.linalg.inv(whole[np.ix_(past, past)])
        assert float(square[i]) == pytest.approx(known @ inverse @ known)


def test_density_is_the_sum_of_what_each_step_adds(covariance: Tensor) -> None:
    """log p(past, future) = log p(past) + log p(future | past)."""
    error = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    everything = torch.ones(3, 6, dtype=torch.bool)
    mean, rest, square = condition(error[:, :3], covariance, everything[:, :3])
    ahead = torch.distributions.MultivariateNormal(mean, rest).log_prob(error[:, 3:])
    past = log_density(error[:, :3], covariance[:, :3, :3], everything[:, :3])
    torch.testing.assert_close(log_density(error, covariance, everything), past + ahead)
    # and of a Student-t process, whose conditional is one with more degrees of freedom
    df = torch.tensor(4.5, dtype=torch.float64)
    past = log_density(error[:, :3], covariance[:, :3, :3], everything[:, :3], df)
    wider = rest * ((df - 2 + square) / (df - 2 + 3))[:, None, None]
    ahead = log_density(error[:, 3:] - mean, wider, everything[:, 3:], df + 3)
    torch.testing.assert_close(log_density(error, covariance, everything, df), past + ahead)


def test_draws_have_the_covariance(covariance: Tensor) -> None:
    mean = torch.arange(6.0, dtype=torch.float64).expand(3, -1)
    paths = draw(
        mean, covariance, 50_000, TensorDraws.of(pl.DataFrame({"item": ["a", "b", "c"]}), 2)
    )
    assert paths.shape == (3, 50_000, 6)
    for i in range(3):
        size = float(covariance[i].diagonal().max())
        np.testing.assert_allclose(paths[i].mean(0), mean[i], atol=5 * (size / 50_000) ** 0.5)
        np.testing.assert_allclose(np.cov(paths[i].numpy().T), covariance[i], atol=0.04 * size)
