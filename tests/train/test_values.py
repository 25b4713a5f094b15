"""Settings and results of a training stay as they were made; what a run fills in may change."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from demandcast import train
from demandcast.train.doctor import Diagnosis, Doctor, Facts
from demandcast.train.training import Training, TrainingLog
from demandcast.train.watch import Watch

FILLED = {"Budget", "Load", "Subject", "TrainingLog"}  # or shortened, while a run goes on
OPTIONS = {"Doctor", "Facts", "Job", "Objective", "Subject", "Training", "Watch"}


def dataclasses() -> dict[str, Any]:
    names = [m.name for m in pkgutil.walk_packages(train.__path__, "demandcast.train.")]
    modules = [importlib.import_module(n) for n in names if not n.endswith(".throughput")]
    return {
        name: kind
        for module in modules
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if is_dataclass(kind) and kind.__module__ == module.__name__
    }


def test_what_is_made_once_stays_as_it_is() -> None:
    frozen = {n: kind.__dataclass_params__.frozen for n, kind in dataclasses().items()}
    assert {name for name, fixed in frozen.items() if not fixed} == FILLED


def test_options_are_given_by_name() -> None:
    """A positional option would change its meaning with every one that is added."""
    by_name = {n for n, kind in dataclasses().items() if all(f.kw_only for f in fields(kind))}
    assert by_name == OPTIONS


def test_facts_stay_as_they_were_measured() -> None:
    facts = Facts(steps=1, batch=4, phases={"forward": 0.5}, ceiling=1.0)
    assert facts.step == 0.5
    with pytest.raises(FrozenInstanceError):
        facts.phases = {}  # type: ignore[misc]


def test_defaults_that_change_every_forecast() -> None:
    """Whoever changes one changes the numbers of all networks, and says so in the changelog."""
    training = Training()
    assert training.batch == 64  # not left open
    assert asdict(training) == {
        "max_steps": 1000, "epochs": None, "batch_size": 64, "learning_rate": 1e-3, "warmup": 0.05,
        "weight_decay": 1e-2, "clip": 10.0, "average": 0.99, "patience": 10, "validate_every": 50, "seed": 0,
        "checkpoint_every": 200, "precision": "float32", "threads": None, "loader": "auto", "workers": "auto",
        "pin_memory": "auto", "devices": 1,
    }  # fmt: skip


def test_the_diagnosis_is_no_part_of_what_a_log_prints_and_compares() -> None:
    """It is a page of text, and its times differ from run to run."""
    facts = Facts(steps=1, batch=4, phases={"forward": 0.5}, ceiling=1.0)
    log = TrainingLog(steps=3, windows=12, seconds=2.0, diagnosis=Diagnosis(facts))
    assert log.windows_per_second == 6
    assert log == TrainingLog(steps=3, windows=12, seconds=2.0)
    assert "diagnosis" not in repr(log)


def test_rates_of_less_than_a_second_are_by_the_second() -> None:
    assert TrainingLog(windows=10, seconds=0.5).windows_per_second == 20
    facts = Facts(steps=1, batch=4, phases={"forward": 0.5}, ceiling=0.5)
    assert facts.windows_per_second == 8
    assert facts.of_ceiling == pytest.approx(16)


def test_what_was_not_measured_is_one_core_with_one_thread_and_no_worker() -> None:
    facts = Facts(steps=1, batch=4, phases={}, ceiling=1.0)
    assert (facts.physical, facts.threads, facts.workers) == (1, 1, 0)
    assert (facts.run, facts.measuring, facts.syncs) == (0, 0, 0)
    assert (facts.memory_used, facts.memory_free, facts.memory_total) == (0, 0, 0)


def test_a_run_shows_its_bar_and_begins_anew_unless_told_otherwise() -> None:
    folder = Path("run")
    assert Watch().progress
    assert Watch(checkpoint=folder).resume_from is None
    assert Watch(checkpoint=folder, resume=True).resume_from == folder
    assert Watch().doctor is None
    assert Watch(diagnose=True).doctor == Doctor()
    assert Watch(diagnose=Doctor(budget=3.0)).doctor == Doctor(budget=3.0)
