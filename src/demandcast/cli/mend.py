"""Write a command that failed anew, with the name that was meant or the option that was missing."""

from __future__ import annotations

import difflib
import re
from typing import Any

_MEANT = re.compile(r"'([^']+)'.*?[Dd]id you mean '([^']+)'", re.DOTALL)
NEAR = 0.6  # similarity of two names of which one is likely a misspelling
VALUES = {
    "--horizon": "28",
    "--stock": "stock.csv",
    "--model": "lightgbm",
}  # of options that are missing


def replace_name(words: list[str], message: str) -> list[str] | None:
    """Return the words with the name that a message rejects replaced by the one it suggests.

    Args:
        words: The words after `demandcast`.
        message: An error, such as "there is no column 'sale'; did you mean 'sales'?".

    Returns:
        None where the message suggests nothing near, or the words do not hold the name.
    """
    found = _MEANT.search(message)
    if found is None:
        return None
    wrong, right = found.groups()
    if difflib.SequenceMatcher(None, wrong, right).ratio() < NEAR:
        return None
    changed = [_replace(word, wrong, right) for word in words]
    return None if changed == words else changed


def _replace(word: str, wrong: str, right: str) -> str:
    """Replace a name that is a whole word, one of several by commas, or what stands before or after "="."""
    option, equals, value = word.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={_replace(value, wrong, right)}"
    if equals and option == wrong:
        return f"{right}={value}"
    return ",".join(right if part.strip() == wrong else part for part in word.split(","))


def usage(words: list[str], error: Any, context: Any) -> list[str] | None:
    """Return the words with a misspelled command or option corrected, or a missing option added.

    Args:
        words: The words after `demandcast`.
        error: The usage error of the parser.
        context: Of the command that was parsed, if it came so far.
    """
    missing = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and missing is not None:
        if missing.param_type_name == "argument":
            return None  # which file is meant, only the caller knows
        return [*words, missing.opts[0], VALUES.get(missing.opts[0], str(missing.metavar))]
    wrong = getattr(error, "option_name", None)
    if wrong is not None and context is not None:
        known = [name for param in context.command.params for name in param.opts]
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=NEAR)
        if near:
            return [re.sub(rf"^{re.escape(wrong)}(?==|$)", near[0], word) for word in words]
        return None
    return replace_name(words, error.format_message())
