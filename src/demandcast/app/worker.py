"""One thread that works, one job at a time: its progress can be read, and it can be stopped between two steps."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from demandcast.errors import ConfigError, DemandcastError
from demandcast.progress import Bar, Cancelled, listening

log = logging.getLogger("demandcast")
Stop = Literal["cancel", "finish"]


@dataclass
class Job:
    """A piece of work, under way or ended.

    Attributes:
        number: Counts the jobs.
        kind: What it is: "reading", "forecast", "what-if", "orders".
        text: What is under way, for a person.
        share: Of the work that is done, 0 to 1; None where it is not known.
        state: How it stands.
        error: What ended it, if it failed.
        notes: Warnings that the library logged meanwhile.
        can_finish: Whether it may be asked to end early with what it has.
        seconds: It took; None while it runs.
    """

    number: int
    kind: str
    text: str
    share: float | None = None
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    error: DemandcastError | None = None
    notes: list[str] = field(default_factory=list)
    can_finish: bool = False
    seconds: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since it began, or that it took."""
        return time.monotonic() - self.began if self.seconds is None else self.seconds


class Worker:
    """Runs jobs in a thread, one at a time."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._stop: Stop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, kind: str, text: str, work: Callable[[Callable[[str], None]], None]) -> Job:
        """Begin a job.

        Args:
            kind: Of `Job`.
            text: Of `Job`, at its begin.
            work: Takes a function that says what is under way.

        Raises:
            ConfigError: Another job runs.
        """
        with self._lock:
            if self.is_busy:
                assert self.job is not None
                raise ConfigError(f"{self.job.text}: wait for it to end, or cancel it")
            number = 1 if self.job is None else self.job.number + 1
            self.job, self._stop = Job(number, kind, text), None
            self._thread = threading.Thread(
                target=self._run, args=(self.job, work), name="demandcast-app", daemon=True
            )
            self._thread.start()
            return self.job

    @property
    def is_busy(self) -> bool:
        return self.job is not None and self.job.state == "running"

    @property
    def is_stopping(self) -> bool:
        """Whether the job was asked to stop, which it does at its next step."""
        return self.is_busy and self._stop is not None

    def stop(self, how: Stop) -> None:
        """Ask the job to end: "cancel" leaves nothing of it, "finish" takes the best that `auto` has so far."""
        self._stop = how

    def close(self, patience: float) -> None:
        """Cancel the job, and wait for its end for some seconds."""
        self.stop("cancel")
        self.wait(patience)

    def wait(self, patience: float | None = None) -> None:
        """Wait for the end of the job."""
        if self._thread is not None:
            self._thread.join(patience)

    def _run(self, job: Job, work: Callable[[Callable[[str], None]], None]) -> None:
        def say(text: str) -> None:
            job.text, job.share, job.can_finish = text, None, False
            if self._stop == "finish":  # the search has ended by itself meanwhile
                self._stop = None
            self._check(job)

        try:
            with _warnings(job.notes), listening(lambda bars: self._hear(job, bars)):
                say(job.text)
                work(say)
            state: Any = "done"
        except (Cancelled, KeyboardInterrupt):
            state = "cancelled"
        except DemandcastError as error:
            job.error, state = error, "failed"
        except MemoryError as error:
            job.error, state = DemandcastError(f"the memory does not suffice ({error})"), "failed"
        except Exception as error:
            log.error("%s failed:\n%s", job.kind, traceback.format_exc())
            job.error, state = _fault(error), "failed"
        job.seconds = job.elapsed
        job.state = state

    def _check(self, job: Job) -> None:
        """Raise what the person asked for.

        Raises:
            Cancelled: To end the job.
            KeyboardInterrupt: To end the search of `auto`, which takes the best so far.
        """
        if self._stop == "cancel":
            raise Cancelled
        if self._stop == "finish" and job.can_finish:
            self._stop, job.can_finish = None, False
            raise KeyboardInterrupt

    def _hear(self, job: Job, bars: Sequence[Bar]) -> None:
        if bars:
            outer = bars[0]
            job.text = " · ".join(
                bar.note or bar.label for bar in bars[:2] if bar.note or bar.label
            )
            job.share = outer.done / outer.total if outer.total else None
            job.can_finish = outer.label == "auto"
        self._check(job)


def _fault(error: Exception) -> DemandcastError:
    kind = type(error).__name__
    return DemandcastError(
        f"demandcast failed with {kind}: {error}. This is a fault of the program; the terminal shows where it happened"
    )


@contextmanager
def _warnings(notes: list[str]) -> Iterator[None]:
    """Collect the warnings that the library logs in this thread."""
    thread = threading.get_ident()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.levelno == logging.WARNING:
                notes.append(record.getMessage())

    handler = Collector()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
