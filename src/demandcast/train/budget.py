"""How long may be searched: seconds on the clock, or training steps, which give the same numbers twice."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from demandcast.errors import ConfigError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass
class Budget:
    """A budget that runs from the moment it is made.

    Attributes:
        seconds: On the clock; None where steps count.
        steps: Training steps of each network; None where the clock counts.
    """

    seconds: float | None
    steps: int | None
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def parse(cls, text: str | float) -> Budget:
        """Parse "5m", "30s", "1h", seconds as a number, or "500 steps".

        Raises:
            ConfigError: It is none of these, or not above 0.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text).lower())
        if match is None or float(match[1]) <= 0 or match[2] not in {*UNITS, "step", "steps"}:
            raise ConfigError(
                f"budget is {text!r}; say a time, as in budget='5m' (s, m or h), or training steps, as in "
                "budget='500 steps'",
                option="budget",
                found=text,
                expected="a time or a number of steps",
            )
        if match[2] in ("step", "steps"):
            return cls(None, max(1, int(float(match[1]))))
        return cls(float(match[1]) * UNITS[match[2]], None)

    @property
    def spent(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left; infinite where steps count."""
        return float("inf") if self.seconds is None else self.seconds - self.spent
