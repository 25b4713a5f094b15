"""Neural forecasters: one paper, one file."""

from demandcast.models.deep_factors import DeepFactors
from demandcast.models.deepar import DeepAR
from demandcast.models.dlinear import DLinear, NLinear
from demandcast.models.extreme_value_memory import ExtremeValueMemory
from demandcast.models.lstnet import LSTNet
from demandcast.models.mqrnn import MQCNN, MQRNN
from demandcast.models.neural_ode import NeuralODE
from demandcast.models.nhits import NHITS
from demandcast.models.patchtst import PatchTST
from demandcast.models.tft import TFT
from demandcast.models.tide import TiDE
from demandcast.models.tpa_lstm import TPALSTM
from demandcast.models.trace import trace
from demandcast.models.tsmixer import TSMixer
from demandcast.models.uber_lstm import UberLSTM
from demandcast.models.zero_shot import ZeroShot

__all__ = [
    "MQCNN",
    "MQRNN",
    "NHITS",
    "TFT",
    "TPALSTM",
    "DLinear",
    "DeepAR",
    "DeepFactors",
    "ExtremeValueMemory",
    "LSTNet",
    "NLinear",
    "NeuralODE",
    "PatchTST",
    "TSMixer",
    "TiDE",
    "UberLSTM",
    "ZeroShot",
    "trace",
]
