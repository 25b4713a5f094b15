"""The methods that `auto` tries, in order: instant ones first, then trees, then networks by value for time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.forecaster import Demand, Learning
from demandcast.panel.panel import Panel

NAIVE = "seasonal_naive"
TUNED = "zero_shot_tuned"  # the pretrained network, trained on with the panel
PRESETS = {"best": tuple(Learning), "fast": (Learning.LOCAL, Learning.PRETRAINED, Learning.TREES)}
ZEROS = 0.02  # share of zeros from which methods for slow movers are worth a try
MOSTLY = 0.5  # share from which those for smooth series are not
FEWEST_TO_LEARN = (
    2_000  # observed values below which nothing is learned that the instant methods do not know
)


@dataclass(frozen=True)
class Candidate:
    """A method to try.

    Attributes:
        name: On the leaderboard.
        learning: Of the method; `TUNED` where the pretrained network goes on learning.
        method: In the registry; the name, but for what is tried in two ways.
        hyper: Its hyper-parameters, where they are not the defaults.
    """

    name: str
    learning: Learning
    method: str
    hyper: dict[str, Any] = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether its fits cost something."""
        return self.learning.learns


def portfolio(preset: str = "best") -> list[str]:
    """Return the methods that are tried where none is named: those that have a place, in its order."""
    kinds = [kind for kind in registry.classes().values() if kind.portfolio is not None]
    kinds.sort(key=lambda kind: kind.portfolio or 0)
    instant = [k.name for k in kinds if k.learning in PRESETS["fast"]]
    networks = [k.name for k in kinds if k.learning not in PRESETS["fast"]]
    names = [*instant, TUNED, *networks]
    return [name for name in names if _learning(name) in PRESETS[preset]]


def candidates(
    panel: Panel,
    include: Sequence[str] | None,
    exclude: Sequence[str],
    preset: str = "best",
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the methods to try on this panel, in order, and the others with the reason.

    Raises:
        ConfigError: A name in `include` or `exclude` is not known.
    """
    for name in (*(include or ()), *exclude):
        method(name)
    if include is not None and not include:
        raise ConfigError(
            "include names no method; leave it out, or name one: include=['tsb']",
            option="include",
            found=[],
            expected="one name or more",
        )
    wanted = list(include) if include is not None else portfolio(preset)
    if NAIVE not in wanted:
        wanted.insert(0, NAIVE)
    zeros = float(panel.summary()["zeros"])
    observed = int(panel.n_observed().sum())
    chosen, reasons = [], {}
    for name in wanted:
        kind = registry.get(method(name))
        if name in exclude:
            if name == NAIVE:
                raise ConfigError(
                    f"{NAIVE} cannot be excluded: nothing that loses to it is given weight",
                    option="exclude",
                    found=NAIVE,
                    expected="other methods",
                )
            reasons[name] = "excluded"
        elif include is None and kind.suits is Demand.SLOW and zeros < ZEROS:
            reasons[name] = f"{zeros:.1%} of the values are 0: not a panel of slow movers"
        elif include is None and kind.suits is Demand.SMOOTH and zeros > MOSTLY:
            reasons[name] = f"{zeros:.0%} of the values are 0: not a panel of smooth series"
        elif include is None and _learning(name).learns and observed < FEWEST_TO_LEARN:
            reasons[name] = (
                f"{observed:,} values are too few to learn from; include=[{name!r}] tries it"
            )
        elif kind.requires is not None and find_spec(kind.requires[0]) is None:
            package, extra = kind.requires
            reasons[name] = f"{package} is not installed; pip install 'demandcast[{extra}]'"
        else:
            chosen.append(Candidate(name, _learning(name), method(name)))
    return sorted(chosen, key=lambda c: (c.name != NAIVE, c.learns)), reasons


def method(name: str) -> str:
    """Return the registry's name of a name in `include` or `exclude`.

    Raises:
        ConfigError: It is not known.
    """
    registered = "zero_shot" if name == TUNED else name
    registry.get(registered)
    return registered


def _learning(name: str) -> Learning:
    return Learning.TUNED if name == TUNED else registry.get(name).learning
