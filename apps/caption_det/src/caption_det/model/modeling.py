"""CaptionDetModel: one pass of a vision tower, then a caption by GPT-2 and scored boxes by a detection head.

    images -> tower -> pyramid -> memory -> GPT-2 -> caption
                          `-----> detection head -> boxes

A transformers model: generate() with greedy search, beams, sampling and cache; save_pretrained and from_pretrained;
AutoModel. Pixel values are RGB in [0, 1]; the model normalises them. What differs from VisionEncoderDecoderModel: the
memory is multi-scale, and the same pass of the tower gives boxes.

    B images, n captions of each, T tokens, Q memory vectors, D = GPT-2's width, N boxes, K classes, V words
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils import ModelOutput, logging

from caption_det.model.configuration import CaptionDetConfig
from caption_det.model.dense import DenseDetector
from caption_det.model.detections import Detections, ScoredBoxes, Targets, score_boxes
from caption_det.model.lora import merged_state
from caption_det.model.memory import MapMemory, ObjectMemory, QueryMemory, level_means
from caption_det.model.object_queries import SetDetector
from caption_det.model.towers import TimmTower, create_tower

# transformers 5.24 renamed past_key_values to cache, in arguments and outputs
CACHE = "cache" if "cache" in inspect.signature(GPT2LMHeadModel.forward).parameters else "past_key_values"
LEVELS = 3
RARE = -4.0  # logit of a word at the start


@dataclass
class VisualOutput(ModelOutput):  # type: ignore[misc]
    """What one pass over the images gives.

    Attributes:
        last_hidden_state: the memory, [B, Q, D].
        levels: the pyramid, list of [B, width, h, w]; generation drops it.
        found: raw boxes, where the memory has been made of them already.
    """

    last_hidden_state: Tensor | None = None
    levels: tuple[Tensor, ...] | None = None
    found: Detections | None = None


@dataclass
class CaptionDetOutput(Seq2SeqLMOutput):  # type: ignore[misc]
    """Output of the model; what was not computed is None.

    Attributes:
        loss: weighted sum of `losses`.
        logits: [B * n, T, V].
        pred_boxes: [B, N, 4], (centre x, centre y, width, height) as fractions of the image.
        objectness: logits [B, N].
        class_logits: [B, N, K], one sigmoid per class.
        losses: by name: "caption" and those of the detection head; not weighted.
        encoder_last_hidden_state: the memory.
        cross_attentions: where they were asked for, one [B * n, heads, T, Q] for each block of GPT-2.
    """

    pred_boxes: Tensor | None = None
    objectness: Tensor | None = None
    class_logits: Tensor | None = None
    losses: dict[str, Tensor] | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        """(logits, pred_boxes, objectness, class_logits, loss), as qvision's model returned them."""
        return self.logits, self.pred_boxes, self.objectness, self.class_logits, self.loss


class VisualEncoder(nn.Module):
    """Images -> VisualOutput; `features` are those of the tower, where they were computed before.

    The detection head belongs to the model; the encoder runs it where the memory is made of objects.
    """

    main_input_name = "pixel_values"
    mean: Tensor
    std: Tensor

    def __init__(self, config: CaptionDetConfig, detector: nn.Module | None = None) -> None:
        super().__init__()
        self._detector = (detector,)  # not a part: its parameters are the model's
        self.tower = create_tower(config.backbone, config.vision_config)
        self.neck = self.tower.make_neck(config.width)
        self.memory: nn.Module = MapMemory(config.width, self.tower.map_level)
        if config.memory != "map":
            self.memory = queries = QueryMemory(
                config.width, LEVELS, config.num_queries, config.memory_layers, config.num_heads, config.num_points,
                config.dropout,
            )  # fmt: skip
            if config.memory == "objects":
                kinds = len(config.categories)
                self.memory = ObjectMemory(queries, config.width, LEVELS, kinds, config.num_objects)
        self.bridge = nn.Linear(config.width, config.text_config.n_embd)
        if config.captioner == "none":
            self.memory.requires_grad_(False)
            self.bridge.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(self.tower.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.tower.std).view(-1, 1, 1), persistent=False)

    def forward(
        self, pixel_values: Tensor | None = None, features: Sequence[Tensor] | None = None, **_: Any
    ) -> VisualOutput:
        """Return memory and levels of `pixel_values` [B, 3, H, W] in [0, 1], or of the tower's maps `features`."""
        if features is None:
            if pixel_values is None:
                raise ValueError("pixel_values or features are needed")
            features = self.tower_features(pixel_values)
        levels = self.neck(list(features))
        if not isinstance(self.memory, ObjectMemory):
            return VisualOutput(last_hidden_state=self.bridge(self.memory(levels)), levels=tuple(levels))
        (detector,) = self._detector
        assert detector is not None
        found = detector(levels)
        return VisualOutput(self.bridge(self.memory(levels, found)), tuple(levels), found)

    def train(self, mode: bool = True) -> "VisualEncoder":
        """Set the mode; a frozen tower stays in eval mode, so that its batch norms do not move."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.tower.parameters()):
            self.tower.eval()
        return self

    def tower_features(self, pixel_values: Tensor) -> list[Tensor]:
        """Return the maps of the tower, which do not change while it is frozen."""
        return self.tower((pixel_values - self.mean) / self.std)


class CaptionDetModel(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Captions and boxes; see CaptionDetConfig for its parts.

    Attributes:
        tokenizer: that of the captions; saved with the model where it is set.
    """

    config_class = CaptionDetConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ("CLIPEncoderLayer", "GPT2Block", "QueryLayer")
    _tied_weights_keys = {"decoder.lm_head.weight": "decoder.transformer.wte.weight"}  # noqa: RUF012

    def __init__(self, config: CaptionDetConfig) -> None:
        super().__init__(config)
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.decoder = GPT2LMHeadModel(config.text_config) if config.captioner != "none" else None
        if self.decoder is None:
            self._tied_weights_keys = {}
        self.words: nn.Linear | None = None
        if config.words_weight:
            self.words = nn.Linear(LEVELS * config.width, config.text_config.vocab_size)
            nn.init.constant_(self.words.bias, RARE)
        kinds = len(config.categories)
        self.detector: DenseDetector | SetDetector | None = None
        if config.detector == "dense":
            self.detector = DenseDetector(config.width, kinds, LEVELS)
        elif config.detector == "set":
            self.detector = SetDetector(
                config.width, kinds, LEVELS, config.object_queries, config.detector_layers, config.num_heads,
                config.num_points, config.dropout,
            )  # fmt: skip
        self.encoder = VisualEncoder(config, self.detector)
        self.post_init()
        text = config.text_config
        self.generation_config.max_new_tokens, self.generation_config.num_beams = config.max_tokens, config.beams
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(self.generation_config, name, getattr(text, name))
        if self.generation_config.pad_token_id is None:
            self.generation_config.pad_token_id = text.eos_token_id
        self.generation_config.decoder_start_token_id = text.bos_token_id

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing but buffers that no file holds: every module sets its own weights when it is built.

        transformers builds a model that it loads without numbers, so they are missing there.
        """
        if isinstance(module, VisualEncoder | TimmTower):
            config = self.config
            with torch.random.fork_rng(devices=[]):
                fresh = VisualEncoder(config) if isinstance(module, VisualEncoder) else TimmTower(module.name)
            saved = fresh.state_dict().keys()
            own = dict(module.named_buffers())
            for name, value in fresh.named_buffers():
                if name not in saved and value.device.type != "meta":
                    own[name].copy_(value)

    # What transformers asks for

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """Return the module that generate() calls once per image."""
        return self.encoder

    def get_decoder(self) -> nn.Module | None:
        """Return GPT-2."""
        return self.decoder

    def get_input_embeddings(self) -> nn.Module | None:
        """Return the word embeddings."""
        return None if self.decoder is None else self.decoder.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the layer that gives the logits of the words."""
        return None if self.decoder is None else self.decoder.get_output_embeddings()

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write config.json, model.safetensors, generation_config.json and the tokenizer's files into a folder.

        Adapters are merged into the weights, so that the folder is that of a model without them.
        """
        kwargs.setdefault("state_dict", merged_state(self))
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # of a second's work
        super().save_pretrained(str(save_directory), *args, **kwargs)
        if shown:
            logging.enable_progress_bar()
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(str(save_directory))

    # Forward

    def forward(
        self,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: VisualOutput | None = None,
        cache: Any = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        detection_labels: Targets | None = None,
        has_boxes: Tensor | None = None,
        features: Sequence[Tensor] | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CaptionDetOutput:
        """Compute caption logits, boxes and losses.

        Args:
            pixel_values: [B, 3, H, W], RGB in [0, 1].
            decoder_input_ids: [B * n, T]; n captions of an image lie one after another. Made from `labels` if absent.
            decoder_attention_mask: [B * n, T], 0 on padding at the left.
            encoder_outputs: of an earlier pass over the images; boxes are then only computed for a loss.
            cache: keys and values of earlier tokens (past_key_values is its name in older transformers).
            past_key_values: the same.
            labels: int64 [B * n, T], not shifted, -100 where no token is to be learnt: the "caption" loss.
            detection_labels: see `detections.Targets`: the losses of the boxes.
            has_boxes: bool [B], images whose boxes are to be learnt; with `detection_labels` boxes are computed for
                these alone.
            features: maps of the tower in place of pixel_values.
            use_cache: return the cache.
            return_dict: only True and None are known; `to_tuple` of the output gives a tuple.
            kwargs: for GPT-2, such as output_attentions.
        """
        fresh = encoder_outputs is None
        if encoder_outputs is None:
            encoder_outputs = self.encoder(pixel_values, features)
        memory = encoder_outputs[0]
        output = CaptionDetOutput(encoder_last_hidden_state=memory)
        losses: dict[str, Tensor] = {}
        total: list[Tensor] = []
        if self.decoder is not None and (labels is not None or decoder_input_ids is not None):
            if decoder_input_ids is None:
                decoder_input_ids = self.shift_right(labels)
            past = past_key_values if cache is None else cache
            words = self._decode(memory, decoder_input_ids, decoder_attention_mask, past, use_cache, kwargs)
            for name in ("logits", "cross_attentions", CACHE):
                if name in words:
                    output[name] = words[name]
            if "attentions" in words:
                output["decoder_attentions"] = words["attentions"]
            if labels is not None:
                losses["caption"] = _caption_loss(words.logits, labels)
                total.append(self.config.caption_weight * losses["caption"])
                if self.words is not None and encoder_outputs.levels is not None:
                    losses["words"] = _words_loss(self.words(level_means(encoder_outputs.levels)), labels)
                    total.append(self.config.words_weight * losses["words"])
        if self.detector is not None and (fresh or detection_labels is not None):
            encoder_outputs, targets = _with_known_boxes(encoder_outputs, detection_labels, has_boxes)
            found = self.find(encoder_outputs)
            output.pred_boxes, output.objectness, output.class_logits = found.boxes, found.objectness, found.classes
            if targets is not None:
                parts = self._detection_losses(found, targets, encoder_outputs)
                losses.update(parts)
                total += [self.config.detection_weight * part for part in parts.values()]
        if losses:
            output.losses, output.loss = losses, torch.stack(total).sum()
        return output

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers' generate; `encoder_outputs` stay as they are (there they are repeated for each beam)."""
        if kwargs.get("encoder_outputs") is not None:
            kwargs["encoder_outputs"] = VisualOutput(last_hidden_state=kwargs["encoder_outputs"][0])
        return super().generate(*args, **kwargs)

    def shift_right(self, labels: Tensor | None) -> Tensor:
        """Return the tokens that GPT-2 reads to predict `labels`: the start, then all but the last."""
        if labels is None:
            raise ValueError("decoder_input_ids or labels are needed")
        config = self.generation_config
        ids = labels.new_full(labels.shape, config.decoder_start_token_id)
        ids[:, 1:] = labels[:, :-1]
        return ids.masked_fill(ids == -100, config.eos_token_id)  # read by nobody: only padding comes behind it

    def find(self, encoded: VisualOutput) -> Detections:
        """Return the raw boxes of images that were encoded.

        Raises:
            ValueError: the model has no detection head, or generation dropped the levels.
        """
        if encoded.found is not None:
            return encoded.found
        if self.detector is None or encoded.levels is None:
            raise ValueError("no detection head, or no levels in these encoder outputs")
        found: Detections = self.detector(list(encoded.levels))
        return found

    @torch.no_grad()
    def detect(self, encoded: VisualOutput, threshold: float = 0.05, limit: int = 100) -> list[ScoredBoxes]:
        """Return the scored boxes of each image that was encoded: none where there is no detection head."""
        if self.detector is None:
            count = len(encoded[0])
            return [ScoredBoxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))] * count
        return score_boxes(self.find(encoded), nms_iou=self.detector.nms_iou, threshold=threshold, limit=limit)

    def _decode(
        self, memory: Tensor, ids: Tensor, mask: Tensor | None, past: Any, use_cache: bool | None, more: dict[str, Any]
    ) -> Any:
        assert self.decoder is not None
        repeats, rest = divmod(len(ids), len(memory))
        if rest:
            raise ValueError(f"{len(ids)} captions for {len(memory)} images: every image needs equally many")
        memory = memory.repeat_interleave(repeats, dim=0) if repeats > 1 else memory
        if mask is None and past is not None and self.config.captioner == "cross_attention":
            # a caption that has ended is followed by padding, of which transformers warns where there is no mask
            mask = ids.new_ones(len(ids), past.get_seq_length() + ids.shape[1])
        wanted = {key: value for key, value in more.items() if key in ("output_attentions", "output_hidden_states")}
        arguments = {CACHE: past, "use_cache": bool(use_cache), **wanted}
        if self.config.captioner == "cross_attention":
            return self.decoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=memory, **arguments)
        if past is not None and past.get_seq_length() > 0:  # the memory is in the cache already
            return self.decoder(input_ids=ids, **arguments)
        words = self.decoder.get_input_embeddings()(ids)
        out = self.decoder(inputs_embeds=torch.cat([memory, words], dim=1), **arguments)
        out.logits = out.logits[:, memory.shape[1] :]
        return out

    def _detection_losses(self, found: Detections, targets: Targets, encoded: VisualOutput) -> dict[str, Tensor]:
        assert self.detector is not None
        if not targets:  # the graph stays whole: every process waits for every gradient
            return {"class": 0.0 * (found.classes.sum() + found.boxes.sum() + found.objectness.sum())}
        shapes = [(level.shape[-2], level.shape[-1]) for level in encoded.levels or ()]
        return self.detector.loss(found, targets, shapes)


def _with_known_boxes(
    encoded: VisualOutput, targets: Targets | None, has_boxes: Tensor | None
) -> tuple[VisualOutput, Targets | None]:
    """The images whose boxes are to be learnt, and these; one image without targets where there is none."""
    if targets is None or has_boxes is None or bool(has_boxes.all()):
        return encoded, targets
    known = has_boxes.nonzero()[:, 0]
    images = (known if len(known) else has_boxes.new_zeros(1, dtype=torch.int64)).to(encoded[0].device)
    levels = tuple(level[images] for level in encoded.levels or ())
    found = None if encoded.found is None else encoded.found.chosen(images)
    chosen = VisualOutput(last_hidden_state=encoded[0], levels=levels, found=found)
    return chosen, [targets[int(image)] for image in known]


def _words_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the words [B, V] that the captions [B * n, T] of each image hold, divided by their number.

    Attribute prediction (Wu et al. 2016): what one word in a caption says, such as the background, reaches the tower at
    once, and not only when GPT-2 has learnt where to look for it.
    """
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    index, known = (part.view(len(logits), -1) for part in (labels.clamp(min=0), (labels >= 0).float()))
    wanted.scatter_reduce_(1, index, known, "amax")
    total = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
    return total / wanted.sum().clamp(min=1)


def _caption_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the tokens that are not -100; 0 with a graph where there is none."""
    total = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)
