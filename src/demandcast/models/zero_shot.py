"""ZeroShot: a forecast of any panel without training, by a small network that knows what demand is like.

Ours; its paper is docs/models/zero_shot.md. The network learned from synthetic demand alone
(`demandcast.synthetic`), and its weights ship with the package. What it learned is how far to trust what a
history says. Attention over the steps of the past whose keys can be read (age, phase in two seasons,
likeness of the covariates known ahead) gives levels, values of like steps and distributions; a tower over
patches tells what kind of history it is; a head mixes the candidates of each step ahead into quantiles
that cannot cross. Steps ahead do not see each other, so that any number of them may be asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad, softplus
from torch.utils.data import Dataset

from demandcast.errors import CheckpointError, ConfigError, DataError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecast.levels import between, shuffled
from demandcast.forecaster import Forecaster, check_horizon, check_levels
from demandcast.frames.future import extend, require
from demandcast.layers.readings import (
    at,
    change,
    knots,
    main_period,
    mean_of,
    phase_means,
    quantiles_of,
    window_means,
)  # fmt: skip
from demandcast.panel.panel import Panel
from demandcast.train.budget import Budget
from demandcast.train.checkpoint import read_tensors, write_atomically, write_tensors
from demandcast.train.loop import Training, TrainingLog, train
from demandcast.train.roads import Resident
from demandcast.windows.sampler import WindowSampler

LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
LOW, MIDDLE, HIGH = (LEVELS.index(level) for level in (0.1, 0.5, 0.9))
CHANGES = (1, 2, 4, 8, 16, 32, 64)  # lags whose mean change tells how errors grow
RATES = (0.7, 0.2, 0.06, 0.015)  # of forgetting, a step, at which the levels begin
SHARP = ((6.0, -3.0, 0.01), (5.0, 3.0, 0.003), (3.0, 7.0, 0.001))  # log kappa of two seasons; rate
Ints = NDArray[np.int64]
MASK = -1e4  # logit of a step that is not there


@dataclass(frozen=True)
class Histories:
    """A batch of histories with what is known of the steps behind them.

    Attributes:
        past: (batch, context), right-aligned; NaN where not observed.
        known: Covariates known ahead, (batch, context + horizon, covariates); NaN where not given.
        periods: Steps in a short and a long season, (batch, 2), int64; 0 where there is none.
        future: What came, (batch, horizon), NaN where not observed; empty in prediction.
    """

    past: Tensor
    known: Tensor
    periods: Tensor
    future: Tensor

    def __len__(self) -> int:
        return len(self.past)

    def part(self, rows: slice | Tensor) -> Histories:
        """Some of the histories."""
        return Histories(self.past[rows], self.known[rows], self.periods[rows], self.future[rows])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Histories:
        """The same on another device."""
        fields = (self.past, self.known, self.periods, self.future)
        return Histories(*(part.to(device, non_blocking=non_blocking) for part in fields))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large the network is."""

    width: int = 80  # of a patch's and a step's vector
    hidden: int = 160  # nodes of the head
    layers: int = 2  # of the tower
    patch: int = 16  # steps in a patch


@dataclass(frozen=True)
class Reading:
    """What a history says before anything is weighed: values in units of `scale` around `level`.

    Seasons and effects reach over the horizon, (batch, context + horizon); the others end at the cutoff.
    """

    x: Tensor  # (batch, context); 0 where not observed
    observed: Tensor  # (batch, context), bool
    age: Tensor  # steps before the cutoff, (context,)
    level: Tensor  # (batch, 1), in the user's units
    scale: Tensor  # (batch, 1), in the user's units
    zero: Tensor  # where 0 lies, (batch, 1)
    floor: Tensor  # the least level that ratios are taken of, (batch, 1)
    whole: Tensor  # 1 where all values are whole numbers, (batch, 1)
    seasons: Tensor  # steps in a short and a long one, (batch, 2), int64
    seen: Tensor  # steps since the first value, (batch, 1)
    near: Tensor  # mean of a short season around each step
    far: Tensor  # mean of a long one
    over: Tensor  # `near` above 0, at least the floor
    width: Tensor  # steps in the short window, (batch, 1)
    first: Tensor  # short season, a sum
    second: Tensor  # long season, a sum
    parted: Tensor  # short season, in parts of the level
    covariates: Tensor  # (batch, context + horizon, covariates), standardised
    relevance: Tensor  # of each covariate, (batch, covariates)
    effect: Tensor  # of all covariates, a sum
    ratio: Tensor  # of all covariates, in parts of the level
    rest: Tensor  # without level and seasons
    residual: Tensor  # and without the effect of covariates
    last_season: Tensor  # the value one short season before each step
    paired: Tensor  # where both were observed, bool
    last_year: Tensor  # the value one long season before each step
    coupled: Tensor  # where both were observed, bool


class ZeroShotNetwork(nn.Module):
    """From histories to quantiles at `LEVELS` and the chance of a 0, for any steps ahead."""

    levels: Tensor
    shape: Shape

    done = 1.0  # share of the training that lies behind; the trainer sets it

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        q, width, hidden = len(LEVELS), shape.width, shape.hidden
        levels, seasons = len(RATES), len(SHARP)  # heads
        self.register_buffer("levels", torch.tensor(LEVELS), persistent=False)
        self.embed = nn.Linear(3 * shape.patch + 6, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(shape.layers))
        self.facts = mlp(q + len(CHANGES) + 26, hidden, width)
        self.join = nn.LayerNorm(2 * width)
        sharp = torch.tensor(SHARP)
        self.key_rates = nn.Parameter(torch.tensor(RATES).log())
        self.key_sharp = nn.Parameter(torch.cat([sharp[:, :2], sharp[:, 2:].log()], 1))
        self.key_sizes = [levels, 3 * seasons, seasons, 5]
        self.keys = mlp(2 * width, hidden, sum(self.key_sizes), last=0.1)
        self.relevance = mlp(7, 16, 2)
        places = 4 * levels + 2 * (levels - 1) + 8 * seasons + 8 + 4 * levels
        shapes, errors = levels + seasons, 4
        self.query = nn.Linear(8, width)
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.step = nn.Linear(places + 2 * shapes + errors + seasons + 12, hidden)
        self.context = nn.Linear(3 * width, hidden)
        self.inner = mlp(hidden, hidden, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.out_sizes = [places, 1, shapes, errors, 4, q, q, 1]
        self.out = nn.Linear(hidden, sum(self.out_sizes))
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            self.out.bias.zero_()

    def forward(self, h: Histories, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantiles at `steps`; 1 is the first behind the cutoff.

        Returns:
            Quantiles at `LEVELS`, (batch, steps, levels), in the user's units; logits of a 0, (batch,
            steps); and the size of an error that the loss is measured in, (batch, 1).
        """
        r = self._read(h, int(steps.max()))
        zeros, facts = self._facts(r)
        tokens, absent, pooled = self._tower(r)
        kind = self.join(torch.cat([self.facts(facts), pooled], 1))  # (batch, 2 width)
        rates, sharp, reach, gates = torch.split(self.keys(kind), self.key_sizes, 1)
        rates = (self.key_rates + rates).exp()  # (batch, level heads)
        sharp = self.key_sharp + sharp.view(len(sharp), -1, 3)  # (batch, season heads, 3)
        gates = 1.1 * torch.sigmoid(gates + 1.5)
        first, second, effect, parted, ratio = (
            part * gates[:, i, None]
            for i, part in enumerate((r.first, r.second, r.effect, r.parted, r.ratio))
        )
        ratio = ratio.clamp(-0.95, 4)
        ahead = r.x.shape[1] + steps - 1  # columns of the steps in what reaches over the horizon
        season = [part[:, ahead, None] for part in (first, second, effect, parted, ratio)]
        # each (batch, s, 1)

        past_levels = knots(r.x, r.observed, self.levels)  # (batch, levels)
        below = (r.x[..., None] <= past_levels[:, None] + 1e-6).to(
            r.x.dtype
        )  # (batch, context, levels)
        ramp = (1 - 0.7 * r.whole)[:, None]  # (batch, 1, 1): whole numbers step up, others slope
        clear = (r.x - (first + effect)[:, : r.x.shape[1]]) * r.observed
        clearer = (clear - second[:, : r.x.shape[1]]) * r.observed
        levels, by_age = self._levels(r, rates, clear, clearer)
        moved = self._moved(r, steps, by_age, effect, levels[0][:, 2:3] + season[0].squeeze(-1))
        by_age = quantiles_of(by_age @ below, past_levels[:, None], self.levels, ramp)
        errors = self._errors(r, rates, clear)  # (batch, errors, levels)
        found = self._alike(r, steps, sharp, reach, below)  # (batch, s, season heads, 6 + levels)
        by_phase = quantiles_of(
            found[..., 6:], past_levels[:, None, None], self.levels, ramp[:, None]
        )

        places = torch.cat([self._places(r, steps, levels, found, season), moved], -1)
        s = len(steps)
        shapes = torch.cat([by_age[:, None].expand(-1, s, -1, -1), by_phase], 2)
        errors = errors[:, None].expand(-1, s, -1, -1)  # (batch, s, errors, levels)
        grow = growth(torch.cat(self._moves(r), 1), steps)[..., None]  # (batch, s, 1)
        deviation = (found[..., 3] - found[..., 0].square()).clamp(min=1e-6).sqrt()
        n = steps.to(r.x.dtype)[None, :, None].expand(len(kind), -1, -1)  # (batch, s, 1)
        short, long = r.seasons.clamp(min=1).chunk(2, 1)
        times = torch.cat(
            [
                n.log() / 2, (n / r.seen[:, None]).log().clamp(-6, 2),
                (n / short[:, None]).clamp(max=4), (n / long[:, None]).clamp(max=4),
            ], -1,
        )  # (batch, s, 4)  # fmt: skip
        inputs = torch.cat(
            [
                places.asinh(), shapes[..., MIDDLE].asinh(),
                (shapes[..., HIGH] - shapes[..., LOW]).log1p(),
                (errors[..., HIGH] - errors[..., LOW]).log1p(), deviation.log1p(), *season, grow, times,
                r.zero.asinh()[:, None].expand(-1, s, -1), r.whole[:, None].expand(-1, s, -1),
            ], -1,
        ).clamp(-8, 8)  # fmt: skip
        asked = self.query(torch.cat([turns(n.squeeze(-1), r.seasons), times.clamp(-8, 8)], -1))
        heard, _ = self.look(asked, tokens, tokens, key_padding_mask=absent, need_weights=False)
        y = self.step(inputs) + self.context(
            torch.cat([kind[:, None].expand(-1, s, -1), heard], -1)
        )
        y = y + self.inner(self.norms[0](y))  # (batch, s, hidden)
        return self._mix(r, self.out(self.norms[1](y)), places, shapes, errors, grow, zeros)

    def _read(self, h: Histories, horizon: int) -> Reading:
        """All that needs no weights, but for how much each covariate is listened to."""
        context = h.past.shape[1]
        observed = ~h.past.isnan()  # (batch, context)
        raw = torch.where(observed, h.past, 0.0)
        age = torch.arange(context - 1, -1, -1, device=raw.device, dtype=raw.dtype)
        fade = recent(age, observed)
        level = (fade * raw).sum(1, keepdim=True)
        size = mean_of(raw.abs(), observed)
        # the mean distance from a recent mean, never small beside the values
        scale = torch.maximum((fade * (raw - level).abs()).sum(1, keepdim=True), 0.02 * size)
        scale = torch.where(scale > 0, scale, 1.0)
        x = torch.where(observed, (raw - level) / scale, 0.0)
        zero = -level / scale
        floor = (0.1 * size / scale).clamp(min=0.05)
        short = torch.where(h.periods[:, :1] > 1, h.periods[:, :1], main_period(x, observed))
        long = torch.where(h.periods[:, 1:] > short, h.periods[:, 1:], 0)
        seen = (age[None] * observed).amax(1, keepdim=True).long() + 1
        width = torch.where(short > 1, short, 7).minimum(seen.clamp(min=2))
        wider = torch.where(long > 1, long, 4 * width).minimum(seen.clamp(min=2))
        near = window_means(x, observed, width, trailing=False)
        far = window_means(x, observed, wider, trailing=False)
        first = phase_means((x - near) * observed, observed, short, horizon, 1.0)
        rest = (x - near - first[:, :context]) * observed
        second = phase_means(rest, observed, long * (long < seen), horizon, 1.5)
        rest = rest - second[:, :context] * observed
        over = torch.maximum(near - zero, floor)
        parts = ((x - near) / over).clamp(-3, 3) * observed
        parted = phase_means(parts, observed, short, horizon, 1.0)
        fitted = (near + first[:, :context] + second[:, :context] - zero).maximum(floor)
        covariates, relevance, effect, ratio = self._covariates(
            h.known, rest, fitted, observed, horizon
        )
        place = torch.arange(context, device=x.device)[None]
        last_year, then = at(x, observed, place - long.clamp(min=1), torch.zeros_like(x))
        last_season, there = at(x, observed, place - short.clamp(min=1), torch.zeros_like(x))
        return Reading(
            x=x, observed=observed, age=age, level=level, scale=scale, zero=zero, floor=floor,
            whole=(raw % 1 == 0).all(1, keepdim=True).to(x.dtype),
            seasons=torch.cat([short, long], 1), seen=seen, near=near, far=far, over=over, width=width,
            first=first, second=second, parted=parted, covariates=covariates, relevance=relevance,
            effect=effect, ratio=ratio, rest=rest,
            residual=rest - effect[:, :context] * observed, last_season=last_season,
            paired=there & observed,
            last_year=last_year, coupled=then & observed & (long > 1),
        )  # fmt: skip

    def _covariates(
        self, known: Tensor, rest: Tensor, fitted: Tensor, observed: Tensor, horizon: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Covariates standardised, how much each tells, and their effect by ridge regression.

        The effect is in units of `rest`, and once more in parts of what was `fitted`.
        """
        batch, context = rest.shape
        c = known[:, : context + horizon]
        if not c.shape[-1]:
            none = rest.new_zeros(batch, context + horizon)
            return c, rest.new_zeros(batch, 1), none, none
        given = ~c.isnan()
        mean = mean_of(torch.where(given, c, 0.0), given)
        c = torch.where(given, c - mean, 0.0)
        size = mean_of(c.square(), given).sqrt()
        varies = size > 1e-6 * mean.abs() + 1e-12
        c = torch.where(varies, c / size.clamp(min=1e-12), 0.0).clamp(-12, 12)
        o = observed[..., None]
        n = o.sum(1).clamp(min=1)  # (batch, 1)
        level = mean_of(c[:, :context] * o, o)
        past = (c[:, :context] - level) * o
        error = (rest - mean_of(rest, observed)) * observed
        cross = (past * error[..., None]).sum(1) / n  # (batch, covariates)
        varied = past.square().sum(1) / n
        loud = error.square().sum(1, keepdim=True) / n
        correlation = cross / (varied * loud).clamp(min=1e-9).sqrt()
        t = torch.linspace(-1.7, 1.7, context, device=c.device)[None, :, None] * o
        leaning = (past * (t - mean_of(t, o))).sum(1) / n / varied.clamp(min=1e-6).sqrt()
        coming = (c[:, context:] - level).square().mean(1) / varied.clamp(min=0.05)
        facts = torch.stack(
            [
                correlation.abs() * 2, correlation.abs() * n.sqrt() / 8,
                n.log().expand_as(cross) / 3, varied.clamp(max=4), leaning.abs() * 2,
                (past.square().square().sum(1) / n).sqrt() / 2, coming.log1p(),
            ], -1,
        ).clamp(-4, 4)  # fmt: skip
        heard, trusted = self.relevance(facts).unbind(-1)  # (batch, covariates) each
        relevance = softplus(heard) * (varied > 1e-6)
        trusted = torch.sigmoid(trusted + 2)[:, None]
        # what is trusted less is shrunk more by the same ridge
        past, c = past * trusted, c * trusted
        level, cross = level * trusted, cross * trusted[:, 0]
        square = past.transpose(1, 2) @ past / n[..., None]
        square = square + torch.diag_embed((0.02 + 2 / n).expand(-1, c.shape[-1]))
        parts = (error / fitted).clamp(-3, 5)
        parts = (parts - mean_of(parts, observed)) * observed
        by_ratio = (past * parts[..., None]).sum(1) / n
        effects = torch.linalg.solve(square, torch.stack([cross, by_ratio], -1))
        effect, ratio = ((c - level) @ effects).unbind(-1)  # (batch, context + horizon)
        return c / trusted, relevance, effect, ratio

    def _moves(self, r: Reading) -> list[Tensor]:
        return [change(r.x, r.observed, lag) for lag in CHANGES]

    def _naive(self, r: Reading) -> Tensor:
        """Mean error of the short season repeated; of the last value where that tells nothing."""
        naive = mean_of((r.x - r.last_season).abs() * r.paired, r.paired)
        return torch.where(naive > 0, naive, change(r.x, r.observed, 1))

    def _facts(self, r: Reading) -> tuple[Tensor, Tensor]:
        """The share of zeros of late, (batch, 1), and all that tells what kind of history it is."""
        o, context = r.observed, r.x.shape[1]
        none = ((r.x - r.zero).abs() <= 1e-6 * (1 + r.zero.abs())) & o
        demanded = o & ~none
        zeros = mean_of(none.to(r.x.dtype), o)
        late = (none * recent(r.age, o)).sum(1, keepdim=True)
        size = mean_of((r.x - r.zero).abs() * demanded, demanded)
        uneven = mean_of(((r.x - r.zero).abs() - size).square() * demanded, demanded)
        spread = mean_of(r.residual.abs() * o, o)
        units = (mean_of((r.x - r.zero).abs() * o, o) * r.scale).log1p()  # in the user's units
        moves = torch.cat(self._moves(r), 1)
        short, long = r.seasons.chunk(2, 1)

        def share(part: Tensor) -> Tensor:
            return mean_of(part[:, :context].abs() * o, o)

        firm = spread.clamp(min=1e-2) * 4
        facts = torch.cat(
            [
                knots(r.x, o, self.levels).asinh(), (moves / spread.clamp(min=1e-3)).log1p(),
                r.zero.asinh(), r.seen.log() / 3, o.sum(1, keepdim=True).clamp(min=1) / r.seen, zeros,
                late, -(1 - late).clamp(min=0.02).log(),
                (uneven / size.square().clamp(min=1e-9)).clamp(max=20).log1p(), r.whole,
                units / 5 * r.whole, (r.seen / short.clamp(min=1)).log() * (short > 1),
                (r.seen / long.clamp(min=1)).log() * (long > 1), short.clamp(min=1).log() / 3,
                long.clamp(min=1).log() / 3, share(r.first) / firm, share(r.second) / firm,
                share(r.effect) / firm,
                (share(r.x - r.near - r.over * r.parted[:, :context]) / share(r.rest).clamp(min=1e-2)).log(),
                share(r.ratio) * 2, self._naive(r).log1p(), spread.log1p(),
                r.relevance.amax(1, keepdim=True),
                ((r.x < r.zero - 1e-6 * (1 + r.zero.abs())) & o).any(1, keepdim=True).to(r.x.dtype),
                r.near[:, -1:].asinh(),
                mean_of((r.x - r.last_year).abs() * r.coupled, r.coupled).log1p(),
                lasting((r.x - r.last_season) * r.paired, r.paired), lasting(r.residual * o, o),
            ], 1,
        )  # fmt: skip
        return late, facts.clamp(-8, 8)

    def _tower(self, r: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """A vector for each patch, which patches hold nothing, and the mean of those that do."""
        patch = self.shape.patch
        o = r.observed.to(r.x.dtype)
        channels = torch.stack([r.x.asinh(), r.residual.asinh(), o], 1)  # (batch, 3, context)
        cut = pad(channels, (-r.x.shape[1] % patch, 0)).unfold(2, patch, patch)
        absent = ~(cut[:, 2] > 0).any(-1)  # (batch, patches)
        absent = absent & ~absent.all(1, keepdim=True)
        count = cut.shape[2]
        centre = torch.arange(count - 1, -1, -1, device=o.device, dtype=o.dtype) * patch + patch / 2
        centre = centre.expand(len(o), -1)  # (batch, patches)
        where = [
            turns(centre, r.seasons),
            centre[..., None].log() / 3,
            centre[..., None].sqrt() / 16,
        ]
        tokens = self.embed(torch.cat([cut.transpose(1, 2).flatten(2), *where], -1))
        for block in self.blocks:
            tokens = block(tokens, absent)
        held = (~absent).to(o.dtype)[..., None]
        return tokens, absent, (tokens * held).sum(1) / held.sum(1).clamp(min=1)

    def _levels(
        self, r: Reading, rates: Tensor, clear: Tensor, clearer: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Attention by age alone: levels and slopes of each head, and the weights themselves.

        Returns:
            Means without the short season, without both, (batch, heads) each; the line at the cutoff and
            its slope a step, without the quickest head; weights (batch, heads, context).
        """
        absent = torch.where(r.observed, 0.0, MASK)[:, None]  # (batch, 1, context)
        weights = torch.softmax(absent - rates[:, :, None] * r.age, -1)  # (batch, heads, context)
        t, o = -r.age / 32, r.observed
        powers = torch.stack([clear, t * o, t.square() * o, t * clear, clearer], -1)
        mean, mt, mtt, mxt, without = (weights @ powers).unbind(-1)
        slope = ((mxt - mean * mt) / (mtt - mt.square() + 0.02))[:, 1:]  # 0.02: few steps have none
        line = mean[:, 1:] - slope * mt[:, 1:]
        return (mean, without, line, slope / 32), weights

    def _errors(self, r: Reading, rates: Tensor, clear: Tensor) -> Tensor:
        """Distributions of past errors around their median, (batch, errors, levels).

        Of the mean of the last short season as a forecast, and of its repetition; by the two slow rates.
        """
        trailing = window_means(clear, r.observed, r.width, trailing=True)
        found = []
        for error, there in (
            ((clear - trailing) * r.observed, r.observed),
            ((r.x - r.last_season) * r.paired, r.paired),
        ):
            at_knots = knots(error, there, self.levels)
            under = (error[..., None] <= at_knots[:, None] + 1e-6).to(error.dtype)
            absent = torch.where(there, 0.0, MASK)[:, None]
            weights = torch.softmax(absent - rates[:, 2:, None] * r.age, -1)
            ramp = torch.ones_like(at_knots[:, None, :1])
            found.append(quantiles_of(weights @ under, at_knots[:, None], self.levels, ramp))
        errors = torch.cat(found, 1)
        return errors - errors[..., MIDDLE, None]

    def _alike(
        self, r: Reading, steps: Tensor, sharp: Tensor, reach: Tensor, below: Tensor
    ) -> Tensor:
        """Attention of each step ahead to the steps of the past that are like it.

        The logits are kappa (cos - 1) of the angle between their phases in each season, less a rate times the
        age, less the distance of their covariates: products of vectors all of them.

        Returns:
            Means of the values, their distances from near and far levels, their squares, the two distances
            in parts of the level, and of `below`; (batch, s, heads, 6 + levels).
        """
        turn = 2 * torch.pi / r.seasons.clamp(min=1)  # (batch, 2)
        mine, theirs = turn[..., None] * steps, -turn[..., None] * r.age
        kappa = sharp[..., :2].clamp(max=9).exp() * (r.seasons > 1)[:, None]  # (batch, heads, 2)
        mine = torch.cat([mine.cos(), mine.sin()], 1)  # (batch, 4, s)
        theirs = torch.cat([theirs.cos(), theirs.sin()], 1)  # (batch, 4, context)
        weighed = mine[:, None] * kappa.repeat(1, 1, 2)[..., None]  # (batch, heads, 4, s)
        logits = weighed.transpose(2, 3) @ theirs[:, None]  # (batch, heads, s, context)
        faded = torch.where(r.observed, 0.0, MASK)[:, None] - sharp[..., 2:].exp() * r.age
        logits = logits - kappa.sum(-1)[..., None, None] + faded[:, :, None]
        if r.covariates.shape[-1]:
            weigh = r.relevance[:, None] * softplus(reach)[..., None]  # (batch, heads, covariates)
            ours = r.covariates[:, r.x.shape[1] + steps - 1]
            other = r.covariates[:, : r.x.shape[1]]
            logits = logits - (
                torch.einsum("bsf,bkf->bks", ours.square(), weigh)[..., None]
                + torch.einsum("btf,bkf->bkt", other.square(), weigh)[:, :, None]
                - 2 * torch.einsum("bsf,bkf,btf->bkst", ours, weigh, other)
            )
        weights = torch.softmax(logits, -1).flatten(1, 2)  # (batch, heads * s, context)
        o = r.observed
        carried = [
            r.x, (r.x - r.near) * o, (r.x - r.far) * o, r.x.square(),
            ((r.x - r.near) / r.over).clamp(-3, 3) * o,
            ((r.x - r.far) / (r.far - r.zero).maximum(r.floor)).clamp(-3, 5) * o,
        ]  # fmt: skip
        found = weights @ torch.cat([torch.stack(carried, -1), below], -1)
        return found.view(len(r.x), len(SHARP), len(steps), -1).transpose(1, 2)

    def _places(
        self,
        r: Reading,
        steps: Tensor,
        levels: tuple[Tensor, ...],
        found: Tensor,
        season: list[Tensor],
    ) -> Tensor:
        """Candidates for where each step ahead lies, (batch, s, places)."""
        mean, without, line, slope = (part[:, None] for part in levels)  # (batch, 1, heads)
        f, g, e, fr, er = season  # (batch, s, 1) each
        like, like_near, like_far, _, by_near, by_far = found[..., :6].unbind(
            -1
        )  # (batch, s, heads)
        n = steps.to(r.x.dtype)[None, :, None]
        damped = 9 * (1 - 0.9**n)  # a slope that loses a tenth with each step
        z = r.zero[..., None]
        soon, later = mean[..., 1:2], line[..., :1] + slope[..., :1] * damped
        now_near, now_far = r.near[:, None, -1:], r.far[:, None, -1:]
        return torch.cat(
            [
                z + (mean - z) * (1 + fr) * (1 + er), z + (mean + f - z) * (1 + er),
                like_near + soon + e, like_far + later, z + (soon - z) * (1 + by_near),
                z + (later - z) * (1 + by_far), z + (now_far - z) * (1 + by_far),
                mean + f + e, without + f + g + e, line + slope * n + f + e,
                line + slope * damped + f + g + e, like, like_near + now_near, like_far + now_far,
                self._repeated(r, steps, mean[..., 2] + f.squeeze(-1)),
                mean[..., :1].expand(-1, len(steps), -1),
            ], -1,
        )  # fmt: skip

    def _repeated(self, r: Reading, steps: Tensor, fallback: Tensor) -> Tensor:
        """Values one and two seasons before, as they are and moved to today's level, (batch, s, 7)."""
        short, long = r.seasons.chunk(2, 1)
        now, made = r.far[:, -1:], []
        for period, back in ((short, 1), (short, 2), (long, 1)):
            p = period.clamp(min=1)
            index = r.x.shape[1] - 1 + steps[None] - p * ((steps[None] + p - 1) // p + back - 1)
            value, valid = at(r.x, r.observed, index, fallback)
            made.append(value)
            if back == 1:
                then, _ = at(r.far, r.observed, index, torch.zeros_like(fallback))
                rise = (now - r.zero).maximum(r.floor) / (then - r.zero).maximum(r.floor)
                made.append(torch.where(valid, value - then + now, value))
                grown = r.zero + (value - r.zero) * rise.clamp(0.2, 5)
                made.append(torch.where(valid, grown, value))
        place = torch.arange(r.x.shape[1], device=r.x.device)[None]
        last = r.x.gather(1, torch.where(r.observed, place, 0).amax(1, keepdim=True))
        made[4] = torch.where(long > 1, made[4], last)
        return torch.stack(made, -1)

    def _moved(
        self, r: Reading, steps: Tensor, by_age: Tensor, effect: Tensor, fallback: Tensor
    ) -> Tensor:
        """The last short and long season, moved by how far recent steps were from them, (batch, s, 16).

        By a sum and by a ratio, for each head's weights of age; without the effect of covariates, which
        is put back as it will be.
        """
        context = r.x.shape[1]
        x = (r.x - effect[:, :context]) * r.observed
        ahead = effect[:, context + steps - 1]
        place = torch.arange(context, device=x.device)[None]
        made = []
        for period in r.seasons.chunk(2, 1):
            p = period.clamp(min=1)
            before, there = at(x, r.observed, place - p, torch.zeros_like(x))
            paired = (there & r.observed & (period > 1)).to(x.dtype)
            pair = torch.stack([(x - before) * paired, paired], -1)
            gone, count = (by_age @ pair).unbind(-1)  # (batch, heads)
            drift = gone / count.clamp(min=1e-6) * (count > 1e-4)
            pair = torch.stack([(x - r.zero) * paired, (before - r.zero) * paired], -1)
            now, then = ((by_age @ pair) / count.clamp(min=1e-6)[..., None]).unbind(-1)
            ratio = ((now + r.floor) / (then.clamp(min=0) + r.floor)).clamp(0.2, 5)
            index = context - 1 + steps[None] - p * ((steps[None] + p - 1) // p)
            value, _ = at(x, r.observed, index, fallback)
            value = value[..., None]  # (batch, s, 1)
            z = r.zero[..., None]
            grown = z + (value - z) * torch.where(count > 1e-4, ratio, 1.0)[:, None]
            made += [value + drift[:, None], grown]
        return torch.cat(made, -1) + ahead[..., None]

    def _mix(
        self,
        r: Reading,
        out: Tensor,
        places: Tensor,
        shapes: Tensor,
        errors: Tensor,
        grow: Tensor,
        zeros: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One set of quantiles from all candidates: weighed by their levels, then moved and stretched."""
        place, blend, shape, error, move, stretch, more, chance = torch.split(
            out, self.out_sizes, -1
        )
        centre = (torch.softmax(place, -1) * places).sum(-1, keepdim=True)  # (batch, s, 1)
        around = (torch.softmax(error, -1)[..., None] * errors).sum(2)  # (batch, s, levels)
        width = (move[..., :1] + (0.3 + move[..., 1:2]) * grow).clamp(-4, 4).exp()
        as_it_was = (torch.softmax(shape, -1)[..., None] * shapes).sum(2)  # (batch, s, levels)
        everything = mean_of(
            ((r.x - r.zero).abs() <= 1e-6 * (1 + r.zero.abs())) * r.observed, r.observed
        )
        u = torch.sigmoid(blend - 1 + 2 * everything[:, None])
        draft = (1 - u) * (centre + width * around) + u * as_it_was
        spread = mean_of(r.residual.abs() * r.observed, r.observed)
        naive = self._naive(r)
        unit = (0.3 * naive + 0.3 * spread + 0.1)[..., None]
        rises = draft.diff(dim=-1).clamp(min=0) * stretch[..., 1:].clamp(-4, 4).exp()
        rises = rises + softplus(more[..., 1:] - 5) * unit  # (batch, s, levels - 1)
        middle = draft[..., MIDDLE, None] + move[..., 2:3] * unit
        falls = rises[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
        grid = torch.cat([middle - falls, middle, middle + rises[..., MIDDLE:].cumsum(-1)], -1)
        logit = chance[..., 0] + zeros.clamp(0.01, 0.99).logit()
        return (
            r.level[..., None] + r.scale[..., None] * grid,
            logit,
            r.scale * naive.clamp(min=0.05).sqrt(),
        )

    def loss(self, h: Histories, steps: Tensor) -> Tensor:
        """Pinball loss over the levels in units of an error, and cross entropy of zeros, a scalar."""
        quantiles, logit, unit = self(h, steps)
        target = h.future[:, steps - 1]
        seen = ~target.isnan() & (~h.past.isnan()).any(1, keepdim=True)
        y = torch.where(seen, target, 0.0)
        error = (y[..., None] - quantiles) / unit[..., None]
        loss = torch.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)  # (batch, s)
        entropy = binary_cross_entropy_with_logits(logit, (y == 0).to(y.dtype), reduction="none")
        return ((loss.clamp(max=20) + 0.05 * entropy) * seen).sum() / seen.sum().clamp(min=1)


class Block(nn.Module):
    """Attention over patches and a feed-forward layer, each on what layer norm leaves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.feed = mlp(width, 2 * width, width)

    def forward(self, tokens: Tensor, absent: Tensor) -> Tensor:
        x = self.before(tokens)
        tokens = tokens + self.attend(x, x, x, key_padding_mask=absent, need_weights=False)[0]
        out: Tensor = tokens + self.feed(self.between(tokens))
        return out


def mlp(inner: int, hidden: int, outer: int, *, last: float = 1.0) -> nn.Sequential:
    """Two layers; the weights of the second begin `last` times as large as they would."""
    second = nn.Linear(hidden, outer)
    with torch.no_grad():
        second.weight.mul_(last)
        second.bias.zero_()
    return nn.Sequential(nn.Linear(inner, hidden), nn.GELU(), second)


def lasting(error: Tensor, there: Tensor) -> Tensor:
    """How much of an error is left one step later, about -1 to 1, (batch, 1)."""
    both = there[:, 1:] & there[:, :-1]
    product = mean_of(error[:, 1:] * error[:, :-1] * both, both)
    return (product / mean_of(error.square() * there, there).clamp(min=1e-6)).clamp(-2, 2)


def turns(steps: Tensor, seasons: Tensor) -> Tensor:
    """Sines and cosines of steps (batch, n) in two seasons (batch, 2): (batch, n, 4); 0 without one."""
    angle = steps[:, None] / seasons.clamp(min=1)[..., None] * 2 * torch.pi  # (batch, 2, n)
    both = torch.cat([angle.sin(), angle.cos()], 1) * (seasons > 1).repeat(1, 2)[..., None]
    return both.transpose(1, 2)


def recent(age: Tensor, observed: Tensor) -> Tensor:
    """Weights of the last few dozen observed steps, (batch, context), 1 in sum; 0 where there are none."""
    fade = torch.exp(-age / 64) * observed
    return fade / fade.sum(1, keepdim=True).clamp(min=1e-9)


def growth(moves: Tensor, steps: Tensor) -> Tensor:
    """Log of the mean change over so many steps against that over one, (batch, steps)."""
    logs = moves.clamp(min=1e-2).log()
    logs = torch.where(moves > 0, logs - logs[:, :1], 0.0)
    place = steps.to(moves.dtype).log2().clamp(0, len(CHANGES) - 1)
    low = place.floor().long().clamp(max=len(CHANGES) - 2)
    weight = place - low
    return (logs[:, low] * (1 - weight) + logs[:, low + 1] * weight).clamp(-2, 3)


CELLS = 1 << 17  # steps of context in one batch of prediction
ASKED = 64  # steps ahead at once
PATHS_KEPT = 1 << 22  # numbers of histories that paths are taken from, at once
WEIGHTS = "zero_shot.safetensors"
MEAN = between(np.eye(len(LEVELS)), LEVELS, [(i + 0.5) / 400 for i in range(400)]).mean(
    -1
)  # of each quantile


class ZeroShot(Forecaster):
    """The pretrained network: `fit` learns nothing, `predict` forecasts any panel.

    Reads the target, covariates known ahead and, where the item could not be bought, that the target there
    says nothing. `fine_tune` goes on learning from a panel of the user's own.
    """

    name = "zero_shot"
    summary = "a small network pretrained on synthetic demand: no training, works offline"
    takes = "target, known, available"
    gives = "paths and quantiles"

    def __init__(
        self,
        horizon: int | None = None,
        *,
        h: int | None = None,
        context: int = 1024,
        seed: int = 0,
    ) -> None:
        """Choose how far to forecast; the weights that ship with the package are read at once.

        Args:
            horizon: Steps to forecast, as many as wanted.
            h: The same.
            context: Steps of history read at most, up to 2,048.
            seed: Of paths and of fine-tuning.
        """
        self.horizon = check_horizon(horizon, h)
        for label, value, least, most in (("context", context, 1, 2048), ("seed", seed, 0, 2**62)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ConfigError(f"{label} is {value!r}; it is a whole number, {least} to {most}")
        self.context, self.seed = context, seed
        self.tuned: TrainingLog | None = None  # of fine-tuning, if there was one
        self.pretrained = shipped()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""
        return {"context": 1024, "seed": 0}

    def hyperparameters(self) -> dict[str, Any]:
        return {"horizon": self.horizon, "context": self.context, "seed": self.seed}

    def fit(self, panel: Panel) -> ZeroShot:
        """Nothing to learn: back to the weights that ship with the package.

        Raises:
            DataError: `panel` is not a Panel.
        """
        _check_panel(panel)
        self.pretrained, self.tuned = shipped(), None
        return self

    def fine_tune(
        self,
        panel: Panel,
        budget: str | float = "2m",
        *,
        learning_rate: float = 5e-4,
        batch_size: int = 64,
        progress: bool = True,
    ) -> ZeroShot:
        """Go on learning from a panel, from the weights there are.

        The last horizon is held out; weights that do worse on it than those before are not kept.

        Args:
            panel: What to learn from.
            budget: How long: "2m", "30s", seconds as a number, or "500 steps", which repeats to the bit.
            learning_rate: Of its beginning; it falls to a hundredth.
            batch_size: Windows in a step.
            progress: Show a bar, on stderr.

        Raises:
            DataError: No series is longer than the horizon and one step more.
        """
        _check_panel(panel)
        limit = Budget.parse(budget)
        network = deepcopy(self.pretrained)
        sampler = WindowSampler(panel, horizon=self.horizon, held_out=self.horizon, rho=0.5)
        held = self._held_out(panel)
        before = held(network)

        windows = _Windows(panel, self.context, self.horizon)
        road = Resident(windows, lambda _, g: sampler.draw(batch_size, g), torch.device("cpu"))

        def loss(batch: Histories) -> Tensor:
            ahead = torch.randperm(self.horizon)[:16].sort().values + 1
            return network.loss(batch, ahead)

        steps = limit.steps
        if steps is None:
            g = torch.Generator().manual_seed(self.seed)
            with torch.random.fork_rng([]):
                for _ in range(3):
                    began = limit.spent
                    loss(road.batch(sampler.draw(batch_size, g))).backward()  # type: ignore[no-untyped-call]
            network.zero_grad()
            steps = max(20, int(0.8 * limit.left / (limit.spent - began)))
        every = max(10, steps // 8)
        training = Training(
            max_steps=steps, batch_size=batch_size, learning_rate=learning_rate, clip=1.0,
            average=0.98, seed=self.seed, validate_every=every, patience=4,
        )  # fmt: skip
        tuned = train(
            network, loss, road, training, validate=lambda: held(network), progress=progress, label=self.name
        )  # fmt: skip
        if min((score for _, score in tuned.validation), default=np.inf) < before:
            self.pretrained = network.eval()
        self.tuned = tuned
        return self

    def _held_out(self, panel: Panel) -> Any:
        """The loss of a network on the last horizon, weighed as wQL does; at most 512 series."""
        rows = np.flatnonzero(panel.lengths > self.horizon)
        rows = rows[:: max(1, len(rows) // 512)]
        ends = panel.lengths[rows]
        batch = histories(panel, rows, ends - self.horizon, ends, self.context, self.horizon)
        ahead = torch.arange(1, self.horizon + 1)
        target = batch.future
        seen = ~target.isnan()

        def held(network: ZeroShotNetwork) -> float:
            total = 0.0
            network.eval()
            with torch.no_grad():
                for part in torch.split(torch.arange(len(batch)), 64):
                    few = batch.part(part)
                    e = torch.where(seen[part], few.future, 0.0)[..., None] - network(few, ahead)[0]
                    loss = torch.maximum(network.levels * e, (network.levels - 1) * e).mean(-1)
                    total += float((loss * seen[part]).sum())
            return total / max(float(target.nan_to_num().abs().sum()), 1e-9)

        return held

    def grid(self, panel: Panel) -> NDArray[np.float32]:
        """Quantiles at `LEVELS` of every series, not yet stopped at 0: (N, H, levels)."""
        found = np.empty((panel.n_series, self.horizon, len(LEVELS)), np.float32)
        order = np.argsort(-panel.lengths, kind="stable")  # the longest first, in smaller batches
        while len(order):
            longest = min(self.context, int(panel.lengths[order[0]]))
            size = max(1, CELLS // (longest + 4 * min(self.horizon, ASKED)))
            rows, order = order[:size], order[size:]
            ends = panel.lengths[rows]
            batch = histories(panel, rows, ends, ends, self.context, self.horizon)
            for ahead in torch.split(torch.arange(1, self.horizon + 1), ASKED):
                with torch.inference_mode():
                    part = self.pretrained(batch, ahead)[0]
                found[rows, int(ahead[0]) - 1 : int(ahead[-1])] = part.numpy()
        return found

    def predict(
        self,
        panel: Panel,
        *,
        future: Any = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        n_samples: int | None = None,
    ) -> Forecast:
        """Forecast every series of any panel from its last step; it need not be fitted.

        Args:
            panel: What is known.
            future: Covariates known ahead, for the steps behind the panel.
            levels: Quantile levels, increasing, each in (0, 1).
            n_samples: Joint paths to draw and keep; None for none. They follow the quantiles and are
                ordered as stretches of the series' own past were (Schaake shuffle).

        Raises:
            DataError: `panel` is not a Panel, or its covariates do not reach over the horizon.
        """
        _check_panel(panel)
        levels = check_levels(levels)
        if future is not None:
            panel = extend(panel, future)
        require(panel, panel.known_names, self.horizon)
        floors = panel.floors()[:, None, None]
        grid = np.maximum(self.grid(panel), floors)
        quantiles = np.maximum(between(grid, LEVELS, levels), floors).astype(np.float32)
        whole = panel.whole_numbers()[:, None, None]
        quantiles = np.where(whole, np.rint(quantiles), quantiles)
        samples = None
        if n_samples is not None:
            if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
                raise ConfigError(f"n_samples is {n_samples!r}; it is a whole number, 1 or more")
            samples = np.maximum(self._paths(panel, grid, n_samples), floors)
            samples = np.where(whole, np.rint(samples), samples)
        mean = (grid @ MEAN).astype(np.float32)
        return Forecast.of(panel, levels, quantiles, mean, samples=samples, model=self.name)

    def _paths(self, panel: Panel, grid: NDArray[np.float32], n: int) -> NDArray[np.float32]:
        """Paths with the quantiles of the grid, in the order of stretches of the past, (N, n, H)."""
        rng = np.random.default_rng(self.seed)
        found = np.empty((panel.n_series, n, self.horizon), np.float32)
        period = max(1, panel.freq.period)
        for rows in np.array_split(
            np.arange(panel.n_series), -(-panel.n_series * n * self.horizon // PATHS_KEPT)
        ):
            lengths = np.minimum(panel.lengths[rows], self.context)
            past = panel.select(rows).padded_history(int(lengths.max()))
            past = past[:, -self.context :]
            middle = np.nan_to_num(
                np.nanmean(np.where(np.isnan(past).all(1, keepdims=True), 0, past), 1)
            )
            past = np.where(np.isnan(past), middle[:, None], past)
            room = np.maximum(lengths - self.horizon - period, 0)  # starts there are
            seasons = room // period
            whole = seasons >= 8  # enough of them at the season's own phase
            pick = rng.random((len(rows), n))
            back = np.where(
                whole[:, None],
                period * (pick * seasons[:, None]).astype(int),
                (pick * (room[:, None] + 1)).astype(int),
            )
            ahead = -(-self.horizon // period) * period if whole.any() else self.horizon
            back = np.where(whole[:, None], back + ahead, back + self.horizon)
            begin = past.shape[1] - np.minimum(back, past.shape[1])
            index = np.minimum(begin[..., None] + np.arange(self.horizon), past.shape[1] - 1)
            stretch = np.take_along_axis(past[:, None], index.reshape(len(rows), 1, -1), 2)
            stretch = stretch.reshape(len(rows), n, self.horizon)
            before = np.maximum(begin[..., None] - 1 - np.arange(period), 0)
            level = np.take_along_axis(past, before.reshape(len(rows), -1), 1)
            stretch = stretch - level.reshape(len(rows), n, period).mean(-1, keepdims=True)
            found[rows] = shuffled(stretch, grid[rows], LEVELS, rng)
        return found

    def save(self, path: str | Path) -> None:
        """Write `model.json` and, where it was fine-tuned, `weights.safetensors`."""
        facts = {
            "format": 1,
            "model": self.name,
            "hyperparameters": self.hyperparameters(),
            "training": None if self.tuned is None else asdict(self.tuned),
        }
        if self.tuned is not None:
            tensors = self.pretrained.state_dict()
            facts["shape"] = asdict(self.pretrained.shape)
            write_tensors(Path(path) / "weights.safetensors", tensors, {"shape": facts["shape"]})
        write_atomically(Path(path) / "model.json", json.dumps(facts, indent=1).encode())

    @classmethod
    def restore(cls, folder: Path, facts: dict[str, Any]) -> ZeroShot:
        """The model of a run folder; see `demandcast.load`."""
        model = cls(**facts["hyperparameters"])
        if facts["training"] is not None:
            model.pretrained = read_network(folder / "weights.safetensors")
            pairs = {k: [tuple(v) for v in facts["training"][k]] for k in ("losses", "validation")}
            model.tuned = TrainingLog(**(facts["training"] | pairs))
        return model


def shipped() -> ZeroShotNetwork:
    """The network with the weights that ship with the package."""
    with as_file(files("demandcast.models") / WEIGHTS) as path:
        return read_network(path)


def read_network(path: Path) -> ZeroShotNetwork:
    """A network from its file.

    Raises:
        CheckpointError: The file is damaged, or of another network.
    """
    tensors, facts = read_tensors(path)
    try:
        with torch.random.fork_rng([]):  # weights that are not kept
            network = ZeroShotNetwork(Shape(**facts["shape"]))
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the weights in {path} are not of this network: {error}") from error
    return network.eval()


def histories(
    panel: Panel, series: Ints, cutoffs: Ints, limits: Ints, context: int, horizon: int
) -> Histories:
    """What the network reads of some series as they were at a cutoff; NaN where nothing may be known.

    Args:
        panel: Steps at which the item could not be bought count as not observed.
        series: Rows of the panel, (batch,).
        cutoffs: Steps of each series that are known, (batch,).
        limits: First step that may not be learned from, (batch,); the cutoff itself in prediction.
        context: Steps read at most.
        horizon: Steps ahead.
    """
    context = max(1, min(context, int(cutoffs.max())))
    step = cutoffs[:, None] + np.arange(-context, horizon)  # (batch, context + horizon)
    there = (step >= 0) & (step < panel.extents[series][:, None])
    row = np.where(there, panel.begins[series][:, None] + step, 0)
    learned = there & (step < limits[:, None])
    if panel.available is not None:
        learned &= panel.available[row]
    target = torch.from_numpy(np.where(learned, panel.target[row], np.float32(np.nan)))
    known = np.where(there[..., None], panel.known[row], np.float32(np.nan))
    periods = [p for p in panel.freq.periods if p > 1][:2]
    told = torch.tensor([*periods, 0, 0][:2]).expand(len(series), 2)
    return Histories(target[:, :context], torch.from_numpy(known), told, target[:, context:])


class _Windows(Dataset[Histories]):
    """A panel as the data of a training: indices are (series, cutoffs, limits)."""

    def __init__(self, panel: Panel, context: int, horizon: int) -> None:
        self.panel, self.context, self.horizon = panel, context, horizon

    def __getitems__(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Histories:
        series, cutoffs, limits = (part.numpy() for part in drawn)
        return histories(self.panel, series, cutoffs, limits, self.context, self.horizon)


def _check_panel(panel: Any) -> None:
    if not isinstance(panel, Panel):
        raise DataError(
            f"{type(panel).__name__} is not a Panel; make one with demandcast.read_panel(...)"
        )
