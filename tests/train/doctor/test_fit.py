"""A fit that is looked at is the fit it would have been, and its own networks read no tensor back."""

from __future__ import annotations

import pytest

import demandcast as dc
from demandcast.train.doctor import Doctor


def test_looking_changes_no_number(panel: dc.Panel, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"horizon": 4, "context": 14, "max_steps": 12, "batch_size": 8}
    plain = dc.models.NHITS(**settings).fit(panel, progress=False)
    seen = dc.models.NHITS(**settings)
    seen.fit(panel, progress=True, diagnose=True)
    assert seen.predict(panel).to_frame().equals(plain.predict(panel).to_frame())
    assert plain.diagnosis is None
    assert seen.diagnosis is not None
    assert f"verdict: {seen.diagnosis.verdict().splitlines()[0]}" in capsys.readouterr().err
    facts = seen.diagnosis.facts
    assert (facts.model, facts.batch, facts.loader, facts.steps) == ("nhits", 8, "resident", 9)
    assert facts.phases.keys() >= {"wait", "forward", "backward", "optimiser"}
    assert facts.ceiling > 0


@pytest.mark.parametrize("kind", ["NHITS", "DeepAR", "MQRNN", "TFT"])
def test_no_network_reads_a_tensor_back_in_its_step(panel: dc.Panel, kind: str) -> None:
    model = getattr(dc.models, kind)(horizon=4, context=14, max_steps=3, batch_size=8)
    model.fit(panel, progress=False, diagnose=Doctor(budget=0.0))
    assert model.diagnosis.facts.syncs == 0, model.diagnosis.facts.sync_place
