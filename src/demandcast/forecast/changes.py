"""Read changes of covariates, such as "promo=1 where week=12 and store=CA_1".

    CHANGE     := ASSIGNMENT {, ASSIGNMENT} [where CONDITION {and CONDITION}]
    ASSIGNMENT := COLUMN = VALUE | COLUMN *= NUMBER | COLUMN += NUMBER
    CONDITION  := COLUMN = VALUE {| VALUE} | COLUMN != VALUE | COLUMN < VALUE, and so with <=, > and >=

A word with spaces or signs stands in quotes. The columns of a condition are key columns, static categories, known
covariates (as planned), the time, and step, week, month, year, day and weekday of the step.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demandcast.errors import ConfigError

TOKEN = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign>\*=|\+=|!=|<=|>=|[=<>,|])|(?P<word>[^\s=<>!,|"'*+]\S*?(?=\s|[=<>!,|"']|\*=|\+=|$)|[+*][^\s=<>!,|"']+))""")  # fmt: skip
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
FORM = 'write "promo=1 where week=12 and store=north", or "price*=0.9"'


@dataclass(frozen=True)
class Assignment:
    """A new value of a covariate: a text, a number, or an array that broadcasts with (N, H)."""

    column: str
    sign: str  # "=", "*=" or "+="
    value: Any


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with one value, or with several of which one has to be equal."""

    column: str
    sign: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """Assignments, and the conditions under which they hold."""

    text: str
    assignments: tuple[Assignment, ...]
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read one change.

        Raises:
            ConfigError: The text is not a change; the message names the place.
        """
        words = _Words(text)
        assignments, conditions = [], list[Condition]()
        while True:
            column, sign = words.word("a covariate"), words.sign("=", "*=", "+=")
            assignments.append(Assignment(column, sign, words.word("a value")))
            if not words.take(","):
                break
        if words.keyword("where"):
            while True:
                column, sign = words.word("a column"), words.sign(*COMPARE)
                values = [words.word("a value")]
                while sign == "=" and words.take("|"):
                    values.append(words.word("a value"))
                conditions.append(Condition(column, sign, tuple(values)))
                if not words.keyword("and"):
                    break
        words.end()
        return cls(text, tuple(assignments), tuple(conditions))


def as_changes(texts: Sequence[str], values: Mapping[str, Any]) -> list[Change]:
    """Return the changes of texts and of keyword arguments: a value, an array, or "*0.9" and "+1".

    Raises:
        ConfigError: There is none, or one cannot be read.
    """
    changes = [Change.parse(text) for text in texts]
    for name, value in values.items():
        sign = "="
        if isinstance(value, str) and value[:1] in ("*", "+"):
            sign, value = f"{value[0]}=", value[1:].lstrip("=")
        elif isinstance(value, (bool, np.bool_)):
            value = "1" if value else "0"
        elif isinstance(value, (int, float, np.number)):
            value = repr(float(value))
        shown = value if isinstance(value, str) else "array"
        changes.append(Change(f"{name}{sign}{shown}", (Assignment(name, sign, value),)))
    if not changes:
        raise ConfigError(
            f"nothing is changed; {FORM}", option="changes", found=(), expected="one change or more"
        )
    return changes


class _Words:
    """The tokens of a change, consumed from the left."""

    def __init__(self, text: str) -> None:
        self.text, self.parts = text, list[tuple[str, str]]()
        place = 0
        stripped = text.rstrip()
        while place < len(stripped):
            match = TOKEN.match(stripped, place)
            if match is None:
                raise ConfigError(
                    f"{text!r} cannot be read at {stripped[place:]!r}; {FORM}",
                    option="changes",
                    found=text,
                    expected=FORM,
                )
            kind = str(match.lastgroup)
            self.parts.append((kind, match[kind]))
            place = match.end()

    def _fail(self, expected: str) -> ConfigError:
        next_word = f"{self.parts[0][1]!r} stands there" if self.parts else "it ends"
        return ConfigError(f"{self.text!r}: {expected} should follow, but {next_word}; {FORM}")

    def word(self, what: str) -> str:
        if not self.parts or self.parts[0][0] == "sign":
            raise self._fail(what)
        kind, word = self.parts.pop(0)
        return word[1:-1] if kind == "quoted" else word

    def sign(self, *signs: str) -> str:
        if not self.parts or self.parts[0][0] != "sign" or self.parts[0][1] not in signs:
            raise self._fail(" or ".join(signs))
        return self.parts.pop(0)[1]

    def take(self, sign: str) -> bool:
        if self.parts and self.parts[0] == ("sign", sign):
            self.parts.pop(0)
            return True
        return False

    def keyword(self, word: str) -> bool:
        if self.parts and self.parts[0][0] == "word" and self.parts[0][1].lower() == word:
            self.parts.pop(0)
            return True
        return False

    def end(self) -> None:
        if self.parts:
            raise self._fail("a comma, 'where', 'and' or the end")
