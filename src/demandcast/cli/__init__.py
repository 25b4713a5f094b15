"""The command line; `demandcast.cli.main(["forecast", ...])` is the same from Python."""

from demandcast.cli.main import main

__all__ = ["main"]
