"""Hyper-parameters that all networks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from demandcast.train.loop import Training, require
from demandcast.windows.window import SCALINGS


@dataclass(frozen=True, kw_only=True)
class NeuralConfig(Training):
    """Hyper-parameters of every network."""

    horizon: int  # steps forecast
    context: int | None = None  # steps read; None: by the frequency and the horizon
    likelihood: str = "auto"
    scaling: str = "auto"  # mean_abs, max, one_plus_mean (counts), standard, none; by the context
    lags: tuple[int, ...] | None = None  # None: by the frequency; () for none
    series_embedding: bool = False  # a learned vector for each series; new ones take an unknown's
    rho: float = 0.5  # windows are drawn with P ~ scale^rho
    validation: int = 0  # last steps of the history watched for early stopping, not learned from
    device: str = "auto"  # cpu, cuda, mps; auto takes the best there is

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        super().__post_init__()
        for name in ("horizon", "context"):
            value = getattr(self, name)
            missing = value is None and name == "context"
            require(missing or (isinstance(value, int) and value >= 1), self, name,
                    "a whole number, 1 or more")  # fmt: skip
        scalings = ("auto", *SCALINGS)
        require(self.scaling in scalings, self, "scaling", f"one of {', '.join(scalings)}")
        require(0 <= self.rho <= 1, self, "rho", "between 0 and 1")
        require(self.validation >= 0, self, "validation", "0 or more steps")
        require(all(lag >= 1 for lag in self.lags or ()), self, "lags", "steps back, 1 or more")

    @property
    def held_out(self) -> int:
        """Last steps of the history that training leaves out, or does so at first."""
        return self.validation


@dataclass(frozen=True, kw_only=True)
class DirectConfig(NeuralConfig):
    """Hyper-parameters of networks that forecast all steps at once."""

    lags: tuple[int, ...] | None = ()  # not read
    rho: float = 0.0  # every window alike: the more series are learned from, the less they overfit
    batch_size: int | str = 128
    dropout: float = 0.1


N = TypeVar("N", bound=NeuralConfig)


@dataclass(frozen=True)
class Plan(Generic[N]):
    """What a fit decided, beside what the user asked for.

    Attributes:
        config: The hyper-parameters with every "auto" and None resolved.
        freq: Frequency of the panel.
    """

    config: N
    freq: str

    @property
    def horizon(self) -> int:
        """Steps forecast."""
        return self.config.horizon

    @property
    def context(self) -> int:
        """Steps read."""
        assert self.config.context is not None
        return self.config.context

    @property
    def lags(self) -> tuple[int, ...]:
        """Steps back at which the target is an input of its own."""
        return self.config.lags or ()
