"""Neural forecasters: one paper, one file."""

from demandcast.models.deepar import DeepAR
from demandcast.models.dlinear import DLinear, NLinear
from demandcast.models.mqrnn import MQCNN, MQRNN

__all__ = ["MQCNN", "MQRNN", "DLinear", "DeepAR", "NLinear"]
