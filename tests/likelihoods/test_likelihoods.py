"""What every likelihood owes, against scipy where scipy has it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError, DataError
from demandcast.likelihoods import (
    HurdleNegativeBinomial,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    QuantileGrid,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from demandcast.likelihoods.base import inverse_softplus
from demandcast.likelihoods.tails import (
    log_betainc,
    negative_binomial_log_sf,
    poisson_log_sf,
    student_t_log_sf,
    student_t_quantile,
)

SCALE = torch.tensor([0.7, 3.0, 40.0])


def draws(seed: int) -> TensorDraws:
    return TensorDraws.of(pl.DataFrame({"key": ["a"]}), seed)


def params_of(likelihood: likelihoods.Likelihood) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, likelihood.n_params, generator=generator)


@pytest.fixture(params=likelihoods.names())
def likelihood(request: pytest.FixtureRequest) -> likelihoods.Likelihood:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = likelihoods.create(request.param)
    return made.requires_grad_(False) if isinstance(made, torch.nn.Module) else made


def test_draws_have_the_quantiles_and_the_mean(likelihood: likelihoods.Likelihood) -> None:
    params, n = params_of(likelihood), 20_000
    drawn = likelihood.sample(params.repeat(n, 1, 1), SCALE.repeat(n, 1), draws(0))
    levels = torch.tensor([0.1, 0.5, 0.9])
    values = likelihood.quantile(params, SCALE, levels)
    assert (values.diff(dim=-1) >= 0).all()
    for i in range(3):
        # P(draw <= quantile) = level, to 5 standard errors and 1/256, for the implicit quantile
        # function is read off a grid of so many levels; counts jump over it
        reached = (drawn[:, i, None] <= values[i] + 1e-6).float().mean(0)
        below = (drawn[:, i, None] < values[i] - 1e-6).float().mean(0)
        slack = 5 * (levels * (1 - levels) / n).sqrt() + 1 / 256
        assert (below <= levels + slack).all()
        assert (reached >= levels - slack).all()
    error = (drawn.mean(0) - likelihood.mean(params, SCALE)).abs()
    assert (error <= 6 * drawn.std(0) / n**0.5 + 1e-4).all()


def test_same_seed_same_draws(likelihood: likelihoods.Likelihood) -> None:
    params = params_of(likelihood)
    first, second = (likelihood.sample(params, SCALE, draws(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_missing_targets_cost_nothing_and_poison_nothing(
    likelihood: likelihoods.Likelihood,
) -> None:
    params = params_of(likelihood).requires_grad_()
    target = torch.tensor([2.0, float("nan"), 30.0])
    observed = torch.tensor([True, False, True])
    loss = likelihood.loss(params, target, SCALE, observed=observed)
    loss.sum().backward()
    assert loss[1] == 0
    assert params.grad is not None
    assert torch.isfinite(params.grad).all()
    assert (params.grad[1] == 0).all()
    assert (params.grad[0].abs().sum() > 0) & (params.grad[2].abs().sum() > 0)


def test_parameters_that_are_no_numbers_give_none(likelihood: likelihoods.Likelihood) -> None:
    """Nor do they search without end, or change the numbers beside them."""
    if isinstance(likelihood, torch.nn.Module):
        likelihood.eval()  # in training it draws the levels of its loss
    params = params_of(likelihood)
    spoiled, levels = params.clone(), torch.tensor([0.1, 0.5, 0.99])
    spoiled[1] = torch.nan
    y = torch.tensor([1.0, 3.0, 40.0])
    for found, expected in (
        (likelihood.quantile(spoiled, SCALE, levels), likelihood.quantile(params, SCALE, levels)),
        (likelihood.log_survival(spoiled, y, SCALE), likelihood.log_survival(params, y, SCALE)),
        (likelihood.mean(spoiled, SCALE), likelihood.mean(params, SCALE)),
    ):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[::2], expected[::2])


def test_censored_targets_only_push_up(likelihood: likelihoods.Likelihood) -> None:
    params = params_of(likelihood)
    truth = torch.ones(3, dtype=torch.bool)
    low, high = (
        likelihood.loss(params, SCALE.round() * k, SCALE, observed=truth, censored=truth)
        for k in (0.0, 5.0)
    )
    assert (high > low).all()


def test_moments_are_those_of_the_draws(likelihood: likelihoods.Likelihood) -> None:
    """The variance that draws have is that of the quantile function, by 2,000 levels of it."""
    params, n = params_of(likelihood) - 1.0, 20_000
    drawn = likelihood.sample(params.repeat(n, 1, 1), SCALE.repeat(n, 1), draws(1)).double()
    count = 100 if likelihood.name == "student_t" else 2000  # its table of quantiles takes a while
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    values = likelihood.quantile(params.double(), SCALE.double(), levels)
    mean = likelihood.mean(params, SCALE)
    # tails beyond the outermost level are missing: 1 % of a mean, and 10 % of a variance
    np.testing.assert_allclose(values.mean(-1), mean, rtol=0.01, atol=0.01)
    if likelihood.name != "student_t":  # of 2 to 3 degrees of freedom the variance hardly settles
        np.testing.assert_allclose(values.var(-1), drawn.var(0), rtol=0.1)


def test_lifting_moves_the_median(likelihood: likelihoods.Likelihood) -> None:
    """To the base, in units of the scale; counts only come as near as whole numbers do."""
    still = torch.tensor(likelihood.still).repeat(3, 1)
    scale = torch.full((3,), 1000.0)
    base = torch.tensor([0.5, 1.0, 4.0])
    lifted = likelihood.lift(still, base)
    assert lifted.shape == still.shape
    middle = likelihood.mean(lifted, scale) / scale
    if likelihood.name == "zero_inflated_negative_binomial":  # its zeros are taken off the mean
        middle = middle / (1 - torch.tensor(likelihood.still[2]).sigmoid())
    if likelihood.name == "hurdle_negative_binomial":
        middle = middle / torch.tensor(likelihood.still[2]).sigmoid()
    np.testing.assert_allclose(middle, base, rtol=0.05)


@pytest.mark.parametrize("kind", [NegativeBinomial, StudentT])
def test_the_table_of_quantiles_is_worked_out_once(
    kind: type[likelihoods.Likelihood], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all batches: it takes most of a second, and a batch of forecasts some milliseconds."""
    law, levels = kind(), torch.tensor([0.1234, 0.56])
    params, scale = 5 * torch.randn(6, law.n_params), torch.full((6,), 900.0)
    with torch.inference_mode():
        first = law.quantile(params, scale, levels)

    def again(*_: Tensor) -> Tensor:
        raise AssertionError("the table is worked out again")

    monkeypatch.setattr("demandcast.likelihoods.student_t.student_t_quantile", again)
    monkeypatch.setattr("torch.special.gammainc", again)
    one = law.quantile(params[:1].requires_grad_(), scale[:1], levels)  # a graph may read it too
    assert torch.equal(one.detach(), first[:1])


@pytest.mark.parametrize("spread", [-4.0, 0.0, 3.0, 9.0])
def test_negative_binomial_is_scipys(spread: float) -> None:
    scale = torch.tensor([0.2, 0.7, 3.0, 40.0, 900.0], dtype=torch.float64)
    params = torch.tensor([[0.3, spread]] * 5, dtype=torch.float64)
    target = torch.tensor([1.0, 0.0, 2.0, 60.0, 800.0], dtype=torch.float64)
    mu, alpha = NegativeBinomial()._map(params, scale)
    oracle = scipy.stats.nbinom((1 / alpha).numpy(), (1 / (1 + alpha * mu)).numpy())
    ours = NegativeBinomial().log_prob(params, target, scale)
    np.testing.assert_allclose(ours, oracle.logpmf(target.numpy()), rtol=1e-8)
    survival = NegativeBinomial().log_survival(params, target, scale)
    np.testing.assert_allclose(survival, oracle.logsf(target.numpy() - 1), rtol=1e-8, atol=1e-12)
    levels = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.9, 0.975, 0.999], dtype=torch.float64)
    ours = NegativeBinomial().quantile(params, scale, levels).numpy()
    exact = np.stack([oracle.ppf(level) for level in levels.tolist()], 1)
    np.testing.assert_array_equal(ours[exact < 128], exact[exact < 128])
    # from 128 on a gamma of the same three moments stands in, then rounded: 1 off at times
    np.testing.assert_allclose(ours, exact, rtol=0.005, atol=1)


def test_negative_binomial_of_whole_panels_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    params, scale = params_of(NegativeBinomial()).expand(7, 3, 2), SCALE.expand(7, 3)
    levels = torch.tensor([0.2, 0.95])
    whole = NegativeBinomial().quantile(params, scale, levels)
    monkeypatch.setattr("demandcast.likelihoods.negative_binomial.PIECE", 128)
    assert torch.equal(NegativeBinomial().quantile(params, scale, levels), whole)
    assert whole.shape == (7, 3, 2)
    assert whole.dtype == params.dtype
    assert NegativeBinomial().quantile(params[:0], scale[:0], levels).shape == (0, 3, 2)


@pytest.mark.parametrize("spread", [-4.0, 0.0, 3.0, 9.0])
@pytest.mark.parametrize("logit", [-3.0, 0.4, 5.0])
def test_zeros_are_scipys(spread: float, logit: float) -> None:
    """Both laws from scipy's negative binomial, put together by their definitions."""
    scale = torch.tensor([0.2, 0.7, 3.0, 40.0, 900.0], dtype=torch.float64)
    params = torch.tensor([[0.3, spread, logit]] * 5, dtype=torch.float64)
    target = torch.tensor([1.0, 0.0, 2.0, 60.0, 800.0], dtype=torch.float64)
    mu, alpha = NegativeBinomial()._map(params[:, :2], scale)
    oracle = scipy.stats.nbinom((1 / alpha).numpy(), (1 / (1 + alpha * mu)).numpy())
    y, chance = target.numpy(), 1 / (1 + np.exp(-logit))
    levels = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.9, 0.975, 0.999], dtype=torch.float64)
    inflated, hurdle = ZeroInflatedNegativeBinomial(), HurdleNegativeBinomial()
    none, at_least = oracle.pmf(0), oracle.sf(y - 1)
    for law, pmf, survival, below in (
        (
            inflated,
            np.where(y == 0, chance + (1 - chance) * none, (1 - chance) * oracle.pmf(y)),
            np.where(y == 0, 1.0, (1 - chance) * at_least),
            [oracle.ppf(np.clip((q - chance) / (1 - chance), 0, 1)) for q in levels.tolist()],
        ),
        (
            hurdle,
            np.where(y == 0, 1 - chance, chance * oracle.pmf(y) / (1 - none)),
            np.where(y == 0, 1.0, chance * at_least / (1 - none)),
            [
                oracle.ppf(np.clip(none + (q - 1 + chance) / chance * (1 - none), 0, 1))
                for q in levels.tolist()
            ],
        ),
    ):
        np.testing.assert_allclose(law.log_prob(params, target, scale), np.log(pmf), rtol=1e-7)
        np.testing.assert_allclose(
            law.log_survival(params, target, scale), np.log(survival), rtol=1e-7, atol=1e-12
        )
        exact = np.stack(below, 1).clip(min=0)
        # scipy's own ppf is 1 off at times where P(Y <= k) meets the level to the last digits
        np.testing.assert_allclose(law.quantile(params, scale, levels), exact, atol=1)
        assert (law.quantile(params, scale, levels).numpy() == exact).mean() > 0.9


def test_hurdle_draws_are_never_zero_once_over_it() -> None:
    params = torch.tensor([-8.0, 2.0, 20.0]).repeat(1000, 1)  # mu of 0.0003, but always over
    drawn = HurdleNegativeBinomial().sample(params, torch.ones(1000), draws(0))
    assert (drawn >= 1).all()


def test_poisson_is_scipys() -> None:
    params = torch.tensor([[-9.0], [0.3], [1.0], [2.0], [0.0]], dtype=torch.float64)
    scale = torch.tensor([0.5, 0.7, 3.0, 40.0, 2e4], dtype=torch.float64)
    target = torch.tensor([2.0, 0.0, 40.0, 60.0, 3e4], dtype=torch.float64)
    oracle = scipy.stats.poisson(Poisson()._map(params, scale).numpy())
    ours = Poisson().log_prob(params, target, scale)
    np.testing.assert_allclose(ours, oracle.logpmf(target.numpy()), rtol=1e-8)
    survival = Poisson().log_survival(params, target, scale)[:4]
    np.testing.assert_allclose(survival, oracle.logsf(target.numpy() - 1)[:4], rtol=1e-8)
    # of 3e4 at a mean of 1.4e4 the tail has no float64; its first term does
    far = Poisson().log_survival(params, target, scale)[4]
    assert ours[4] < far < ours[4] + 1
    levels = torch.tensor([1e-4, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
    exact = np.stack([oracle.ppf(level) for level in levels.tolist()], 1)
    np.testing.assert_array_equal(Poisson().quantile(params, scale, levels), exact)


def test_log_normal_is_scipys() -> None:
    params, scale = params_of(LogNormal()).double(), SCALE.double()
    target = torch.tensor([0.4, 9.0, 70.0], dtype=torch.float64)
    mu, sigma = LogNormal()._map(params, scale)
    oracle = scipy.stats.lognorm(sigma.numpy(), scale=np.exp(mu.numpy()))
    ours = LogNormal().log_prob(params, target, scale)
    np.testing.assert_allclose(ours, oracle.logpdf(target), rtol=1e-8)
    survival = LogNormal().log_survival(params, target, scale)
    np.testing.assert_allclose(survival, oracle.logsf(target), rtol=1e-6)
    np.testing.assert_allclose(LogNormal().mean(params, scale), oracle.mean(), rtol=1e-8)
    with pytest.raises(DataError, match=r"above 0.*holds 0.*student_t"):
        LogNormal().check_target(np.array([1, 0, np.nan], np.float32))


def test_student_t_is_scipys() -> None:
    params = torch.tensor(
        [[-1.0, 0.2, 0.5], [0.5, -1.0, 0.0], [-90.0, 0.0, 0.0], [9.0, 2.0, -3.0], [4e3, 1.0, 1.0]],
        dtype=torch.float64,
    )
    scale = torch.tensor([0.7, 3.0, 1.0, 40.0, 1.0], dtype=torch.float64)
    target = torch.tensor([0.4, -2.0, 500.0, 70.0, 9.0], dtype=torch.float64)
    df, mu, sigma = (x.numpy() for x in StudentT()._map(params, scale))
    oracle = scipy.stats.t(df, mu, sigma)
    ours = StudentT().log_prob(params, target, scale)
    np.testing.assert_allclose(ours, oracle.logpdf(target.numpy()), rtol=1e-8)
    survival = StudentT().log_survival(params, target, scale)
    np.testing.assert_allclose(survival, oracle.logsf(target.numpy()), rtol=1e-9)
    for level in (0.001, 0.01, 0.3, 0.5, 0.975):
        at = torch.tensor([level], dtype=torch.float64)
        values = (StudentT().quantile(params, scale, at)[:, 0].numpy() - mu) / sigma
        # 1e-5: linear between values of 1 / df
        np.testing.assert_allclose(values, (oracle.ppf(level) - mu) / sigma, rtol=1e-5, atol=1e-9)


def test_quantiles_of_student_t_are_scipys_far_out_and_near_the_middle() -> None:
    levels = torch.tensor([1e-9, 1e-4, 0.05, 0.3, 0.499, 0.5, 0.7, 0.999], dtype=torch.float64)
    df = torch.tensor([2.0, 2.1, 5.0, 40.0, 2048.0], dtype=torch.float64)[:, None]
    found = student_t_quantile(levels.expand(5, -1), df.expand(-1, 8))
    exact = scipy.stats.t.ppf(levels.numpy(), df.numpy())
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)


def test_the_incomplete_beta_function_is_scipys() -> None:
    """From shapes of a thousandth to many thousands, on both sides of where the fraction turns."""
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(-7, 9, (2, 400)))
    x = np.concatenate([rng.random(200), (a / (a + b))[200:]])
    exact = scipy.special.betainc(a, b, x)
    known = exact > 1e-290
    found = log_betainc(*(torch.tensor(v) for v in (a, b, np.log(x), np.log1p(-x))))
    assert (found <= 0).all()
    np.testing.assert_allclose(found[known], np.log(exact[known]), rtol=1e-8, atol=1e-11)


def test_survival_has_the_gradient_of_its_parameters() -> None:
    odds = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    shape = torch.tensor([0.3, 5.0, 40.0], dtype=torch.float64, requires_grad=True)
    count = torch.tensor([1.0, 4.0, 900.0], dtype=torch.float64)
    # 1e-5: the gradient of the shape is itself a central difference
    assert torch.autograd.gradcheck(
        lambda o, s: negative_binomial_log_sf(count, o, s), (odds, shape), atol=1e-5
    )
    z = torch.tensor([-3.0, 0.4, 8.0], dtype=torch.float64, requires_grad=True)
    df = torch.tensor([2.0, 6.0, 90.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(student_t_log_sf, (z, df), atol=1e-5)
    mu = torch.tensor([0.3, 5.0, 800.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: poisson_log_sf(count, m), (mu,))


def test_normal_is_scipys() -> None:
    params, target = params_of(Normal()).double(), torch.tensor([0.4, -2.0, 70.0]).double()
    mu, sigma = Normal()._map(params, SCALE.double())
    oracle = scipy.stats.norm(mu, sigma)
    ours = Normal().log_prob(params, target, SCALE.double())
    np.testing.assert_allclose(ours, oracle.logpdf(target), rtol=1e-8)
    survival = Normal().log_survival(params, target, SCALE.double())
    np.testing.assert_allclose(survival, oracle.logsf(target), rtol=1e-6)


def test_pinball_charges_the_right_side() -> None:
    """e = y - f: at level 0.9, forecasting 1 too low costs 0.9, 1 too high 0.1."""
    grid = QuantileGrid((0.1, 0.5, 0.9))
    params = torch.tensor([[-20.0, 0.0, -20.0]])  # all three at 0
    for y, cost in ((1.0, 0.1 + 0.5 + 0.9), (-1.0, 0.9 + 0.5 + 0.1)):
        ours = -grid.log_prob(params, torch.tensor([y]), torch.ones(1))
        assert ours.item() == pytest.approx(cost, abs=1e-5)


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.025, 0.3, 0.4, 0.8, 0.95)])
def test_the_tails_of_a_grid_are_those_of_an_exponential(levels: tuple[float, ...]) -> None:
    """Quantiles of an exponential distribution are met beyond the last level too; of its mirror below the first."""
    grid, scale = QuantileGrid(levels), torch.tensor([3.0])
    beyond = torch.tensor([0.98, 0.99, 0.9999])
    for mirror in (False, True):
        at = torch.tensor(levels)
        known = (1 - at).log().neg() if not mirror else at.log()
        steps = inverse_softplus(known.diff())
        middle = grid.middle
        params = torch.cat([steps[:middle], known[middle : middle + 1], steps[middle:]])[None]
        torch.testing.assert_close(grid.grid(params, scale), 3 * known[None])
        found = grid.quantile(params, scale, 1 - beyond if mirror else beyond)
        exact = (1 - beyond).log() if mirror else -(1 - beyond).log()
        torch.testing.assert_close(found, 3 * exact[None], rtol=1e-3, atol=0)
        # the mean of all levels, tails included: that of a fine grid of levels
        fine = (torch.arange(200_000) + 0.5) / 200_000
        mean = grid.quantile(params, scale, fine).mean()
        torch.testing.assert_close(grid.mean(params, scale)[0], mean, rtol=1e-3, atol=0)


def test_levels_that_make_no_grid_are_refused() -> None:
    for levels in ((0.1, 0.9), (0.5, 0.1, 0.9), (0.1, 0.1, 0.9)):
        with pytest.raises(ConfigError, match="must be three or more, increasing"):
            QuantileGrid(levels)
    for levels in ((0.0, 0.5, 0.9), (0.1, 0.5, 1.0)):
        with pytest.raises(ConfigError, match="must be between 0 and 1"):
            QuantileGrid(levels)


def test_quantile_grid_learns_quantiles() -> None:
    y = torch.randn(500, generator=torch.Generator().manual_seed(0)).exp()
    grid = QuantileGrid((0.1, 0.5, 0.9))
    params = torch.zeros(1, 3, requires_grad=True)
    ones, observed = torch.ones(500), torch.ones(500, dtype=torch.bool)
    for _ in range(400):
        loss = grid.loss(params.expand(500, 3), y, ones, observed=observed).mean()
        (slope,) = torch.autograd.grad(loss, params)
        params = (params - 0.5 * slope).detach().requires_grad_()
    learned = grid.grid(params, torch.ones(1))[0].detach()
    np.testing.assert_allclose(learned, np.quantile(y.numpy(), [0.1, 0.5, 0.9]), rtol=0.05)


def test_each_law_takes_the_values_that_it_can_have(likelihood: likelihoods.Likelihood) -> None:
    counts = ("poisson", "binomial")  # the end of the names of laws of counts
    positive, whole = ("log_normal",), likelihood.name.endswith(counts)
    assert (likelihood.counts, likelihood.located) == (
        whole,
        not whole and likelihood.name not in ("log_normal", "tweedie"),
    )
    for value, takes in (
        (2.0, True),
        (1.5, not whole),
        (0.0, likelihood.name not in positive),
        (-3.0, likelihood.located),
    ):
        target = np.array([1, value, np.nan], np.float32)
        if takes:
            likelihood.check_target(target)
        else:
            with pytest.raises(DataError, match=f"likelihood='{likelihood.name}'.*holds {value:g}"):
                likelihood.check_target(target)
    likelihood.check_target(np.array([np.nan], np.float32))


def test_counts_are_checked() -> None:
    with pytest.raises(DataError, match=r"-3.*student_t"):
        NegativeBinomial().check_target(np.array([1, -3], np.float32))
    with pytest.raises(DataError, match=r"1\.5.*student_t"):
        NegativeBinomial().check_target(np.array([1.5, np.nan], np.float32))
    with pytest.raises(ConfigError, match="student_t"):
        likelihoods.create("studentt")
