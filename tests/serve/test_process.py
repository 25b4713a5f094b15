"""`demandcast serve` as a process: it starts, keeps slow clients in bounds, and ends without losing a request."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from demandcast.cli.main import main

TABLE = b"item,date,units\n" + b"".join(b"a,2026-01-%02d,%d\n" % (d, d % 7) for d in range(1, 29))


class Service:
    """A running service, its address, and what it printed."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "demandcast", "serve", "naive=seasonal_naive", "--port", "0"]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        match = re.search(r"http://([\d.]+):(\d+)", first)
        assert match is not None, first
        self.host, self.port = match[1], int(match[2])
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()))
        self.reader.start()

    def ask(self) -> bytes:
        url = f"http://{self.host}:{self.port}/forecast?horizon=2"
        with urlopen(Request(url, TABLE, {"Content-Type": "text/csv"}), timeout=30) as answer:
            return bytes(answer.read())

    def is_ready(self) -> bool:
        try:
            return (
                urlopen(f"http://{self.host}:{self.port}/v2/health/ready", timeout=5).status == 200
            )
        except HTTPError as error:  # 503, while the models warm up
            error.close()
            return False


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        service.reader.join()
        assert service.process.stderr is not None
        service.process.stderr.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can handle")
def test_sigterm_ends_it_after_the_answers_and_slow_headers_are_cut_off(service: Service) -> None:
    while not service.is_ready():
        time.sleep(0.05)
    slow = socket.create_connection((service.host, service.port))
    slow.sendall(b"POST /forecast HTTP/1.1\r\nHost: x\r\n")  # and never more
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(service.ask) for _ in range(30)]
        while sum(answer.done() for answer in answers) < 5:
            time.sleep(0.005)
        service.process.send_signal(signal.SIGTERM)
        ended = service.process.wait(30)
        got = [answer for answer in answers if answer.exception() is None]
        lost = [answer.exception() for answer in answers if answer.exception() is not None]
    assert ended == 0
    assert len(got) >= 5
    assert {answer.result() for answer in got} == {got[0].result()}
    # those that came too late were never accepted: no answer was begun
    assert all("refused" in str(error).lower() or "reset" in str(error).lower() or "closed" in str(error).lower() for error in lost)  # fmt: skip
    assert slow.recv(100) == b""
    slow.close()
    service.reader.join()
    assert "every request that was accepted is answered" in service.lines[-1]
    requests = [line for line in service.lines if '"path": "/forecast"' in line]
    assert len(requests) == len(got)
    assert all('"status": 200' in line for line in requests)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run... is missing"),
        (["lightgbm"], "--model lightgbm --save run"),
        (["/nowhere"], "nowhere"),
        (["zero_shot", "zero_shot"], "two models"),
        (["=zero_shot"], "no name"),
        (["seasonal_naive", "--host", "no.such.host.invalid"], "cannot listen"),
        (["seasonal_naive", "--token-file", "/nowhere"], "--token-file"),
        (["seasonal_naive", "--waiting", "0"], "--waiting"),
    ],
)
def test_what_cannot_be_served_is_an_error(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *words]) == 2
    assert said in capsys.readouterr().err.lower()


def test_an_empty_token_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEMANDCAST_TOKEN", " ")
    assert main(["serve", "seasonal_naive"]) == 2
    assert "token" in capsys.readouterr().err
