"""The service under load: every answer against `predict`, times, memory, hostile requests, and SIGTERM.

`demandcast serve` runs as a process of its own; asynchronous clients of httpx send tables of one to four series by
loopback. Their tables are simulated demand (seed 0).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import httpx2 as httpx
import numpy as np
import polars as pl

import demandcast as dc
from demandcast import registry
from demandcast.frames.examples import retail

HOSTILE = (
    ("GET", "/v2/models/..%2F..%2Fetc%2Fpasswd", b""),
    ("GET", "/v2/models/" + "x" * 5000, b""),
    ("POST", "/forecast?model=../x&horizon=3", b"a,b\n1,2\n"),
    ("POST", "/forecast?model=m&horizon=3&static_table=/etc/passwd", b"a,b\n1,2\n"),
    ("POST", "/forecast?model=m&horizon=3", b"\x00" * 1000),
    ("POST", "/forecast?model=m&horizon=3", b"item,date,units\na,2026-01-01,=1+1\n"),
    ("POST", "/forecast?model=m&horizon=999999999", b"date,units\n2026-01-01,1\n2026-01-02,2\n"),
    ("POST", "/v1/timeseries/forecast", b"[" * 100_000),
    ("POST", "/v1/timeseries/forecast", b'{"model": "m", "inputs": [], "options": {"horizon": 1}}'),
    ("DELETE", "/forecast", b""),
)


def tables(count: int) -> list[pl.DataFrame]:
    """Return tables of one to four series, with 60 to 400 days of history."""
    rng = np.random.default_rng(0)
    frame = retail(n_items=200, n_days=400, seed=0).frame.select("item", "date", "units")
    items = frame["item"].unique(maintain_order=True)
    made = []
    for _ in range(count):
        own = rng.choice(len(items), rng.integers(1, 5), replace=False)
        part = frame.filter(pl.col("item").is_in(items[own.tolist()].implode()))
        first = part["date"].max() - pl.duration(days=int(rng.integers(60, 400)))
        made.append(part.filter(pl.col("date") > first))
    return made


def memory(process: int) -> float:
    """Return the resident memory of a process in MB."""
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def load(address: str, bodies: list[bytes], asked: dict[str, str], clients: int, requests: int) -> list[tuple[int, float, bytes]]:  # fmt: skip
    """Send requests by so many clients at once; return (table, seconds, answer) of each."""
    answers: list[tuple[int, float, bytes]] = []
    waiting = iter(range(requests))

    async def client(session: httpx.AsyncClient) -> None:
        for i in waiting:
            began = time.perf_counter()
            while True:
                answer = await session.post("/forecast", params=asked, content=bodies[i % len(bodies)], headers={"content-type": "text/csv"})  # fmt: skip
                if answer.status_code != 429:
                    break
                await asyncio.sleep(float(answer.headers["retry-after"]))
            if answer.status_code != 200:
                sys.exit(f"request {i}: {answer.status_code} {answer.text}")
            answers.append((i % len(bodies), time.perf_counter() - began, answer.content))

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return answers


async def stop_under_load(
    address: str, bodies: list[bytes], asked: dict[str, str], process: int
) -> tuple[int, int, int]:
    """Send 100 requests at once and SIGTERM among them; return answers, refusals and losses."""
    async with httpx.AsyncClient(base_url=address, timeout=300) as session:
        sent = [
            asyncio.create_task(session.post("/forecast", params=asked, content=body, headers={"content-type": "text/csv"}))
            for body in (bodies * 100)[:100]
        ]  # fmt: skip
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        os.kill(process, signal.SIGTERM)
        ends = await asyncio.gather(*sent, return_exceptions=True)
    answered = sum(isinstance(end, httpx.Response) and end.status_code == 200 for end in ends)
    refused = sum(
        isinstance(end, httpx.ConnectError)
        or (isinstance(end, httpx.Response) and end.status_code == 503)
        for end in ends
    )
    return answered, refused, len(ends) - answered - refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--model", default="zero_shot", help="a method that needs no fit")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--tables", type=int, default=100, help="different tables that are sent")
    parser.add_argument("--hostile", type=int, default=1_000, help="malformed requests")
    args = parser.parse_args()
    frames = tables(args.tables)
    bodies = [frame.write_csv().encode() for frame in frames]
    asked = {"model": "m", "horizon": "7", "levels": "0.1,0.5,0.9", "freq": "D", "key": "item"}
    model = registry.create(args.model, horizon=7)
    expected = []
    for frame in frames:
        panel = dc.read_panel(frame, key="item", freq="D")
        expected.append(model.predict(panel, levels=(0.1, 0.5, 0.9)).to_frame())
    command = [sys.executable, "-m", "demandcast", "serve", f"m={args.model}", "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    address = re.search(r"http://\S+[0-9]", service.stderr.readline())[0]  # type: ignore[index]
    log = subprocess.Popen(["cat"], stdin=service.stderr, stdout=subprocess.DEVNULL)
    with httpx.Client(base_url=address) as session:
        while session.get("/v2/health/ready").status_code != 200:
            time.sleep(0.05)
    asyncio.run(load(address, bodies, asked, args.clients, min(1000, args.requests)))
    before = memory(service.pid)
    began = time.perf_counter()
    answers = asyncio.run(load(address, bodies, asked, args.clients, args.requests))
    seconds = time.perf_counter() - began
    wrong = 0
    for i, _, body in answers:
        got = pl.read_csv(body, try_parse_dates=True)
        same = all(
            np.array_equal(got[c].cast(pl.Float64).cast(pl.Float32), expected[i][c])
            for c in expected[i].columns[2:]
        )
        wrong += not (same and got["item"].equals(expected[i]["item"]))
    times = np.quantile([seconds for _, seconds, _ in answers], [0.5, 0.99])
    print(
        f"{args.model}: {len(answers):,} of {args.requests:,} requests answered, {wrong} unlike predict"
    )
    print(f"{args.clients} clients: {len(answers) / seconds:.0f} requests/s, p50 {times[0]:.2f} s, p99 {times[1]:.2f} s")  # fmt: skip
    alone = asyncio.run(load(address, bodies, asked, 1, 50))
    print(f"1 client: p50 {1e3 * float(np.median([seconds for _, seconds, _ in alone])):.0f} ms")
    with httpx.Client(base_url=address, timeout=60) as session:
        statuses: dict[int, int] = {}
        for i in range(args.hostile):
            method, path, body = HOSTILE[i % len(HOSTILE)]
            answer = session.request(
                method, path, content=body, headers={"content-type": "text/csv"}
            )
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert "Traceback" not in answer.text
    print("hostile requests by status:", dict(sorted(statuses.items())))
    after = memory(service.pid)
    print(f"memory: {before:.0f} MB after 1,000 requests, {after:.0f} MB at the end ({after / before - 1:+.1%})")  # fmt: skip
    answered, refused, lost = asyncio.run(stop_under_load(address, bodies, asked, service.pid))
    print(f"SIGTERM among 100 requests: {answered} answered, {refused} refused, {lost} lost, exit {service.wait()}")  # fmt: skip
    log.wait()


if __name__ == "__main__":
    main()
