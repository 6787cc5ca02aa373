"""The configuration of camo-seg and its presets; each preset names its hardware and what to expect of it."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from polyscale.models.options import WeightSource
from polyscale.settings import DiskPath, Needs, OptionalDiskPath, Preset, Settings
from polyscale.training.options import TRAIN_NEEDS, TrainSettings

Layout = Literal["auto", "pairs", "cod10k", "camo", "nc4k", "chameleon", "bundle", "test"]
MAX_SCALES, MAX_SCALE = 8, 4.0
MOST_VALIDATION = 0.8  # val_fraction stays below it: where a test split is drawn too, something is left to learn from


SET_FILES = (".yaml", ".yml")  # of data sets that name others


class MixtureMember(Settings):
    """One data set of several, as a YAML file names them."""

    needs: ClassVar = (
        Needs("with files, not the synthetic set", lambda m: m.path != "synthetic", ("only", "layout", "mask_rule")),
    )

    path: str
    """Folder of the data set, relative to the file; synthetic is the embedded, generated one."""
    share: float | None = Field(None, gt=0)
    """How much of each epoch it gives, relative to the others; none in any set: every image once an epoch."""
    only: dict[str, tuple[str, ...]] = Field({})
    """Keep the images whose column of the set's meta.csv or split.csv holds one of these values: {kind: [cat, fox]}."""
    splits: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    """The splits to use of it."""
    layout: Layout = "auto"
    """Layout of its folder."""
    mask_rule: str = "auto"
    """How its masks are read."""


class DataSettings(Settings):
    """Which images to learn from and how to vary them."""

    path: DiskPath = "synthetic"
    """Folder of a data set, or a YAML file that names several; synthetic is the embedded, generated one."""
    layout: Layout = "auto"
    """Layout of that folder; auto tells it from the folder's names, test puts every image in the test split."""
    masks: OptionalDiskPath = None
    """Folder of the masks where data.path is a plain folder of images (layout auto, pairs or test)."""
    mask_rule: str = "auto"
    """How masks are read: auto (refuses what has no single reading), nonzero, above_128, alpha, or label=N."""
    test_set: str = "all"
    """Test set of a bundle that holds several (CAMO, COD10K, ...)."""
    val_fraction: float = Field(0.15, gt=0, lt=MOST_VALIDATION)
    """Share of the training images cut off for validation where the data set has no validation split."""
    cam_only: bool = True
    """COD10K: leave out the images without a camouflaged object, as every published table does."""
    train_images: int = Field(352, ge=1)
    """Training images to generate for the synthetic set."""
    flip: bool = True
    """Mirror half of the training images."""
    rotate: float = Field(15.0, ge=0, le=45)
    """Largest rotation in degrees."""
    zoom: float = Field(0.5, ge=0, lt=1)
    """Largest share of the area that a random crop takes away."""
    colour: float = Field(0.2, ge=0, le=1)
    """Strength of the brightness, contrast and saturation changes."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Largest turn of the hue, as a share of the colour circle, in a quarter of the images."""
    grey: float = Field(0.0, ge=0, le=1)
    """Share of the training images that lose their colours."""
    degrade: float = Field(0.0, ge=0, le=1)
    """Share of the training images that are blurred, made coarse, noisy or saved as JPEG."""
    paste: float = Field(0.0, ge=0, le=1)
    """Share of the training images into which the object of another one is pasted."""
    empty: float = Field(0.0, ge=0, le=1)
    """Share of the training images that are cut down to a part without an object, where there is one."""
    cache: bool = True
    """Keep the resized training images in memory."""


class ModelSettings(Settings):
    """The network."""

    backbone: str = "pvt_v2_b0"
    """Any hierarchical timm model: pvt_v2_b0 ... pvt_v2_b5, convnext_*, resnet*, swin_*, mobilenetv4_*, ..."""
    pretrained: WeightSource = "none"
    """ImageNet weights: timm's from the hub, or a package's (polyscale[imagenet]; tf_efficientnet_lite0 to 2)."""
    weights: OptionalDiskPath = None
    """Start from a trained model of the same settings: a run's folder, a hub id, or a shipped name (nano)."""
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    """Input scales, coarse to fine; 1.0 alone is the single-scale model."""
    fusion: Literal["hierarchical", "absi", "window"] = "hierarchical"
    """How the scales are joined: coarse to fine, by attention at each location, or 1.0 and a window of a finer one."""
    width: int = Field(64, ge=8)
    """Channels of the decoder."""
    experts: int = Field(0, ge=0)
    """Decoders of a mixture of experts, 2 or more, of which a router picks for each image; 0 is one plain decoder."""
    top_k: int = Field(2, ge=1)
    """Experts that decode an image, in training as in prediction."""
    image_size: int = Field(384, ge=32)
    """Side in pixels of the square that images are resized to (the reference scale)."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""


class LossSettings(Settings):
    """The parts of the training loss and their weights."""

    main: Literal["structure", "bce", "bce_iou"] = "structure"
    """Loss of the final map: F3Net's boundary-weighted BCE + IoU, plain BCE (ZoomNeXt), or BCE + IoU."""
    dice: float = Field(0.0, ge=0)
    """Weight of the per-image Dice loss."""
    boundary: float = Field(0.0, ge=0)
    """Weight of the boundary loss: 1 - F1 of the contours of map and mask, two pixels apart at most."""
    deep: float = Field(0.0, ge=0)
    """Weight of deep supervision: the main loss at the decoder's coarser levels; 0 leaves their heads out."""
    ual: float = Field(0.0, ge=0)
    """Weight of the uncertainty-aware loss that pushes the map to 0 or 1; its own schedule raises it from 0."""
    scale_loss: float = Field(0.3, ge=0)
    """Weight of the supervision of each input scale; 0 leaves its heads out."""
    scale_weights: tuple[float, ...] | None = None
    """Weight of each of model.scales in that supervision, in their order; none: 1 for scale 1.0, 0.5 for the others."""
    scale_epochs: int | None = Field(None, ge=0)
    """Supervise the scales only in this many first epochs (saves their memory later); none supervises always."""
    balance: float = Field(0.5, ge=0)
    """Weight of the loss that keeps a mixture's experts equally in use (model.experts)."""


class OptimSettings(Settings):
    """What the optimizer does beyond the section train."""

    backbone_lr: float = Field(1.0, gt=0, le=1)
    """Learning rate of the backbone as a share of train.lr; 0.1 suits a pretrained one."""
    unfreeze_epochs: int = Field(0, ge=0)
    """Start with a frozen backbone and unfreeze it over this many epochs, deepest part first; 0 trains all at once."""


def _supervises_scales(config: "Config") -> bool:
    return len(config.model.scales) > 1 and config.loss.scale_loss > 0


class Config(Settings):
    """Everything that decides a camo-seg run."""

    needs: ClassVar = (
        *TRAIN_NEEDS,
        Needs("with model.experts of 2 or more", lambda c: c.model.experts > 0, ("model.top_k", "loss.balance")),
        Needs("with several model.scales", lambda c: len(c.model.scales) > 1, ("model.fusion", "loss.scale_loss")),
        Needs(
            "with several model.scales and a loss.scale_loss", _supervises_scales,
            ("loss.scale_weights", "loss.scale_epochs"),
        ),
        Needs("without model.weights, which take its place", lambda c: not c.model.weights, ("model.pretrained",)),
        Needs(
            "with the synthetic set, or a file that names it",
            lambda c: c.data.path == "synthetic" or Path(c.data.path).suffix.lower() in SET_FILES,
            ("data.train_images",),
        ),
        Needs(
            "with a data.path of files, not the synthetic set", lambda c: c.data.path != "synthetic",
            ("data.layout", "data.masks", "data.mask_rule", "data.test_set", "data.val_fraction"),
        ),
    )  # fmt: skip

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _scales_agree(self) -> "Config":
        scales, weights = self.model.scales, self.loss.scale_weights
        if min(scales, default=0.0) <= 0 or 1.0 not in scales:
            raise ValueError(f"model.scales: needs scales above 0 and 1.0 among them, got {scales}")
        if len(scales) > MAX_SCALES or max(scales) > MAX_SCALE or self.model.image_size * min(scales) < 1:
            raise ValueError(
                f"model.scales: takes at most {MAX_SCALES} scales, none above {MAX_SCALE:g} or so small that it leaves "
                f"no pixel of {self.model.image_size}; got {scales}"
            )
        if len(scales) > 1 and self.model.fusion == "window" and (len(scales) != 2 or scales[0] != 1):
            raise ValueError(f"model.scales: fusion window needs 1.0 and one finer scale, as 1,1.5; got {scales}")
        if list(scales) != sorted(set(scales)):
            raise ValueError(f"model.scales: must increase, as 0.5,1,1.5; got {scales}")
        if weights is not None and (min(weights, default=0.0) < 0 or not any(weights)):
            raise ValueError(f"loss.scale_weights: needs weights of 0 or more, one of them above 0, got {weights}")
        if weights is not None and len(scales) > 1 and self.loss.scale_loss > 0 and len(weights) != len(scales):
            raise ValueError(
                f"loss.scale_weights: needs one weight per scale of model.scales, got {len(weights)} for {len(scales)}"
            )
        return self

    @model_validator(mode="after")
    def _backbone_learns(self) -> "Config":
        given, epochs = self.optim.unfreeze_epochs, self.train.epochs
        if given >= epochs and given > 0:
            raise ValueError(
                f"optim.unfreeze_epochs: must be below the {epochs} of train.epochs, got {given}: "
                "the first layers would never learn"
            )
        return self

    @model_validator(mode="after")
    def _experts_agree(self) -> "Config":
        experts, top_k = self.model.experts, self.model.top_k
        if experts == 1:
            raise ValueError("model.experts: a mixture needs 2 or more; 0 is one plain decoder")
        if experts and top_k > experts:
            raise ValueError(f"model.top_k: cannot be more than the {experts} of model.experts, got {top_k}")
        return self


PRESETS = {
    "nano": Preset(
        about="From scratch on 2 CPU cores in under 4 minutes.",
        values={
            "model": {"backbone": "regnetx_002", "width": 32, "image_size": 192},
            "train": {"epochs": 4, "batch_size": 8, "lr": 2e-3, "ema": 0.99},
        },
    ),
    "photo": Preset(
        about="EfficientNet-Lite0, 320 px, one scale, packaged ImageNet weights, for photographs; 6.5 h of a CPU core.",
        values={
            "data": {
                "zoom": 0.6,
                "colour": 0.3,
                "hue": 0.1,
                "grey": 0.05,
                "degrade": 0.3,
                "paste": 0.25,
                "empty": 0.04,
            },
            "model": {
                "backbone": "tf_efficientnet_lite0",
                "pretrained": "package",
                "scales": [1.0],
                "width": 48,
                "image_size": 320,
            },
            "loss": {"dice": 0.5},
            "optim": {"backbone_lr": 0.3},
            "train": {"epochs": 20, "eval_every": 2, "batch_size": 8, "lr": 1e-3, "ema": 0.995},
        },
    ),
    "small": Preset(
        about="PVT-v2-B0, 256 px; timm weights from the hub; one 8 GB GPU.",
        values={
            "model": {"backbone": "pvt_v2_b0", "pretrained": "hub", "image_size": 256},
            "optim": {"backbone_lr": 0.1},
            "train": {"epochs": 60, "batch_size": 16, "lr": 5e-4, "workers": 4},
        },
    ),
    "base": Preset(
        about="PVT-v2-B2, 384 px; timm weights from the hub; one 24 GB GPU.",
        values={
            "model": {"backbone": "pvt_v2_b2", "pretrained": "hub", "image_size": 384},
            "loss": {"main": "structure", "ual": 1.0},
            "optim": {"backbone_lr": 0.1},
            "train": {"epochs": 150, "batch_size": 8, "lr": 1e-4, "schedule": "step", "workers": 8},
        },
    ),
}
