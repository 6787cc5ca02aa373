"""From settings to data sets and network."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from iqa.config import Config, DataSettings
from iqa.data import QualitySet, open_split
from iqa.data.open import SYNTHETIC, list_folder
from iqa.data.training import RankedLevels, TiedViews, TrainingSet
from iqa.model.network import QualityNet
from polyscale.data.splits import record_splits
from polyscale.errors import UserError
from polyscale.models.tensors import load_tensors
from polyscale.settings import SPLIT_FILE

SYNTHETIC_EVAL = 240  # images in each of the synthetic validation and test splits


def build_model(config: Config, low: float = 0.0, high: float = 100.0) -> QualityNet:
    """Build the configured network for scores in [low, high], with fresh, pretrained or trained weights."""
    m = config.model
    network = QualityNet(
        backbone=m.backbone,
        multiscale=m.multiscale,
        fusion=m.fusion,
        grid=m.grid,
        dropout=m.dropout,
        drop_path=m.drop_path,
        image_size=m.image_size,
        low=low,
        high=high,
        pretrained="none" if m.weights else m.pretrained,
        checkpoint_activations=m.checkpoint_activations,
    )
    network.frozen_norm = config.optim.frozen_norm
    for part in _first_parts(network, config.optim.frozen_parts):
        part.requires_grad_(False)
    if m.weights is not None:
        load_tensors(network, QualityNet.from_pretrained(m.weights).state_dict(), m.weights)
    return network


def _first_parts(network: QualityNet, count: int) -> list[nn.Module]:
    parts = network.backbone.parts()
    if count > len(parts):
        raise UserError(f"optim.frozen_parts: {count}, but {network.backbone.name} has {len(parts)} parts", exit_code=2)
    return parts[:count]


def build_set(
    data: DataSettings, split: str, size: int, *, cache: bool = False, recorded: Path | None = None
) -> QualitySet:
    """Open the "train", "val" or "test" split (or "all"): whole images of at most `size` squared pixels.

    `recorded` is the split.json of a run.
    """
    return open_split(
        data.path,
        split,
        size=size,
        layout=data.layout,
        images=data.images,
        scale=data.scale,
        lower_better=data.lower_better,
        split_column=data.split_column,
        val_fraction=data.val_fraction,
        seed=0,  # which images are cut off for validation does not change with train.seed
        recorded=recorded,
        counts=(data.train_images, SYNTHETIC_EVAL, SYNTHETIC_EVAL),
        cache=cache,
    )


def record_run(data: DataSettings, out: Path) -> None:
    """Write the splits of a new run to split.json in its folder, so that files which are added later move nothing."""
    if data.path == SYNTHETIC:
        return
    listing = list_folder(
        data.path,
        layout=data.layout,
        images=data.images,
        scale=data.scale,
        lower_better=data.lower_better,
        split_column=data.split_column,
        val_fraction=data.val_fraction,
        seed=0,
    )
    record_splits(out / SPLIT_FILE, {split: [entry.name for entry in part] for split, part in listing.splits.items()})


@dataclass(frozen=True)
class TrainingData:
    """The images that a run learns from and is validated on.

    Attributes:
        train: labelled training images, cropped and flipped.
        val: whole validation images.
        ranked: ranked sequences, None where there are none.
        tied: pairs of images that must score alike, None where there are none.
        cross: another data set, scored after every validation.
    """

    train: TrainingSet
    val: QualitySet
    ranked: RankedLevels | None
    tied: TiedViews | None
    cross: QualitySet | None

    def images(self, batch: dict[str, Tensor], step: int, micro_batch: int = 0, rank: int = 0) -> Tensor:
        """Return the images of a batch, then those of the ranked sequences and ties at this place in training."""
        parts = [batch["image"]]
        for more in (self.ranked, self.tied):
            if more is not None:
                parts.append(more.batch(step, batch["image"].device, micro_batch, rank))
        return torch.cat(parts)


def build_training_data(config: Config, recorded: Path | None = None) -> TrainingData:
    """Open the splits of a run."""
    data, size = config.data, config.model.image_size
    base = build_set(data, "train", size, cache=data.cache, recorded=recorded)
    val = build_set(data, "val", size, cache=data.cache, recorded=recorded)
    seed, side, ranked, tied, cross = config.train.seed, data.crop or 0, None, None, None
    if data.ranked_levels:
        ranked = RankedLevels(base, data.ranked_levels, side, data.ranked_batch, seed, data.ranked_kinds)
    if data.ties:
        tied = TiedViews(base, side, data.ties, seed)
    if data.cross is not None:
        cross = build_set(DataSettings(path=data.cross), data.cross_split, size, cache=data.cache)
    return TrainingData(TrainingSet(base, data.crop, data.flip), val, ranked, tied, cross)
