"""Check LightGBM's text of a model before LightGBM reads it.

Its reader trusts what it is given: an index out of range or a size that is off ends the process, or
keeps it busy forever. What passes here is a set of proper trees, whose every number is in its range.
"""

from __future__ import annotations

import itertools
import math
import re

END = "end of trees"
HEADER = ("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective",
          "feature_names", "feature_infos", "tree_sizes")  # fmt: skip
INNER = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)  # fmt: skip  one a split
LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
SETS = ("cat_boundaries", "cat_threshold")
SINGLE = ("num_leaves", "num_cat", "is_linear", "shrinkage")
MOST = 1 << 20  # leaves of a tree, and columns
INFO = re.compile(r"none|-?\d+(:-?\d+)*|\[[-+.\dena]+:[-+.\dena]+\]")
NUMBER = re.compile(r"-?(nan|inf|\d+(\.\d+)?(e[-+]?\d{1,3})?)")
WHOLE = re.compile(r"-?\d{1,10}")


def trees_of(text: str) -> str:
    """Return the part of a model's text that predictions need, without its training parameters.

    Trees of a loss of our own, which a sign constraint takes, are written as those of LightGBM's quantile loss: neither
    changes what the trees add up to.
    """
    text = re.sub(r"\nmonotone_constraints=[^\n]*", "", text, count=1)
    if "\nobjective=" not in text[: text.index("\n\n")]:
        text = text.replace("\nfeature_names=", "\nobjective=quantile\nfeature_names=", 1)
    return text[: text.index(END) + len(END)] + "\n"


def check_text(text: str, columns: int | None = None) -> int:
    """Refuse a text that LightGBM cannot read safely; return how many columns its trees read.

    Args:
        text: As `trees_of` cut it.
        columns: How many there have to be; None for any.

    Raises:
        ValueError: It says what is wrong, and in which tree.
    """
    head, gap, body = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "tree" or not gap or not body.endswith(END + "\n"):
        raise ValueError("the text is not a LightGBM model from its first line to its last")
    facts = _fields(lines[1:], HEADER, "the head")
    expected = {
        "version": "v4",
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "label_index": "0",
    }
    for name, value in expected.items():
        if facts[name] != value:
            raise ValueError(f"{name} is {facts[name]!r:.40}, and should be {value}")
    if facts["objective"] not in ("quantile", "regression"):
        raise ValueError(
            f"objective is {facts['objective']!r:.40}, and should be quantile or regression"
        )
    width = _parse_integer(facts["max_feature_idx"], "max_feature_idx", 0, MOST) + 1
    if columns is not None and width != columns:
        raise ValueError(f"its trees read {width} columns, and the model has {columns}")
    if len(facts["feature_names"].split(" ")) != width:
        raise ValueError(f"feature_names are not {width} words")
    infos = facts["feature_infos"].split(" ")
    if len(infos) != width or not all(map(INFO.fullmatch, infos)):
        raise ValueError(f"feature_infos are not {width} ranges or lists of categories")
    sizes = [_parse_integer(s, "tree_sizes", 1, len(text)) for s in facts["tree_sizes"].split()]
    content = body.encode()  # sizes are of bytes
    start = 0
    for number, size in enumerate(sizes):
        block = content[start : start + size].decode()
        _check_tree(block, number, width)
        start += size
    if content[start:].decode() != END + "\n":
        raise ValueError("tree_sizes do not add up to the trees there are")
    return width


def _check_tree(block: str, number: int, width: int) -> None:
    """Check that every split and every leaf of a tree is reached once, from one above it."""
    place = f"tree {number}"
    lines = block.rstrip("\n").split("\n")
    if lines[0] != f"Tree={number}":
        raise ValueError(f"{place} does not begin where tree_sizes says")
    facts = _fields(lines[1:], (*SINGLE, *INNER, *LEAVES), place, SETS)
    leaves = _parse_integer(facts["num_leaves"], f"num_leaves of {place}", 1, MOST)
    sets = _parse_integer(facts["num_cat"], f"num_cat of {place}", 0, leaves)
    if facts["is_linear"] != "0":
        raise ValueError(f"is_linear of {place} is not 0")
    _numbers(facts, "shrinkage", 1, place)
    if leaves == 1:
        _numbers(facts, "leaf_value", 1, place)
        return
    splits = leaves - 1
    for name in ("split_gain", "threshold", "internal_value", "internal_weight"):
        _numbers(facts, name, splits, place)
    for name in ("leaf_value", "leaf_weight"):
        _numbers(facts, name, leaves, place)
    _parse_integers(facts, "internal_count", splits, place, 0, 2**31 - 1)
    _parse_integers(facts, "leaf_count", leaves, place, 0, 2**31 - 1)
    _parse_integers(facts, "split_feature", splits, place, 0, width - 1)
    kinds = _parse_integers(facts, "decision_type", splits, place, 0, 11)
    below = [*_parse_integers(facts, "left_child", splits, place, -leaves, splits - 1)]
    below += _parse_integers(facts, "right_child", splits, place, -leaves, splits - 1)
    if sorted(below) != [*range(-leaves, 0), *range(1, splits)]:
        raise ValueError(f"{place} does not reach each of its splits and leaves once")
    if any(0 <= child <= i % splits for i, child in enumerate(below)):
        raise ValueError(f"{place} goes round in a ring")
    if sets:
        edges = _parse_integers(facts, "cat_boundaries", sets + 1, place, 0, MOST)
        _parse_integers(facts, "cat_threshold", edges[-1], place, 0, 2**32 - 1)
        if edges[0] != 0 or any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError(f"cat_boundaries of {place} do not increase from 0")
    for kind, cut in zip(kinds, facts["threshold"].split(" "), strict=True):
        if kind % 2:
            _parse_integer(cut, f"threshold of a category in {place}", 0, sets - 1)


def _fields(
    lines: list[str], names: tuple[str, ...], place: str, optional: tuple[str, ...] = ()
) -> dict[str, str]:
    """Read `name=value` lines, each name once."""
    pairs = [line.partition("=") for line in lines]
    facts = {name: value for name, equals, value in pairs if equals}
    wrong = facts.keys() ^ set(names)
    if len(facts) != len(lines) or wrong - set(optional):
        raise ValueError(f"{place} lacks a line, or has one too many: {sorted(wrong)[:3]}")
    return facts


def _numbers(facts: dict[str, str], name: str, count: int, place: str) -> None:
    words = facts[name].split(" ")
    finite = name in ("leaf_value", "shrinkage")  # a split may lie at infinity
    good = all(NUMBER.fullmatch(w) and (not finite or math.isfinite(float(w))) for w in words)
    if len(words) != count or not good:
        raise ValueError(f"{name} of {place} is not {count} {'finite ' if finite else ''}numbers")


def _parse_integers(
    facts: dict[str, str], name: str, count: int, place: str, low: int, high: int
) -> list[int]:
    words = facts.get(name, "").split(" ")
    if len(words) != count:
        raise ValueError(f"{name} of {place} is not {count} numbers")
    return [_parse_integer(word, f"{name} of {place}", low, high) for word in words]


def _parse_integer(word: str, name: str, low: int, high: int) -> int:
    if not word.isascii() or not WHOLE.fullmatch(word) or not low <= int(word) <= high:
        raise ValueError(
            f"{name} is {word!r:.40}, and should be a whole number from {low} to {high}"
        )
    return int(word)
