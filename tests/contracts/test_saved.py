"""A saved run is one thing: whole, of one fit, and refused where a byte of it was changed."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import demandcast as dc
from demandcast import registry
from demandcast.errors import CheckpointError, FileError
from demandcast.frames.examples import retail
from demandcast.panel.panel import Panel
from demandcast.saved import digest_of, digest_of_file
from demandcast.train.checkpoint import read_tensors, write_tensors
from demandcast.train.state import CHECKPOINT

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


def sign(folder: Path, manifest: str = "model.json") -> None:
    """Make every digest of a folder right again, as one would who edits it on purpose."""
    for inner in folder.iterdir():
        if inner.is_dir():
            sign(inner)
    path = folder / manifest
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


def edited(facts: Any, rng: random.Random) -> Any:
    """The facts with one value removed, or of another type or size."""
    facts = json.loads(json.dumps(facts))
    *above, last = rng.choice(places(facts))
    at = facts
    for step in above:
        at = at[step]
    if rng.random() < 0.2 and isinstance(at, dict):
        del at[last]
    else:
        at[last] = rng.choice(HUGE)
    return facts


@contextlib.contextmanager
def little_memory(room: int = 1 << 28) -> Iterator[None]:
    """Let the process take no more than `room` bytes beside what it has."""
    resource = pytest.importorskip("resource", reason="not a POSIX system")
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def refused(kind: type[Exception]) -> Iterator[None]:
    """The block raises this kind of error or none, and none because memory was short."""
    error: Exception | None = None
    try:
        yield
    except kind as raised:
        error = raised
    if error is not None:
        assert "alloc" not in str(error).lower(), error
        assert not isinstance(error.__cause__, MemoryError), error


def test_an_edited_manifest_is_refused_or_read_as_it_says(run: Path) -> None:
    """With digests made right, so that only types, bounds and shapes stand in the way."""
    rng = random.Random(1)
    facts = json.loads((run / "model.json").read_text())
    manifests = {path: path.read_text() for path in run.rglob("model.json")}  # of members too
    for _ in range(25):
        (run / "model.json").write_text(json.dumps(edited(facts, rng)))
        signed = True
        try:
            sign(run)
        except (OSError, AttributeError, TypeError, KeyError):
            signed = False  # no file to sign
        if signed:
            with little_memory(), refused(CheckpointError):
                dc.load(run)
        for path, whole in manifests.items():
            path.write_text(whole)
    dc.load(run)


OLDER = {  # fields that came later than the format, by their place in the manifest
    "dlinear": [("hyperparameters", "pin_memory"), ("settled", "pin_memory"), ("training", "parts"),
                ("features", "calendar")],
    "lightgbm": [("hyperparameters", "base"), ("trees", "features", "scale")],
    "zero_shot": [("hyperparameters", "seed"), ("training", "notes")],
    "auto": [("hyperparameters", "metric")],
}  # fmt: skip


@pytest.mark.parametrize("name", OLDER)
def test_a_run_without_fields_that_came_later_takes_their_defaults(
    name: str, tmp_path: Path
) -> None:
    model = fitted(name)
    model.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    for *above, field in OLDER[name]:
        at = facts
        for step in above:
            at = at[step]
        del at[field]
    (tmp_path / "model.json").write_text(json.dumps(facts))
    sign(tmp_path)
    loaded = dc.load(tmp_path)
    assert loaded.hyperparameters() == model.hyperparameters()
    panel = small_panel().drop_last(7)
    assert loaded.predict(panel).to_frame().equals(model.predict(panel).to_frame())
    facts["hyperparameters"]["of_a_later_version"] = 1
    (tmp_path / "model.json").write_text(json.dumps(facts))
    sign(tmp_path)
    with pytest.raises(CheckpointError, match=r"hyperparameters.of_a_later_version is not known"):
        dc.load(tmp_path)


def test_a_training_checkpoint_is_whole_or_refused(tmp_path: Path) -> None:
    """Changed bytes, and edits with a digest made right: of facts, and of tensors."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    hyper: dict[str, Any] = {
        "max_steps": 6, "checkpoint_every": 2, "validate_every": 2, "batch_size": 8, "threads": "auto",
        "device": "cpu", "progress": False, "checkpoint": tmp_path,
    }  # fmt: skip

    def train(**more: Any) -> Any:
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
        data = TensorDataset(x, x.sum(1, keepdim=True))
        return dc.train.fit(net, data, nn.functional.mse_loss, validation=data, **hyper, **more)

    train()
    path, rng = tmp_path / CHECKPOINT, random.Random(2)
    whole = path.read_bytes()
    tensors, facts = read_tensors(path)
    for _ in range(30):
        at = rng.randrange(len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(rng.choice([bytes(changed), whole[:at]]))
        with pytest.raises(CheckpointError, match="damaged"):
            train(resume=True)
    first = [facts | {key: value} for key in facts for value in [*HUGE, {"steps": 1}]]
    for edit in [*first, *(edited(facts, rng) for _ in range(40))]:
        write_tensors(path, tensors, edit)
        with little_memory(), refused(CheckpointError):
            assert train(resume=True).steps == 6
    wrong = [torch.zeros(3), torch.zeros(()), torch.zeros(5056, dtype=torch.uint8), torch.zeros(0)]
    for place, (name, own) in enumerate(tensors.items()):
        for value in (None, own.to(torch.float16), own[None], wrong[place % len(wrong)]):
            if value is not None and (value.shape, value.dtype) == (own.shape, own.dtype):
                continue
            others = {key: other for key, other in tensors.items() if key != name}
            write_tensors(path, others if value is None else others | {name: value}, facts)
            with pytest.raises(CheckpointError, match=name):
                train(resume=True)


def test_a_store_with_edited_facts_is_refused_or_read_as_it_says(tmp_path: Path) -> None:
    frame = retail(n_items=4, n_days=40, seed=1).frame.with_columns(kind=pl.col("item"))
    panel = dc.read_panel(
        frame, key="item", time="date", target="units", freq="D", known=["price"], static=["kind"]
    )
    store, rng = tmp_path / "sales", random.Random(3)
    panel.to_store(store)
    text = (store / "panel.json").read_text()
    facts = json.loads(text)
    for _ in range(40):
        (store / "panel.json").write_text(json.dumps(edited(facts, rng)))
        with contextlib.suppress(OSError, AttributeError, TypeError, KeyError):
            sign(store, "panel.json")
            with little_memory(), refused(FileError):
                read = dc.read_panel(store)
                assert dc.local.LastValue(horizon=2).fit(read).predict(read).to_frame().height == 8
    arrays = {path.name: path.read_bytes() for path in store.glob("*.npy")}
    (store / "panel.json").write_text(text)
    for name, content in arrays.items():
        for old, new in ((b"(1", b"(9"), (b"(4", b"(4444444"), (b"<", b">"), (b"f4", b"O8")):
            (store / name).write_bytes(content.replace(old, new, 1))
            sign(store, "panel.json")
            with little_memory(), refused(FileError):
                dc.read_panel(store)
        (store / name).write_bytes(content)


def test_trees_with_edited_numbers_are_refused_or_read(tmp_path: Path) -> None:
    """What LightGBM's reader would end the process on; with digests made right."""
    fitted("lightgbm").save(tmp_path)
    path, rng = tmp_path / "trees.json", random.Random(4)
    texts = json.loads(path.read_text())
    for _ in range(60):
        level = rng.choice(sorted(texts))
        lines = texts[level].split("\n")
        at = rng.choice([i for i, line in enumerate(lines) if "=" in line])
        name, _, value = lines[at].partition("=")
        words = value.split(" ")
        words[rng.randrange(len(words))] = rng.choice(
            ["-1", "9" * 9, "9" * 40, "nan", "inf", "", "x", "1e999", "0", "\0"]
        )
        lines[at] = f"{name}={' '.join(words)}"
        path.write_text(json.dumps(texts | {level: "\n".join(lines)}))
        sign(tmp_path)
        with little_memory(), refused(CheckpointError):
            dc.load(tmp_path).predict(small_panel().drop_last(7))


def test_trees_of_other_columns_are_refused(tmp_path: Path) -> None:
    model = fitted("lightgbm")
    model.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    facts["trees"]["windows"].append(21)
    (tmp_path / "model.json").write_text(json.dumps(facts))
    sign(tmp_path)
    with pytest.raises(CheckpointError, match=r"its trees read \d+ columns, and the model has \d+"):
        dc.load(tmp_path)
