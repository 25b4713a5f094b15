"""A saved run is one thing: whole, of one fit, and refused where a byte of it was changed."""

from __future__ import annotations

import contextlib
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import demandcast as dc
from demandcast import registry
from demandcast.errors import CheckpointError
from demandcast.frames.examples import retail
from demandcast.panel.panel import Panel
from demandcast.saved import digest_of, digest_of_file

KINDS = ("seasonal_naive", "dlinear", "deepar", "lightgbm", "zero_shot", "auto")
HUGE: list[Any] = ["x", None, 10**9, -1, 1e300, [], {}, [["x"]], True, 10**30, ".."]


@cache
def small_panel() -> Panel:
    frame = retail(n_items=4, n_days=90, seed=1).frame
    return dc.read_panel(frame, key="item", time="date", target="units", freq="D", known=["price"])


@cache
def fitted(name: str, seed: int = 0) -> Any:
    hyper: dict[str, Any] = {
        "dlinear": {"max_steps": 2}, "deepar": {"max_steps": 2, "hidden": 8},
        "lightgbm": {"trees": 3}, "zero_shot": {"tune": "1 steps"},
        "auto": {"include": "ses,dlinear", "budget": "2 steps", "folds": 1},
    }.get(name, {})  # fmt: skip
    return registry.create(name, horizon=7, seed=seed, **hyper).fit(small_panel())


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    fitted(request.param).save(tmp_path / "run")
    return tmp_path / "run"


def sign(folder: Path) -> None:
    """Make every digest of a folder right again, as one would who edits it on purpose."""
    for inner in folder.iterdir():
        if inner.is_dir():
            sign(inner)
    path = folder / "model.json"
    facts = json.loads(path.read_bytes())
    facts.pop("digest", None)
    for entry in facts["files"].values() if isinstance(facts.get("files"), dict) else ():
        content = folder / str(entry["name"])
        content = content / "model.json" if content.is_dir() else content
        entry |= {"bytes": content.stat().st_size, "sha256": digest_of_file(content)}
    path.write_text(json.dumps(facts | {"digest": digest_of(facts)}))


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value in a JSON object; of long lists to the first few."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:3])
        if isinstance(value, list)
        else ()
    )
    return [*([way] if way else []), *(w for k, v in inner for w in places(v, (*way, k)))]


def test_a_changed_byte_is_noticed(run: Path) -> None:
    rng = random.Random(0)
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for _ in range(6):
            at = rng.randrange(len(whole))
            changed = bytearray(whole)
            changed[at] ^= 1 << rng.randrange(8)
            path.write_bytes(rng.choice([bytes(changed), whole[:at]]))
            with pytest.raises(CheckpointError, match=r"damaged|digest|holds no saved|format"):
                dc.load(run)
        path.unlink()
        with pytest.raises(CheckpointError):
            dc.load(run)
        path.write_bytes(whole)
    dc.load(run)


def test_an_edited_manifest_is_refused_or_read_as_it_says(run: Path) -> None:
    """With digests made right, so that only types, bounds and shapes stand in the way."""
    rng = random.Random(1)
    text = (run / "model.json").read_text()
    ways = places(json.loads(text))
    manifests = {path: path.read_text() for path in run.rglob("model.json")}  # of members too
    for _ in range(60):
        facts = json.loads(text)
        *above, last = rng.choice(ways)
        at = facts
        for step in above:
            at = at[step]
        if rng.random() < 0.2 and isinstance(at, dict):
            del at[last]
        else:
            at[last] = rng.choice(HUGE)
        (run / "model.json").write_text(json.dumps(facts))
        try:
            sign(run)
        except (OSError, AttributeError, TypeError, KeyError):
            for path, whole in manifests.items():
                path.write_text(whole)
            continue  # no file to sign
        with contextlib.suppress(CheckpointError):
            dc.load(run)
        for path, whole in manifests.items():
            path.write_text(whole)
    dc.load(run)
