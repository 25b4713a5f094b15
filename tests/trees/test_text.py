"""LightGBM's text is checked field by field: its reader ends the process on what is out of range."""

from __future__ import annotations

import re

import numpy as np
import pytest

from demandcast.trees.text import check_text, trees_of

WIDTH, LEAVES = 4, 6


@pytest.fixture(scope="module")
def text() -> str:
    """Three trees of six leaves on four columns, the last of them a category."""
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(400, 3)), rng.integers(0, 5, 400)])
    y = x[:, 0] + 2 * (x[:, 3] == 2) + x[:, 1] * (x[:, 3] == 4)
    data = lightgbm.Dataset(x, y, categorical_feature=[3], free_raw_data=False)
    options = {
        "objective": "quantile", "num_leaves": LEAVES, "min_data_in_leaf": 5, "verbosity": -1,
        "min_data_per_group": 5, "cat_smooth": 1.0, "num_threads": 1,
    }  # fmt: skip
    return trees_of(lightgbm.train(options, data, 3).model_to_string())


def with_word(text: str, name: str, word: str) -> str:
    """The text with another first word in the first line of this name, and tree_sizes that add up."""
    found = re.search(rf"^{name}=(\S+)", text, re.M)
    assert found is not None, name
    changed = text[: found.start(1)] + word + text[found.end(1) :]
    if name in ("max_feature_idx", "tree_sizes"):
        return changed
    sizes = re.search(r"^tree_sizes=(\d+)", changed, re.M)
    assert sizes is not None
    size = int(sizes[1]) + len(word) - len(found[1])
    return changed[: sizes.start(1)] + str(size) + changed[sizes.end(1) :]


def test_what_lightgbm_wrote_passes(text: str) -> None:
    assert check_text(text) == check_text(text, WIDTH) == WIDTH
    assert "cat_threshold=" in text
    assert with_word(text, "leaf_count", re.findall(r"^leaf_count=(\S+)", text, re.M)[0]) == text


FIELDS = {  # name -> the largest whole number that its first word may be
    "split_feature": WIDTH - 1, "decision_type": 11, "left_child": LEAVES - 2, "right_child": LEAVES - 2,
    "leaf_count": 2**31 - 1, "internal_count": 2**31 - 1, "cat_boundaries": 1 << 20, "cat_threshold": 2**32 - 1,
    "num_leaves": 1 << 20, "num_cat": LEAVES, "max_feature_idx": 1 << 20, "tree_sizes": 10**6,
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("kind", ["too large", "too small", "a fraction", "no number"])
def test_a_number_out_of_its_range_is_refused_by_name(name: str, kind: str, text: str) -> None:
    word = {
        "too large": str(FIELDS[name] + 1),
        "too small": str(-LEAVES - 1),
        "a fraction": "1.0",
        "no number": "x",
    }[kind]
    with pytest.raises(ValueError, match=rf"{name}\b.* and should be a whole number"):
        check_text(with_word(text, name, word))


@pytest.mark.parametrize("name", ["split_feature", "leaf_count", "cat_threshold"])
def test_the_ends_of_a_range_pass(name: str, text: str) -> None:
    for word in (0, FIELDS[name]):
        assert check_text(with_word(text, name, str(word))) == WIDTH
