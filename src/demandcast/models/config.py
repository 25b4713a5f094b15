"""Hyper-parameters that all networks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from demandcast.errors import ConfigError, way
from demandcast.settings import COUNT, PART, SHARE, MethodSettings, choice, setting, whole_number
from demandcast.train.training import Training
from demandcast.windows.window_source import SCALINGS


@dataclass(frozen=True, kw_only=True)
class NeuralConfig(Training, MethodSettings):
    """Hyper-parameters of every network."""

    context: int | None = setting(None, COUNT)  # steps read; None: by the frequency and the horizon
    likelihood: str = "auto"
    # mean_abs, max, one_plus_mean (counts), standard, none; by the context
    scaling: str = setting("auto", choice("auto", *SCALINGS))
    lags: tuple[int, ...] | None = setting(None, COUNT)  # None: by the frequency; () for none
    series_embedding: bool = False  # a learned vector for each series; new ones take an unknown's
    rho: float = setting(0.5, SHARE)  # windows are drawn with P ~ scale^rho
    # last steps of the history watched for early stopping, not learned from
    validation: int = setting(0, whole_number(0))
    device: str = "auto"  # cpu, cuda, mps; auto takes the best there is

    def __post_init__(self) -> None:
        """Refuse what other libraries call a log scaler, and say what it is here."""
        if self.scaling in ("log", "log1p"):
            raise ConfigError(
                f"scaling is {self.scaling!r}, but a logarithm changes the distribution and is no scaling; for "
                "positive targets use",
                option="scaling", found=self.scaling, ways=[way(likelihood="log_normal")],
            )  # fmt: skip
        super().__post_init__()

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
    dropout: float = setting(0.1, PART)


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
