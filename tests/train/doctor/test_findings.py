"""Rules read facts and nothing else: each fault has its remedy, and a healthy run has none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demandcast.train.doctor import Diagnosis, Facts, explain
from demandcast.train.doctor.findings import Finding, _bytes, _plural
from demandcast.train.doctor.profile import Operator

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


def test_a_gain_that_was_not_measured_comes_after_one_that_was() -> None:
    facts = replace(HEALTHY, syncs=1, threads=1, by_threads={1: 2000.0, 2: 3350.0})
    assert [f.fault for f in explain(facts)] == ["few_threads", "item_in_step"]


def test_a_gain_is_shown_from_a_twentieth_on() -> None:
    shown = {gain: "about" in str(Finding("fault", "seen", "remedy", gain)) for gain in (1.04, 1.06)}  # fmt: skip
    assert shown == {1.04: False, 1.06: True}


def test_the_longer_of_validation_and_logging_is_named() -> None:
    for longer in ("validation", "logging"):
        shares = {"validation": 0.35, "logging": 0.35, longer: 0.4}
        assert [f.fault for f in explain(replace(HEALTHY, **step_with(**shares)))] == [longer]


def test_a_smaller_batch_is_never_the_remedy() -> None:
    assert explain(replace(HEALTHY, by_batch={16: 9000.0, 64: 3350.0})) == ()


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


def step_with(**shares: float) -> dict[str, Any]:
    """A step of 100 ms, of which phases take these shares and the rest is the forward pass."""
    return {"phases": {**shares, "forward": 1 - sum(shares.values())}}


STREAMED = {"loader": "streaming", "fetch": 1e-3, "fetch_cpu": 1e-3}
ON_GPU = GPU | {"loader": "streaming", "memory_free": 8 << 30}


@pytest.mark.parametrize(
    ("fault", "below", "above"),
    [
        ("slow_getitem", STREAMED | step_with(wait=0.14), STREAMED | step_with(wait=0.16)),
        ("gather", step_with(wait=0.29), step_with(wait=0.31)),
        (
            "unpinned_memory",
            ON_GPU | {"pinned": False} | step_with(copy=0.045),
            ON_GPU | {"pinned": False} | step_with(copy=0.055),
        ),
        (
            "copies",
            ON_GPU | {"pinned": True} | step_with(copy=0.14),
            ON_GPU | {"pinned": True} | step_with(copy=0.16),
        ),
        ("item_in_step", {"syncs": 0.9}, {"syncs": 1.0}),
        ("few_threads", {"threads": 1, "by_threads": {1: 100.0, 2: 129.0}}, {"threads": 1, "by_threads": {1: 100.0, 2: 131.0}}),
        ("many_threads", {"by_threads": {1: 129.0, 2: 100.0}}, {"by_threads": {1: 131.0, 2: 100.0}}),
        ("busy_machine", {"others": 0.49, "queued": 0.5}, {"others": 0.5, "queued": 0.5}),
        ("busy_machine", {"others": 1.0, "queued": 0.04}, {"others": 1.0, "queued": 0.06}),
        ("tiny_batches", {"by_batch": {64: 100.0, 256: 199.0}}, {"by_batch": {64: 100.0, 256: 201.0}}),
        ("launch_bound", GPU | {"device_busy": 0.51}, GPU | {"device_busy": 0.49}),
        ("validation", step_with(validation=0.29), step_with(validation=0.31)),
        ("logging", step_with(logging=0.14), step_with(logging=0.16)),
        ("memory_full", {"memory_total": 1000, "memory_free": 51}, {"memory_total": 1000, "memory_free": 50}),
    ],
)  # fmt: skip
def test_a_fault_is_told_from_its_threshold_on(
    fault: str, below: dict[str, Any], above: dict[str, Any]
) -> None:
    assert explain(replace(HEALTHY, **below)) == ()
    (found,) = explain(replace(HEALTHY, **above))
    assert found.fault == fault


@pytest.mark.parametrize(
    ("fault", "facts"),
    [
        ("slow_getitem", STREAMED | {"phases": {"wait": 3.0, "forward": 17.0}}),
        ("gather", {"phases": {"wait": 3.0, "forward": 7.0}}),
        ("copies", ON_GPU | {"pinned": True, "phases": {"copy": 3.0, "forward": 17.0}}),
        ("slow_storage", STREAMED | {"fetch_cpu": 0.5e-3} | step_with(wait=0.5)),
        ("few_threads", {"threads": 1, "by_threads": {1: 100.0, 2: 130.0}}),
        ("busy_machine", {"others": 1.0, "queued": 0.05}),
        ("tiny_batches", {"by_batch": {64: 100.0, 256: 200.0}}),
        ("launch_bound", GPU | {"device_busy": 0.5}),
        ("launch_bound", ON_GPU | {"device_busy": 0.2, "phases": {"rest": 0.5, "forward": 0.5}}),
        ("validation", {"phases": {"validation": 3.0, "forward": 7.0}}),
        ("validation", {"phases": {"validation": 3.0, "logging": 3.0, "forward": 4.0}}),
        ("logging", {"phases": {"logging": 3.0, "forward": 17.0}}),
    ],
)
def test_a_threshold_itself_is_notable(fault: str, facts: dict[str, Any]) -> None:
    """15 % of a step, 30 % of a step at hand, 1.3 times the rate, twice the rate, half of the device."""
    assert [found.fault for found in explain(replace(HEALTHY, **facts))] == [fault]


@pytest.mark.parametrize(
    ("facts", "gain"),
    [
        (STREAMED | step_with(wait=0.5), 2.0),  # none of the wait is left
        (ON_GPU | {"pinned": False} | step_with(copy=0.5), 1 / 0.65),  # 0.3 of the copy
        (ON_GPU | {"data_bytes": 1 << 20} | step_with(copy=0.5), 2.0),
        (step_with(validation=0.4), 1 / 0.7),  # a quarter of the validation
        (step_with(logging=0.5), 1 / 0.6),  # a fifth of the logging
        ({"others": 1.0, "queued": 0.5, "by_threads": {1: 120.0, 2: 100.0}}, 1.2),
        ({"others": 1.0, "queued": 0.5, "by_threads": {1: 90.0, 2: 100.0}}, None),
        ({"others": 1.0, "queued": 0.5, "by_threads": {2: 100.0}}, None),
        ({"by_batch": {64: 100.0, 128: 210.0, 256: 300.0}}, 3.0),
        (step_with(wait=0.5), None),  # a gather from arrays at hand is what it is
    ],
)
def test_a_gain_is_what_the_measurements_promise(facts: dict[str, Any], gain: float | None) -> None:
    (found,) = explain(replace(HEALTHY, **facts))
    assert found.gain == (None if gain is None else pytest.approx(gain))
    assert (f"about {gain:.1f}x" in str(found)) if gain else ("about" not in str(found))


def test_data_that_fit_in_memory_twice_are_to_lie_there() -> None:
    slow = replace(HEALTHY, **STREAMED, **step_with(wait=0.5), memory_free=1000)
    assert explain(replace(slow, data_bytes=499))[0].fault == "fits_in_memory"
    assert explain(replace(slow, data_bytes=500))[0].fault == "slow_getitem"
    copies = replace(HEALTHY, **ON_GPU | {"memory_free": 1000} | step_with(copy=0.5))
    assert "resident" in explain(replace(copies, data_bytes=499))[0].remedy
    assert "workers=2" in explain(replace(copies, data_bytes=500))[0].remedy


def test_storage_is_waited_for_where_less_than_half_a_fetch_computes() -> None:
    slow = replace(HEALTHY, **STREAMED, **step_with(wait=0.5), workers=3)
    found = explain(replace(slow, fetch_cpu=0.49e-3))[0]
    assert found.fault == "slow_storage"
    assert "workers=6" in found.remedy
    assert "1 ms a sample, of it 49% computing" in found.seen
    assert "workers=4" in explain(replace(slow, fetch_cpu=0.1e-3, workers=1))[0].remedy
    assert explain(replace(slow, fetch_cpu=0.51e-3))[0].fault == "slow_getitem"


def test_other_programs_leave_so_many_threads() -> None:
    busy = {"others": 5.2, "queued": 0.5, "cores": (0.9,) * 8, "threads": 8}
    (found,) = explain(replace(HEALTHY, **busy, by_threads={8: 100.0}))
    assert "use threads=3" in found.remedy
    (found,) = explain(replace(HEALTHY, **busy | {"threads": 3}, by_threads={3: 100.0}))
    assert "3 threads is right meanwhile" in found.remedy
    (found,) = explain(replace(HEALTHY, **busy | {"others": 7.9}, by_threads={8: 100.0}))
    assert "use threads=1" in found.remedy
    assert explain(replace(HEALTHY, **busy | {"device": "cuda"}, by_threads={8: 100.0})) == ()


def test_an_idle_device_that_waits_for_data_is_no_launch() -> None:
    idle = ON_GPU | {"device_busy": 0.2, "fetch": None}
    waits = explain(replace(HEALTHY, **idle, **step_with(wait=0.3, copy=0.3)))
    assert {f.fault for f in waits} == {"slow_loader", "copies"}
    some = explain(replace(HEALTHY, **idle, **step_with(wait=0.2)))
    assert {f.fault for f in some} == {"slow_loader", "launch_bound"}


def test_sizes_and_counts_in_words() -> None:
    said = {999: "999 bytes", 1500: "1.5 kB", 2.5e6: "2.5 MB", 3e9: "3 GB", 4e12: "4e+03 GB"}
    assert {count: _bytes(count) for count in said} == said
    assert [_plural(n, "value") for n in (0, 1, 2)] == ["0 values", "1 value", "2 values"]


def test_a_page_shows_the_machine_and_the_trials() -> None:
    facts = replace(
        HEALTHY, **STREAMS, workers=2, pinned=True, fetch_cpu=0.3e-3, threads=1, run=20.0, measuring=0.5,
        memory_used=1_500_000_000, memory_free=8_000_000_000, memory_total=16_000_000_000,
    )  # fmt: skip
    operators = (Operator("aten::mm", 3.0, 0.002, 0.25),)
    page = str(Diagnosis(facts, operators, ("batch_size=64: usual",)))
    for line in (
        "  wait for data      100.000 ms  84%  " + "#" * 34,
        "  forward and loss     8.000 ms   7%  ###",
        "  data             streaming, 2 workers, pinned; 1.5 ms a sample alone, 20% of it computing",
        "  cores busy       95%, 95% (1 thread; other programs 0.1 cores)",
        "  memory           1.50 GB used, 8.00 GB of 16.00 GB free",
        "  trials           1 thread 2,000, 2 threads 3,350, batch 256 3,800 windows/s",
        "  measuring took   0.5 s, 2.5% of the run's 20 s",
        "    aten::mm: 2.00 ms (25%), 3 calls",
        "    batch_size=64: usual",
    ):
        assert line in page.splitlines(), page
    assert "copy to device" not in page
    bare = str(Diagnosis(replace(HEALTHY, by_threads={2: 3350.0}, by_batch={64: 3350.0}, memory_total=0)))  # fmt: skip
    assert "trials" not in bare
    assert "memory" not in bare
    assert "  data             resident" in bare.splitlines()
    assert "cuda busy        95%" in str(Diagnosis(replace(HEALTHY, **GPU)))
    assert "cuda busy        not told" in str(Diagnosis(replace(HEALTHY, **GPU | {"device_busy": None})))  # fmt: skip
