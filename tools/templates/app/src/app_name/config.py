"""The configuration of app-name and its presets; each names its hardware and what to expect of it."""

from typing import ClassVar

from pydantic import Field

from polyscale.models.options import WeightSource
from polyscale.settings import Needs, Preset, Settings
from polyscale.training.options import TRAIN_NEEDS, TrainSettings


class DataSettings(Settings):
    """Which images to learn from."""

    path: str = "synthetic"
    """Folder of a data set; synthetic is the embedded, generated one."""
    train_images: int = Field(256, ge=1)
    """Training images to generate for the synthetic set."""
    eval_images: int = Field(64, ge=1)
    """Images in each of the synthetic validation and test splits."""


class ModelSettings(Settings):
    """The network."""

    backbone: str = "test_resnet"
    """Any hierarchical timm model: pvt_v2_b0, convnext_*, resnet*, mobilenetv4_*, ..."""
    pretrained: WeightSource = "none"
    """ImageNet weights: timm's from the hub, or a package's (polyscale[imagenet]; tf_efficientnet_lite0 to 2)."""
    width: int = Field(32, ge=8)
    """Channels of the fused map."""
    image_size: int = Field(64, ge=32)
    """Side in pixels of the square that images are resized to."""


class LossSettings(Settings):
    """The parts of the training loss and their weights."""

    dice: float = Field(1.0, ge=0)
    """Weight of the per-image Dice loss next to the cross-entropy."""


class Config(Settings):
    """Everything that decides an app-name run."""

    needs: ClassVar = (
        *TRAIN_NEEDS,
        Needs(
            "with the synthetic set", lambda c: c.data.path == "synthetic", ("data.train_images", "data.eval_images")
        ),
    )

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()


PRESETS = {
    "nano": Preset(
        about="From scratch on one CPU core in half a minute: IoU 0.9 on the embedded discs.",
        values={"train": {"epochs": 6, "batch_size": 16, "lr": 3e-3, "ema": 0.9}},
    ),
    "small": Preset(
        about="ResNet-18, 256 px; timm weights from the hub; one 8 GB GPU. Not measured.",
        values={
            "model": {"backbone": "resnet18", "pretrained": "hub", "width": 64, "image_size": 256},
            "train": {"epochs": 30, "batch_size": 16, "lr": 5e-4, "workers": 4},
        },
    ),
}
