"""`demandcast tune` prints its trials, keeps the best, and refuses a space it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from demandcast.cli.main import main
from demandcast.frames.examples import retail


def test_tune_prints_the_trials_and_what_was_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sales, best = str(tmp_path / "sales.csv"), str(tmp_path / "best")
    retail(n_items=5, n_days=80, seed=3).frame.write_csv(sales)
    words = ["tune", sales, "--horizon", "7", "--model", "tsb", "--trials", "3", "--save", best]
    kept = ["--storage", str(tmp_path / "study.journal")]
    assert main([*words, *kept, "--space", "alpha=0.01..0.9"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["trial", "loss", "state"]
    assert len(out.splitlines()) == 4
    assert "best of 3 trials" in err
    assert main(["predict", best, sales]) == 0
    assert main([*words, "--space", "alpha=high"]) == 2
    assert "NAME=LOW..HIGH" in capsys.readouterr().err
