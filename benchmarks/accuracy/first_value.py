"""How far demand departs from the first value of a series: the width of a band around one observed value.

python benchmarks/accuracy/first_value.py --data ../shared/data

A series is its first value above 0; the steps after it, up to the task's horizon, are forecast by Student's t with
3 degrees of freedom around that value, clipped at 0, with a scale of so many times the value at every step ("flat")
or growing as a random walk's ("walk"). The last horizon of each series, which the benchmarks score, is not used.
A cell is wQL over nine deciles.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from script import DECILES, arguments, commit, parse
from tasks import TASKS

from demandcast.evaluate.metrics import wql
from demandcast.local.parts.error_distributions import SCORES, _student_scores

CHOSEN = (
    "m5_daily_3000", "auto_parts_monthly", "carparts_monthly", "rossmann_top100", "stallion_monthly",
    "walmart_weekly", "tourism_monthly", "m3_monthly",
)  # fmt: skip
BANDS = ((0.25, False), (0.5, False), (0.75, False), (1.0, False), (0.5, True), (1.0, True))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(CHOSEN))
    given = parse(parser)
    names = [f"{scale:g} {'walk' if walk else 'flat'}" for scale, walk in BANDS]
    print(f"Commit {commit()}; wQL of the first steps after a series' first demand\n")
    print(f"| task | series | {' | '.join(names)} |")
    print("| --- " * (2 + len(names)) + "|")
    scores = [NormalDist().inv_cdf(level) for level in DECILES]
    deviations = np.interp(scores, SCORES, _student_scores()[0])
    for name in given.tasks.split(","):
        task = TASKS[name]
        panel = task.load(given.data).drop_last(task.horizon)
        firsts, actual = [], []
        for i in range(panel.n_series):
            values = panel.history(i)
            values = values[~np.isnan(values)]
            start = int((values > 0).argmax()) if (values > 0).any() else len(values)
            if start + task.horizon < len(values):
                firsts.append(values[start])
                actual.append(values[start + 1 : start + 1 + task.horizon])
        first, ahead = np.array(firsts)[:, None], np.arange(1, task.horizon + 1)
        cells = []
        for scale, walk in BANDS:
            width = scale * first * (np.sqrt(ahead) if walk else np.ones(len(ahead)))
            quantiles = np.maximum(first[..., None] + width[..., None] * deviations, 0)
            cells.append(f"{wql(np.array(actual), quantiles, DECILES):.3f}")
        print(f"| {name} | {len(first)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
