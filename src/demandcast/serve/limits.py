"""Limits of the requests to the service."""

from __future__ import annotations

from dataclasses import dataclass, fields

from demandcast.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request, and of the queue.

    Attributes:
        body_mb: Size of a request's body in MB, compressed or not.
        values: Values of one forecast: series x steps x quantile levels.
        history: Steps of history that a request may hold, all series together.
        seconds: Time from request to answer, and for its body to arrive.
        waiting: Requests in the queue. One more is answered with 429.
    """

    body_mb: int = 64
    values: int = 20_000_000
    history: int = 50_000_000
    seconds: float = 60.0
    waiting: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} is {getattr(self, field.name)}; it is above 0")

    @property
    def body_bytes(self) -> int:
        return self.body_mb << 20
