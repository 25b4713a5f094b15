"""One peer's training on the panel of `loaders.py`, in the peer's own environment; prints windows/s.

Two fits of different lengths are timed, and the difference of both is what counts: what a peer does once
(building data sets, models, trainers) does not.

PEER_PYTHON loaders_peer.py --peer darts --model nhits --batch 64 --panel panel.npy
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

CONTEXT, HORIZON = 168, 24
WIDTH = 128  # of NHITS's two layers in each of three blocks, as ours
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
    "enable_checkpointing": False, "enable_model_summary": False,
}  # fmt: skip


def neuralforecast(model: str, batch: int, values: Any) -> Callable[[int], Any]:
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import DistributionLoss, MQLoss
    from neuralforecast.models import NHITS, DeepAR

    series, hours = values.shape
    frame = pd.DataFrame({
        "unique_id": np.repeat(np.arange(series), hours),
        "ds": np.tile(pd.date_range("2024-01-01", periods=hours, freq="h"), series),
        "y": values.ravel(),
    })  # fmt: skip
    common: dict[str, Any] = {
        "h": HORIZON, "input_size": CONTEXT, "batch_size": batch, "windows_batch_size": batch, **QUIET
    }  # fmt: skip

    def fit(steps: int) -> None:
        if model == "deepar":
            loss = DistributionLoss("StudentT")
            made = DeepAR(
                lstm_n_layers=2, lstm_hidden_size=40, loss=loss, max_steps=steps, **common
            )
        else:
            loss = MQLoss(level=[20, 40, 60, 80])
            units = 3 * [[WIDTH, WIDTH]]
            made = NHITS(loss=loss, mlp_units=units, max_steps=steps, **common)
        NeuralForecast(models=[made], freq="h").fit(frame)

    return fit


def gluonts(model: str, batch: int, values: Any) -> Callable[[int], Any]:
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator

    assert model == "deepar", "GluonTS has no NHITS"
    quiet = {name: value for name, value in QUIET.items() if name != "enable_checkpointing"}
    data = ListDataset([{"start": "2024-01-01", "target": row} for row in values], freq="h")

    def fit(steps: int) -> None:
        DeepAREstimator(
            freq="h", prediction_length=HORIZON, context_length=CONTEXT, num_layers=2, hidden_size=40,
            batch_size=batch, num_batches_per_epoch=steps, trainer_kwargs={"max_epochs": 1, **quiet},
        ).train(data)  # fmt: skip

    return fit


def darts(model: str, batch: int, values: Any) -> Callable[[int], Any]:
    import pandas as pd
    from darts import TimeSeries
    from darts.models import NHiTSModel, RNNModel
    from darts.utils.likelihood_models import GaussianLikelihood, QuantileRegression

    hours = pd.date_range("2024-01-01", periods=values.shape[1], freq="h")
    scaled = values / values.mean(1, keepdims=True)
    series = [TimeSeries.from_times_and_values(hours, row.astype(np.float32)) for row in scaled]

    def fit(steps: int) -> None:
        common: dict[str, Any] = {
            "input_chunk_length": CONTEXT, "batch_size": batch, "n_epochs": 1, "save_checkpoints": False,
            "pl_trainer_kwargs": QUIET | {"limit_train_batches": steps},
        }  # fmt: skip
        if model == "deepar":
            made: Any = RNNModel(
                model="LSTM", hidden_dim=40, n_rnn_layers=2, training_length=CONTEXT + HORIZON,
                likelihood=GaussianLikelihood(), **common,
            )  # fmt: skip
        else:
            quantiles = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
            made = NHiTSModel(
                output_chunk_length=HORIZON, layer_widths=WIDTH, **common,
                likelihood=QuantileRegression(quantiles),
            )  # fmt: skip
        made.fit(series, verbose=False)

    return fit


def pytorch_forecasting(model: str, batch: int, values: Any) -> Callable[[int], Any]:
    import lightning.pytorch as pl
    import pandas as pd
    from pytorch_forecasting import DeepAR, NHiTS, TimeSeriesDataSet
    from pytorch_forecasting.metrics import NormalDistributionLoss, QuantileLoss

    series, hours = values.shape
    frame = pd.DataFrame({
        "client": np.repeat(np.arange(series), hours).astype(str),
        "hour": np.tile(np.arange(hours), series),
        "load": values.ravel().astype(np.float32),
    })  # fmt: skip
    data = TimeSeriesDataSet(
        frame, time_idx="hour", target="load", group_ids=["client"], max_encoder_length=CONTEXT,
        max_prediction_length=HORIZON, time_varying_unknown_reals=["load"],
    )  # fmt: skip
    loader = data.to_dataloader(train=True, batch_size=batch, num_workers=0)

    def fit(steps: int) -> None:
        if model == "deepar":
            made: Any = DeepAR.from_dataset(
                data, hidden_size=40, rnn_layers=2, loss=NormalDistributionLoss()
            )
        else:
            made = NHiTS.from_dataset(data, hidden_size=WIDTH, loss=QuantileLoss())
        pl.Trainer(max_epochs=1, limit_train_batches=steps, **QUIET).fit(made, loader)

    return fit


PEERS = {
    "neuralforecast": neuralforecast, "gluonts": gluonts, "darts": darts,
    "pytorch-forecasting": pytorch_forecasting,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--model", default="nhits", choices=["nhits", "deepar"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--panel", required=True, help="series x hours, .npy")
    parser.add_argument("--seconds", type=float, default=4.0, help="that the longer fit takes more")
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds of one thread")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    values = np.load(given.panel)
    os.chdir(tempfile.mkdtemp())  # peers leave folders behind
    fit = PEERS[given.peer](given.model, given.batch, values)

    if given.cpu:
        import torch

        torch.set_num_threads(1)
    print(f"windows/s {rate(fit, given.batch, given.seconds, cpu=given.cpu):.1f}")


def rate(fit: Callable[[int], Any], batch: int, seconds: float, *, cpu: bool) -> float:
    """Windows/s of the steps by which one fit is longer than another, about so many seconds."""
    clock = time.process_time if cpu else time.perf_counter

    def timed(steps: int) -> float:
        began = clock()
        fit(steps)
        return clock() - began

    timed(2)
    short, more = timed(4), 8
    while (spent := timed(4 + more) - short) < 0.7 * seconds and more < 10_000:
        more = max(2 * more, round(more * seconds / max(spent, seconds / 20)))
    return batch * more / spent


if __name__ == "__main__":
    main()
