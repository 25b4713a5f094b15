"""What each scaling divides by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from demandcast.windows.window import scale_of


def test_standard_is_the_deviation_from_the_mean_of_what_was_seen() -> None:
    past = torch.tensor([[3.0, 5.0, 0.0, 10.0]])
    seen = torch.tensor([[True, True, False, True]])
    scale, level = scale_of(past, seen, "standard")
    assert level.item() == 6.0
    np.testing.assert_allclose(scale.item(), np.std([3, 5, 10]), rtol=1e-6)


def test_standard_survives_constant_huge_and_tiny_series() -> None:
    seen = torch.ones(4, 3, dtype=torch.bool)
    past = torch.tensor([[0.0, 0, 0], [7, 7, 7], [1e12, 3e12, 2e12], [1e-9, 3e-9, 2e-9]])
    scale, level = scale_of(past, seen, "standard")
    assert scale[0].item() == 0  # all 0: nothing tells it
    assert scale[1].item() == pytest.approx(7 / 3)  # constant: a share of its own size
    deviation = float(np.std([1, 3, 2]))
    np.testing.assert_allclose(scale[2:, 0], [deviation * 1e12, deviation * 1e-9], rtol=1e-5)
    assert torch.isfinite((past - level)[1:] / scale[1:]).all()
