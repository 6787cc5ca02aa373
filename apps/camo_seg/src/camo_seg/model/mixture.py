"""A mixture of decoders over one pyramid of features: a router sends each image to the experts that suit it.

Source: camoXpert's ModelLevelMoE. What differs: training and inference take the same top-k (there, all experts in
training and two at inference), each expert runs once on all of its images (there, image by image), the load-balance
loss is part of the objective (there, it never was), any number of experts from two up works, and what the experts
decode is shared, so that one has some 35 thousand parameters (there, 15 to 67 million). The gates are those of Shazeer
et al. (ICLR 2017), the balance loss that of the Switch Transformer (Fedus et al., JMLR 2022).

Shape letters: B batch, N experts, K experts of an image, W width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camo_seg.model.decoder import TopDown
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


class MixtureDecoder(TopDown):
    """In the place of a Decoder: the weighted sum of the K best of N experts, chosen for each image.

    The levels are shared and learn from every image; an expert joins and decodes them in its own way. It runs once, on
    the images that were sent to it. Under torch.compile and in an exported file every expert sees every image, those
    that were not chosen with weight 0, as nothing there may depend on values: the same result, but for the statistics
    of the experts' batch norms in training.

    Args:
        channels: of the features, finest first.
        width: channels of the levels and of the experts.
        experts: N, at least 2; they take the VIEWS in turn.
        top_k: K, from 1 to N.
        deep_heads: build a head for each coarser level, for deep supervision.

    Raises:
        ValueError: fewer than two experts, a top_k that they do not have.
    """

    def __init__(
        self, channels: Sequence[int], width: int, experts: int = 4, top_k: int = 2, deep_heads: bool = False
    ) -> None:
        super().__init__(channels, width, deep_heads)
        if experts < 2:
            raise ValueError(f"experts must be 2 or more, got {experts}")
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k must be 1 to {experts}, the number of experts, got {top_k}")
        self.top_k = top_k
        self.router = Router(sum(channels), width, experts, top_k)
        views = [list(VIEWS.values())[i % len(VIEWS)] for i in range(experts)]
        self.experts = nn.ModuleList(Expert(view, len(channels), width) for view in views)

    def forward(
        self, features: Sequence[Tensor], return_loss_inputs: bool = False
    ) -> Tensor | tuple[list[Tensor], Routing]:
        """Return logits [B, 1, H/4, W/4]; with `return_loss_inputs` (maps, routing), the maps as Decoder's."""
        routing: Routing = self.router(features)
        levels, deep = self.descend(features)
        if torch.compiler.is_compiling() or levels.is_meta:
            logits = self._run_all(levels, routing)
        else:
            logits = self._run_chosen(levels, routing)
        return ([logits, *deep], routing) if return_loss_inputs else logits

    def _run_chosen(self, levels: Tensor, routing: Routing) -> Tensor:
        """Run each expert once on its images, then put the maps back into the order of the batch."""
        slots = routing.chosen.flatten()
        order = slots.argsort(stable=True)
        images = order // self.top_k
        shares = images.split(torch.bincount(slots, minlength=len(self.experts)).tolist())
        found = [expert(levels[share]) for expert, share in zip(self.experts, shares, strict=True) if len(share)]
        maps = torch.cat(found)[order.argsort()]
        return _weighted_sum(maps.unflatten(0, (-1, self.top_k)), routing.gates)

    def _run_all(self, levels: Tensor, routing: Routing) -> Tensor:
        """Run every expert on every image, with weight 0 where it was not chosen."""
        weights = torch.zeros_like(routing.probabilities).scatter(1, routing.chosen, routing.gates)
        return _weighted_sum(torch.stack([expert(levels) for expert in self.experts], 1), weights)


class Router(nn.Module):
    """Features [B, C, h, w] -> Routing, from the mean and the deviation of every channel: what is there and how rough.

    Args:
        channels: of all features together.
        hidden: channels of the hidden layer.
        experts: N.
        top_k: K.
    """

    def __init__(self, channels: int, hidden: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.experts, self.top_k = experts, top_k
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * channels), nn.Linear(2 * channels, hidden), nn.GELU(), nn.Linear(hidden, experts)
        )

    def forward(self, features: Sequence[Tensor]) -> Routing:
        """Choose the experts of each image."""
        means = [x.mean((2, 3)) for x in features]
        deviations = [x.var((2, 3), correction=0).add(1e-6).sqrt() for x in features]
        logits: Tensor = self.layers(torch.cat([*means, *deviations], 1))
        probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
        return Routing(probabilities, probabilities.topk(self.top_k, 1).indices)


class Expert(nn.Module):
    """Head of one kind: all levels at the finest one's size [B, L x W, h, w] -> logits [B, 1, h, w].

    Args:
        view: what it sees of the surroundings: its inductive bias, one of VIEWS.
        levels: L.
        width: W.
    """

    def __init__(self, view: type[nn.Module], levels: int, width: int) -> None:
        super().__init__()
        self.join = nn.Sequential(nn.Conv2d(levels * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU())
        self.mix = _Block(view(width), width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Decode every image that is given."""
        out: Tensor = self.head(self.mix(self.join(levels)))
        return out


class _Block(nn.Module):
    """Residual block: the view, then a pointwise expansion of two."""

    def __init__(self, view: nn.Module, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            view,
            nn.BatchNorm2d(width),
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
        names = expert_names(self._routers[0].experts) if self._routers else []
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
