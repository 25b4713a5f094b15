"""The doctor: watches a training, measures beside it, and says what slows it.

model.fit(panel, diagnose=True)
print(model.diagnosis)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from demandcast.errors import ConfigError
from demandcast.train.batches import B
from demandcast.train.doctor.bare_loop import Subject
from demandcast.train.doctor.diagnosis import Diagnosis
from demandcast.train.doctor.measure import Monitor, measure
from demandcast.train.doctor.profile import operators


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """How closely to look; `diagnose=True` is `diagnose=Doctor()`.

    Attributes:
        budget: Seconds for trials beside the run; None for 1.5 % of the run.
        operators: Name the five operators that cost most; takes a second or two.
        trace: A file for the course of five steps, as https://ui.perfetto.dev opens it.
    """

    budget: float | None = None
    operators: bool = False
    trace: str | Path | None = None

    def __post_init__(self) -> None:
        if self.trace is not None and not str(self.trace).endswith((".json", ".json.gz")):
            raise ConfigError(
                f"trace is {str(self.trace)!r}; end it in .json or .json.gz, which viewers open"
            )

    def monitor(self, device: torch.device, steps: int, threads: int | None = None) -> Monitor:
        """Return the monitor of a run that is about to begin, with so many threads."""
        return Monitor(device, steps, threads)

    def examine(
        self, monitor: Monitor, subject: Subject[B], choices: Sequence[object] = ()
    ) -> Diagnosis:
        """Say what slows a run that was monitored; the network comes out as it went in."""
        facts = measure(monitor, subject, budget=self.budget)
        inside = operators(subject, self.trace) if self.operators or self.trace else ()
        return Diagnosis(facts, inside, choices)


def say(diagnosis: Diagnosis) -> None:
    """Write the diagnosis to stderr, where progress goes."""
    sys.stderr.write(f"{diagnosis}\n")
