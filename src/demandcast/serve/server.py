"""Run the application: one process, one socket, JSON logs, and a shutdown that answers accepted requests."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from demandcast.errors import ConfigError
from demandcast.serve.limits import Limits

HEADERS = 10.0  # seconds for the headers of a request to arrive
IDLE = 75  # seconds that a connection may wait for its next request
BACKLOG = 2048


class JsonLines(logging.Formatter):
    """Format log records as JSON, one object on each line: time, level, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        facts = getattr(record, "facts", {})
        line = {"time": f"{stamp}.{record.msecs:03.0f}Z", "level": record.levelname.lower(), "event": record.getMessage(), **facts}  # fmt: skip
        return json.dumps(line)


class Protocol(H11Protocol):
    """HTTP/1.1 protocol that closes connections whose headers do not arrive in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADERS, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:  # a new request has begun on this connection
            self._timer = self.loop.call_later(HEADERS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: The address cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen at {host}:{port} ({error}); choose another --port, or end what listens there"
        ) from None
    return bound


def run(app: FastAPI, bound: socket.socket, limits: Limits, started: Callable[[], Any]) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; requests that were accepted are answered first.

    Args:
        app: Of `create_app`.
        bound: Of `bind`.
        limits: Their `seconds` also limit the shutdown.
        started: Called before the first request is taken.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("demandcast.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "demandcast.serve" else logging.WARNING)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=int(limits.seconds) + 5,
    )
    server = uvicorn.Server(config)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, server.handle_exit)
    started()
    try:
        server.run(sockets=[bound])
    except KeyboardInterrupt:  # uvicorn raises again the signal that stopped it
        if not server.should_exit:
            raise
