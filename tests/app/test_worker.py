"""Work can be followed, cancelled, and asked to end with the best so far; one job at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from demandcast.app.worker import Worker
from demandcast.errors import ConfigError, DataError
from demandcast.progress import Bar


def test_progress_is_that_of_the_bars() -> None:
    worker, at, go = Worker(), threading.Event(), threading.Event()

    def work(say: object) -> None:
        with Bar(total=4, desc="rounds", disable=True) as bar:
            bar.update(3)
            at.set()
            go.wait(10)

    job = worker.start("forecast", "begins", work)
    assert at.wait(10)
    assert (job.text, job.share, job.state, job.can_finish) == ("rounds", 0.75, "running", False)
    with pytest.raises(ConfigError, match=r"^rounds: wait"):
        worker.start("orders", "", work)
    go.set()
    worker.wait(10)
    assert job.state == "done"


def endless(label: str, at: threading.Event) -> object:
    def work(say: object) -> None:
        with Bar(desc=label, disable=True) as bar:
            try:
                while True:
                    bar.update()
                    at.set()
            except KeyboardInterrupt:
                if label != "auto":
                    raise

    return work


@pytest.mark.parametrize(
    ("how", "label", "ends"),
    [("cancel", "lightgbm", "cancelled"), ("cancel", "auto", "cancelled"), ("finish", "auto", "done")],
)  # fmt: skip
def test_work_is_stopped_between_two_steps(how: str, label: str, ends: str) -> None:
    worker, at = Worker(), threading.Event()
    job = worker.start("forecast", "", endless(label, at))  # type: ignore[arg-type]
    assert at.wait(10)
    worker.stop(how)  # type: ignore[arg-type]
    worker.wait(10)
    assert job.state == ends
    assert job.error is None


def test_a_search_that_has_ended_meanwhile_is_not_interrupted() -> None:
    worker, at, go = Worker(), threading.Event(), threading.Event()

    def work(say: Callable[[str], None]) -> None:
        with Bar(desc="auto", disable=True) as bar:
            bar.update()
        at.set()
        assert go.wait(10)
        say("forecasting")
        assert not worker.is_stopping
        with Bar(total=1, desc="rows", disable=True) as bar:
            bar.update()

    job = worker.start("forecast", "", work)
    assert at.wait(10)
    worker.stop("finish")
    go.set()
    worker.wait(10)
    assert job.state == "done"


def test_an_interrupt_that_nothing_takes_ends_the_job() -> None:
    worker = Worker()

    def work(say: object) -> None:
        raise KeyboardInterrupt

    job = worker.start("forecast", "", work)
    worker.wait(10)
    assert job.state == "cancelled"
    assert not worker.is_busy


def test_an_error_is_kept_and_a_fault_of_the_program_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker()

    def bad(say: object) -> None:
        logging.getLogger("demandcast").warning("a warning")
        raise DataError("mend the cell")

    job = worker.start("reading", "", bad)
    worker.wait(10)
    assert (job.state, str(job.error), job.notes) == ("failed", "mend the cell", ["a warning"])

    def faulty(say: object) -> None:
        raise ZeroDivisionError("by 0")

    with caplog.at_level("ERROR"):
        job = worker.start("reading", "", faulty)
        worker.wait(10)
    assert "fault of the program" in str(job.error)
    assert "ZeroDivisionError" in caplog.text
