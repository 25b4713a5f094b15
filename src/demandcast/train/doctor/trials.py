"""Choose the settings that a run leaves open by a few trial steps of its own network.

`threads="auto"`, `batch_size="auto"` and `precision="auto"` are tried on the bare loop, `workers="auto"` on a streaming
loader of its own. The choice is reported with its measurements. Trials leave the network as it was. They depend on
the clock, so another run may choose otherwise; give the chosen values where a run must repeat to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from demandcast.errors import ConfigError
from demandcast.layers.generators import draws_of
from demandcast.train.batches import B
from demandcast.train.device import out_of_memory
from demandcast.train.doctor import machine
from demandcast.train.doctor.bare_loop import Bare, Subject, limit_threads, restore_after
from demandcast.train.loaders import Loader
from demandcast.train.training import Training

AUTO = "auto"
Settings = TypeVar("Settings", bound=Training)
OPEN = ("threads", "batch_size", "precision")  # what may be "auto"
STEPS = ("max_steps", "validate_every", "checkpoint_every")
RESIZED = ("batch_size", "learning_rate", "average", *STEPS)  # what another batch changes
SECONDS = 10.0  # for all choices together
NEAR = 0.93  # of the best windows/s: the smallest batch that reaches it is taken
WORTH = 1.08  # times: what another thread, or bfloat16, has to gain
LEARN = 20  # steps that bfloat16 is compared over
HURT = 0.02  # of the loss in float32 that it may lose by them
PROBE = 8  # samples of the step that shows whether bfloat16 runs at all


@dataclass(frozen=True)
class TrialResult:
    """A setting, and the measurement that speaks for it."""

    name: str
    value: int | str | None
    why: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}: {self.why}"


def open_settings(settings: Training) -> tuple[str, ...]:
    """Return the settings that are to be chosen."""
    return tuple(name for name in OPEN if getattr(settings, name) == AUTO)


def without_auto(settings: Settings) -> Settings:
    """Return the settings with the usual values in place of "auto"."""
    kind = type(settings)
    return replace(settings, **{name: getattr(kind, name) for name in open_settings(settings)})


def choose_by_trial(
    subject: Subject[B], settings: Settings, names: Sequence[str], *, seconds: float | None = None
) -> tuple[Settings, list[TrialResult]]:
    """Choose the settings named.

    Threads go first, for too many of them on a machine that does other work spoil every other trial;
    then the batch, then threads again where it grew, then precision.

    Args:
        subject: The parts of the training; its network comes out as it went in.
        settings: Without "auto": what is chosen takes the place of what is there, and a larger batch
            is `resize_batch` from it.
        names: Of `OPEN`.
        seconds: For all trials together, about; None for the usual ten.

    Returns:
        The settings, and what was chosen.
    """
    seconds = SECONDS if seconds is None else seconds
    until = time.perf_counter() + seconds
    chosen: dict[str, TrialResult] = {}

    def bare() -> Bare[B]:
        return Bare(replace(subject, batch=settings.batch, precision=settings.precision))

    def take(result: TrialResult) -> None:
        nonlocal settings
        chosen[result.name] = result
        if result.name == "batch_size":
            settings = resize_batch(settings, int(result.value or settings.batch))
        else:
            settings = settings.with_values({result.name: result.value})

    with restore_after(subject.network):
        if "threads" in names:
            take(_choose_threads(bare(), 0.25 * seconds))
        if "batch_size" in names:
            before = settings.batch
            with limit_threads(settings.fixed_threads):
                take(
                    _choose_batch(
                        bare(), settings.max_steps / type(settings).max_steps, 0.4 * seconds
                    )
                )
            if "threads" in names and settings.batch > before:
                take(_choose_threads(bare(), 0.5 * max(0.0, until - time.perf_counter())))
        if "precision" in names:
            with limit_threads(settings.fixed_threads):
                take(_choose_precision(subject, settings, max(0.0, until - time.perf_counter())))
    return settings, [chosen[name] for name in OPEN if name in chosen]


def tune_workers(
    loader: Callable[[int], Loader[B]], subject: Subject[B], *, seconds: float = 4.0
) -> TrialResult:
    """Choose the fewest processes that bring batches about as fast as any number does.

    Each number trains for a moment on its own loader, for workers and training share the cores.

    Args:
        loader: Returns a streaming loader with so many workers.
        subject: The parts of the training; its network comes out as it went in.
        seconds: For all trials together, about; workers that start take their time beside it.
    """
    most = machine.physical_cores()
    counts = [0, *(2**k for k in range(10) if 2**k <= most)]
    rates: dict[int, float] = {}
    best = 0
    with restore_after(subject.network):
        for count in counts:
            rates[count] = _streaming_rate(loader(count), subject, seconds / len(counts))
            if rates[count] > WORTH * rates[best]:
                best = count
            if count >= 4 * max(best, 1):
                break
    return TrialResult("workers", best, _rates_text(rates, "{} workers"))


def _streaming_rate(loader: Loader[B], subject: Subject[B], seconds: float) -> float:
    """Return the windows/s of a training on batches from a loader, after the first ones."""
    bare = Bare(subject)
    loader.start(0, 1 << 30, torch.Generator().manual_seed(subject.seed))
    try:
        for _ in range(2):
            bare.step(loader.next_batch())
        bare.wait()
        began, steps = time.perf_counter(), 0
        while steps < 3 or time.perf_counter() - began < seconds:
            bare.step(loader.next_batch())
            loader.prefetch()
            steps += 1
        bare.wait()
        return steps * subject.batch / (time.perf_counter() - began)
    finally:
        loader.stop()


def resize_batch(settings: Settings, size: int) -> Settings:
    """Return the same training with batches of another size.

    As many windows are learned from: steps and intervals shrink by the ratio of the sizes. The rate
    grows by its root, for Adam's steps do not grow with a gradient that is less noisy (Malladi et al.,
    "On the SDEs and scaling rules for adaptive gradient algorithms", NeurIPS 2022). The running
    average of the weights spans as many windows as before.
    """
    ratio = size / settings.batch
    return replace(
        settings,
        batch_size=size,
        learning_rate=settings.learning_rate * ratio**0.5,
        average=settings.average**ratio,
        **{name: max(1, round(getattr(settings, name) / ratio)) for name in STEPS},
    )


def _choose_threads(bare: Bare[B], seconds: float) -> TrialResult:
    """Choose the fewest threads that are nearly the fastest: one, then twice as many, up to the cores."""
    if bare.subject.device.type != "cpu":
        return TrialResult("threads", None, f"the work is on {bare.subject.device}")
    cores, size, batch = machine.physical_cores(), bare.subject.batch, bare.batch()
    counts = sorted({1, cores} | {2**k for k in range(1, 10) if 2**k < cores})
    rates: dict[int, float] = {}
    best = 1
    for count in counts:
        slow = 3 * size / rates[best] if rates else float("inf")
        limit = seconds / len(counts)
        spent = bare.seconds(batch, limit=limit, least=3, threads=count, hopeless=slow)
        rates[count] = size / spent
        if rates[count] > WORTH * rates[best]:
            best = count
        if rates[count] < 0.8 * rates[best]:
            break  # more would wait for each other even longer
    return TrialResult("threads", best, _rates_text(rates, "{} threads"))


def _choose_batch(bare: Bare[B], times: float, seconds: float) -> TrialResult:
    """Choose the smallest batch that is nearly the fastest: from the usual one, twice as large each time.

    No larger than leaves the steps that the model usually takes: in half of them NHITS learned hourly M4
    13 % worse with the root of the ratio for the rate, 5 % with the ratio itself.

    Args:
        bare: The trials.
        times: Steps of this training over the usual ones.
        seconds: For all trials, about.
    """
    subject, base, until = bare.subject, bare.subject.batch, time.perf_counter() + 0.6 * seconds
    limits = {
        "the usual number of steps is kept": int(base * max(1.0, times)),
        f"there are {subject.windows:,} windows": max(base, subject.windows // 2 or 1 << 40),
        "memory is short": bare.fits(),
    }
    why = min(limits, key=lambda reason: limits[reason])
    rates: dict[int, float] = {}
    size = base
    while not rates or size <= limits[why]:
        try:
            spent = bare.seconds(bare.batch(size), limit=seconds / 8, alone=True)
        except (RuntimeError, MemoryError) as error:
            if not rates or not out_of_memory(error):
                raise
            why = "memory was exhausted"
            break
        finally:
            bare.optimiser.zero_grad()
        rates[size] = size / spent
        if size >= 4 * max(rates, key=lambda n: rates[n]):
            why = ""  # it has stopped to pay
            break
        if time.perf_counter() > until:
            why = "time was up"
            break
        size *= 2
    for size in [n for n, rate in rates.items() if rate > 0.85 * max(rates.values())]:
        if time.perf_counter() > until + 0.3 * seconds:
            break  # a second look, for other programs come and go
        spent = bare.seconds(bare.batch(size), limit=seconds / 10, alone=True)
        rates[size] = max(rates[size], size / spent)
    if subject.device.type == "cuda":
        torch.cuda.empty_cache()
    best = min(n for n, rate in rates.items() if rate >= NEAR * max(rates.values()))
    rates_text = _rates_text(rates, "batches of {}")
    return TrialResult(
        "batch_size", best, f"{rates_text}; none larger, for {why}" if why else rates_text
    )


def _choose_precision(subject: Subject[B], settings: Training, seconds: float) -> TrialResult:
    """Choose bfloat16 where it is faster, and learns as well over the same few steps."""
    trials = {
        name: replace(subject, batch=settings.batch, precision=name) for name in ("float32", "bf16")
    }
    reason = bf16_failure(trials["bf16"])
    if reason is not None:
        return TrialResult("precision", "float32", f"bf16 does not run here ({reason})")
    spent = {}
    for name, trial in trials.items():
        bare = Bare(trial)
        spent[name] = bare.seconds(bare.batch(), limit=0.12 * seconds, least=3, alone=True)
    gain = spent["float32"] / spent["bf16"]
    reason_text = f"bf16 steps are {gain:.2f} times as fast"
    if gain < WORTH:
        return TrialResult("precision", "float32", reason_text)
    if LEARN * sum(spent.values()) > 0.7 * seconds:
        return TrialResult(
            "precision", "float32", f"{reason_text}; no time to see whether they learn as well"
        )
    losses = {
        name: _loss_after_steps(trial, settings.learning_rate) for name, trial in trials.items()
    }
    reason_text += f", loss {losses['bf16']:.4g} beside {losses['float32']:.4g} after {LEARN} steps"
    worse = losses["bf16"] - losses["float32"] > HURT * abs(losses["float32"])
    return TrialResult("precision", "float32" if worse else "bf16", reason_text)


def bf16_failure(subject: Subject[B]) -> str | None:
    """Return the error of a small bfloat16 step; None if it runs.

    oneDNN has no bfloat16 LSTM for CPUs without AVX-512, so this depends on the network and the device.
    An error that float32 raises as well is not about the precision, and is raised.
    """
    with restore_after(subject.network):
        try:
            Bare(replace(subject, batch=min(subject.batch, PROBE), precision="bf16")).probe()
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0].partition(". ")[0]
        else:
            return None
        Bare(replace(subject, batch=min(subject.batch, PROBE), precision="float32")).probe()
    return reason


def require_bf16(subject: Subject[B]) -> None:
    """Check that the network trains in bfloat16 on its device.

    Raises:
        ConfigError: It does not.
    """
    reason = bf16_failure(subject)
    if reason is not None:
        raise ConfigError(
            f"precision='bf16' does not run for this network on this {subject.device.type} ({reason}); "
            "use precision='float32', or 'auto', which takes bf16 only where it runs and is faster",
            option="precision",
            found="bf16",
            expected="float32",
        )


def _loss_after_steps(subject: Subject[B], rate: float) -> float:
    """Return the mean loss over the last half of a few steps that do learn."""
    generator = torch.Generator().manual_seed(subject.seed)
    with restore_after(subject.network), draws_of(generator, subject.network):
        bare = Bare(subject, rate=rate)
        losses = [bare.step(bare.batch()) for _ in range(LEARN)]
        return float(torch.stack(losses[LEARN // 2 :]).mean())


def _rates_text(rates: dict[int, float], what: str) -> str:
    names = [what.format(n).removesuffix("s" if n == 1 else "") for n in rates]
    parts = [f"{name} {rate:,.0f}" for name, rate in zip(names, rates.values(), strict=True)]
    return ", ".join(parts) + " windows/s"
