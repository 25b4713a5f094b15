"""DeepAR and MQ-RNN beside the peers' on one simulated panel, alternated in one run.

GluonTS trains DeepAR (2 x 40) and draws 100 paths; neuralforecast trains DeepAR and the nearest to
MQ-RNN it has, an LSTM with a direct multi-quantile head. Its DeepAR feeds the mean back in prediction
and so draws no joint paths: sampling is compared with GluonTS alone. Peers that are not installed
are skipped and named. A fit's fixed cost counts, over `--steps` steps, in ours too.

python benchmarks/speed/peers.py --rounds 3
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from bare_loop import CONTEXT, HORIZON, PATHS, SERIES, hourly_panel

import demandcast as dc
from demandcast.train.allocator import keep_heap

BATCH = 64  # windows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def ours(panel: dc.Panel, kind: Any, steps: int) -> tuple[float, float]:
    """Windows/s of a whole fit and paths/s (or forecasts/s) of a whole prediction."""
    model = kind(horizon=HORIZON, context=CONTEXT, batch_size=BATCH, max_steps=steps)
    fit, _ = timed(lambda: model.fit(panel, progress=False))
    paths = PATHS if model.samples_paths else None
    predict, _ = timed(lambda: model.predict(panel, n_samples=paths))
    return BATCH * steps / fit, SERIES * (paths or 1) / predict


def gluonts_deepar(panel: dc.Panel, steps: int) -> tuple[float, float]:
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator

    rows = [{"start": "2024-01-01", "target": panel.history(i)} for i in range(SERIES)]
    data = ListDataset(rows, freq="h")
    estimator = DeepAREstimator(
        freq="h", prediction_length=HORIZON, context_length=CONTEXT, num_layers=2, hidden_size=40,
        batch_size=BATCH, num_batches_per_epoch=steps, num_parallel_samples=PATHS,
        trainer_kwargs={"max_epochs": 1, "accelerator": "cpu", "logger": False,
                        "enable_progress_bar": False, "enable_model_summary": False},
    )  # fmt: skip
    fit, predictor = timed(lambda: estimator.train(data))
    predict, _ = timed(lambda: list(predictor.predict(data, num_samples=PATHS)))
    return BATCH * steps / fit, SERIES * PATHS / predict


def neuralforecast_model(panel: dc.Panel, name: str, steps: int) -> tuple[float, float]:
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import DistributionLoss, MQLoss
    from neuralforecast.models import LSTM, DeepAR

    length = int(panel.lengths[0])
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(SERIES), length),
            "ds": np.tile(pd.date_range("2024-01-01", periods=length, freq="h"), SERIES),
            "y": panel.target[: SERIES * length],
        }
    )
    common: dict[str, Any] = {
        "h": HORIZON, "input_size": CONTEXT, "max_steps": steps, "batch_size": BATCH,
        "windows_batch_size": BATCH, "accelerator": "cpu", "logger": False,
        "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False,
    }  # fmt: skip
    if name == "deepar":
        loss = DistributionLoss("StudentT", level=[80])
        model = DeepAR(lstm_n_layers=2, lstm_hidden_size=40, trajectory_samples=PATHS, loss=loss,
                       **common)  # fmt: skip
    else:
        model = LSTM(encoder_n_layers=1, encoder_hidden_size=64, loss=MQLoss(level=[20, 40, 60, 80]),
                     recurrent=False, **common)  # fmt: skip
    forecaster = NeuralForecast(models=[model], freq="h")
    fit, _ = timed(lambda: forecaster.fit(frame))
    predict, _ = timed(forecaster.predict)
    return BATCH * steps / fit, SERIES / predict


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="alternations; medians are printed")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each fit")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    keep_heap()
    panel, steps = hourly_panel(), given.steps
    runs: dict[str, Callable[[], tuple[float, float]]] = {
        "ours deepar": lambda: ours(panel, dc.models.DeepAR, steps),
        "ours mqrnn": lambda: ours(panel, dc.models.MQRNN, steps),
    }
    if find_spec("gluonts"):
        runs["gluonts deepar"] = lambda: gluonts_deepar(panel, steps)
    if find_spec("neuralforecast"):
        runs["neuralforecast deepar"] = lambda: neuralforecast_model(panel, "deepar", steps)
        runs["neuralforecast lstm"] = lambda: neuralforecast_model(panel, "lstm", steps)
    for peer in ("gluonts", "neuralforecast"):
        if not find_spec(peer):
            print(f"skipped {peer}: not installed", file=sys.stderr)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {steps} steps of {BATCH}")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(given.rounds):
        for name, run in runs.items():
            found[name].append(run())
    for name, pairs in found.items():
        fit, predict = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        print(f"{name:22} fit {fit:8,.0f} windows/s   predict {predict:9,.0f} paths or series/s")


if __name__ == "__main__":
    main()
