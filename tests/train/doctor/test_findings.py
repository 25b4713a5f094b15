"""Rules read facts and nothing else: each fault has its remedy, and a healthy run has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demandcast.train.doctor import Diagnosis, Facts, explain

HEALTHY = Facts(
    steps=100,
    batch=64,
    phases={"wait": 0.001, "forward": 0.008, "backward": 0.010, "optimiser": 0.001},
    cpu={"wait": 0.001, "forward": 0.008, "backward": 0.010, "optimiser": 0.001},
    ceiling=3350.0,
    physical=2,
    threads=2,
    cores=(0.95, 0.95),
    others=0.1,
    queued=0.0,
    memory_used=1 << 30,
    memory_free=8 << 30,
    memory_total=16 << 30,
    by_threads={1: 2000.0, 2: 3350.0},
    by_batch={64: 3350.0, 256: 3800.0},
)
WAITING = {"wait": 0.1, "forward": 0.008, "backward": 0.010, "optimiser": 0.001}
STREAMS: dict[str, Any] = {"phases": WAITING, "loader": "streaming", "fetch": 1.5e-3}
GPU: dict[str, Any] = {
    "device": "cuda", "device_busy": 0.95, "others": 0.0, "by_threads": {}, "cores": (),
    "physical": 16,
}  # fmt: skip

FAULTS = {
    "slow_getitem": ({"fetch_cpu": 1.4e-3, "fetch_random": False}, "__getitems__"),
    "augmentation": ({"fetch_cpu": 1.4e-3, "fetch_random": True}, "augment the whole batch"),
    "slow_storage": ({"fetch_cpu": 1e-4, "fetch_random": False}, "faster disk"),
    "fits_in_memory": ({"fetch_cpu": 1e-4, "data_bytes": 1 << 28}, "loader='resident'"),
    "slow_loader": ({"fetch": None, "workers": 1}, "spread the work"),
}


def test_a_healthy_run_has_no_fault() -> None:
    assert explain(HEALTHY) == ()
    assert "nothing to mend" in Diagnosis(HEALTHY).verdict()
    assert explain(replace(HEALTHY, **GPU)) == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wait_for_the_loader_is_told_by_its_cause(fault: str) -> None:
    facts, remedy = FAULTS[fault]
    (found,) = explain(replace(HEALTHY, **STREAMS | facts))
    assert (found.fault, remedy in found.remedy) == (fault, True)
    assert found.gain == pytest.approx(0.119 / 0.019)  # the step over the step without its wait
    assert "84% of the step waits for the loader" in found.seen


def test_workers_are_asked_for_where_cores_are_free() -> None:
    slow = replace(HEALTHY, **STREAMS, fetch_cpu=1.4e-3, physical=8, workers=0)
    assert "workers=7" in explain(slow)[0].remedy
    assert "workers" not in explain(replace(slow, workers=7))[0].remedy


def test_a_gather_from_arrays_at_hand_is_no_slow_loader() -> None:
    (found,) = explain(replace(HEALTHY, phases=WAITING))
    assert (found.fault, "shorter context" in found.remedy) == ("gather", True)


def test_threads_are_told_by_trial_only() -> None:
    (found,) = explain(replace(HEALTHY, threads=1, by_threads={1: 2000.0, 2: 3350.0}))
    assert (found.fault, found.gain) == ("few_threads", pytest.approx(1.675))
    assert "threads=2" in found.remedy
    (found,) = explain(replace(HEALTHY, by_threads={1: 3000.0, 2: 150.0}))
    assert (found.fault, found.gain) == ("many_threads", pytest.approx(20))
    assert "threads=1" in found.remedy
    assert explain(replace(HEALTHY, by_threads={1: 3400.0, 2: 3350.0})) == ()


def test_a_busy_machine_is_told_where_it_holds_the_run_up() -> None:
    (found,) = explain(replace(HEALTHY, others=1.4, queued=0.8))
    assert found.fault == "busy_machine"
    assert "1.4 of 2 cores" in found.seen
    assert "threads=1" in found.remedy
    (found,) = explain(replace(HEALTHY, others=1.4, queued=0.8, threads=1, by_threads={}))
    assert "stop them or wait" in found.remedy
    assert explain(replace(HEALTHY, others=1.0, queued=0.01)) == ()  # others run, nobody waits
    assert explain(replace(HEALTHY, others=None, queued=None)) == ()  # not told by the system


def test_batches_are_tiny_where_four_times_as_many_windows_go_twice_as_fast() -> None:
    (found,) = explain(replace(HEALTHY, batch=2, by_batch={2: 100.0, 8: 390.0}))
    assert (found.fault, found.gain) == ("tiny_batches", pytest.approx(3.9))
    assert "batch_size=8" in found.remedy
    assert "learning_rate" in found.remedy


def test_copies_from_pageable_memory_want_pinning() -> None:
    slow = replace(HEALTHY, **GPU, loader="streaming", phases=HEALTHY.phases | {"copy": 0.01})
    (found,) = explain(replace(slow, pinned=False))
    assert (found.fault, "pin_memory=True" in found.remedy) == ("unpinned_memory", True)
    (found,) = explain(replace(slow, pinned=True))
    assert (found.fault, "workers=2" in found.remedy) == ("copies", True)
    (found,) = explain(replace(slow, pinned=True, data_bytes=1 << 20))
    assert "loader='resident'" in found.remedy
    quick = replace(slow, pinned=False, phases=HEALTHY.phases | {"copy": 0.0001})
    assert explain(quick) == ()
    assert explain(replace(slow, pinned=False, device="cpu")) == ()  # nothing is copied there


def test_reads_of_the_device_name_their_line() -> None:
    (found,) = explain(replace(HEALTHY, syncs=3, sync_place="mine.py:7, in forward"))
    assert found.fault == "item_in_step"
    assert "mine.py:7" in found.seen
    assert found.gain is None  # not measured, so not promised


def test_an_idle_device_wants_larger_launches() -> None:
    idle = replace(HEALTHY, **GPU | {"device_busy": 0.2})
    assert [f.fault for f in explain(idle)] == ["launch_bound"]
    tiny = replace(idle, by_batch={64: 3350.0, 256: 13000.0})
    assert [f.fault for f in explain(tiny)] == ["tiny_batches"]


@pytest.mark.parametrize(
    ("phase", "fault", "remedy"),
    [
        ("validation", "validation", "validate_every"),
        ("logging", "logging", "checkpoint_every"),
    ],
)
def test_upkeep_names_its_interval(phase: str, fault: str, remedy: str) -> None:
    (found,) = explain(replace(HEALTHY, phases=HEALTHY.phases | {phase: 0.02}))
    assert (found.fault, remedy in found.remedy) == (fault, True)


def test_memory_nearly_spent_is_told() -> None:
    (found,) = explain(replace(HEALTHY, memory_free=1 << 28))
    assert found.fault == "memory_full"
    assert explain(replace(HEALTHY, memory_total=0, memory_free=0)) == ()  # not told


def test_what_promises_most_comes_first() -> None:
    both = replace(
        HEALTHY, **STREAMS, fetch_cpu=1.4e-3, threads=1, by_threads={1: 2000.0, 2: 3350.0}
    )
    assert [f.fault for f in explain(both)] == ["slow_getitem", "few_threads"]


def test_a_diagnosis_is_a_page_and_json() -> None:
    seen = Diagnosis(replace(HEALTHY, **STREAMS, fetch_cpu=1.4e-3, model="mine"))
    page = str(seen)
    assert page.startswith("mine: 100 steps of 64 windows, 119.00 ms each")
    assert "wait for data      100.000 ms  84%" in page
    assert "538, 16% of the bare loop's 3,350" in page
    assert page.splitlines()[-1].startswith("verdict: 84% of the step waits")
    facts = seen.to_dict()
    assert facts["facts"]["windows_per_second"] == pytest.approx(64 / 0.119)
    assert facts["findings"][0]["fault"] == "slow_getitem"
