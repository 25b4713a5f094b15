"""What the doctor measured, as plain numbers; the rules of `explain` read nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One training run, its machine, and a few trials beside it; times in seconds."""

    # The run
    model: str = ""
    steps: int  # timed
    batch: int  # windows in a step
    phases: dict[str, float]  # a step's seconds by phase, see `train.clock.PHASES`
    cpu: dict[str, float] = field(default_factory=dict)  # the same in CPU seconds of this process
    ceiling: float  # windows/s of the bare loop: this network and optimiser, one batch at hand
    run: float = 0.0  # seconds of the run
    measuring: float = 0.0  # seconds the doctor took for itself

    # The machine
    device: str = "cpu"
    physical: int = 1  # cores that this process may use
    threads: int = 1  # that the run's operators used
    cores: tuple[float, ...] = ()  # busy share of each core in the run
    others: float | None = None  # cores that other programs kept busy
    queued: float | None = None  # threads of the run that stood in the queue for a core, mean
    device_busy: float | None = None  # share, of the GPU
    memory_used: int = 0  # bytes: of the GPU, or of RAM by this process
    memory_free: int = 0
    memory_total: int = 0

    # The way of the data
    loader: str = "resident"  # resident: a gather from arrays at hand; streaming: window by window
    workers: int = 0
    pinned: bool | None = None
    data_bytes: int | None = None  # what the resident loader would hold; None where it cannot
    fetch: float | None = None  # seconds a window with a core to itself, measured on a few
    fetch_cpu: float | None = None  # of them spent computing; the rest was waited for
    fetch_random: bool | None = None  # the same index gives other values: an augmentation
    fetch_place: str = ""  # function in which most of a fetch goes

    # Trials with the bare loop
    syncs: float = 0.0  # values a step reads from the device, and so waits for it
    sync_place: str = ""  # the line that does it
    by_threads: dict[int, float] = field(default_factory=dict)  # windows/s, of median steps
    by_batch: dict[int, float] = field(default_factory=dict)  # windows/s

    @property
    def step(self) -> float:
        """Seconds of a step, validation and checkpoints shared over all."""
        return max(sum(self.phases.values()), 1e-9)

    @property
    def windows_per_second(self) -> float:
        return self.batch / self.step

    @property
    def of_ceiling(self) -> float:
        """Throughput of the run as a share of that of the bare loop."""
        return self.windows_per_second / max(self.ceiling, 1e-9)

    def share(self, phase: str) -> float:
        """Return the share of a phase in the time of a step."""
        return self.phases.get(phase, 0.0) / self.step
