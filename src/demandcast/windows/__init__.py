"""Windows of a panel, which networks read, and samplers that draw them."""

from demandcast.windows.dataset import WindowDataset
from demandcast.windows.features import Features
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.split import split
from demandcast.windows.window import Sizes, Window
from demandcast.windows.window_source import WindowSource

__all__ = [
    "Features",
    "Sizes",
    "Window",
    "WindowDataset",
    "WindowSampler",
    "WindowSource",
    "split",
]
