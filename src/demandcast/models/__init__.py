"""Neural forecasters: one paper, one file."""

from demandcast.models.deepar import DeepAR
from demandcast.models.mqrnn import MQCNN, MQRNN

__all__ = ["MQCNN", "MQRNN", "DeepAR"]
