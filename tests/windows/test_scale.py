"""What each scaling divides by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demandcast.errors import ConfigError
from demandcast.windows.window_source import gather_runs, scale_of


def test_standard_is_the_deviation_from_the_mean_of_what_was_seen() -> None:
    past = torch.tensor([[3.0, 5.0, 0.0, 10.0]])
    seen = torch.tensor([[True, True, False, True]])
    scale, level = scale_of(past, seen, "standard")
    assert level.item() == 6.0
    np.testing.assert_allclose(scale.item(), np.std([3, 5, 10]), rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "seen", "nothing", "zeros"),
    [
        ("mean_abs", 6.0, 0, 0),
        ("max", 10.0, 0, 0),
        ("one_plus_mean", 7.0, 0, 1),
        ("none", 1.0, 0, 1),
        ("standard", float(np.std([3, -5, 10])), 0, 0),
    ],
)
def test_scales_by_hand(scaling: str, seen: float, nothing: float, zeros: float) -> None:
    """Of 3, -5, one that was not observed, and 10; of nothing observed; of zeros. The level is the mean."""
    past = torch.tensor([[3.0, -5.0, 99.0, 10.0], [8.0] * 4, [0.0] * 4])
    observed = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    scale, level = scale_of(past, observed, scaling)
    assert scale[:, 0].tolist() == pytest.approx([seen, nothing, zeros])
    assert level[:, 0].tolist() == pytest.approx([8 / 3, 0, 0])
    with pytest.raises(ConfigError, match="scaling is 'sum'; it is one of"):
        scale_of(past, observed, "sum")


@pytest.mark.parametrize("first", [[-9, -1, 0, 3], [7, 8, 30, 0], [2, 5]])
@pytest.mark.parametrize("length", [1, 4, 10, 13])
@pytest.mark.parametrize("width", [(), (2,), (0,)])
def test_runs_are_rows_one_by_one(first: list[int], length: int, width: tuple[int, ...]) -> None:
    """The nearest row stands for those over the ends."""
    values = torch.randn(10, *width, generator=torch.Generator().manual_seed(0))
    found = gather_runs(values, torch.tensor(first), length)
    rows = [[min(max(f + k, 0), 9) for k in range(length)] for f in first]
    assert torch.equal(found, values[torch.tensor(rows)])


def test_standard_survives_constant_huge_and_tiny_series() -> None:
    seen = torch.ones(4, 3, dtype=torch.bool)
    past = torch.tensor([[0.0, 0, 0], [7, 7, 7], [1e12, 3e12, 2e12], [1e-9, 3e-9, 2e-9]])
    scale, level = scale_of(past, seen, "standard")
    assert scale[0].item() == 0  # all 0: nothing tells it
    assert scale[1].item() == pytest.approx(7 / 3)  # constant: a share of its own size
    deviation = float(np.std([1, 3, 2]))
    np.testing.assert_allclose(scale[2:, 0], [deviation * 1e12, deviation * 1e-9], rtol=1e-5)
    assert torch.isfinite((past - level)[1:] / scale[1:]).all()
