"""The diagnosis: the time of each part of a step, the machine, the ceiling, and a verdict with its remedy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from demandcast.train.clock import PHASES
from demandcast.train.doctor.facts import Facts
from demandcast.train.doctor.findings import Finding, explain
from demandcast.train.doctor.profile import Operator

NAMES = {
    "wait": "wait for data", "copy": "copy to device", "forward": "forward and loss",
    "backward": "backward", "optimiser": "optimiser", "logging": "logging", "validation": "validation",
    "rest": "everything else",
}  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """Facts of a run and what follows from them; prints as a page of text.

    Attributes:
        facts: Every number measured.
        findings: What is wrong, what promises most first; empty where nothing is.
        operators: The worst five, where they were asked for.
    """

    facts: Facts
    operators: tuple[Operator, ...] = ()
    choices: Sequence[object] = ()  # what the training chose for itself, with its measurements
    findings: tuple[Finding, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", explain(self.facts))

    @property
    def faults(self) -> tuple[str, ...]:
        """Short names of the findings."""
        return tuple(finding.fault for finding in self.findings)

    def verdict(self) -> str:
        """Return one sentence a finding, or one that all is well."""
        if self.findings:
            return "\n".join(str(finding) for finding in self.findings)
        return f"nothing to mend: the run reaches {self.facts.of_ceiling:.0%} of the bare loop"

    def to_dict(self) -> dict[str, object]:
        """Return all of it, for machines."""
        return {
            "verdict": self.verdict(),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": asdict(self.facts)
            | {
                "step": self.facts.step,
                "windows_per_second": self.facts.windows_per_second,
                "of_ceiling": self.facts.of_ceiling,
            },
            "operators": [asdict(operator) for operator in self.operators],
            "choices": [str(choice) for choice in self.choices],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        f = self.facts
        lines = [
            f"{f.model or 'training'}: {f.steps} steps of {f.batch} windows, {1e3 * f.step:.2f} ms each",
            "",
        ]
        for phase in PHASES:
            if f.phases.get(phase):
                bar = "#" * round(40 * f.share(phase))
                spent = 1e3 * f.phases[phase]
                lines.append(f"  {NAMES[phase]:16} {spent:9.3f} ms {f.share(phase):4.0%}  {bar}")
        lines += ["", *(f"  {name:16} {value}" for name, value in self._machine())]
        if self.operators:
            lines += ["", "  worst operators of a step"]
            lines += [f"    {operator}" for operator in self.operators]
        if self.choices:
            lines += ["", "  chosen"]
            lines += [f"    {choice}" for choice in self.choices]
        lines += ["", *(f"verdict: {line}" for line in self.verdict().splitlines())]
        return "\n".join(lines)

    __repr__ = __str__

    def _machine(self) -> list[tuple[str, str]]:
        f = self.facts
        rows = [
            (
                "windows/s",
                f"{f.windows_per_second:,.0f}, {f.of_ceiling:.0%} of the bare loop's {f.ceiling:,.0f}",
            ),
            ("data", _loader(f)),
        ]
        if f.device == "cpu":
            busy = ", ".join(f"{share:.0%}" for share in f.cores) or "not told by this system"
            other_programs = "" if f.others is None else f"; other programs {f.others:.1f} cores"
            threads = f"{f.threads} thread" + ("" if f.threads == 1 else "s")
            rows.append(("cores busy", f"{busy} ({threads}{other_programs})"))
        else:
            unknown = "not told; pip install 'demandcast[gpu]'"
            rows.append(
                (f"{f.device} busy", unknown if f.device_busy is None else f"{f.device_busy:.0%}")
            )
        if f.memory_total:
            rows.append(("memory", f"{_gb(f.memory_used)} used, {_gb(f.memory_free)} of "
                                   f"{_gb(f.memory_total)} free"))  # fmt: skip
        trials = [
            f"{n} {'thread' if n == 1 else 'threads'} {r:,.0f}"
            for n, r in sorted(f.by_threads.items())
        ]
        trials += [f"batch {n} {r:,.0f}" for n, r in sorted(f.by_batch.items()) if n != f.batch]
        if len(trials) > 1:
            rows.append(("trials", ", ".join(trials) + " windows/s"))
        took = f"{f.measuring:.2g} s"
        if f.run:
            took += f", {f.measuring / f.run:.1%} of the run's {f.run:.2g} s"
        rows.append(("measuring took", took))
        return rows


def _loader(facts: Facts) -> str:
    text = facts.loader
    if facts.loader != "resident":
        text += f", {facts.workers} workers" + (", pinned" if facts.pinned else "")
    if facts.fetch is not None:
        computing = (facts.fetch_cpu or 0.0) / max(facts.fetch, 1e-12)
        text += f"; {1e3 * facts.fetch:.2g} ms a sample alone, {computing:.0%} of it computing"
    return text


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
