"""The only optimiser: one loop for every network, yours too."""

from demandcast.train.fit import fit
from demandcast.train.loop import train
from demandcast.train.training import Training, TrainingLog

__all__ = ["Training", "TrainingLog", "fit", "train"]
