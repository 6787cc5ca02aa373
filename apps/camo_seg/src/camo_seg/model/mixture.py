"""A mixture of decoders over one pyramid of features: a router sends each image to the experts that suit it.

Source: camoXpert's ModelLevelMoE. What differs: training and inference take the same top-k (there, all experts in
training and two at inference), each expert runs once on all of its images (there, image by image), the load-balance
loss is part of the objective (there, it never was), any number of experts from two up works, and an expert costs a
tenth of a small backbone (there, 15 to 67 M parameters each). The gates are those of Shazeer et al. (ICLR 2017), the
balance loss that of the Switch Transformer (Fedus et al., JMLR 2022).

Shape letters: B batch, N experts, K experts of an image, W width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camo_seg.model.decoder import apply_heads, level_heads, resize_like
from camo_seg.model.views import VIEWS


class Routing(NamedTuple):
    """Where the router sends each image.

    Attributes:
        probabilities: float [B, N], summing to 1 over the experts.
        chosen: int64 [B, K], the experts of each image, the likeliest first.
    """

    probabilities: Tensor
    chosen: Tensor

    @property
    def gates(self) -> Tensor:
        """[B, K]: the weight of each chosen expert, summing to 1; of one expert alone, its probability.

        A single weight of 1 would give the router no gradient.
        """
        gates = self.probabilities.gather(1, self.chosen)
        return gates if gates.shape[1] == 1 else gates / gates.sum(1, keepdim=True)

    @property
    def use(self) -> Tensor:
        """Float [N]: the share of the choices that fell on each expert."""
        return F.one_hot(self.chosen, self.probabilities.shape[1]).float().mean((0, 1))


def balance_loss(routing: Routing, use: Tensor | None = None) -> Tensor:
    """N x sum over the experts of (share of the choices) x (mean probability): 1 where all are used alike, at most N.

    The shares have no gradient: the probabilities of the experts in use are lowered.

    Args:
        routing: Of this process's images.
        use: Float [N], the shares over the images of all processes, whose losses then have the loss of all images as
            their mean; those of `routing` by default.
    """
    use = routing.use if use is None else use
    return len(use) * (use * routing.probabilities.mean(0)).sum()


class MixtureDecoder(nn.Module):
    """In the place of a Decoder: the weighted sum of the K best of N expert decoders, chosen for each image.

    The projection of the features to one width is shared. An expert runs once, on the images that were sent to it.
    Under torch.compile and in an exported file every expert sees every image, those that were not chosen with
    weight 0: the same result, as nothing there may depend on values.

    Args:
        channels: of the features, finest first.
        width: channels of the experts.
        experts: N, at least 2; they take the VIEWS in turn.
        top_k: K, from 1 to N.
        deep_heads: give each expert a head for each coarser level, for deep supervision.

    Raises:
        ValueError: fewer than two experts, a top_k that they do not have.
    """

    def __init__(
        self, channels: Sequence[int], width: int, experts: int = 4, top_k: int = 2, deep_heads: bool = False
    ) -> None:
        super().__init__()
        if experts < 2:
            raise ValueError(f"experts must be 2 or more, got {experts}")
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k must be 1 to {experts}, the number of experts, got {top_k}")
        self.top_k = top_k
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.router = Router(len(channels) * width, width, experts, top_k)
        views = [list(VIEWS.values())[i % len(VIEWS)] for i in range(experts)]
        self.experts = nn.ModuleList(Expert(view, width, len(channels), deep_heads) for view in views)

    def forward(
        self, features: Sequence[Tensor], return_loss_inputs: bool = False
    ) -> Tensor | tuple[list[Tensor], Routing]:
        """Return logits [B, 1, H/4, W/4]; with `return_loss_inputs` (maps, routing), the maps as Decoder's."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        routing: Routing = self.router(levels)
        if torch.compiler.is_compiling() or levels[0].is_meta:
            maps = self._run_all(levels, routing)
        else:
            maps = self._run_chosen(levels, routing)
        return (maps, routing) if return_loss_inputs else maps[0]

    def _run_chosen(self, levels: list[Tensor], routing: Routing) -> list[Tensor]:
        """Run each expert once on its images, then put the maps back into the order of the batch."""
        slots = routing.chosen.flatten()
        order = slots.argsort(stable=True)
        images = order // self.top_k
        shares = images.split(torch.bincount(slots, minlength=len(self.experts)).tolist())
        found = [
            expert([level[share] for level in levels])
            for expert, share in zip(self.experts, shares, strict=True)
            if len(share)
        ]
        back = order.argsort()
        return [
            _weighted_sum(torch.cat(parts)[back].unflatten(0, (-1, self.top_k)), routing.gates)
            for parts in zip(*found, strict=True)
        ]

    def _run_all(self, levels: list[Tensor], routing: Routing) -> list[Tensor]:
        """Run every expert on every image, with weight 0 where it was not chosen."""
        weights = torch.zeros_like(routing.probabilities).scatter(1, routing.chosen, routing.gates)
        found = [expert(levels) for expert in self.experts]
        return [_weighted_sum(torch.stack(parts, 1), weights) for parts in zip(*found, strict=True)]


class Router(nn.Module):
    """Levels [B, W, h, w] -> Routing, from the mean and the deviation of every channel: what is there and how rough.

    Args:
        channels: of all levels together.
        hidden: channels of the hidden layer.
        experts: N.
        top_k: K.
    """

    def __init__(self, channels: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * channels), nn.Linear(2 * channels, hidden), nn.GELU(), nn.Linear(hidden, experts)
        )

    def forward(self, levels: Sequence[Tensor]) -> Routing:
        """Choose the experts of each image."""
        means = [level.mean((2, 3)) for level in levels]
        deviations = [level.var((2, 3), correction=0).add(1e-6).sqrt() for level in levels]
        logits: Tensor = self.layers(torch.cat([*means, *deviations], 1))
        probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
        return Routing(probabilities, probabilities.topk(self.top_k, 1).indices)


class Expert(nn.Module):
    """Top-down decoder of one kind: levels [B, W, h, w], finest first -> [logits [B, 1, H/4, W/4], deep ones...].

    Args:
        view: what each of its blocks sees of the surroundings: its inductive bias, one of VIEWS.
        width: W.
        levels: how many.
        deep_heads: as in Decoder.
    """

    def __init__(self, view: type[nn.Module], width: int, levels: int, deep_heads: bool = False) -> None:
        super().__init__()
        self.mix = nn.ModuleList(_Block(view(width), width) for _ in range(levels))
        self.head = nn.Conv2d(width, 1, 1)
        self.deep = level_heads(levels - 1 if deep_heads else 0, width)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Decode every image that is given."""
        states = [self.mix[-1](levels[-1])]
        for mix, level in zip(reversed(self.mix[:-1]), reversed(levels[:-1]), strict=True):
            states.append(mix(level + resize_like(states[-1], level)))
        return [self.head(states[-1]), *apply_heads(self.deep, states[-2::-1])]


class _Block(nn.Module):
    """Residual block: the view, then a pointwise expansion of two.

    It has the norm of one image, not of a batch: an expert may see a single image at a time.
    """

    def __init__(self, view: nn.Module, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            view,
            nn.GroupNorm(1, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def expert_names(count: int) -> list[str]:
    """Names of so many experts: edge, texture, context, detail, edge_2, ..."""
    rounds = [i // len(VIEWS) + 1 for i in range(count)]
    names = list(VIEWS)
    return [names[i % len(VIEWS)] + (f"_{number}" if number > 1 else "") for i, number in enumerate(rounds)]


class UseCounter:
    """Counts the choices of a model's mixture inside `counting`.

    Attributes:
        counts: Name of the expert -> how often it was chosen; empty without a mixture.
    """

    def __init__(self, model: nn.Module) -> None:
        self._routers = [module for module in model.modules() if isinstance(module, Router)]
        names = expert_names(self._routers[0].layers[-1].out_features) if self._routers else []  # type: ignore[arg-type]
        self.counts = {name: torch.zeros(()) for name in names}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the model does inside."""
        handles = [router.register_forward_hook(self._count) for router in self._routers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _count(self, _: nn.Module, __: object, routing: Routing) -> None:
        for name, number in zip(self.counts, routing.use * routing.chosen.numel(), strict=True):
            self.counts[name] += number.cpu()


def _weighted_sum(maps_BKxx: Tensor, weights_BK: Tensor) -> Tensor:
    return (maps_BKxx * weights_BK.to(maps_BKxx.dtype)[:, :, None, None, None]).sum(1)
