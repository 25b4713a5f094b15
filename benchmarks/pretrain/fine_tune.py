"""Fine-tuning beside the pretrained network and the same network trained from nothing, on the same time.

python benchmarks/pretrain/fine_tune.py --data ../shared/data --tasks walmart_weekly,m5_daily_3000 --budget 2m
"""

from __future__ import annotations

import torch

from demandcast.models.zero_shot import ZeroShot
from demandcast.pretrained.zero_shot_network import ZeroShotNetwork
from evaluate import LEVELS, TASKS, arguments, parse, sums


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default="walmart_weekly,m5_daily_3000")
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--rate", type=float, default=5e-4)
    given = parse(parser)
    for name in given.tasks.split(","):
        task = TASKS[name]
        known = task.load(given.data).drop_last(task.horizon)
        for label in ("zero-shot", "fine-tuned", "from nothing"):
            model = ZeroShot(horizon=task.horizon)
            if label == "from nothing":
                torch.manual_seed(0)
                model.pretrained = ZeroShotNetwork()
                model.fine_tune(known, given.budget, learning_rate=2e-3, progress=False)
            elif label == "fine-tuned":
                model.fine_tune(known, given.budget, learning_rate=given.rate, progress=False)
            total = sums(model.predict(known, levels=LEVELS).quantiles, known, task.horizon)
            steps = 0 if model.tuned is None else model.tuned.steps
            print(f"{name} {label}: wQL {total[0] / total[1]:.4f}, {steps} steps", flush=True)


if __name__ == "__main__":
    main()
