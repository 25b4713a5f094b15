"""Correct a command that failed: replace a misspelled name, or add a missing option."""

from __future__ import annotations

import difflib
import re
from typing import Any

NEAR = 0.6  # similarity above which one of two names is probably a misspelling of the other
VALUES = {
    "--horizon": "28",
    "--stock": "stock.csv",
    "--model": "lightgbm",
}  # examples for missing options


def replace_name(words: list[str], wrong: object, right: str | None) -> list[str] | None:
    """Return the words with an unknown name replaced by the one that its error suggests.

    Args:
        words: The words after `demandcast`.
        wrong: The unknown name, an error's `found`.
        right: The known name, the error's `suggested`.

    Returns:
        None if the two names are not similar, or the words do not contain the unknown one.
    """
    if not isinstance(wrong, str) or right is None:
        return None
    if difflib.SequenceMatcher(None, wrong, right).ratio() < NEAR:
        return None
    changed = [_replace(word, wrong, right) for word in words]
    return None if changed == words else changed


def _replace(word: str, wrong: str, right: str) -> str:
    """Replace a name that is a word, an entry of a comma-separated list, or a part before or after "="."""
    option, equals, value = word.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={_replace(value, wrong, right)}"
    if equals and option == wrong:
        return f"{right}={value}"
    return ",".join(right if part.strip() == wrong else part for part in word.split(","))


def correct_usage(words: list[str], error: Any, context: Any) -> list[str] | None:
    """Return the words with a misspelled command or option corrected, or a missing option added.

    Args:
        words: The words after `demandcast`.
        error: The parser's usage error.
        context: The parser's context of the command; None if no command was parsed.
    """
    missing = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and missing is not None:
        if missing.param_type_name == "argument":
            return None  # only the caller knows the file
        return [*words, missing.opts[0], VALUES.get(missing.opts[0], str(missing.metavar))]
    wrong = getattr(error, "option_name", None)
    if wrong is not None and context is not None:
        options = [name for param in context.command.params for name in param.opts]
        near = difflib.get_close_matches(wrong, options, n=1, cutoff=NEAR)
        if near:
            return [re.sub(rf"^{re.escape(wrong)}(?==|$)", near[0], word) for word in words]
        return None
    commands = getattr(getattr(context, "command", None), "commands", {})
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and commands and name not in commands:
        near = difflib.get_close_matches(name, commands, n=1, cutoff=NEAR)
        return replace_name(words, name, near[0]) if near else None
    return None
