"""Synthetic demand series, to pretrain networks without real data."""

from demandcast.synthetic.demand import Demand, draw

__all__ = ["Demand", "draw"]
