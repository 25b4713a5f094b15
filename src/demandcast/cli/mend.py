"""Explain a command that the parser refuses, and correct one that failed: a misspelled name, a missing option."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

NEAR = 0.6  # similarity above which one of two names is probably a misspelling of the other
NEAR_OPTION = 0.7  # the same of two options without their dashes
VALUES = {
    "--horizon": "28",
    "--stock": "stock.csv",
    "--model": "lightgbm",
}  # examples for missing options
SYNONYMS = {  # options as other programs name them -> ours
    "--levels": "--quantiles", "--steps": "--horizon", "--periods": "--horizon", "--id": "--key",
    "--date": "--time", "--value": "--target", "--frequency": "--freq", "--method": "--model",
}  # fmt: skip
LISTS = ("COLUMNS", "NAMES", "LEVELS")  # metavars of options whose value is a list with commas
EXPECTED = (  # the parser's words -> ours
    (r".*greater than or equal to (-?\d+)", r"a whole number, \1 or more"),
    (r".*greater than or equal to ([\d.-]+)", r"a number, \1 or more"),
    (r".*less than or equal to ([\d.-]+).*", r"a number, \1 or less"),
    (r".*valid integer.*", "a whole number"),
    (r".*valid number.*", "a number"),
)


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
    if difflib.SequenceMatcher(None, wrong.lower(), right.lower()).ratio() < NEAR:
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


def explain_usage(words: Sequence[str], error: Any, context: Any) -> str:
    """Return what is wrong with a command that the parser refuses: the option, its value, what is expected.

    Args:
        words: The words after `demandcast`.
        error: The parser's usage error.
        context: The parser's context of the command; None if no command was parsed.
    """
    kind, param = type(error).__name__, getattr(error, "param", None)
    command = context.command_path if context is not None else "demandcast"
    message = str(error.format_message()).rstrip(".")
    if kind == "MissingParameter" and param is not None:
        name = param.metavar if param.param_type_name == "argument" else param.opts[0]
        text = (getattr(param, "help", None) or "").rstrip(".")
        return f"{name} is missing{f': {text[:1].lower()}{text[1:]}' if text else ''}"
    if kind == "BadParameter" and param is not None:
        option = next((o for o in param.opts if _value(words, o) is not None), param.opts[0])
        for pattern, expected in EXPECTED:
            if re.fullmatch(pattern, message, re.DOTALL):
                text = re.sub(pattern, expected, message, flags=re.DOTALL)
                return f"{option} is {_value(words, option)!r}; it must be {text}"
    if kind == "BadOptionUsage":
        option = error.option_name
        if "not take a value" in message:
            return f"{option} takes no value; write {option} alone"
        return f"{option} has no value; write one after it"
    if kind == "NoSuchOption":
        near = _near_option(error.option_name, _options(context))
        hint = f"; did you mean {near}?" if near else f"; {command} --help lists the options"
        return f"{command} has no option {error.option_name}{hint}"
    commands = getattr(getattr(context, "command", None), "commands", {})
    name = _command(words)
    if commands and name is not None and name not in commands:
        near = _near_command(name, commands)
        hint = f"did you mean {near}?" if near else "demandcast --help lists all"
        return f"there is no command {name!r}; {hint}"
    extra = _extra(message)
    if extra and context is not None:
        return f"{extra!r} is one word too many; {_why_extra(words, extra, context)}"
    return f"{message}; see {command} --help"


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
        near = _near_option(wrong, _options(context))
        if near:
            return [re.sub(rf"^{re.escape(wrong)}(?==|$)", near, word) for word in words]
        return None
    commands = getattr(getattr(context, "command", None), "commands", {})
    name = _command(words)
    if name is not None and commands and name not in commands:
        return replace_name(words, name, _near_command(name, commands))
    extra = _extra(str(getattr(error, "message", "")))
    if extra and context is not None:
        at = _list_before(words, extra, context)
        if at is not None:
            joined = ",".join(word.strip(",") for word in words[at + 1 : words.index(extra) + 1])
            return [*words[: at + 1], joined, *words[words.index(extra) + 1 :]]
    return None


def _value(words: Sequence[str], option: str) -> str | None:
    """Return the value that the words give an option."""
    for word, after in zip(words, [*words[1:], None], strict=True):
        if word == option:
            return after
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _command(words: Sequence[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def _near_command(name: str, commands: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(commands), n=1, cutoff=NEAR)), None)


def _options(context: Any) -> list[str]:
    params = context.command.params if context is not None else ()
    return [name for param in params for name in param.opts if name.startswith("--")]


def _near_option(wrong: str, options: Sequence[str]) -> str | None:
    """Return the option that is meant: a synonym, one that begins alike, or a similar one."""
    if SYNONYMS.get(wrong) in options:
        return SYNONYMS[wrong]
    bare = wrong.lstrip("-")
    names = {option.lstrip("-"): option for option in options}
    alike = [n for n in names if len(n) > 2 and (bare.startswith(n) or n.startswith(bare))]
    near = difflib.get_close_matches(bare, list(names), n=1, cutoff=NEAR_OPTION) or alike[:1]
    return names[near[0]] if near and len(bare) > 2 else None


def _extra(message: str) -> str | None:
    """Return the first argument that the parser did not expect."""
    match = re.search(r"unexpected extra arguments?(?:\(s\))? \((\S+?)[ )]", message)
    return match[1] if match else None


def _list_before(words: Sequence[str], extra: str, context: Any) -> int | None:
    """Return the place of the option of a list, such as --key, whose values the extra word continues."""
    end = words.index(extra) if extra in words else 0
    at = max((i for i in range(end) if words[i].startswith("--")), default=None)
    if at is None or at + 1 >= end or "=" in words[at]:
        return None
    metavars = {name: param.metavar for param in context.command.params for name in param.opts}
    return at if metavars.get(words[at]) in LISTS else None


def _why_extra(words: Sequence[str], extra: str, context: Any) -> str:
    """Return what to write in place of an extra word."""
    at = _list_before(words, extra, context)
    if at is not None:
        return f"separate the values of {words[at]} by commas, without spaces"
    before = words[words.index(extra) - 1] if extra in words else ""
    if any(before in param.opts and getattr(param, "is_flag", False) for param in context.command.params):  # fmt: skip
        return f"{before} takes no value; write {before} alone"
    if re.search(r"\.\w+$", extra):
        return (
            "DATA is one path: to read several files as one table, quote the pattern, as in '*.csv'"
        )
    return f"see {context.command_path} --help"
