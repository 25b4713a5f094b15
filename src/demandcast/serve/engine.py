"""The queue of requests and the one thread that forecasts them.

Requests are forecast in the order in which they came. Those that wait for the same model at the same levels are
given to `Forecaster.predict_each` together, which merges them only where that changes no bit of any answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import Forecaster
from demandcast.panel.panel import Panel

MERGED = 1 << 21  # steps of history that are forecast at once


class FullError(Exception):
    """The queue is full."""


class LateError(Exception):
    """A request waited longer than allowed."""


class StoppedError(Exception):
    """The service is stopping and accepts no more requests."""


@dataclass
class Request:
    """A panel that waits for its forecast."""

    model: Forecaster
    panel: Panel
    levels: tuple[float, ...]
    deadline: float  # of `time.monotonic`
    forecast: Future[Forecast] = field(default_factory=Future)

    def joins(self, other: Request) -> bool:
        """Return whether this request and another may be forecast in one call."""
        return self.model is other.model and self.levels == other.levels


class Engine:
    """One thread that forecasts, and a bounded queue in front of it.

    Args:
        waiting: Requests that may wait.
        observe: Called with the number of requests of each call of a model.
    """

    def __init__(self, waiting: int, observe: Callable[[int], None] = lambda _: None) -> None:
        self._waiting, self._observe = waiting, observe
        self._queue: deque[Request] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="demandcast-model", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def submit(
        self, model: Forecaster, panel: Panel, levels: Sequence[float], deadline: float
    ) -> Future[Forecast]:
        """Queue a panel and return the future of its forecast.

        Raises:
            FullError: The queue is full.
            StoppedError: The engine is stopping.
        """
        request = Request(model, panel, tuple(levels), deadline)
        with self._changed:
            if self._stopping:
                raise StoppedError
            if len(self._queue) >= self._waiting:
                raise FullError
            self._queue.append(request)
            self._changed.notify()
        return request.forecast

    def stop(self) -> None:
        """Forecast the queued requests, then end the thread; new requests are refused."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while requests := self._take():
            ready = []
            for request in requests:
                if time.monotonic() > request.deadline:
                    if request.forecast.set_running_or_notify_cancel():
                        request.forecast.set_exception(LateError())
                elif request.forecast.set_running_or_notify_cancel():
                    ready.append(request)
            if ready:
                self._observe(len(ready))
                _answer(ready)

    def _take(self) -> list[Request]:
        """Wait for a request; return it with the following ones that can be forecast in the same call."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            if not self._queue:
                return []
            first = self._queue.popleft()
            if not first.model.exact_alone:
                return [first]
            taken, steps = [first], first.panel.n_steps
            for request in list(self._queue):
                if first.joins(request) and steps + request.panel.n_steps <= MERGED:
                    steps += request.panel.n_steps
                    self._queue.remove(request)
                    taken.append(request)
            return taken


def _answer(requests: Sequence[Request]) -> None:
    """Forecast requests together; if that fails, one by one, so that each gets its own error."""
    first = requests[0]
    try:
        forecasts = first.model.predict_each([r.panel for r in requests], levels=first.levels)
    except Exception as error:
        if len(requests) == 1:
            first.forecast.set_exception(error)
        else:
            for request in requests:
                _answer([request])
        return
    for request, forecast in zip(requests, forecasts, strict=True):
        request.forecast.set_result(forecast)
