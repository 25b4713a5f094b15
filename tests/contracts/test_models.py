"""What every registered model owes its user. The leak test first of all."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import demandcast
from demandcast import registry
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import CheckpointError, ConfigError, DataError, NotFittedError
from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import Forecaster
from demandcast.models.base import NeuralForecaster
from demandcast.models.multivariate import MultivariateForecaster
from demandcast.panel.panel import Panel

HORIZON = 7
LEVELS = (0.05, 0.5, 0.8, 0.99)
FOR_COUNTS = ("damped_counts", "gamma_poisson", "multi_stage")
NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
MULTIVARIATE = [n for n in NEURAL if issubclass(registry.get(n), MultivariateForecaster)]


def make(name: str, **hyper: Any) -> Forecaster:
    if name in NEURAL:
        hyper = {"max_steps": 4, "batch_size": 8, "context": 28, "seed": 3} | hyper
    if name == "lightgbm":
        hyper = {"trees": 8} | hyper
    if name == "auto":  # what a clock decides is not the same twice
        hyper = {"budget": "4 steps", "include": ("seasonal_naive", "tsb", "nlinear")} | hyper
    return registry.create(name, horizon=HORIZON, **hyper)


def fitted(name: str, panel: Panel, **hyper: Any) -> Any:
    return make(name, **hyper).fit(panel)


_histories: dict[str, Any] = {}


def of_history(name: str, panel: Panel) -> Any:
    """The model fitted to all but the last horizon, once for the tests that leave it as it is."""
    if name not in _histories:
        _histories[name] = fitted(name, panel.drop_last(HORIZON))
    return _histories[name]


_forecasts: dict[str, Forecast] = {}


def forecast_of(name: str, panel: Panel) -> Forecast:
    """What `of_history` forecasts, once."""
    if name not in _forecasts:
        known = panel.drop_last(HORIZON)
        _forecasts[name] = of_history(name, panel).predict(known, levels=LEVELS)
    return _forecasts[name]


def draws(name: str) -> bool:
    """Whether a network's forecasts are made of drawn paths."""
    kind = registry.get(name)
    return issubclass(kind, NeuralForecaster) and kind.samples_paths


def amounts(panel: Panel) -> Panel:
    """The same panel with amounts in place of counts: cents, and levels from 1 to a million."""
    factor = np.repeat([1.0, 1.37, 123.45, 12345.67, 1e6, 1.0], panel.extents)
    return replace(panel, target=np.round(panel.target * factor, 2).astype(np.float32))


def spoiled(panel: Panel) -> Panel:
    """The same history, with other values in every row after it; in cents, that no sum of them is exact."""
    target = panel.target.copy()
    steps = np.arange(len(target)) - np.repeat(panel.begins, panel.extents)
    after = steps >= np.repeat(panel.lengths, panel.extents)
    target[after] = 1e6 + np.random.default_rng(0).uniform(0, 1e6, int(after.sum())).round(2)
    return replace(panel, target=target)


@pytest.mark.parametrize("name", registry.names())
def test_nothing_past_the_cutoff_is_known(name: str, panel: Panel) -> None:
    known = panel.drop_last(2 * HORIZON)
    if name not in FOR_COUNTS:
        known = amounts(known)
    clean = fitted(name, known).predict(known)
    after = fitted(name, spoiled(known)).predict(spoiled(known))
    np.testing.assert_array_equal(clean.quantiles, after.quantiles)
    np.testing.assert_array_equal(clean.mean, after.mean)


@pytest.mark.parametrize("name", registry.names())
def test_shapes_order_and_floor(name: str, panel: Panel) -> None:
    known = panel.drop_last(HORIZON)
    forecast = forecast_of(name, panel)
    assert forecast.quantiles.shape == (known.n_series, HORIZON, 4)
    assert forecast.mean.shape == (known.n_series, HORIZON)
    assert np.isfinite(forecast.mean).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    assert (forecast.quantiles >= 0).all()
    frame = forecast.to_frame()
    warned = [] if forecast.events is None else ["p_high", "above", "p_low", "below"]
    assert frame.columns == ["item", "date", "mean", "0.05", "0.5", "0.8", "0.99", *warned]
    assert frame.height == known.n_series * HORIZON
    assert frame["date"].dtype == known.time_dtype
    assert forecast.keys.equals(known.keys)


@pytest.mark.parametrize("name", registry.names())
def test_same_seed_same_numbers_whatever_the_caller_drew(name: str, panel: Panel) -> None:
    known = panel.drop_last(HORIZON)
    first = forecast_of(name, panel)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    model = fitted(name, known)
    model.predict(known.select([0]) if name not in MULTIVARIATE else known)
    again = model.fit(known).predict(known, levels=LEVELS)  # fit always starts fresh
    assert torch.equal(torch.get_rng_state(), before)  # and the caller's numbers are left alone
    np.testing.assert_array_equal(first.quantiles, again.quantiles)


@pytest.mark.parametrize("name", NEURAL)
def test_another_seed_gives_other_numbers(name: str, panel: Panel) -> None:
    known = panel.drop_last(HORIZON)
    first, second = forecast_of(name, panel), fitted(name, known, seed=4).predict(known)
    assert not np.array_equal(first.mean, second.mean)


@pytest.mark.parametrize("name", registry.names())
def test_saved_is_loaded(name: str, panel: Panel, tmp_path: Path) -> None:
    known = panel.drop_last(HORIZON)
    model = of_history(name, panel)
    model.save(tmp_path / "run")
    back = demandcast.load(tmp_path / "run")
    assert back.hyperparameters() == model.hyperparameters()
    loaded = back.predict(known, levels=LEVELS)
    np.testing.assert_array_equal(forecast_of(name, panel).quantiles, loaded.quantiles)
    assert not [
        p
        for p in (tmp_path / "run").rglob("*")
        if p.is_file() and p.suffix not in (".json", ".safetensors")
    ]


@pytest.mark.parametrize("name", NEURAL)
def test_a_cut_run_goes_on_with_the_same_numbers(name: str, panel: Panel, tmp_path: Path) -> None:
    known = panel.drop_last(HORIZON)
    hyper = {"max_steps": 6, "checkpoint_every": 2, "dropout": 0.3, "validation": HORIZON,
             "validate_every": 2}  # fmt: skip
    whole = fitted(name, known, **hyper)

    class Cut(Exception):
        pass

    model = make(name, **hyper)
    steps = 0
    loss = model.Net.loss  # type: ignore[attr-defined]

    def cut(self: Any, window: Any) -> Any:
        nonlocal steps
        steps += self.training
        if steps > 5:
            raise Cut
        return loss(self, window)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.Net, "loss", cut)  # type: ignore[attr-defined]
        with pytest.raises(Cut):
            model.fit(known, checkpoint=tmp_path)  # type: ignore[call-arg]
    assert (tmp_path / "checkpoint.safetensors").exists()
    resumed = make(name, **hyper).fit(known, checkpoint=tmp_path, resume=True)  # type: ignore[call-arg]
    np.testing.assert_array_equal(whole.predict(known).quantiles, resumed.predict(known).quantiles)
    assert whole.log.validation == resumed.log.validation  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="learning_rate"):
        make(name, **hyper, learning_rate=0.5).fit(known, checkpoint=tmp_path, resume=True)  # type: ignore[call-arg]


def test_an_epoch_is_as_many_windows_as_there_are(panel: Panel) -> None:
    steps = {}
    for batch_size in (128, 256):
        model = fitted("nlinear", panel, batch_size=batch_size, epochs=2)
        last = panel.lengths - HORIZON  # cutoffs run from 1 to here
        assert model.log.steps == 2 * -(-int(last.clip(1).sum()) // batch_size)
        steps[batch_size] = model.log.steps
    assert steps[256] < steps[128]


@pytest.mark.parametrize("name", NEURAL)
def test_every_parameter_gets_a_gradient(name: str, panel: Panel) -> None:
    model = make(name, max_steps=1, dropout=0.0, series_embedding=True).fit(panel)
    network = model.network  # type: ignore[attr-defined]
    with torch.no_grad():  # layers that begin at 0 hide those before them
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(1)
            )
    source = model._source(panel, model.features, model.plan)  # type: ignore[attr-defined]
    series = torch.arange(panel.n_series)
    ends = source.lengths[series]
    extra = model._extra_steps(model.plan)  # type: ignore[attr-defined]
    network.loss(source.windows(series, ends - HORIZON, ends, extra=extra)).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", NEURAL)
def test_missing_values_poison_nothing(name: str, panel: Panel) -> None:
    target = panel.target.copy()
    target[np.random.default_rng(0).random(len(target)) < 0.3] = np.nan
    target[panel.begins[0] : panel.begins[0] + panel.extents[0]] = np.nan  # one never seen at all
    holed = replace(panel, target=target).drop_last(HORIZON)
    forecast = fitted(name, holed).predict(holed)
    assert np.isfinite(forecast.quantiles).all()


@pytest.mark.parametrize("name", NEURAL)
def test_a_window_sees_nothing_at_or_behind_its_limit(name: str, panel: Panel) -> None:
    model = of_history(name, panel)
    source = model._source(panel, model.features, model.plan)
    series = torch.arange(panel.n_series)
    cutoffs = source.lengths[series] - 30
    ours = source.windows(series, cutoffs, cutoffs)
    assert not ours.future_observed.any()
    # the same rows with another value everywhere behind the cutoff: an equal window
    target = panel.target.copy()
    for i in range(panel.n_series):
        begin = int(panel.begins[i] + cutoffs[i])
        target[begin : int(panel.begins[i] + panel.extents[i])] = 1e6
    other = model._source(replace(panel, target=target), model.features, model.plan)
    theirs = other.windows(series, cutoffs, cutoffs)
    for field in fields(ours):
        assert torch.equal(getattr(ours, field.name), getattr(theirs, field.name)), field.name


@pytest.mark.parametrize("name", NEURAL)
def test_scaling_the_data_scales_the_forecast(name: str, panel: Panel) -> None:
    """One network, values 1,000 times as large: forecasts 1,000 times as large."""
    counts = draws(name) and name != "uber_lstm"  # whose scale is its own
    options = {"likelihood": "student_t"} if counts else {}
    known = panel.drop_last(HORIZON)
    model = fitted(name, known, scaling="mean_abs", **options)
    large = replace(known, target=known.target * 1000)
    with torch.no_grad():  # log(scale) is an input on purpose: take its weight out
        for label, parameter in model.network.named_parameters():
            if "static" in label:
                parameter.zero_()
    first = model.predict(known)
    source = model._source(large, model.features, model.plan)
    window = source.latest(torch.arange(known.n_series))
    reals = window.static_reals.clone()
    reals[:, -1:] -= np.log(1000)  # none where all series are read at once
    quantiles, _, _ = model.network.predict(
        replace(window, static_reals=reals),
        torch.tensor(first.levels),
        200,
        TensorDraws.of(known.keys, 3),
    )
    np.testing.assert_allclose(
        np.maximum(quantiles.detach().numpy() / 1000, 0), first.quantiles, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", NEURAL)
def test_known_covariates_must_reach_the_horizon(name: str, panel: Panel) -> None:
    whole = replace(panel, extents=panel.lengths)
    model = of_history(name, panel)
    if "known" not in model.takes:  # what is not read need not be known
        assert model.predict(whole).n_series == whole.n_series
        return
    with pytest.raises(DataError, match=r"'price'.*reach 0 of the 7 steps.*future="):
        model.predict(whole)


@pytest.mark.parametrize("name", [n for n in NEURAL if n not in MULTIVARIATE])
def test_new_series_are_forecast_too(name: str, panel: Panel) -> None:
    known = panel.drop_last(HORIZON)
    model = fitted(name, known.select([0, 1, 2]), series_embedding=True)
    assert model.predict(known.select([4, 5])).n_series == 2


@pytest.mark.parametrize("name", MULTIVARIATE)
def test_a_network_of_all_series_forecasts_those_it_knows(name: str, panel: Panel) -> None:
    """Its weights belong to its series: new ones are refused by name, absent ones are masked."""
    known = panel.drop_last(HORIZON)
    model = fitted(name, known.select([0, 1, 2]))
    assert np.isfinite(model.predict(known.select([2, 1])).quantiles).all()
    with pytest.raises(DataError, match=rf"{known.key(4)} \(2 in all\).*nhits"):
        model.predict(known.select([1, 4, 5]))
    with pytest.raises(DataError, match=r"at most 5, but the panel has 6; .*most_series"):
        fitted(name, known, most_series=5)


@pytest.mark.parametrize("name", registry.names())
def test_wrong_hyperparameters_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="horizon"):
        registry.create(name, horizon=0)
    if name in NEURAL:
        with pytest.raises(ConfigError, match="'context'"):
            registry.create(name, horizon=7, contxt=3)
        with pytest.raises(ConfigError, match="learning_rate is -1"):
            registry.create(name, horizon=7, learning_rate=-1)
        with pytest.raises(ConfigError, match="device='tpu9'"):
            make(name, device="tpu9").fit(_tiny())


def _tiny() -> Panel:
    import polars as pl

    frame = pl.DataFrame({"unique_id": ["a"] * 60, "ds": range(60), "y": range(60)})
    return demandcast.read_panel(frame)


@pytest.mark.parametrize("name", NEURAL)
def test_an_unfitted_model_says_so(name: str, panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="fit"):
        make(name).predict(panel)
    with pytest.raises(NotFittedError, match="fit"):
        make(name).save(tmp_path)


def test_damaged_runs_are_refused(panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no saved forecaster"):
        demandcast.load(tmp_path)
    fitted("deepar", panel).save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        demandcast.load(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        demandcast.load(tmp_path)


def test_unknown_models_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'deepar'"):
        registry.create("deeepar", horizon=3)
