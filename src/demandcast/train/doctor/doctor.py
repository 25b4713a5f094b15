"""The doctor: measures a training while it runs and in trials after it, and says what slows it.

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
    """Options of a diagnosis; `diagnose=True` is `diagnose=Doctor()`.

    Attributes:
        budget: Seconds for trials beside the run; None for 1.5 % of the run.
        operators: Name the five operators that cost most; takes a second or two.
        trace: A file for a trace of five steps, which https://ui.perfetto.dev opens.
    """

    budget: float | None = None
    operators: bool = False
    trace: str | Path | None = None

    def __post_init__(self) -> None:
        if self.trace is not None and not str(self.trace).endswith((".json", ".json.gz")):
            raise ConfigError(
                f"trace is {str(self.trace)!r}; end it in .json or .json.gz, which viewers open",
                option="trace",
                found=str(self.trace),
                expected=".json or .json.gz",
            )

    def monitor(self, device: torch.device, steps: int, threads: int | None = None) -> Monitor:
        """Return the monitor of a run that is about to begin, with so many threads."""
        return Monitor(device, steps, threads)

    def examine(
        self, monitor: Monitor, subject: Subject[B], choices: Sequence[object] = ()
    ) -> Diagnosis:
        """Diagnose what slows a monitored run; the network is left as it was."""
        facts = measure(monitor, subject, budget=self.budget)
        inside = operators(subject, self.trace) if self.operators or self.trace else ()
        return Diagnosis(facts, inside, choices)


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Write the diagnosis to stderr, where progress goes."""
    sys.stderr.write(f"{diagnosis}\n")
