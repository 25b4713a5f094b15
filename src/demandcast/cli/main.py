"""The command `demandcast`: errors become messages and exit codes here, and nowhere else."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.main import get_command

from demandcast.cli import (
    app as local_app,
)
from demandcast.cli import (
    backtest,
    check,
    demo,
    doctor,
    forecast,
    help,
    mend,
    models,
    new,
    options,
    order,
    predict,
    replay,
    serve,
    show,
    signals,
    terminal,
    tune,
    what_if,
)
from demandcast.errors import DemandcastError, NotEnoughMemoryError
from demandcast.memory import check_memory, memory_of_process

LEAST = 1 << 26  # bytes that every command needs
LITTLE = 1 << 28  # free bytes below which a library that fails to load is taken to lack memory
COMPLETION = "_DEMANDCAST_COMPLETE"  # set by a shell that asks for the words that may follow
INTERRUPTED = 130  # the exit code of Ctrl-C
RESUMABLE = {  # command -> the option that keeps its work, and what to print with it and without it
    "forecast": (
        "--checkpoint",
        "; add --resume to continue",
        "; with --checkpoint DIR a training can be continued",
    ),
    "tune": (
        "--storage",
        "; the same command continues the search",
        "; with --storage FILE a search can be continued",
    ),
}

HELP: dict[str, Any] = {"help_option_names": ["--help", "-h"]}

app = typer.Typer(
    name="demandcast",
    help="Forecast demand from a table, with quantiles, and measure how good the forecast is.",
    epilog="Start with: demandcast demo   Then: demandcast check sales.csv",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)


def _print_version(requested: bool) -> None:
    if requested:
        try:
            show.lines(f"demandcast {version('demandcast')}")
        except PackageNotFoundError:  # run from a source folder that was never installed
            from demandcast import __version__

            show.lines(f"demandcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Declare the options of `demandcast` itself, which Typer reads from a function."""


for module in (
    demo,
    check,
    new,
    forecast,
    order,
    backtest,
    replay,
    predict,
    local_app,
    serve,
    models,
    doctor,
    tune,
    what_if,
):
    name = module.__name__.rsplit(".", 1)[-1]
    app.command(
        name.replace("_", "-"), cls=help.Command, epilog=module.EXAMPLES, context_settings=HELP
    )(getattr(module, name))


@cache
def command_group() -> Any:
    """Return the parsers of all commands, built once: a notebook runs many."""
    return get_command(app)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; `sys.argv` is never read.

    Args:
        argv: The words after `demandcast`. None or no words print the first steps.

    Returns:
        0 on success, also if the reader of a pipe closed it; 2 for an error that the caller can fix,
        printed on stderr; 130 if interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    if not argv and COMPLETION not in os.environ:
        show.lines(help.START)
        return 0
    words = list(argv or [])
    options.COMMAND[:] = words
    try:
        with terminal.log_lines():
            if not {"--help", "-h"} & set(
                words
            ):  # before libraries that end the process where there is none
                check_memory(LEAST, "a command")
            code = command_group().main(args=words, prog_name="demandcast", standalone_mode=False)
        if code == INTERRUPTED:  # typer makes an exit of Ctrl-C
            raise KeyboardInterrupt
        terminal.flush()
    except DemandcastError as error:
        faults = getattr(error, "faults", ())
        text = f"the table has {len(faults)} faults" if faults else error.text(options.as_option)
        show.say(f"error: {text}")
        for i, fault in enumerate(faults, start=1):
            show.say(f"  {i}. {fault.text(options.as_option)}")
        meant = None if faults else mend.replace_name(words, error.found, error.suggested)
        mendable = all(fault.mend for fault in faults or (error,))
        if meant is None and mendable:
            show.say(f"try: {options.command_line(error.mend)}")
        _say_command(meant)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        show.say(f"interrupted{_how_to_continue(words)}")
        return signals.exit_code()
    except SystemExit as end:  # of shell completion
        return end.code if isinstance(end.code, int) else 0
    except OSError as error:  # a folder that cannot be written to, a full disk
        if error.errno == errno.ENOMEM:
            return _say_no_memory(error)
        show.say(f"error: {error}")
        return 2
    except Exception as error:
        if _is_lack_of_memory(error):
            return _say_no_memory(error)
        if not hasattr(error, "format_message"):  # typer's usage errors, of any release, have it
            raise
        context: Any = getattr(error, "ctx", None)
        show.say(f"error: {mend.explain_usage(words, error, context)}")
        _say_command(mend.correct_usage(words, error, context))
        return 2
    return code if isinstance(code, int) else 0


def _how_to_continue(words: list[str]) -> str:
    """Return how to continue an interrupted command, or the option with which that is possible."""
    option, if_given, if_not = RESUMABLE.get(words[0], ("", "", ""))
    keeps_work = any(option and word.startswith(option) for word in words)
    return if_given if keeps_work else if_not


def _is_lack_of_memory(error: Exception) -> bool:
    """Return whether an error is a failed allocation, which C++ reports in several ways."""
    message = str(error)
    if isinstance(error, SystemError):  # raised by a library that ran out of memory while loading
        total, free = memory_of_process()
        return total > 0 and free < LITTLE
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, ImportError) and "failed to map segment" in message)
        or (isinstance(error, RuntimeError) and "alloc" in message and "memory" in message)
        or "bad_alloc" in message
    )


def _say_command(words: list[str] | None) -> None:
    if words is not None:
        show.say(f"try: {shlex.join(['demandcast', *options.hide_credentials(words)])}")


def _say_no_memory(error: Exception) -> int:
    """Print that the memory does not suffice, with the message of numpy or torch, and what needs less."""
    lines = str(error).strip().splitlines()
    detail = f" ({lines[0].rpartition('] ')[2].rstrip('.')})" if lines else ""
    show.say(f"error: the memory does not suffice{detail}; {NotEnoughMemoryError.help}")
    return 2


def run() -> None:
    """Run the console script."""
    terminal.open_streams()
    signals.handle()
    sys.exit(main(sys.argv[1:]))
