"""What larger batches cost in accuracy at an equal number of windows, by the rule of batch_size="auto".

Each model trains `--times` as many steps as usual; then learns from as many windows in batches twice and
four times its usual size, with steps, rate and average changed as `tune.resize_batch` does it. wQL, seasonal
naive 1.

python benchmarks/accuracy/batch_size.py --data ../shared/data --models dlinear --times 4 --seeds 0,1
"""

from __future__ import annotations

from typing import Any

from script import DECILES, arguments, integers, parse
from tasks import TASKS

import demandcast as dc
from demandcast import registry
from demandcast.train.doctor.trials import RESIZED, resize_batch


def main() -> None:
    parser = arguments(__doc__, seeds="0")
    parser.add_argument("--tasks", default="tourism_monthly,m4_hourly,walmart_weekly")
    parser.add_argument("--models", default="nhits")
    parser.add_argument("--factors", default="1,2,4")
    parser.add_argument("--times", type=int, default=4, help="the usual steps, all of them")
    parser.add_argument("--power", type=float, default=0.5, help="of the ratio, for the rate")
    given = parse(parser)
    print("| task | model | seed | batch | steps | ratio to seasonal naive | fit seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in given.tasks.split(","):
        task = TASKS[name]
        panel = task.load(given.data)
        for model in given.models.split(","):
            for seed in integers(given.seeds):
                for factor in map(int, given.factors.split(",")):
                    made = _made(model, task.horizon, seed, given.times, factor, given.power)
                    board = dc.backtest(
                        [made], panel, folds=task.folds, refit=False, levels=DECILES,
                        progress=False, horizon=task.horizon,
                    ).leaderboard()  # fmt: skip
                    row = board.filter(board["model"] == model).row(0, named=True)
                    cells = [
                        name, model, seed, made.config.batch_size, made.config.max_steps,
                        f"{row['vs_seasonal_naive']:.4f}", f"{row['fit_seconds']:.1f}",
                    ]  # fmt: skip
                    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _made(model: str, horizon: int, seed: int, times: int, factor: int, power: float) -> Any:
    steps = times * registry.get(model).defaults()["max_steps"]
    usual: Any = registry.create(model, horizon=horizon, seed=seed, max_steps=steps)
    config = resize_batch(usual.config, factor * usual.config.batch)
    changed = {name: getattr(config, name) for name in RESIZED}
    changed["learning_rate"] = usual.config.learning_rate * factor**power
    return registry.create(model, horizon=horizon, seed=seed, **changed)


if __name__ == "__main__":
    main()
