"""The two classes of qvision's guide with its arguments, so that its programs run: here they also learn.

There the deformable attention rounded its offsets, the "scales" were pools of one 7x7 map, GPT-2 saw the image only
after its last layer, and objectness was learnt by slot index. Here the encoder is this application's, GPT-2 attends to
the image in every block, and objectness is learnt by Hungarian matching. New programs take CaptionDetModel, whose boxes
come from the pyramid.

    B images, Q queries, D embed_size, T tokens, K classes
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, GPT2LMHeadModel

from caption_det.model.memory import QueryMemory
from caption_det.model.towers import ClipTower
from polyscale.losses import SetLoss, hungarian_match

LEVELS = 3


class MultiScaleCLIPEncoder(nn.Module):
    """Images normalised as CLIP's, [B, 3, H, W] of any size, -> queries [B, num_queries, embed_size].

    CLIP's last map, a simple feature pyramid at strides 8, 16 and 32, and learned queries that look at it by
    deformable attention.

    Args:
        embed_size: D.
        model_name: CLIP model on the hub, or in its cache.
        freeze_vision: CLIP's weights do not change and give no gradient.
        num_heads, num_points: of the deformable attention; num_heads divides `width`.
        dropout: in the query layers.
        num_queries: Q.
        width: channels of the pyramid.
        vision_config: a CLIP tower with fresh weights in place of `model_name`.

    Raises:
        UserError: the weights can neither be found nor fetched.
    """

    def __init__(
        self,
        embed_size: int,
        model_name: str = "openai/clip-vit-base-patch32",
        freeze_vision: bool = True,
        num_heads: int = 8,
        num_points: int = 4,
        dropout: float = 0.1,
        *,
        num_queries: int = 64,
        width: int = 256,
        vision_config: CLIPVisionConfig | None = None,
    ) -> None:
        super().__init__()
        self.tower = ClipTower.from_hub(model_name) if vision_config is None else ClipTower(vision_config)
        self.tower.net.requires_grad_(not freeze_vision)
        self.tower.freeze_unused()
        self.freeze_vision = freeze_vision
        self.neck = self.tower.make_neck(width)
        self.memory = QueryMemory(width, LEVELS, num_queries, 2, num_heads, num_points, dropout)
        self.project = nn.Linear(width, embed_size)

    def train(self, mode: bool = True) -> "MultiScaleCLIPEncoder":
        """Set the mode; a frozen tower stays in eval mode."""
        super().train(mode)
        if self.freeze_vision:
            self.tower.net.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return [B, num_queries, embed_size]."""
        return self.project(self.memory(self.neck(self.tower(images))))


class ResnetGPT2Wrapper(nn.Module):
    """Image features [B, Q, embed_size] -> caption logits by GPT-2 and one box per query.

    Args:
        gpt_decoder: GPT-2 as loaded; cross-attention is added to every block, with fresh weights.
        embed_size: D.
        vocab_size: that of `gpt_decoder`, which is resized to it if it differs.
        pad_token_id: captions are not learnt where they hold it.
        num_heads: kept for qvision's calls; GPT-2's own heads attend to the image.
        num_img_tokens: Q.
        num_classes: K.
    """

    def __init__(
        self,
        gpt_decoder: GPT2LMHeadModel,
        embed_size: int,
        vocab_size: int,
        pad_token_id: int = 0,
        num_heads: int = 8,
        num_img_tokens: int = 64,
        num_classes: int = 91,
    ) -> None:
        super().__init__()
        self.decoder = with_cross_attention(gpt_decoder)
        if vocab_size != self.decoder.config.vocab_size:
            self.decoder.resize_token_embeddings(vocab_size)
        self.pad_token_id, self.num_img_tokens = pad_token_id, num_img_tokens
        self.bridge = nn.Linear(embed_size, self.decoder.config.n_embd)
        self.boxes = nn.Sequential(nn.Linear(embed_size, embed_size), nn.ReLU(), nn.Linear(embed_size, 4))
        self.classes, self.objectness = nn.Linear(embed_size, num_classes), nn.Linear(embed_size, 1)
        self.criterion = SetLoss()

    def forward(
        self,
        img_features: Tensor,
        captions: Tensor,
        attention_mask: Tensor | None = None,
        bbox_targets: Sequence[Tensor] | Tensor | None = None,
        class_targets: Sequence[Tensor] | Tensor | None = None,
        mode: Literal["train", "inference"] = "train",
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return (logits [B, T, V], boxes [B, Q, 4], objectness [B, Q, 1], classes [B, Q, K], loss).

        Args:
            img_features: [B, Q, D].
            captions: int64 [B, T].
            attention_mask: [B, T], 0 on padding.
            bbox_targets: of each image [T_i, 4], (centre x, centre y, width, height) as fractions; rows below 0 pad.
            class_targets: of each image int64 [T_i]; class 0 for all where absent.
            mode: "inference" gives None as the loss.
        """
        if img_features.ndim != 3 or img_features.shape[1] != self.num_img_tokens:
            raise ValueError(f"img_features must be [B, {self.num_img_tokens}, D], got {list(img_features.shape)}")
        if mode not in ("train", "inference"):
            raise ValueError(f"mode must be 'train' or 'inference', got {mode!r}")
        memory = self.bridge(img_features)
        logits = self.decoder(
            input_ids=captions, attention_mask=attention_mask, encoder_hidden_states=memory, use_cache=False
        ).logits
        boxes, classes = self.boxes(img_features).sigmoid(), self.classes(img_features)
        objectness = self.objectness(img_features)
        if mode == "inference":
            return logits, boxes, objectness, classes, None
        wanted = captions[:, 1:].masked_fill(captions[:, 1:] == self.pad_token_id, -100)
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), wanted.flatten(), ignore_index=-100)
        if bbox_targets is not None:
            targets = _targets(bbox_targets, class_targets)
            loss = loss + self.criterion({"logits": classes, "pred_boxes": boxes}, targets)["loss"]
            present = torch.zeros_like(objectness)
            for image, (queries, _) in enumerate(hungarian_match(classes, boxes, targets)):
                present[image, queries] = 1
            loss = loss + F.binary_cross_entropy_with_logits(objectness, present)
        return logits, boxes, objectness, classes, loss


def with_cross_attention(decoder: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Return a copy of a GPT-2 with cross-attention in every block; its other weights stay."""
    config = type(decoder.config)(**{**decoder.config.to_dict(), "add_cross_attention": True})
    made = GPT2LMHeadModel(config)
    made.load_state_dict(decoder.state_dict(), strict=False)
    return made


def _targets(boxes: Sequence[Tensor] | Tensor, labels: Sequence[Tensor] | Tensor | None) -> list[dict[str, Any]]:
    targets = []
    for image, rows in enumerate(boxes):
        real = (rows >= 0).all(-1)
        known = rows.new_zeros(len(rows), dtype=torch.int64) if labels is None else labels[image].long()
        targets.append({"boxes": rows[real], "class_labels": known[real]})
    return targets
