"""The event detector: RVT's backbone, PAFPN on three or four of its levels, attention for small objects, YOLOX's head.

Source: RVT (Gehrig and Scaramuzza, CVPR 2023) and the eTram-rvt notes for the attention. What differs from the notes:
the previous frames that the temporal attention compares with are part of the state, one row per stream beside the
LSTM's, and it sees every step; there they were a buffer that held whatever labelled frames came before.

    T steps, B streams, N chosen frames of the T * B
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from event_det.model import detections
from event_det.model.backbone import Order, RecurrentBackbone, States
from event_det.model.detections import IOU, Detections
from event_det.model.head import Cells, YoloxHead
from polyscale.blocks import PAFPN, ScaleAwareChannelAttention, SmallObjectAttentionModule
from polyscale.models.weights import Pretrained

State = dict[str, list[Tensor]]
"""What a stream remembers, one row per stream: "hidden" and "cell" of each stage, "attention" of each level."""

ATTENDED = 2  # levels with attention for small objects, the finest ones


class EventDetector(Pretrained):
    """Boxes of objects in the frames of event streams.

    forward: frames [T, B, in_channels, H, W], counts of events, any H and W -> Cells of the chosen frames, State.

    size: (H, W) of the frames that it is made for; it decides the attention's tiles, other sizes are padded to whole
    tiles at the bottom and right. classes: names. width: channels of the first stage. head: channels of an attention
    head. depth: of PAFPN. levels: 3 or 4 of the backbone's, the coarsest ones. patch: stride of the first stage.
    splits: tiles along a side of the last stage. recurrent: False starts the LSTMs anew at every step.
    """

    shipped = Path(__file__).parents[1] / "weights"
    title = "Object detection in event streams (event-det)"
    task = "object-detection"
    tags = ("event-camera", "object-detection")

    def __init__(
        self,
        classes: Sequence[str],
        size: tuple[int, int],
        in_channels: int = 20,
        width: int = 64,
        head: int = 32,
        blocks: Sequence[int] = (1, 1, 1, 1),
        depth: float = 0.67,
        levels: int = 3,
        patch: int = 4,
        splits: int = 1,
        enable_small_object_attention: bool = False,
        attention_spatial: bool = True,
        attention_temporal: bool = True,
        recurrent: bool = True,
        order: Order = "auto",
    ) -> None:
        super().__init__()
        if not classes:
            raise ValueError("classes must name at least one class")
        if levels not in (3, 4) or len(blocks) != 4 or min(blocks) < 0 or patch < 2:
            got = f"{levels}, {list(blocks)}, {patch}"
            raise ValueError(f"levels must be 3 or 4, blocks four numbers from 0, patch from 2; got {got}")
        self.classes, self.size = tuple(classes), (int(size[0]), int(size[1]))
        self.in_channels, self.recurrent = in_channels, recurrent
        self.backbone = RecurrentBackbone(in_channels, width, head, blocks, patch, order)
        coarsest = self.backbone.strides[-1]
        self.tile = (-(-self.size[0] // (coarsest * splits)), -(-self.size[1] // (coarsest * splits)))
        self.strides, channels = self.backbone.strides[-levels:], self.backbone.channels[-levels:]
        self.fpn = PAFPN(channels, depth)
        self.small: nn.ModuleList | None = None
        self.channel: nn.ModuleList | None = None
        if enable_small_object_attention:
            if attention_spatial or attention_temporal:
                self.small = nn.ModuleList(
                    SmallObjectAttentionModule(c, attention_spatial, attention_temporal) for c in channels[:ATTENDED]
                )
            self.channel = nn.ModuleList(
                ScaleAwareChannelAttention(c, s) for c, s in zip(channels, self.strides, strict=True)
            )
        self.remembers = enable_small_object_attention and attention_temporal
        self.head = YoloxHead(channels, self.strides, len(classes))

    def forward(
        self,
        frames: Tensor,
        state: State | None = None,
        first: Tensor | None = None,
        chosen: Tensor | None = None,
    ) -> tuple[Cells, State]:
        """Return what the head says of the chosen frames, and the state after the last step.

        Args:
            frames: [T, B, in_channels, H, W], uint8 or float.
            state: after the step before; None where every stream begins. It carries the gradient: detach it.
            first: bool [B], True where a stream begins with frames[0]: its row of `state` is not looked at.
            chosen: int64 [N], numbers t * B + b of the frames to predict; all by default.
        """
        if frames.ndim != 5:
            raise ValueError(f"frames must be [T, B, C, H, W], got {list(frames.shape)}")
        features, after = self.backbone_features(frames, state, first)
        if chosen is not None and not self.remembers:
            features = [level.flatten(0, 1)[chosen][None] for level in features]
        levels, after["attention"] = self.pyramid(features, state, first)
        if chosen is not None and self.remembers:  # the attention sees every step, so the pyramid has to
            levels = [level[chosen] for level in levels]
        return self.head(levels), after

    @torch.no_grad()
    def detect(
        self,
        frames: Tensor,
        state: State | None = None,
        first: Tensor | None = None,
        *,
        threshold: float = 0.001,
        iou: float = IOU,
    ) -> tuple[list[list[Detections]], State]:
        """Return the boxes of every frame: T lists of B Detections, and the state; arguments as in `forward`."""
        cells, state = self(frames, state, first)
        found = detections.detect(cells, (frames.shape[-2], frames.shape[-1]), threshold, iou)
        B = frames.shape[1]
        return [found[start : start + B] for start in range(0, len(found), B)], state

    def backbone_features(
        self, frames: Tensor, state: State | None = None, first: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """Features [T, B, C, h, w] of the pyramid's levels, and the LSTMs' part of the state after the last step."""
        B = frames.shape[1]
        before: States | None = None
        if state is not None and self.recurrent:
            before = list(zip(state["hidden"], state["cell"], strict=True))
            if len(before[0][0]) != B:
                raise ValueError(f"state must have one row for each of the {B} streams, got {len(before[0][0])}")
            if first is not None:
                new = first[:, None, None, None]
                before = [(h.masked_fill(new, 0), c.masked_fill(new, 0)) for h, c in before]
        x = self._padded(frames)
        if self.recurrent:
            features, after = self.backbone(x, self.tile, before)
        else:  # every step is a stream of its own
            features, after = self.backbone(x.flatten(0, 1)[None], self.tile, None)
            features = [level.unflatten(1, x.shape[:2])[0] for level in features]
            after = [(h[-B:], c[-B:]) for h, c in after]
        return features[-len(self.strides) :], {"hidden": [h for h, _ in after], "cell": [c for _, c in after]}

    def pyramid(
        self, features: Sequence[Tensor], state: State | None = None, first: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Levels [T * B, C, h, w] of the pyramid with attention, and what that remembers; features [T, B, C, h, w]."""
        steps = features[0].shape[:2]
        levels = list(self.fpn([level.flatten(0, 1) for level in features]))
        memory: list[Tensor] = []
        for i, module in enumerate(self.small or ()):
            before, reset = None, None
            if self.remembers and state is not None:
                before = state["attention"][i]
                if first is not None:
                    reset = torch.zeros(steps, dtype=torch.bool, device=first.device)
                    reset[0] = first
            x, after = module.sequence(levels[i].unflatten(0, steps), before, reset)  # type: ignore[operator]
            levels[i] = x.flatten(0, 1)
            if after is not None:
                memory.append(after)
        for i, module in enumerate(self.channel or ()):
            levels[i] = module(levels[i])
        return levels, memory

    def _padded(self, frames: Tensor) -> Tensor:
        """Float frames whose sides are whole tiles of the last stage; zeros at the bottom and right."""
        h, w = (side * self.strides[-1] for side in self.tile)
        pad = (0, -frames.shape[-1] % w, 0, -frames.shape[-2] % h)
        frames = F.pad(frames, pad) if any(pad) else frames
        return frames.to(next(self.head.parameters()).dtype)


def detached(state: State) -> State:
    """The state without the graph that made it: where back-propagation through time ends."""
    return {name: [tensor.detach() for tensor in tensors] for name, tensors in state.items()}
