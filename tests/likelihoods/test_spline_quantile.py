"""The spline's score against numeric integration, and its function against its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demandcast.errors import ConfigError
from demandcast.likelihoods import SplineQuantile

FINE = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000  # levels


@pytest.mark.parametrize("seed", range(4))
def test_score_is_the_integral_of_the_pinball_loss(seed: int) -> None:
    """Of targets far below, inside, and far above; and so is the part of what lies below a bound."""
    law, generator = SplineQuantile(), torch.Generator().manual_seed(seed)
    params = torch.randn(1, law.n_params, generator=generator, dtype=torch.float64)
    scale = torch.ones(1, dtype=torch.float64)
    values = law.quantile(params, scale, FINE)[0]
    knots = law.spline(params).value[0]
    for y in (
        knots[0] - 3,
        knots[0] - 0.1,
        knots[3],
        knots[5] + 0.01,
        knots[-1] + 0.2,
        knots[-1] + 5,
    ):
        error = y - values
        crps = 2 * torch.maximum(FINE * error, (FINE - 1) * error).mean()
        below = 2 * (FINE * error.clamp(min=0)).mean()
        # 1e-4: the grid of levels ends before the tails do
        assert -law.log_prob(params, y[None], scale)[0].item() == pytest.approx(
            crps.item(), rel=1e-4
        )
        tail = -law.log_survival(params, y[None], scale)[0].item()
        assert tail == pytest.approx(below.item(), rel=1e-4, abs=1e-4)


def test_the_mean_is_that_of_all_levels() -> None:
    law, generator = SplineQuantile(), torch.Generator().manual_seed(5)
    params = torch.randn(3, law.n_params, generator=generator, dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    values = law.quantile(params, scale, FINE).mean(-1)
    torch.testing.assert_close(law.mean(params, scale), values, rtol=1e-4, atol=1e-4)


def test_score_has_the_gradient_of_its_parameters() -> None:
    law, generator = SplineQuantile(), torch.Generator().manual_seed(1)
    params = torch.randn(6, law.n_params, generator=generator, dtype=torch.float64)
    y = torch.tensor([-9.0, -1.0, 0.0, 0.5, 2.0, 9.0], dtype=torch.float64)
    scale = torch.full((6,), 1.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: law.log_prob(x, y, scale), (params.requires_grad_(),), atol=1e-6
    )


def test_quantiles_pass_through_the_knots_and_never_fall() -> None:
    law = SplineQuantile(levels=(0.1, 0.4, 0.9), pieces=4)
    params = 5 * torch.randn(50, law.n_params, generator=torch.Generator().manual_seed(2))
    scale = torch.full((50,), 2.0)
    values = law.quantile(params, scale, torch.tensor([0.1, 0.4, 0.9]))
    torch.testing.assert_close(values, 2 * law.spline(params).value[:, ::4], rtol=1e-4, atol=1e-4)
    assert (law.quantile(params, scale, torch.linspace(0.001, 0.999, 500)).diff(dim=-1) >= 0).all()


def test_a_skewed_distribution_is_learned() -> None:
    y = torch.randn(800, generator=torch.Generator().manual_seed(0)).exp()
    law = SplineQuantile()
    params = torch.tensor(law.still)[None].requires_grad_()
    adam = torch.optim.Adam([params], lr=0.1)
    ones, seen = torch.ones(800), torch.ones(800, dtype=torch.bool)
    for _ in range(200):
        adam.zero_grad()
        law.loss(params.expand(800, -1), y, ones, observed=seen).mean().backward()
        adam.step()
    levels = torch.tensor([0.02, 0.1, 0.5, 0.9, 0.98])
    learned = law.quantile(params.detach(), torch.ones(1), levels)[0]
    np.testing.assert_allclose(
        learned, np.quantile(y.numpy(), levels.numpy()), rtol=0.12, atol=0.03
    )


def test_knots_that_make_no_spline_are_refused() -> None:
    with pytest.raises(ConfigError, match="increasing"):
        SplineQuantile(levels=(0.5, 0.1))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        SplineQuantile(levels=(0.0, 0.5))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        SplineQuantile(levels=(0.1, 0.5, 1.0))
    with pytest.raises(ConfigError, match="two or more"):
        SplineQuantile(levels=(0.5,))
    with pytest.raises(ConfigError, match="pieces is 0; it must be a whole number, 1 or more"):
        SplineQuantile(pieces=0)
