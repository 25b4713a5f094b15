"""Who is tried, in which order: what is instant first, then trees, then networks by value for time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.panel.panel import Panel

NAIVE = "seasonal_naive"
INSTANT = (
    NAIVE, "zero_shot", "window_average", "empirical", "level_shape", "ses", "tsb", "imapa", "analogues",
    "theta", "damped_counts", "multi_stage", "ets",
)  # fmt: skip
SLOW_MOVERS = ("empirical", "tsb", "imapa", "analogues", "damped_counts", "multi_stage")
SMOOTH = ("theta", "ets")
TREES = ("lightgbm",)
TUNED = "zero_shot_tuned"  # the pretrained network, trained on with the panel
NETWORKS = ("tsmixer", "nhits", "tide", "deepar", "mqcnn", "tft", "patchtst")
PRESETS = {"best": (*INSTANT, *TREES, TUNED, *NETWORKS), "fast": (*INSTANT, *TREES)}
ZEROS = 0.02  # share of zeros from which methods for slow movers are worth a try
MOSTLY = 0.5  # share from which those for smooth series are not
FEW = 2_000  # observed values below which nothing is learned that the instant methods do not know


@dataclass(frozen=True)
class Candidate:
    """A method to try.

    Attributes:
        name: On the leaderboard.
        kind: What its cost depends on: "local", "trees", "tuned" or "network".
        method: In the registry; the name, but for what is tried in two ways.
        hyper: Its hyper-parameters, where they are not the defaults.
    """

    name: str
    kind: str
    method: str
    hyper: dict[str, Any] = field(default_factory=dict)


def candidates(
    panel: Panel,
    include: Sequence[str] | None,
    exclude: Sequence[str],
    preset: str = "best",
) -> tuple[list[Candidate], dict[str, str]]:
    """What to try on this panel, in order, and what not, with the reason.

    Raises:
        ConfigError: A name in `include` or `exclude` is not known.
    """
    for name in (*(include or ()), *exclude):
        method(name)
    if include is not None and not include:
        raise ConfigError("include names no method; leave it out, or name one: include=['tsb']")
    wanted = list(include) if include is not None else [*PRESETS[preset]]
    if NAIVE not in wanted:
        wanted.insert(0, NAIVE)
    zeros = float(panel.summary()["zeros"])
    observed = int(panel.n_observed().sum())
    found, left_out = [], {}
    for name in wanted:
        if name in exclude:
            if name == NAIVE:
                raise ConfigError(
                    f"{NAIVE} cannot be excluded: nothing that loses to it is given weight"
                )
            left_out[name] = "excluded"
        elif include is None and name in SLOW_MOVERS and zeros < ZEROS:
            left_out[name] = f"{zeros:.1%} of the values are 0: not a panel of slow movers"
        elif include is None and name in SMOOTH and zeros > MOSTLY:
            left_out[name] = f"{zeros:.0%} of the values are 0: not a panel of smooth series"
        elif include is None and name in (*TREES, TUNED, *NETWORKS) and observed < FEW:
            left_out[name] = (
                f"{observed:,} values are too few to learn from; include=[{name!r}] tries it"
            )
        elif name in TREES and find_spec("lightgbm") is None:
            left_out[name] = "lightgbm is not installed; pip install 'demandcast[trees]'"
        else:
            found.append(Candidate(name, _kind(name), method(name)))
    return sorted(found, key=lambda c: (c.name != NAIVE, c.kind != "local")), left_out


def method(name: str) -> str:
    """What a name in `include` or `exclude` is called in the registry.

    Raises:
        ConfigError: It is not known.
    """
    found = "zero_shot" if name == TUNED else name
    registry.get(found)
    return found


def _kind(name: str) -> str:
    if name in TREES:
        return "trees"
    if name == TUNED:
        return "tuned"
    return "network" if hasattr(registry.get(name), "Net") else "local"
