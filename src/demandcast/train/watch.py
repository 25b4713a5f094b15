"""How a training is watched: its progress bar, its checkpoints and its diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demandcast.train.doctor.doctor import Doctor


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a training shows and keeps while it runs.

    Attributes:
        progress: Show a bar, on stderr.
        label: Title of the bar.
        unit: What samples are called in it.
        checkpoint: Folder where the run is kept; None keeps nothing.
        resume: Go on from the checkpoint, if there is one.
        diagnose: Measure where the time goes; a `Doctor` says how closely.
    """

    progress: bool = True
    label: str = "training"
    unit: str = "windows"
    checkpoint: Path | None = None
    resume: bool = False
    diagnose: bool | Doctor = False

    @property
    def doctor(self) -> Doctor | None:
        """The doctor that `diagnose` asks for; None where it asks for none."""
        if isinstance(self.diagnose, Doctor):
            return self.diagnose
        return Doctor() if self.diagnose else None

    @property
    def resume_from(self) -> Path | None:
        """The folder of the run to go on with; None for a new run."""
        return self.checkpoint if self.resume else None
