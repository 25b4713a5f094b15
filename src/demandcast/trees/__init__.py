"""Gradient-boosted trees over tables of features, for all series at once."""

from demandcast.trees.boosting import LightGBM

__all__ = ["LightGBM"]
