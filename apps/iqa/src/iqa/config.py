"""The configuration of iqa and its presets; each names its hardware and what to expect of it."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from polyscale.models.options import WeightSource
from polyscale.settings import DiskPath, Needs, OptionalDiskPath, Preset, Settings
from polyscale.training.options import TRAIN_NEEDS, TrainSettings

SEQUENCE_IMAGES = 6  # of a ranked sequence: the original and five distortion levels

Layout = Literal[
    "auto", "csv", "koniq", "spaq", "livec", "kadid", "tid2013", "csiq", "live", "flive", "agiqa", "biq2021"
]


class DataSettings(Settings):
    """Which images and opinions to learn from, and how to show them."""

    renamed: ClassVar = {"chains": "ranked_levels", "chain_batch": "ranked_batch"}

    path: DiskPath = "synthetic"
    """Folder of a data set or csv of paths and scores; synthetic is the embedded, generated one."""
    layout: Layout = "auto"
    """Layout of that folder; auto tells it from the folder's names."""
    images: OptionalDiskPath = None
    """Folder of the images where it is not the usual one."""
    scale: tuple[float, float] | None = None
    """Lowest and highest possible score of a csv; none: the first that fits of 0-1, 1-5, 0-5, 1-10, 0-10, 0-100."""
    lower_better: bool | None = None
    """Whether the scores of a csv tell how bad an image is; must be said where their column is called dmos."""
    split_column: str = ""
    """Column of a csv that names the split, such as official_split; empty finds one called split."""
    val_fraction: float = Field(0.15, gt=0, le=0.8)
    """Share of the training images cut off for validation where the data set has no validation split."""
    train_images: int = Field(1200, ge=1)
    """Training images to generate for the synthetic set."""
    crop: int | None = Field(None, ge=32)
    """Side of the random crop that a training step sees; none takes whole images of one size."""
    flip: bool = True
    """Mirror half of the training images."""
    ranked_levels: int = Field(0, ge=0)
    """Good training images to show as they are and under one distortion at five levels (loss.ranked_levels)."""
    ranked_kinds: tuple[str, ...] = ()
    """Their kinds of distortion, drawn evenly from this list, which may name one several times; empty takes all."""
    ranked_batch: int = Field(2, ge=1)
    """Sequences of six such images in a training step, next to train.batch_size images."""
    ties: int = Field(0, ge=0)
    """Training images of a step that are also shown after an edit that no viewer sees (loss.ties): saved again at JPEG
    95, mirrored, a few pixels cut off, or at 90 % of the size."""
    cross: OptionalDiskPath = None
    """Another data set that is scored after every validation, never chosen by."""
    cross_split: Literal["all", "test"] = "all"
    """How much of that data set."""
    cache: bool = True
    """Keep the images of training and validation in memory, decoded and shrunk, up to 2 GB each."""


class ModelSettings(Settings):
    """The network."""

    retired: ClassVar = {"statistics": False, "shrink": 1}

    backbone: str = "swin_tiny_patch4_window7_224"
    """Any hierarchical timm model: swin_{tiny,small,base}_patch4_window7_224, convnext_*, resnet*, regnet*, ..."""
    pretrained: WeightSource = "none"
    """ImageNet weights: timm's from the hub, or a package's (polyscale[imagenet]; tf_efficientnet_lite0 to 2)."""
    weights: OptionalDiskPath = None
    """Start from a trained model of the same settings: a run's folder, a hub id, or a shipped name (nano)."""
    multiscale: bool = True
    """Write the judging network from all four stages; else from the last alone."""
    fusion: Literal["concat", "attention"] = "concat"
    """How the stages are joined: side by side, or weighed by attention first."""
    grid: Literal[7, 1] = 7
    """Cells a side of the map that the judging network is written from; 1 takes the mean of every stage, so that an
    image that is mirrored or cut keeps its score (for fusion concat)."""
    image_size: int = Field(512, ge=32)
    """Images of more than this side squared are shrunk to it, aspect kept; smaller ones stay as they are."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout of the hyper-network and of the networks it writes."""
    drop_path: float = Field(0.2, ge=0, lt=1)
    """Stochastic depth of the backbone."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    @model_validator(mode="after")
    def _one_cell_goes_alone(self) -> "ModelSettings":
        if self.grid == 1 and self.fusion != "concat":
            raise ValueError("grid: 1 goes with fusion concat")
        return self


class LossSettings(Settings):
    """The parts of the training loss and their weights."""

    renamed: ClassVar = {"chains": "ranked_levels"}

    main: Literal["l1", "mse"] = "l1"
    """Distance to the mean opinion, on a scale where the range of opinions is 1."""
    norm_in_norm: float = Field(0.0, ge=0)
    """Weight of the norm-in-norm loss: linearity within a batch (1 - PLCC in another form)."""
    ranking: float = Field(0.0, ge=0)
    """Weight of the pairwise ranking loss within a batch (HyperIQA-Swin's --ranking_loss_alpha)."""
    ranked_levels: float = Field(1.0, ge=0)
    """Weight of the order within data.ranked_levels: every level has to score loss.margin lower than the one before."""
    margin: float | None = Field(None, gt=0)
    """Units of the score between ordered images from which they cost nothing; closer opinions are not ranked.
    None is a twentieth of the range of the opinions."""
    ties: float = Field(1.0, ge=0)
    """Weight of the difference within data.ties: an edit that no viewer sees must not move the score."""
    spread: float = Field(0.02, ge=0)
    """Weight of the likelihood that teaches the model its own spread; moves no score."""


class OptimSettings(Settings):
    """What the optimizer does beyond the section train."""

    backbone_lr: float = Field(1.0, gt=0, le=1)
    """Learning rate of the backbone as a share of train.lr; 0.1 suits a pretrained one (HyperIQA-Swin: lr_ratio 10)."""
    frozen_norm: bool = False
    """Keep the statistics of the backbone's BatchNorm; suits pretrained weights and small batches."""
    frozen_parts: int = Field(0, ge=0)
    """First parts of the backbone (stem, then stages or their blocks) that keep their weights: a step takes less time
    and memory; with frozen_norm."""

    @model_validator(mode="after")
    def _frozen_parts_keep_their_statistics(self) -> "OptimSettings":
        if self.frozen_parts and not self.frozen_norm:
            raise ValueError("frozen_parts: keep their BatchNorm's statistics too; set frozen_norm")
        return self


def _ranks(config: "Config") -> bool:
    return config.loss.ranking > 0 or (config.data.ranked_levels > 0 and config.loss.ranked_levels > 0)


class Config(Settings):
    """Everything that decides an iqa run."""

    needs: ClassVar = (
        *TRAIN_NEEDS,
        Needs(
            "with data.ranked_levels above 0", lambda c: c.data.ranked_levels > 0,
            ("data.ranked_batch", "data.ranked_kinds", "loss.ranked_levels"),
        ),
        Needs("with data.ties above 0", lambda c: c.data.ties > 0, ("loss.ties",)),
        Needs("with a loss.ranking, or data.ranked_levels and their loss", _ranks, ("loss.margin",)),
        Needs("with data.cross", lambda c: c.data.cross is not None, ("data.cross_split",)),
        Needs("with model.multiscale", lambda c: c.model.multiscale, ("model.fusion",)),
        Needs("without model.weights, which take its place", lambda c: not c.model.weights, ("model.pretrained",)),
        Needs("with the synthetic set", lambda c: c.data.path == "synthetic", ("data.train_images",)),
        Needs(
            "with a data.path of files, not the synthetic set", lambda c: c.data.path != "synthetic",
            ("data.layout", "data.images", "data.scale", "data.lower_better", "data.split_column",
             "data.val_fraction"),
        ),
    )  # fmt: skip

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _more_images_are_crops(self) -> "Config":
        if self.data.ranked_levels and self.data.crop is None:
            raise ValueError("data.ranked_levels: they are shown at the size of data.crop, which is not set")
        if self.data.ties and self.data.crop is None:
            raise ValueError("data.ties: they are shown at the size of data.crop, which is not set")
        return self


def _swin(size: str, crop: int, batch: int, memory: str, drop_path: float) -> Preset:
    return Preset(
        about=f"Swin-{size.capitalize()}, timm weights from the hub, one {memory} GPU. Not measured.",
        values={
            "data": {"crop": crop},
            "model": {"backbone": f"swin_{size}_patch4_window7_224", "pretrained": "hub", "drop_path": drop_path},
            "loss": {"norm_in_norm": 0.3},
            "optim": {"backbone_lr": 0.1},
            "train": {"epochs": 30, "batch_size": batch, "lr": 2e-4, "patience": 7, "workers": 8},
        },
    )


_LITE0 = {"backbone": "tf_efficientnet_lite0", "pretrained": "package", "grid": 1, "drop_path": 0.0}
PRESETS = {
    "nano": Preset(
        about="EfficientNet-Lite0 from ImageNet weights of a package (polyscale[imagenet]), 4 minutes of 2 CPU cores.",
        values={
            "data": {"crop": 112, "ranked_levels": 100, "ranked_batch": 1},
            "model": {**_LITE0, "dropout": 0.2},
            "loss": {"norm_in_norm": 0.3},
            "optim": {"backbone_lr": 0.25, "frozen_norm": True},
            "train": {"epochs": 3, "batch_size": 16, "lr": 1e-3, "ema": 0.99},
        },
    ),
    "photo": Preset(
        about="Photographs: EfficientNet-Lite0 from ImageNet weights of a package (polyscale[imagenet]). Not measured.",
        values={
            "data": {"crop": 256, "cache": False, "ranked_levels": 300, "ranked_batch": 1, "ties": 4},
            "model": {**_LITE0, "dropout": 0.4},
            "loss": {"norm_in_norm": 0.3},
            "optim": {"backbone_lr": 0.1, "frozen_norm": True},
            "train": {"epochs": 4, "batch_size": 16, "lr": 1e-3, "ema": 0.995},
        },
    ),
    "photo-tuned": Preset(
        about="As photo, but gently from --model.weights, a trained head: what ships; 5 minutes of a GPU.",
        values={
            "data": {"crop": 480, "cache": False, "ranked_levels": 300, "ranked_batch": 1, "ties": 4},
            "model": {**_LITE0, "dropout": 0.4},
            "loss": {"norm_in_norm": 0.3},
            "optim": {"backbone_lr": 0.25, "frozen_norm": True},
            "train": {"epochs": 4, "batch_size": 32, "lr": 2e-4, "ema": 0.995},
        },
    ),
    "tiny": _swin("tiny", 384, 16, "16 GB", 0.2),
    "small": _swin("small", 384, 12, "24 GB", 0.25),
    "base": _swin("base", 384, 8, "40 GB", 0.3),
}
