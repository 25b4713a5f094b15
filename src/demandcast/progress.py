"""Progress bars on stderr, which a program around the library can follow, and in which it can stop the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

Hear = Callable[[Sequence["Bar"]], None]


class Cancelled(BaseException):
    """Raise it in a listener to end the work; like `KeyboardInterrupt`, no handler of errors catches it."""


class Bar(tqdm):  # type: ignore[misc]
    """A bar of tqdm. A listener hears of each step, also where the bar is not shown.

    Attributes:
        label: What is counted.
        done: Steps done.
        note: What is under way; "" if nothing was said.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label, self.note = str(kwargs.get("desc") or ""), ""
        self.done = float(kwargs.get("initial", 0))
        self._listening = _listening.get()
        if self._listening is not None:
            self._listening[1].append(self)
            self.report()

    def __iter__(self) -> Iterator[Any]:
        if self._listening is None:
            yield from super().__iter__()
            return
        with self:
            for step in self.iterable:
                yield step
                self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Count steps; raises what the listener raises."""
        shown: bool | None = super().update(n)
        self.done += n or 0
        self.report()
        return shown

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Say what is under way."""
        super().set_postfix_str(s, refresh)
        self.note = s
        self.report()

    def report(self) -> None:
        """Let the listener hear, and stop the work, between steps that are counted."""
        if self._listening is not None:
            hear, bars = self._listening
            hear(tuple(bars))

    def close(self) -> None:
        """End the bar."""
        super().close()
        listening = getattr(self, "_listening", None)  # not set where the constructor failed
        if listening is not None and self in listening[1]:
            listening[1].remove(self)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@contextmanager
def listening(hear: Hear) -> Iterator[None]:
    """Call a function at each step of every bar of the block, in this thread.

    Args:
        hear: Takes the bars that are open, the outermost first. What it raises comes up in the work: `Cancelled` ends
            it, and `KeyboardInterrupt` does what Ctrl-C does there.

    Example:
        >>> said = []
        >>> with listening(lambda bars: said.append([(bar.label, bar.done, bar.total) for bar in bars])):
        ...     for _ in Bar(range(2), desc="rows", disable=True):
        ...         pass
        >>> said
        [[('rows', 0.0, 2)], [('rows', 1.0, 2)], [('rows', 2.0, 2)]]
    """
    token = _listening.set((hear, []))
    try:
        yield
    finally:
        _listening.reset(token)


_listening: ContextVar[tuple[Hear, list[Bar]] | None] = ContextVar("listening", default=None)
