"""Compare auto with AutoGluon-TimeSeries, statsforecast and LightGBM (mlforecast) on twelve tasks, one budget.

benchmarks/accuracy/auto_peers.sh peers
python benchmarks/accuracy/auto.py --data ../shared/data --peers peers/bin/python --budget 300

All systems get the same history, the same held-out steps and the same scorer; AutoGluon runs without
pretrained models. The budget limits AutoGluon's fit, and the fit and forecast of auto. statsforecast and
mlforecast take the time they need, up to --patience. Where a task has several cutoffs, models are fitted at
the first. Results are kept in --work and not computed again.

--clock cpu counts processor time, in this process and in AutoGluon's, for a machine that does other work.
Set OMP_NUM_THREADS=1 to run everything on one thread.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if "cpu" in sys.argv:  # before anything takes hold of the clock
    time.perf_counter = time.process_time

import numpy as np
import polars as pl
from script import DECILES, arguments, commit, parse, publish
from tasks import TASKS, Task

import demandcast as dc
from demandcast import registry
from demandcast.evaluate.count_metrics import pit_coverage, randomised_pit
from demandcast.evaluate.metrics import coverage, scores

CHOSEN = {  # task -> its cutoffs; other tasks of tasks.py, by --tasks, have those that are told there
    "walmart_weekly": 1, "rossmann_top100": 1, "stallion_monthly": 1, "carparts_monthly": 1,
    "auto_parts_monthly": 1, "m5_daily_3000": 1, "tourism_monthly": 1, "m3_monthly": 1,
    "m4_weekly": 1, "m4_hourly": 1, "electricity_10clients_2014": 7, "gefcom2012_load": 7,
}  # fmt: skip
SYSTEMS = (
    "auto",
    "autogluon_medium_quality",
    "autogluon_high_quality",
    "mlforecast",
    "autotheta",
    "autoets",
)
LEVELS = tuple(round(0.005 * i, 3) for i in range(1, 200))  # of ours; the peers give deciles
INTERVALS = {80: (0.1, 0.9), 90: (0.05, 0.95), 98: (0.01, 0.99)}
LAST = ("peak_gib", "commit", "error")
MEASURES = ("wql", "mase", *(f"{kind}_{p}" for kind in ("coverage", "lot") for p in INTERVALS))


def panels(task: Task, data: Path, folds: int) -> tuple[dc.Panel, list[dc.Panel]]:
    """The whole panel, and what was known at each cutoff."""
    whole = task.load(data)
    h = task.horizon
    return whole, [whole.drop_last(h * (folds - k)) for k in range(folds)]


def export(folder: Path, task: Task, known: list[dc.Panel]) -> None:
    """The task as tables that the peers read."""
    folder.mkdir(parents=True, exist_ok=True)
    panel = known[0]
    freq = panel.schema.freq
    facts = {
        "horizon": task.horizon, "folds": len(known), "freq": freq, "period": panel.freq.period,
        "known": list(panel.known_names),
    }  # fmt: skip
    for fold, part in enumerate(known):
        for name, first, stop in (
            ("train", np.zeros_like(part.lengths), part.lengths),
            ("future", part.lengths, part.lengths + task.horizon),
        ):
            if name == "future" and not part.known_names:
                continue
            steps = stop - first
            series = np.repeat(np.arange(part.n_series), steps)
            place = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
            place += np.repeat(first, steps)
            rows = part.begins[series] + place
            columns: dict[str, Any] = {
                "item_id": np.array([part.key(i) for i in range(part.n_series)])[series],
                "timestamp": part.freq.times(part.starts[series] + place),
            }
            if name == "train":
                columns["target"] = part.target[rows]
                columns |= {n: part.past[rows, j] for j, n in enumerate(part.past_names)}
            columns |= {n: part.known[rows, j] for j, n in enumerate(part.known_names)}
            pl.DataFrame(columns).with_columns(
                pl.col("timestamp").cast(pl.Datetime("us"))
            ).write_parquet(folder / f"{name}_{fold}.parquet")
    if panel.vocabularies or panel.static_real_names:
        keys = [panel.key(i) for i in range(panel.n_series)]
        static: dict[str, Any] = {"item_id": keys}
        for j, (name, words) in enumerate(panel.vocabularies.items()):
            static[name] = [("", *words)[c] for c in panel.static_codes[:, j]]
        for j, name in enumerate(panel.static_real_names):
            static[name] = panel.static_reals[:, j]
        pl.DataFrame(static).write_parquet(folder / "static.parquet")
    (folder / "task.json").write_text(json.dumps(facts))


def judge(
    quantiles: list[Any], levels: Any, known: list[dc.Panel], horizon: int
) -> dict[str, float]:
    """Scores, averaged over the cutoffs, and coverage of what the levels reach.

    The ends of intervals of whole numbers are values that come often, so that they hold more than they
    say: `lot` is the coverage with such ties broken at random (Czado, Gneiting and Held 2009).
    """
    rows = []
    for found, panel in zip(quantiles, known, strict=True):
        actual = panel.future_target(horizon)
        some = [list(levels).index(level) for level in DECILES]
        deciles = found[..., some]
        made = dc.Forecast.of(panel, tuple(DECILES), deciles, deciles.mean(-1), model="judged")
        row = {k: v for k, v in scores(made, actual, panel).items() if k in MEASURES}
        if len(levels) > len(DECILES):
            pit = randomised_pit(actual, found.transpose(0, 2, 1))
            for percent, ends in INTERVALS.items():
                low, high = (found[..., list(levels).index(level)] for level in ends)
                row[f"coverage_{percent}"] = coverage(actual, low, high)
                row[f"lot_{percent}"] = float(np.diff(pit_coverage(pit, ends))[0])
        rows.append(row)
    return {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}


def run_ours(
    name: str, task: Task, data: Path, folds: int, budget: float, model: str
) -> dict[str, Any]:
    """`auto`, or a single method by its name, in this process."""
    _, known = panels(task, data, folds)
    hyper: dict[str, Any] = {"budget": budget} if model == "auto" else {}
    began = time.perf_counter()
    made: Any = registry.create(model, horizon=task.horizon, **hyper)
    made.fit(known[0], **({"progress": False} if model == "auto" else {}))
    fitted = time.perf_counter() - began
    found = [made.predict(part, levels=LEVELS).quantiles for part in known[:1]]
    seconds = time.perf_counter() - began
    found += [made.predict(part, levels=LEVELS).quantiles for part in known[1:]]
    row: dict[str, Any] = judge(found, LEVELS, known, task.horizon)
    row |= {"seconds": seconds, "fit_seconds": fitted}
    row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if model == "auto":
        row["made_of"] = made.verdict()
        row["tried"] = made.leaderboard().to_dicts()
        row["skipped"] = made.skipped
    return row


def run_peer(
    system: str,
    folder: Path,
    task: Task,
    data: Path,
    folds: int,
    budget: float,
    python: str,
    patience: float,
    clock: str,
) -> dict[str, Any]:
    """A peer, in its own environment."""
    _, known = panels(task, data, folds)
    if not (folder / "task.json").exists():
        export(folder, task, known)
    here = Path(__file__).parent
    limit = patience + (3 * budget if system.startswith("autogluon") else 0)
    command = [python, str(here / "auto_peers.py"), str(folder), system, str(budget), clock]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        subprocess.run(command, check=True, timeout=limit, env=env, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit:.0f} s"}
    except subprocess.CalledProcessError as error:
        return {"error": error.stderr.strip().splitlines()[-1][:200] if error.stderr else "failed"}
    frame = pl.read_parquet(folder / f"{system}.parquet")
    found = []
    for fold, panel in enumerate(known):
        place = {panel.key(i): i for i in range(panel.n_series)}
        part = frame.filter(pl.col("fold") == fold)
        grid = np.full((panel.n_series, task.horizon, len(DECILES)), np.nan, np.float32)
        rows = np.array([place[key] for key in part["item_id"]])
        grid[rows, part["step"].to_numpy()] = part.select(map(str, DECILES)).to_numpy()
        if np.isnan(grid).any():
            naive = registry.create("seasonal_naive", horizon=task.horizon).fit(panel)
            fill = naive.predict(panel, levels=DECILES).quantiles
            grid = np.where(np.isnan(grid), fill, grid)  # series that the peer left out
        found.append(grid)
    row: dict[str, Any] = judge(found, tuple(DECILES), known, task.horizon)
    return row | json.loads((folder / f"{system}.json").read_text())


def summary(rows: list[dict[str, Any]], budgets: set[float]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A table of the wQL ratios, and one of everything."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame = frame.filter(pl.col("budget").is_in(list(budgets)))
    naive = frame.filter(pl.col("system") == "seasonal_naive").select("task", naive="wql")
    frame = frame.join(naive, on="task", how="left").with_columns(
        ratio=pl.col("wql") / pl.col("naive")
    )
    wide = frame.filter(pl.col("system") != "seasonal_naive").pivot(
        on="system", index="task", values="ratio"
    )
    means: dict[str, Any] = {"task": "geometric mean, of who has done them all"}
    for column in wide.columns[1:]:
        whole = not wide[column].null_count()
        means[column] = float(np.exp(np.log(wide[column].to_numpy()).mean())) if whole else None
    wide = pl.concat([wide, pl.DataFrame([means])], how="vertical_relaxed")
    columns = [
        c
        for c in ("task", "system", "budget", *MEASURES, "ratio", "seconds", *LAST)
        if c in frame.columns
    ]
    return wide, frame.select(columns).sort("task", "ratio", nulls_last=True)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(CHOSEN))
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="names of single methods too")
    parser.add_argument("--budget", type=float, default=300, help="seconds")
    parser.add_argument(
        "--limit", type=float, help="seconds for AutoGluon; the budget if not given"
    )
    parser.add_argument(
        "--peers", default="peers/bin/python", help="python of the peers' environment"
    )
    parser.add_argument(
        "--patience", type=float, default=600, help="seconds at most for the others"
    )
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--work", type=Path, default=Path("auto_work"), help="kept between runs")
    parser.add_argument("--again", action="store_true", help="run what was run")
    given = parse(parser)
    given.work.mkdir(parents=True, exist_ok=True)
    kept = given.work / "results.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    rows: dict[tuple[str, str, float], dict[str, Any]] = {}
    for line in lines:
        row = json.loads(line)
        rows[row["task"], row["system"], row["budget"]] = row
    for name in given.tasks.split(","):
        for system in ("seasonal_naive", *given.systems.split(",")):
            budget = 0.0  # of those that take the time they want
            if system == "auto":
                budget = given.budget
            elif system.startswith("autogluon"):
                budget = given.limit or given.budget
            place = (name, system, budget)
            if place in rows and not (given.again and system != "seasonal_naive"):
                continue
            task, folds = TASKS[name], CHOSEN.get(name, TASKS[name].folds)
            if system == "auto" or system in registry.names():
                row = run_ours(name, task, given.data, folds, budget, system)
            else:
                folder = given.work / name
                row = run_peer(
                    system,
                    folder,
                    task,
                    given.data,
                    folds,
                    budget,
                    given.peers,
                    given.patience,
                    given.clock,
                )
            row |= {"task": name, "system": system, "budget": budget, "commit": commit()}
            rows[place] = row
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
            told = {k: v for k, v in row.items() if k not in ("tried", "skipped")}
            print(json.dumps(told), file=sys.stderr, flush=True)
    if rows:
        budgets = {0.0, given.budget, given.limit or given.budget}
        publish(given, *summary([*rows.values()], budgets))


if __name__ == "__main__":
    main()
