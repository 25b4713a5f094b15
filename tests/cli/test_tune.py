"""`demandcast tune` prints its trials, keeps the best, and refuses a space it cannot read."""

from __future__ import annotations

import shlex
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
    assert "forecast with it" not in err  # it is saved
    average = ["tune", sales, "--horizon", "7", "--model", "window_average", "--json", "--trials=2"]
    assert main([*average, "--space", "window=[28]"]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "forecast with it" in line]
    command = shlex.split(said.partition(": demandcast ")[2])
    plain = ["forecast", sales, "--horizon", "7", "--model", "window_average"]
    assert command == [*plain, "--set", "window=28"]
    assert main(command) == 0
    assert main(["tune", sales, "--horizon", "7", "--model", "seasonal_naive"]) == 2
    assert "or --space 'period=[...]'" in capsys.readouterr().err
    assert main(["tune", sales, "--horizon", "7", "--model", "auto"]) == 2
    assert "tune another method" in capsys.readouterr().err
    assert main(["predict", best, sales]) == 0
    for option in ("--set", "--space"):
        assert main([*words, option, "horizon=3"]) == 2
        said = capsys.readouterr().err
        assert f"{option} horizon=3 gives the horizon" in said
        assert "use --horizon" in said
    assert main([*words, "--space", "alpha=high"]) == 2
    assert "NAME=LOW..HIGH" in capsys.readouterr().err
