"""The settings of event-det and its presets; each preset names its command, its hardware and what to expect of it.

RVT's numbers are mAP on the test sets in per cent, from its paper; none of them has been measured here.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from polyscale.settings import DiskPath, Needs, OptionalDiskPath, Preset, Settings
from polyscale.training.options import TRAIN_NEEDS, TrainSettings

Blocks = Annotated[int, Field(ge=0)]
Dataset = Literal["auto", "gen1", "gen4", "gen4-7", "etram", "dsec"]


class DataSettings(Settings):
    """Which recordings to learn from, how they are read and varied."""

    retired: ClassVar = {"time_origin": ...}

    path: DiskPath = "synthetic"
    """Folder of a data set in RVT's layout; synthetic is the embedded, generated one."""
    dataset: Dataset = "auto"
    """What the class ids and box filters are: auto tells it from event_det.json or the size of the frames."""
    train_recordings: int = Field(192, ge=1)
    """Training recordings of 4 s to generate for the synthetic set."""
    sampling: Literal["stream", "random", "mixed"] = "mixed"
    """Play recordings in order, take sequences from anywhere, or half of each as RVT does."""
    augment: bool = True
    """Flip and zoom training sequences with RVT's chances."""
    length: int = Field(10, ge=1)
    """Steps of a training sequence, through which the gradient flows; the state goes on where a recording does."""


class RepresentationSettings(Settings):
    """What a window of events becomes: RVT's stacked histogram."""

    window_ms: float = Field(50.0, gt=0)
    """Length of a window in milliseconds."""
    bins: int = Field(10, ge=1)
    """Time bins of a window."""
    cutoff: int = Field(10, ge=1, le=255)
    """Largest count of a cell of the synthetic set; other data sets have that of event-det data prepare."""


class ModelSettings(Settings):
    """The network: RVT's, which these settings scale."""

    width: int = Field(32, ge=8)
    """Channels of the first stage, doubled from stage to stage; RVT tiny has 32, small 48, base 64."""
    head: int = Field(32, ge=4)
    """Channels of an attention head, a divisor of the width; RVT small has 24."""
    blocks: tuple[Blocks, Blocks, Blocks, Blocks] = (1, 1, 1, 1)
    """Pairs of window and grid attention in each stage; 0 leaves a convolution and an LSTM, which learns faster."""
    depth: float = Field(0.33, gt=0)
    """Depth of the feature pyramid; RVT base has 0.67."""
    levels: Literal[3, 4] = 3
    """Levels of the pyramid: 4 adds the finest one, for small objects, at several times the cost of the head."""
    patch: Literal[2, 3, 4] = 4
    """Stride of the first stage; smaller sees smaller objects."""
    splits: Literal[1, 2, 4] = 1
    """Attention tiles along a side of the last stage: RVT has 1 for Gen1, 2 for 1 Mpx."""
    enable_small_object_attention: bool = False
    """Attention for small objects on the pyramid; it changes nothing at the start of a training."""
    attention_spatial: bool = True
    """Let it attend to places, at several dilations."""
    attention_temporal: bool = True
    """Let it attend to what changes between steps; the steps before are part of the state."""
    recurrent: bool = True
    """Remember from step to step; no starts the LSTMs anew at every step, to see what memory gives."""
    order: Literal["auto", "stage", "time"] = "auto"
    """Compute all steps of a stage at once, or all stages of a step: equal results; auto goes by stage on a GPU, and a
    small network gains by stage on a CPU too."""
    weights: OptionalDiskPath = None
    """Start from a trained model of the same settings: a run's folder, a hub id, a shipped name, or RVT's .ckpt."""


class LossSettings(Settings):
    """YOLOX's loss and what may be changed in it."""

    box: Literal["iou", "giou", "ciou", "nwd"] = "iou"
    """Loss of the boxes: 1 - IoU squared (YOLOX, RVT), GIoU, CIoU, or the Wasserstein distance for tiny objects."""
    box_weight: float = Field(5.0, ge=0)
    """Its weight."""
    size_aware: Literal["none", "original", "normalised"] = "none"
    """Weigh small boxes higher: as in the eTram-rvt notes, or with a mean weight of 1, which keeps the balance."""
    size_weight: float = Field(2.0, ge=1)
    """The highest weight, for boxes without area."""
    size_curve: Literal["exponential", "step", "linear"] = "exponential"
    """How the weight falls with the area."""
    small_area: float = Field(1024.0, gt=0)
    """Area in square pixels of the frame that counts as small (COCO's 32 x 32); 9 times that is medium."""


class Config(Settings):
    """Everything that decides an event-det run."""

    needs: ClassVar = (
        *TRAIN_NEEDS,
        Needs(
            "with a loss.size_aware", lambda c: c.loss.size_aware != "none",
            ("loss.size_weight", "loss.size_curve", "loss.small_area"),
        ),
        Needs("with model.blocks above 0", lambda c: any(c.model.blocks), ("model.splits",)),
        Needs(
            "with the synthetic set; others are as event-det data prepare made them",
            lambda c: c.data.path == "synthetic",
            ("data.train_recordings", "representation.cutoff"),
        ),
        Needs(
            "with a data.path of files, not the synthetic set", lambda c: c.data.path != "synthetic",
            ("data.dataset",),
        ),
    )  # fmt: skip

    data: DataSettings = DataSettings()
    representation: RepresentationSettings = RepresentationSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()


def _rvt(model: str, sensor: str, expected: str) -> Preset:
    """RVT's recipe; what differs is that the gradient is clipped by its norm, not value by value."""
    sizes = {
        "tiny": {"width": 32, "depth": 0.33},
        "small": {"width": 48, "head": 24, "depth": 0.33},
        "base": {"width": 64, "depth": 0.67},
    }
    gen1 = sensor == "Gen1"
    return Preset(
        about=f"RVT {model}, {sensor}, 400k steps: {expected}",
        values={
            "data": {"length": 21 if gen1 else 5, "sampling": "mixed"},
            "model": {**sizes[model], "splits": 1 if gen1 else 2},
            "train": {
                "epochs": 40,
                "steps_per_epoch": 10_000,
                "batch_size": 8 if gen1 else 12,
                "lr": 2e-4 if gen1 else 3.46e-4,
                "weight_decay": 0.0,
                "schedule": "linear",
                "warmup": 0.005,
                "min_lr": 1e-4,
                "ema": 0.0,
                "precision": "fp16",
                "workers": 8,
                "log_every": 100,
            },
        },
    )


_DAYS = "days on one 24 GB GPU"
PRESETS = {
    "nano": Preset(
        about="From scratch on the embedded set, about 100 minutes of one CPU core. event-det train",
        values={
            "data": {"length": 5, "sampling": "stream"},
            "model": {"width": 16, "head": 16, "blocks": (0, 0, 1, 1), "depth": 0.33, "levels": 4, "order": "stage"},
            "train": {
                "epochs": 11,
                "eval_every": 2,
                "batch_size": 8,
                "lr": 2e-3,
                "warmup": 0.02,
                "ema": 0.99,
                "weight_decay": 0.01,
                "log_every": 20,
            },
        },
    ),
    "tiny": _rvt("tiny", "Gen1", f"44.1 expected, {_DAYS}. event-det train --preset tiny --data.path GEN1"),
    "small": _rvt("small", "Gen1", f"46.5 expected, {_DAYS}. event-det train --preset small --data.path GEN1"),
    "base": _rvt("base", "Gen1", f"47.2 expected, {_DAYS}. event-det train --preset base --data.path GEN1"),
    "tiny-1mpx": _rvt("tiny", "1 Mpx", f"41.5 expected, {_DAYS}. event-det train --preset tiny-1mpx --data.path GEN4"),
    "small-1mpx": _rvt(
        "small", "1 Mpx", f"44.1 expected, {_DAYS}. event-det train --preset small-1mpx --data.path GEN4"
    ),
    "base-1mpx": _rvt("base", "1 Mpx", f"47.4 expected, {_DAYS}. event-det train --preset base-1mpx --data.path GEN4"),
    "etram": _rvt(
        "base",
        "eTraM",
        f"29.5 expected, {_DAYS}. event-det train --preset etram --data.path ETRAM --data.dataset etram",
    ),
}
