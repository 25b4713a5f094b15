"""From forecasts to orders: demand until the order after this one arrives, rules, limits, and what they cost."""

from demandcast.decide.orders import Orders, order
from demandcast.decide.replay import Replay, replay
from demandcast.decide.rules import Policy

__all__ = ["Orders", "Policy", "Replay", "order", "replay"]
