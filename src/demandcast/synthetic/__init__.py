"""Demand that never was: series drawn from what is known of demand, to learn from without any data."""

from demandcast.synthetic.demand import Demand, draw

__all__ = ["Demand", "draw"]
