"""Draws by key: what they depend on, and that their distributions are exact."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import scipy.special
import scipy.stats
import torch
from numpy.typing import NDArray

from demandcast.draws.arrays import BLOCK, Draws
from demandcast.draws.keyed import KeyedDraws, key_hashes
from demandcast.draws.tensors import TensorDraws

KEYS = pl.DataFrame({"item": [f"i{k}" for k in range(200)], "store": np.arange(200) % 7})
FEW = 1e-4  # p-values below are not by chance: seeds are fixed


def of(seed: int = 0) -> Draws:
    return Draws.of(KEYS, seed)


def test_the_generator_is_the_same_everywhere() -> None:
    """Numbers that no release may change without saying so."""
    key = pl.DataFrame({"key": ["a"]})
    assert int(Draws.of(key, 0).starts[0]) == 15762373642560294065
    np.testing.assert_array_equal(
        Draws.of(key, 0).at("x", 1).uniform((1, 3))[0],
        [0.4002757205885913, 0.9707671416927074, 0.5367744223430185],
    )


def test_a_draw_is_of_seed_key_and_purpose_only() -> None:
    whole = of().at("x", 3).uniform((200, 50, 4))
    order = np.random.default_rng(0).permutation(200)
    moved = Draws.of(KEYS[order.tolist()], 0).at("x", 3).uniform((200, 50, 4))
    np.testing.assert_array_equal(moved, whole[order])
    np.testing.assert_array_equal(of().select([5]).at("x", 3).uniform((1, 50, 4)), whole[5:6])
    np.testing.assert_array_equal(of().at("x", 3).uniform((200, 20, 4)), whole[:, :20])
    others = (of(1).at("x", 3), of().at("x", 4), of().at("y", 3), of().at("x").at(3))
    for other in others:
        assert (other.uniform((200, 50, 4)) != whole).all()


def test_keys_are_told_by_all_their_columns_and_numbers_by_their_text() -> None:
    def hashes(**columns: list[object]) -> bytes:
        return key_hashes(pl.DataFrame(columns), 0)

    assert hashes(a=[1]) == hashes(b=["1"]) == hashes(a=[np.int8(1)])
    keys = [("1", "23"), ("12", "3"), ("123", ""), ("", "123"), ("1 2", "3"), ("1", "2 3")]
    keys += [("1", None), ("1", "null"), ("2 12 3", "4"), ("2", "12 3 4")]
    found = {hashes(a=[a], b=[b]) for a, b in keys}
    assert len(found) == len(keys)


def test_no_state_is_shared() -> None:
    """Neither numpy's global state nor other threads nor another process change what is drawn."""
    shape = np.full((200, 30), 0.7)
    first = of().at("g").gamma(shape)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(lambda _: of().at("g").gamma(shape), range(8)):
            np.testing.assert_array_equal(other, first)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    program = (
        "import polars as pl; from demandcast.draws.arrays import Draws;"
        "print(Draws.of(pl.DataFrame({'k': ['a', 'b']}), 7).at('z').normal((2, 2)).tolist())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    here = Draws.of(pl.DataFrame({"k": ["a", "b"]}), 7).at("z").normal((2, 2))
    assert said.stdout.strip() == str(here.tolist())


def test_uniforms_are_uniform_and_independent() -> None:
    """Within a series, between series, paths, steps and purposes."""
    u = np.stack([of().at("step", step).uniform((200, 300)) for step in range(3)], 2)
    assert u.min() > 0
    assert u.max() < 1
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > FEW
    each = scipy.stats.kstest(u.reshape(200, -1), "uniform", axis=1).pvalue  # of each series
    assert scipy.stats.kstest(each, "uniform").pvalue > FEW
    for one, other in (
        (u[:, :-1], u[:, 1:]),
        (u[:-1], u[1:]),
        (u[..., :-1], u[..., 1:]),
        (u[..., 0], of(1).at("step", 0).uniform((200, 300))),
        (u[..., 0], of().at("other", 0).uniform((200, 300))),
    ):
        cells = np.histogram2d(one.ravel(), other.ravel(), 16, [[0, 1], [0, 1]])[0]
        assert scipy.stats.chisquare(cells.ravel()).pvalue > FEW
    bits = np.unpackbits((u[..., 0] * 2.0**52).astype(np.int64).view(np.uint8))
    ones = bits.reshape(-1, 64).mean(0)
    ones = ones[(ones > 0)]
    assert len(ones) == 52
    assert (np.abs(ones - 0.5) < 5 * 0.5 / np.sqrt(u[..., 0].size)).all()


def test_large_rows_are_drawn_in_blocks_alike() -> None:
    one, wide = of().select([3]), BLOCK + 7
    np.testing.assert_array_equal(
        one.at("w").uniform((1, wide))[0, :50], one.at("w").uniform((1, 50))[0]
    )
    assert scipy.stats.kstest(one.at("w").normal((1, wide))[0], "norm").pvalue > FEW


def test_normals_are_normal() -> None:
    assert scipy.stats.kstest(of().normal((200, 1000)).ravel(), "norm").pvalue > FEW
    level = np.concatenate([10.0 ** -np.arange(1, 16), np.linspace(0.001, 0.999, 999)])
    found = of()._inverse_normal(level)
    np.testing.assert_allclose(found, scipy.special.ndtri(level), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 2.5, 40.0, 1e7])
def test_gammas_are_gamma(shape: float) -> None:
    drawn = of().gamma(np.full((200, 500), shape)).ravel()
    assert scipy.stats.kstest(drawn, scipy.stats.gamma(shape).cdf).pvalue > FEW


def counts_fit(drawn: NDArray[np.float64], law: scipy.stats.rv_discrete) -> float:
    """p-value of a chi-square over cells of 20 expected counts or more."""
    edges = np.unique(law.ppf(np.linspace(0.0005, 0.9995, 80)))
    reached = np.concatenate([[0], law.cdf(edges), [1]])
    expected = np.diff(reached) * drawn.size
    found = np.diff(
        np.concatenate([[0], np.searchsorted(np.sort(drawn), edges, "right"), [drawn.size]])
    )
    few = expected < 20
    if few.any():
        found = np.append(found[~few], found[few].sum())
        expected = np.append(expected[~few], expected[few].sum())
    keep = expected > 1
    return float(scipy.stats.chisquare(found[keep], expected[keep], sum_check=False).pvalue)


@pytest.mark.parametrize("rate", [0.02, 0.7, 4.0, 9.9, 10.0, 13.0, 60.0, 3000.0, 1e6])
def test_counts_are_poisson(rate: float) -> None:
    drawn = of().poisson(np.full((200, 1000), rate)).ravel()
    assert (drawn == np.floor(drawn)).all()
    assert counts_fit(drawn, scipy.stats.poisson(rate)) > FEW


@pytest.mark.parametrize("rate", [1e9, 2e10, 1e15])  # numpy's own end at 9.2e18, in int64
def test_large_rates_are_no_limit(rate: float) -> None:
    drawn = of().poisson(np.full((200, 500), rate)).ravel()
    assert scipy.stats.kstest((drawn - rate) / np.sqrt(rate), "norm").pvalue > FEW
    assert np.isfinite(of().poisson(np.full((200, 5), 1e30))).all()


@pytest.mark.parametrize(
    ("mean", "spread"),
    [(0.2, 1.0), (3.0, 0.3), (3.0, 4.0), (9.0, 1e-4), (15.0, 0.5), (0.5, 40.0), (1e4, 0.1)],
)
def test_counts_are_negative_binomial(mean: float, spread: float) -> None:
    """On both sides of the bounds of the search."""
    size = (200, 500)
    drawn = of().negative_binomial(np.full(size, mean), np.full(size, spread)).ravel()
    assert counts_fit(drawn, scipy.stats.nbinom(1 / spread, 1 / (1 + mean * spread))) > FEW


def test_odd_parameters_end() -> None:
    """Nothing loops or warns: 0 and less is 0, NaN stays NaN."""
    odd = np.repeat([[np.nan, -1.0, 0.0, 1e-320]], 200, 0)
    np.testing.assert_array_equal(of().poisson(odd)[0], [np.nan, 0, 0, 0])
    np.testing.assert_array_equal(of().gamma(np.maximum(odd, 0))[0], [np.nan, 0, 0, 0])
    np.testing.assert_array_equal(of().poisson(np.full((200, 1), np.inf)), 1e150)
    assert Draws.of(KEYS[:0], 0).uniform((0, 5)).shape == (0, 5)


def test_tensors_hold_the_same_draws() -> None:
    """On the CPU and by the code for other devices, which runs here on the CPU too."""
    host, tensors = of(3).at("t"), TensorDraws.of(KEYS, 3).at("t")
    rate = np.random.default_rng(0).gamma(0.5, 30, (200, 40))
    given = torch.from_numpy(rate)
    torch.testing.assert_close(
        tensors.uniform((200, 40)), torch.from_numpy(host.uniform((200, 40)))
    )
    for draw, params in (
        (KeyedDraws._uniform, ()), (KeyedDraws._normal, ()), (KeyedDraws._gamma, (given,)), (KeyedDraws._poisson, (given,)),
        (KeyedDraws._negative_binomial, (given, given / 20 + 0.1)),
    ):  # fmt: skip
        expected = tensors._draw(draw, (200, 40), *params)
        torch.testing.assert_close(tensors._draw_on_device(draw, (200, 40), *params), expected)
    flat = tensors.poisson(given.flatten())  # a series' paths one after the other
    torch.testing.assert_close(flat.view(200, 40), tensors.poisson(given))
    assert tensors.select(slice(2, 4)).uniform((4,)).shape == (4,)
