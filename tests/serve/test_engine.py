"""One thread forecasts for all requests: nothing is mixed up, lost, or taken beyond the bound."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait
from typing import Any

import numpy as np
import pytest

from demandcast.frames import read_panel
from demandcast.frames.examples import retail
from demandcast.local import SeasonalNaive, Willemain
from demandcast.panel.panel import Panel
from demandcast.serve.engine import Engine, FullError, LateError, StoppedError

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return read_panel(
        retail(n_items=12, n_days=60, seed=1).frame,
        key="item",
        time="date",
        target="units",
        freq="D",
    )


class Blocked(SeasonalNaive):
    """A method that waits for the test before it forecasts."""

    name = "seasonal_naive"
    exact_alone = True

    def hold(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()

    def _forecast(self, panel: Any, ask: Any) -> Any:
        self.begun.set()
        self.go.wait(10)
        return super()._forecast(panel, ask)


def soon() -> float:
    return time.monotonic() + 30


def test_requests_that_wait_together_get_what_each_gets_alone(panel: Panel) -> None:
    model, calls = Willemain(horizon=4), list[int]()
    slow = Blocked(horizon=4)
    slow.hold()
    engine = Engine(100, calls.append)
    first = engine.submit(slow, panel.select([0]), LEVELS, soon())
    parts = [panel.select([i % 12, (i + 5) % 12]) for i in range(20)]
    made = [engine.submit(model, part, LEVELS, soon()) for part in parts]
    slow.go.set()
    wait([first, *made], 30)
    engine.stop()
    assert calls == [1, 20]
    for part, future in zip(parts, made, strict=True):
        alone = model.predict(part, levels=LEVELS)
        np.testing.assert_array_equal(future.result().quantiles, alone.quantiles)
        assert future.result().keys.equals(alone.keys)


def test_a_method_that_is_not_exact_among_others_forecasts_each_request_alone(panel: Panel) -> None:
    calls = list[int]()
    model, slow = SeasonalNaive(horizon=4), Blocked(horizon=4)
    slow.hold()
    engine = Engine(100, calls.append)
    engine.submit(slow, panel.select([0]), LEVELS, soon())
    made = [engine.submit(model, panel.select([i]), LEVELS, soon()) for i in range(3)]
    slow.go.set()
    wait(made, 30)
    engine.stop()
    assert calls == [1, 1, 1, 1]


def test_a_request_that_fails_does_not_fail_those_beside_it(panel: Panel) -> None:
    model, slow = Willemain(horizon=4), Blocked(horizon=4)
    slow.hold()
    engine = Engine(100)
    engine.submit(slow, panel.select([0]), LEVELS, soon())
    bad: Any = "no panel"
    good = engine.submit(model, panel.select([1]), LEVELS, soon())
    broken = Panel(**{**vars(panel.select([2])), "target": bad})
    failed = engine.submit(model, broken, LEVELS, soon())
    slow.go.set()
    wait([good, failed], 30)
    engine.stop()
    assert good.result().n_series == 1
    assert failed.exception() is not None


def test_more_than_may_wait_are_refused_and_what_was_taken_is_answered(panel: Panel) -> None:
    slow = Blocked(horizon=4)
    slow.hold()
    engine = Engine(2)
    running = engine.submit(slow, panel.select([0]), LEVELS, soon())
    assert slow.begun.wait(10)
    waiting = [engine.submit(slow, panel.select([i]), LEVELS, soon()) for i in (1, 2)]
    with pytest.raises(FullError):
        engine.submit(slow, panel.select([3]), LEVELS, soon())
    late = threading.Timer(0.1, slow.go.set)
    late.start()
    engine.stop()
    assert all(future.result().n_series == 1 for future in (running, *waiting))
    with pytest.raises(StoppedError):
        engine.submit(slow, panel.select([3]), LEVELS, soon())


def test_a_request_that_waited_too_long_is_not_forecast(panel: Panel) -> None:
    slow = Blocked(horizon=4)
    slow.hold()
    engine = Engine(9)
    engine.submit(slow, panel.select([0]), LEVELS, soon())
    assert slow.begun.wait(10)
    late = engine.submit(Willemain(horizon=4), panel.select([1]), LEVELS, time.monotonic() - 1)
    slow.go.set()
    assert isinstance(late.exception(10), LateError)
    engine.stop()
