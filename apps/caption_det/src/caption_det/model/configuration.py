"""The configuration of the model, as transformers saves it: config.json of a folder that AutoConfig can read."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from transformers import CLIPVisionConfig, GPT2Config, PretrainedConfig

Memory = Literal["queries", "map", "objects"]
Captioner = Literal["cross_attention", "prefix", "none"]
Detector = Literal["dense", "set", "none"]


class CaptionDetConfig(PretrainedConfig):  # type: ignore[misc]
    """Everything that the shape of a CaptionDetModel depends on.

    Args:
        backbone: a hierarchical timm network, where `vision_config` is None.
        vision_config: a CLIP vision tower, as transformers describes it.
        text_config: GPT-2; its token ids begin, end and pad captions.
        categories: names of the classes of the boxes, in the order of the class logits.
        image_size: side in pixels of the square that images are resized to; the model takes any size.
        width: channels of the feature pyramid and of the detection head.
        memory: what the caption is read from: learned "queries" with deformable attention over all levels, those
            and the "objects" that the dense head found, or the coarsest "map", as in VisionEncoderDecoder.
        num_objects: of those objects.
        num_queries, memory_layers, num_heads, num_points: of those queries; dropout: in their layers.
        captioner: "cross_attention" in every block of GPT-2, a "prefix" of its input (ClipCap), or "none".
        detector: "dense" (FCOS style, for small data), "set" (Deformable DETR), or "none".
        object_queries, detector_layers: of the set detector.
        max_tokens, beams: of generated captions, where generate() is not told otherwise.
        caption_weight, detection_weight, words_weight: of the parts of the loss. Where words_weight is not 0, the
            means of the pyramid predict which words the captions hold.
    """

    model_type = "caption_det"

    def __init__(
        self,
        backbone: str | None = "tf_efficientnet_lite0",
        vision_config: Mapping[str, Any] | CLIPVisionConfig | None = None,
        text_config: Mapping[str, Any] | GPT2Config | None = None,
        categories: Sequence[str] = ("object",),
        image_size: int = 224,
        width: int = 128,
        memory: Memory = "queries",
        num_queries: int = 64,
        num_objects: int = 8,
        memory_layers: int = 2,
        num_heads: int = 8,
        num_points: int = 4,
        dropout: float = 0.1,
        captioner: Captioner = "cross_attention",
        detector: Detector = "dense",
        object_queries: int = 100,
        detector_layers: int = 3,
        max_tokens: int = 40,
        beams: int = 1,
        caption_weight: float = 1.0,
        detection_weight: float = 1.0,
        words_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if captioner == "none" and detector == "none":
            raise ValueError("captioner and detector are both none: the model would do nothing")
        if memory == "objects" and detector != "dense":
            raise ValueError(f"memory is objects, and these are found by the dense detector, not by {detector}")
        self.backbone = None if vision_config is not None else backbone
        self.vision_config = _configured(CLIPVisionConfig, vision_config)
        self.text_config = _configured(GPT2Config, text_config or {})
        self.text_config.add_cross_attention = captioner == "cross_attention"
        self.categories = list(categories)
        self.image_size, self.width = image_size, width
        self.memory, self.num_queries, self.memory_layers = memory, num_queries, memory_layers
        self.num_objects = num_objects
        self.num_heads, self.num_points, self.dropout = num_heads, num_points, dropout
        self.captioner, self.detector = captioner, detector
        self.object_queries, self.detector_layers = object_queries, detector_layers
        self.max_tokens, self.beams = max_tokens, beams
        self.caption_weight, self.detection_weight = caption_weight, detection_weight
        self.words_weight = words_weight if captioner != "none" else 0.0
        kwargs.setdefault("is_encoder_decoder", True)
        kwargs.setdefault("tie_word_embeddings", True)
        kwargs.pop("id2label", None)  # follows from the categories; a stranger's would be a second truth
        kwargs.pop("label2id", None)
        kwargs.pop("num_labels", None)
        super().__init__(id2label=dict(enumerate(self.categories)), **kwargs)

    def get_text_config(self, *_: Any, **__: Any) -> GPT2Config:
        """The configuration of the language model, where generation looks for sizes."""
        return self.text_config

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        values: dict[str, Any] = super().to_dict()
        for name in ("vision_config", "text_config"):
            config = getattr(self, name)
            values[name] = None if config is None else config.to_dict()
        return values


def _configured(kind: type[Any], given: Any) -> Any:
    if given is None or isinstance(given, kind):
        return given
    return kind(**{key: value for key, value in given.items() if key not in ("model_type", "transformers_version")})
