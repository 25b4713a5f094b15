"""Forecasts of one task by a peer of auto, in the peers' own environment; `auto.py` calls it.

python auto_peers.py FOLDER SYSTEM BUDGET wall|cpu

FOLDER holds train_K.parquet for each cutoff K (item_id, timestamp, target, covariates), future_K.parquet and
static.parquet where there are some, and task.json. Written there: SYSTEM.parquet (fold, item_id, step, a
column a decile) and SYSTEM.json (seconds). Models are fitted on the first cutoff; statsforecast, which is
fitted series by series, on every one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

began = time.time()
if "cpu" in sys.argv:  # seconds of the processor, before anything takes hold of the clock
    time.perf_counter = time.monotonic = time.process_time
    time.time = lambda: began + time.process_time()

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")

DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
PRESETS = {"medium_quality": "light", "high_quality": "default"}  # -> its set of models
PRETRAINED = ("Chronos", "Toto")
LOCAL = ("SeasonalNaive", "ETS", "Theta", "AutoETS", "DynamicOptimizedTheta")


def autogluon(folder: Path, task: dict[str, Any], preset: str, budget: float) -> list[pd.DataFrame]:
    """AutoGluon-TimeSeries within a time limit, without pretrained models."""
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor
    from autogluon.timeseries.configs.hyperparameter_presets import get_hyperparameter_presets

    static = folder / "static.parquet"
    attributes = pd.read_parquet(static) if static.exists() else None

    def table(name: str, fold: int) -> Any:
        frame = pd.read_parquet(folder / f"{name}_{fold}.parquet")
        return TimeSeriesDataFrame.from_data_frame(
            frame, static_features_df=attributes if name == "train" else None
        )

    predictor = TimeSeriesPredictor(
        prediction_length=task["horizon"],
        freq=task["freq"],
        target="target",
        eval_metric="WQL",
        quantile_levels=DECILES,
        known_covariates_names=task["known"],
        path=str(folder / f"ag_{preset}"),
        verbosity=0,
    )
    chosen = get_hyperparameter_presets()[PRESETS[preset]]
    chosen = {k: v for k, v in chosen.items() if not k.startswith(PRETRAINED)}
    for name in LOCAL:  # in this process, so that its clock holds for them
        chosen |= {name: chosen[name] | {"n_jobs": 1}} if name in chosen else {}
    predictor.fit(
        table("train", 0), presets=preset, hyperparameters=chosen, time_limit=budget, random_seed=0
    )
    found = []
    for fold in range(task["folds"]):
        ahead = table("future", fold) if task["known"] else None
        frame = predictor.predict(table("train", fold), known_covariates=ahead).reset_index()
        found.append(frame.rename(columns=str))
    return found


def statsforecast(folder: Path, task: dict[str, Any], name: str) -> list[pd.DataFrame]:
    """AutoETS or AutoTheta of every series; deciles are the ends of its intervals."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS, AutoTheta, SeasonalNaive

    kind = {"autoets": AutoETS, "autotheta": AutoTheta}[name]
    found = []
    for fold in range(task["folds"]):
        frame = pd.read_parquet(folder / f"train_{fold}.parquet")
        frame = frame.rename(columns={"item_id": "unique_id", "timestamp": "ds", "target": "y"})
        frame = frame[["unique_id", "ds", "y"]]
        frame["y"] = (
            frame.groupby("unique_id")["y"].transform(lambda y: y.ffill().bfill()).fillna(0)
        )
        model = kind(season_length=task["period"], alias="m")
        fallback = SeasonalNaive(season_length=task["period"])
        made = StatsForecast([model], freq=task["freq"], n_jobs=1, fallback_model=fallback)
        out = made.forecast(df=frame, h=task["horizon"], level=[20, 40, 60, 80]).reset_index()
        columns = {"0.5": out["m"]}
        for level, low, high in ((20, 0.4, 0.6), (40, 0.3, 0.7), (60, 0.2, 0.8), (80, 0.1, 0.9)):
            columns |= {f"{low}": out[f"m-lo-{level}"], f"{high}": out[f"m-hi-{level}"]}
        found.append(pd.DataFrame({"item_id": out["unique_id"], "timestamp": out["ds"], **columns}))
    return found


def mlforecast(folder: Path, task: dict[str, Any]) -> list[pd.DataFrame]:
    """LightGBM with nine quantile objectives, lags from the horizon on; standardised series were worse on most."""
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean, RollingStd

    h, period = task["horizon"], task["period"]
    static_file = folder / "static.parquet"
    static = pd.read_parquet(static_file) if static_file.exists() else None

    def read(name: str, fold: int) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}_{fold}.parquet")
        frame = frame.rename(columns={"item_id": "unique_id", "timestamp": "ds", "target": "y"})
        frame = frame[["unique_id", "ds", *(["y"] if name == "train" else []), *task["known"]]]
        if name == "train":
            frame["y"] = frame.groupby("unique_id")["y"].ffill()
            frame = frame.dropna(subset=["y"])
            if static is not None:
                frame = frame.merge(static.rename(columns={"item_id": "unique_id"}), on="unique_id")
                for column in static.columns[1:]:
                    if not pd.api.types.is_numeric_dtype(frame[column]):
                        frame[column] = frame[column].astype("category")
        return frame

    first = read("train", 0)
    shortest = int(first.groupby("unique_id").size().quantile(0.5))
    seasons = [k * period for k in range(1, 5) if h <= k * period < shortest]
    lags = sorted({*range(h, h + 7), *seasons})
    windows = [w for w in (3, 7, 14, 28, period) if w > 1 and h + w < shortest]
    transforms = {
        h: [
            *(RollingMean(w, min_samples=1) for w in windows),
            RollingStd(windows[-1], min_samples=2),
        ]
    }
    dates = {"D": ["dayofweek", "day", "month"], "h": ["hour", "dayofweek"]}.get(
        task["freq"], ["month"]
    )
    models = {
        str(q): LGBMRegressor(
            objective="quantile", alpha=q, n_estimators=150, learning_rate=0.06, n_jobs=1, verbosity=-1,
            random_state=0,
        )
        for q in DECILES
    }  # fmt: skip
    made = MLForecast(
        models=models, freq=task["freq"], lags=lags, lag_transforms=transforms, date_features=dates,
        num_threads=1,
    )  # fmt: skip
    names = [] if static is None else list(static.columns[1:])
    found = []
    for fold in range(task["folds"]):
        train = read("train", fold)
        if fold == 0:
            made.fit(train, static_features=names, dropna=False)
            out = made.predict(h=h, X_df=read("future", 0) if task["known"] else None)
        else:
            out = made.predict(
                h=h, new_df=train, X_df=read("future", fold) if task["known"] else None
            )
        out = out.rename(columns={"unique_id": "item_id", "ds": "timestamp"})
        out[[str(q) for q in DECILES]] = np.sort(out[[str(q) for q in DECILES]].to_numpy(), 1)
        found.append(out)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("system")
    parser.add_argument("budget", type=float, help="seconds")
    parser.add_argument("clock", choices=("wall", "cpu"))
    given = parser.parse_args()
    folder, system, budget = given.folder, given.system, given.budget
    task = json.loads((folder / "task.json").read_text())
    began = time.perf_counter()
    if system.startswith("autogluon_"):
        parts = autogluon(folder, task, system.removeprefix("autogluon_"), budget)
    elif system == "mlforecast":
        parts = mlforecast(folder, task)
    else:
        parts = statsforecast(folder, task, system)
    seconds = time.perf_counter() - began
    for fold, part in enumerate(parts):
        part["fold"] = fold
        part["step"] = part.groupby("item_id").cumcount()
    columns = ["fold", "item_id", "step", *map(str, DECILES)]
    pd.concat(parts)[columns].to_parquet(folder / f"{system}.parquet")
    (folder / f"{system}.json").write_text(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
