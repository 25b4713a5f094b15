"""The only optimiser: one loop for every network."""

from demandcast.train.loop import Training, TrainingLog, train

__all__ = ["Training", "TrainingLog", "train"]
