"""Methods of other people: registered in a program, or named by an installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.automl.portfolio import portfolio
from demandcast.cli.main import main
from demandcast.errors import CheckpointError, ConfigError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Forecaster
from demandcast.frames.examples import retail
from demandcast.local.base import LocalConfig, LocalForecaster
from demandcast.panel.panel import Panel

MODULE = """
from demandcast.forecast.draft import Draft
from dataclasses import dataclass
from demandcast.local.base import LocalConfig, LocalForecaster

@dataclass(frozen=True, kw_only=True)
class Sized(LocalConfig):
    size: float = 2.0

class {kind}(LocalForecaster):
    name = "{name}"
    summary = "{summary}"
    Config = Sized
    portfolio = 5
    space = {{"size": [2.0, 3.0]}}

    def _draft(self, panel, ask):
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        draft.mean[:] = self.config.size
        draft.quantiles[:] = self.config.size
        if draft.samples is not None:
            draft.samples[:] = self.config.size
        return draft
"""


@dataclass(frozen=True, kw_only=True)
class Sized(LocalConfig):
    size: float = 2.0


class Constant(LocalForecaster[Sized]):
    """The same number always."""

    name = "constant"
    summary = "One number"
    Config = Sized

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        for part in (draft.mean, draft.quantiles, draft.samples):
            if part is not None:
                part[:] = self.config.size
        return draft


@pytest.fixture
def panel() -> Panel:
    table = retail(n_items=6, n_days=90, seed=0).frame.select("item", "date", "units")
    return dc.read_panel(table, key="item", time="date", target="units")


@pytest.fixture
def constant() -> Iterator[type[Constant]]:
    yield dc.register(Constant)
    registry._registered.pop("constant", None)


def test_a_registered_method_is_one_like_any_other(
    constant: type[Constant], panel: Panel, tmp_path: Path
) -> None:
    assert "constant" in registry.names()
    assert registry.classes()["constant"] is constant
    model = registry.create("constant", horizon=3, size=4.0).fit(panel)
    with pytest.raises(ConfigError, match="no hyper-parameter 'sizes'; did you mean 'size'"):
        registry.create("constant", horizon=3, sizes=4.0)
    model.save(tmp_path / "run")
    again = dc.load(tmp_path / "run")
    assert isinstance(again, constant)
    assert (again.predict(panel, n_samples=2).samples == 4.0).all()
    result = dc.backtest(["constant"], panel, horizon=3, progress=False)
    assert "constant" in result.leaderboard()["model"].to_list()
    best = dc.auto(panel, horizon=3, include=["constant", "ses"], budget="4 steps", progress=False)
    assert "constant" in best.leaderboard()["model"].to_list()
    best.save(tmp_path / "auto")
    np.testing.assert_array_equal(
        dc.load(tmp_path / "auto").predict(panel).mean, best.predict(panel).mean
    )
    dc.register(Constant)  # again, as a notebook's cell does


def test_a_run_of_an_unknown_method_loads_nothing(panel: Panel, tmp_path: Path) -> None:
    dc.register(Constant)
    Constant(horizon=3).fit(panel).save(tmp_path / "run")
    registry._registered.pop("constant")
    with pytest.raises(
        CheckpointError, match=r"method constant, which is not known here.*demandcast.register"
    ):
        dc.load(tmp_path / "run")


def test_folders_export_the_methods_of_the_registry() -> None:
    """Type checkers need the classes by name; the registry is the one list."""
    for folder in ("models", "local", "trees"):
        module = getattr(dc, folder)
        kinds = {kind for name in module.__all__ if isinstance(kind := getattr(module, name), type)}
        assert kinds == {registry.get(name) for name in registry.names(folder)}


def test_a_method_of_your_own_can_be_routed_to(constant: type[Constant], panel: Panel) -> None:
    routed = registry.create("routed", horizon=3, methods=("constant",), folds=1)
    assert set(routed.predict(panel, n_samples=2).samples.ravel()) == {2.0}
    with pytest.raises(ConfigError, match="'dlinear', which is not fitted series by series"):
        registry.create("routed", horizon=3, methods=("dlinear",))


def test_the_former_way_to_state_hyperparameters_is_refused_with_the_present_one() -> None:
    with pytest.raises(ConfigError, match=r"LocalConfig, and name it: Config = \.\.\."):
        type("Former", (LocalForecaster,), {"name": "former", "settings": {"size": 2.0}})


def test_what_is_no_method_is_refused() -> None:
    class Same(Constant):
        name = "tsb"

    class Nameless(LocalForecaster):
        summary = "none"

    class Abstract(Forecaster):
        name, summary, takes, gives = "abstract", "none", "target", "quantiles"

    class Spaced(Constant):
        name = "two words"

    class Other(Constant):
        pass

    wrong: list[tuple[Any, str]] = [
        (Same, "'tsb' is taken"), (Nameless, "lacks name"), (Abstract, "lacks _forecast, .*fit"),
        (Spaced, "'two words'"), (Constant(horizon=1), "is no class"), (int, "is no class"), ("tsb", "is no class"),
    ]  # fmt: skip
    for kind, message in wrong:
        with pytest.raises(ConfigError, match=message):
            dc.register(kind)
    dc.register(Constant)
    try:
        with pytest.raises(ConfigError, match="'constant' is taken"):
            dc.register(Other)
    finally:
        registry._registered.pop("constant")


def install(site: Path, name: str, kind: str, module: str, own_name: str | None = None) -> None:
    """Lay a package into a folder as pip would: its module, and the entry points of its metadata."""
    text = MODULE.format(kind=kind, name=own_name or name, summary="One number, from elsewhere")
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {module}:{kind}\n")


def command(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), *(p for p in sys.path if p)])
    return subprocess.run(
        [sys.executable, "-m", "demandcast", *words], env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, timeout=120, cwd=site,
    )  # fmt: skip


def test_the_command_line_knows_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "elsewhere", "Elsewhere", "elsewhere_models")
    rows = {
        "item": ["a"] * 9,
        "date": pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 9), eager=True),
    }
    pl.DataFrame(rows | {"units": [1.0, 2.0, 3.0] * 3}).write_csv(tmp_path / "sales.csv")
    words = ("forecast", "sales.csv", "--horizon", "2", "--model", "elsewhere", "--set", "size=7.5")
    done = command(tmp_path, *words, "--out", "out.csv")
    assert done.returncode == 0, done.stderr
    assert pl.read_csv(tmp_path / "out.csv")["mean"].to_list() == [7.5, 7.5]
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entries.cache_clear()
    try:
        assert main(["models", "--json"]) == 0
        assert "elsewhere" in portfolio("fast")
        tuning = dc.tune(
            "elsewhere", dc.read_panel(tmp_path / "sales.csv", freq="D"), horizon=1, trials=1,
            progress=False,
        )  # fmt: skip
        assert tuning.trials["size"].to_list() == [2.0]
    finally:
        registry._entries.cache_clear()
    assert {"model": "elsewhere", "summary": "One number, from elsewhere", "takes": "target",
            "gives": "paths and quantiles"} in json.loads(capsys.readouterr().out)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [("tsb", None, "is taken by demandcast"), ("elsewhere", "other", "make them one")],
)
def test_a_package_that_is_wrong_is_named(
    name: str, own: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, name, "Odd", f"odd_{name}", own)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entries.cache_clear()
    try:
        with pytest.raises(ConfigError, match=message):
            registry.get("elsewhere")
    finally:
        registry._entries.cache_clear()
