"""The network of `ZeroShot`, which maps any history to quantiles.

Ours; its paper is docs/models/zero_shot.md. It was trained on synthetic demand alone (`demandcast.synthetic`) and learned
how far to trust each statistic of a history. Attention over past steps with interpretable keys (age, phase in two
seasons, similarity of the known covariates) gives levels, values of similar steps and distributions. An encoder over
patches describes what kind of history it is. A head mixes the candidates of each step ahead into quantiles that cannot
cross. Steps ahead do not attend to each other, so any number of them may be forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from demandcast.layers.readings import empirical_quantiles, masked_mean, quantiles_of
from demandcast.pretrained.candidates import candidate_places, shift_seasons
from demandcast.pretrained.distributions import count_distributions
from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.level_and_seasons import Reading, read
from demandcast.pretrained.past import MASK, attend_by_age, attend_by_likeness, errors_of
from demandcast.pretrained.summaries import CHANGES, empty, facts_of, growth, moves_of, naive_error
from demandcast.pretrained.tower import Block, mlp, patches, phase_features

PRETRAINED_LEVELS = (0.01, 0.025, *(round(0.05 * i, 2) for i in range(1, 20)), 0.975, 0.99)
LOW, MIDDLE, HIGH = (PRETRAINED_LEVELS.index(level) for level in (0.1, 0.5, 0.9))
RATES = (0.7, 0.2, 0.06, 0.015)  # of forgetting, a step, at which the levels begin
SHARP = ((6.0, -3.0, 0.01), (5.0, 3.0, 0.003), (3.0, 7.0, 0.001))  # log kappa of two seasons; rate
HEADS, PHASES = len(RATES), len(SHARP)
LAWFUL = HEADS * (0,) + HEADS * (1,) + PHASES * (0,) + PHASES * (1,)  # which shapes are laws
BELIEF = HEADS * (0.0,) + (7.0, 7.0) + (HEADS - 2 + 2 * PHASES) * (0.0,)  # in laws, by zeros


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large the network is."""

    width: int = 80  # of a patch's and a step's vector
    hidden: int = 160  # nodes of the head
    layers: int = 2  # of the tower
    patch: int = 16  # steps in a patch


class Candidates(NamedTuple):
    """What the forecast is mixed from, of each series and step ahead."""

    places: Tensor  # (batch, steps, places)
    shapes: Tensor  # (batch, steps, shapes, levels)
    errors: Tensor  # (batch, steps, errors, levels)
    grow: Tensor  # how errors grow with the steps ahead, (batch, steps, 1)


class ZeroShotNetwork(nn.Module):
    """From histories to quantiles at `PRETRAINED_LEVELS` and the chance of a 0, for any steps ahead."""

    levels: Tensor
    shape: Shape

    done = 1.0  # share of the training that is finished; the trainer sets it

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        q, width, hidden = len(PRETRAINED_LEVELS), shape.width, shape.hidden
        levels, seasons = len(RATES), len(SHARP)  # heads
        self.register_buffer("levels", torch.tensor(PRETRAINED_LEVELS), persistent=False)
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
        shapes, errors = 2 * (levels + seasons), 4
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
        """Forecast quantiles at `steps`; 1 is the first after the cutoff.

        Returns:
            Quantiles at `PRETRAINED_LEVELS`, (batch, steps, levels), in the user's units; logits of a 0, (batch,
            steps); and the size of an error that the loss is measured in, (batch, 1).
        """
        r = read(h, int(steps.max()), self.relevance)
        none, moves, naive = empty(r), moves_of(r), naive_error(r)
        zeros, facts = facts_of(r, self.levels, none, moves, naive)
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

        past_levels = empirical_quantiles(r.x, r.observed, self.levels)  # (batch, levels)
        below = (r.x[..., None] <= past_levels[:, None] + 1e-6).to(r.x.dtype)
        # (batch, context, levels)
        ramp = (1 - 0.7 * r.whole)[:, None]  # (batch, 1, 1): whole numbers step up, others slope
        clear = (r.x - (first + effect)[:, : r.x.shape[1]]) * r.observed
        clearer = (clear - second[:, : r.x.shape[1]]) * r.observed
        levels, weights = attend_by_age(r, rates, clear, clearer)
        aged = quantiles_of(weights @ below, past_levels[:, None], self.levels, ramp)
        errors = errors_of(r, rates, clear, self.levels)  # (batch, errors, levels)
        attended, count = attend_by_likeness(
            r, steps, sharp, reach, below
        )  # (batch, s, season heads, 6 + levels)
        phased = quantiles_of(
            attended[..., 6:], past_levels[:, None, None], self.levels, ramp[:, None]
        )
        lawful, lawful_phased = count_distributions(r, weights, attended, count, self.levels)
        drifted = shift_seasons(
            r, steps, weights, effect, levels[0][:, 2:3] + season[0].squeeze(-1)
        )
        places = torch.cat([candidate_places(r, steps, levels, attended, season), drifted], -1)
        s = len(steps)
        fixed = torch.cat([aged, lawful], 1)[:, None].expand(-1, s, -1, -1)
        shapes = torch.cat([fixed, phased, lawful_phased], 2)  # (batch, s, shapes, levels)
        errors = errors[:, None].expand(-1, s, -1, -1)  # (batch, s, errors, levels)
        grow = growth(moves, steps)[..., None]  # (batch, s, 1)
        deviation = (attended[..., 3] - attended[..., 0].square()).clamp(min=1e-6).sqrt()
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
        asked = self.query(
            torch.cat([phase_features(n.squeeze(-1), r.seasons), times.clamp(-8, 8)], -1)
        )
        heard, _ = self.look(asked, tokens, tokens, key_padding_mask=absent, need_weights=False)
        y = self.step(inputs) + self.context(
            torch.cat([kind[:, None].expand(-1, s, -1), heard], -1)
        )
        y = y + self.inner(self.norms[0](y))  # (batch, s, hidden)
        candidates = Candidates(places, shapes, errors, grow)
        return self._mix(r, self.out(self.norms[1](y)), candidates, zeros, none, naive)

    def _tower(self, r: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Encode each patch; return the vectors, which patches are empty, and the mean of the others."""
        cut, absent = patches(r, self.shape.patch)
        tokens = self.embed(cut)  # (batch, patches, width)
        for block in self.blocks:
            tokens = block(tokens, absent)
        filled = (~absent).to(tokens.dtype)[..., None]
        return tokens, absent, (tokens * filled).sum(1) / filled.sum(1).clamp(min=1)

    def _mix(
        self,
        r: Reading,
        out: Tensor,
        candidates: Candidates,
        zeros: Tensor,
        none: Tensor,
        naive: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix all candidates into one set of quantiles, then move and stretch it."""
        places, shapes, errors, grow = candidates
        place, blend, shape, error, move, stretch, more, chance = torch.split(
            out, self.out_sizes, -1
        )
        everything = masked_mean(none.to(r.x.dtype), r.observed)  # share of zeros, (batch, 1)
        # laws are of counts; where most are 0 and a step is long, a month or more, what came lately tells
        # more than all that came, and its laws are believed
        long = (r.seasons.amax(1, keepdim=True) <= 12).to(shape.dtype)
        believed = shape.new_tensor(BELIEF) * everything * long  # (batch, shapes)
        believed = torch.where(r.counted | (believed.new_tensor(LAWFUL) == 0), believed, MASK)
        shape = shape + believed[:, None]
        centre = (torch.softmax(place, -1) * places).sum(-1, keepdim=True)  # (batch, s, 1)
        around = (torch.softmax(error, -1)[..., None] * errors).sum(2)  # (batch, s, levels)
        width = (move[..., :1] + (0.3 + move[..., 1:2]) * grow).clamp(-4, 4).exp()
        as_it_was = (torch.softmax(shape, -1)[..., None] * shapes).sum(2)  # (batch, s, levels)
        u = torch.sigmoid(blend - 1 + 2 * everything[:, None])
        draft = (1 - u) * (centre + width * around) + u * as_it_was
        spread = masked_mean(r.residual.abs() * r.observed, r.observed)
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
        """Return the pinball loss over the levels in units of an error, and cross entropy of zeros, a scalar."""
        quantiles, logit, unit = self(h, steps)
        target = h.future[:, steps - 1]
        observed = ~target.isnan() & (~h.past.isnan()).any(1, keepdim=True)
        y = torch.where(observed, target, 0.0)
        error = (y[..., None] - quantiles) / unit[..., None]
        loss = torch.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)  # (batch, s)
        entropy = binary_cross_entropy_with_logits(logit, (y == 0).to(y.dtype), reduction="none")
        return ((loss.clamp(max=20) + 0.05 * entropy) * observed).sum() / observed.sum().clamp(
            min=1
        )
