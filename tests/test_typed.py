"""A value of a saved file is of the type that its field declares, or is refused by its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from demandcast.errors import ConfigError
from demandcast.typed import LARGEST, build, convert


@dataclass(frozen=True)
class Inner:
    count: int
    share: float = 0.5


@pytest.mark.parametrize(
    ("value", "kind", "built"),
    [
        (3, int, 3), (-LARGEST, int, -LARGEST), (3, float, 3.0), (1e300, float, 1e300), (True, bool, True),
        ("x", str, "x"), (None, int | None, None), ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "x"], tuple[int, str], (1, "x")), ([1], list[float], [1.0]), ({"a": 1}, dict[str, int], {"a": 1}),
        ("a", Literal["a", "b"], "a"), ({"count": 2}, Inner, Inner(2)), ([], tuple[int, ...], ()),
    ],
)  # fmt: skip
def test_a_value_of_its_type_is_built(value: Any, kind: Any, built: Any) -> None:
    found = convert(value, kind, "here")
    assert found == built
    assert type(found) is type(built)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        # True is a whole number in Python, and 1.0 equals 1: neither is an int here
        (True, int), (1.0, int), ("1", int), (None, int), (LARGEST + 1, int), (-LARGEST - 1, int),
        (True, float), ("1", float), (LARGEST + 1, float), (10**400, float), (1, bool), (0, bool), (1, str),
        ([1, 2.5], tuple[int, ...]), ([1], tuple[int, str]), ([1, "x", 2], tuple[int, str]), (1, tuple[int, ...]),
        ("ab", tuple[str, ...]), ([True], list[int]), ({"a": 1.0}, dict[str, int]), ([1], dict[str, int]),
        ("c", Literal["a", "b"]), ({"count": True}, Inner), ({}, Inner), ({"count": 1, "more": 1}, Inner),
        ([1], Inner), ("x", int | None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_its_place(value: Any, kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"^here"):
        convert(value, kind, "here")


def test_the_place_names_the_way_to_the_value() -> None:
    with pytest.raises(ConfigError, match=r"^model\.count is True, and should be a whole number$"):
        build(Inner, {"count": True}, "model")
    with pytest.raises(ConfigError, match=r"^here\[1\] is 'x'"):
        convert([1, "x"], list[int], "here")
