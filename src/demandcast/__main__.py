"""`python -m demandcast`, the same as the command `demandcast`."""

from demandcast.cli.main import run

run()
