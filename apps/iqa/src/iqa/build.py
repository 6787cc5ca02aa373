"""From settings to data sets and network."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from iqa.config import Config, DataSettings
from iqa.data import QualitySet, open_split
from iqa.data.open import SYNTHETIC, list_folder
from iqa.data.training import ChainSet, Look, ViewSet
from iqa.features.spatial import SceneStatistics
from iqa.model.network import QualityNet, look
from polyscale.data.splits import record_splits
from polyscale.models.weights import load_tensors
from polyscale.settings import SPLIT_FILE

SYNTHETIC_EVAL = 240  # images in each of the synthetic validation and test splits


def build_model(config: Config, low: float = 0.0, high: float = 100.0) -> QualityNet:
    """The network that the configuration describes, for scores in [low, high]; fresh, the hub's or trained weights."""
    m = config.model
    network = QualityNet(
        backbone=m.backbone,
        multiscale=m.multiscale,
        fusion=m.fusion,
        statistics=m.statistics,
        shrink=m.shrink,
        dropout=m.dropout,
        drop_path=m.drop_path,
        image_size=m.image_size,
        low=low,
        high=high,
        pretrained=m.pretrained,
        checkpoint_activations=m.checkpoint_activations,
    )
    if m.weights is not None:
        load_tensors(network, QualityNet.from_pretrained(m.weights).state_dict(), m.weights)
    return network


def build_set(
    data: DataSettings, split: str, size: int, *, cache: bool = False, recorded: Path | None = None
) -> QualitySet:
    """Open the "train", "val" or "test" split (or "all"), whole images of at most `size` squared pixels.

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
class Views:
    """What a run learns from and is chosen by, as the trainable part of the network meets it."""

    train: ViewSet
    val: ViewSet
    chains: ChainSet | None
    cross: ViewSet | None

    def with_chains(
        self, batch: dict[str, Tensor], step: int, micro_batch: int = 0, rank: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return the batch's images and statistics with the ranked sequences of this place in the training behind."""
        image, statistics = batch["image"], batch["statistics"]
        if self.chains is None:
            return image, statistics
        shown = self.chains.batch(step, image.device, micro_batch, rank)
        return torch.cat([image, shown["image"]]), torch.cat([statistics, shown["statistics"]])

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest score of the opinions."""
        return self.train.base.low, self.train.base.high


def build_views(config: Config, look: Look, recorded: Path | None = None) -> Views:
    """The training images cropped and mirrored, ordered chains of some, and whole ones to validate on."""
    data, size = config.data, config.model.image_size
    base = build_set(data, "train", size, recorded=recorded)
    train = ViewSet(base, look, data.crop, data.flip, data.cache)
    val = ViewSet(build_set(data, "val", size, recorded=recorded), look, None, False, data.cache)
    chains = None
    if data.chains:
        chains = ChainSet(base, look, data.chains, data.crop or 0, data.chain_batch, seed=config.train.seed)
    if data.cross is None:
        return Views(train, val, chains, None)
    other = build_set(DataSettings(path=data.cross), data.cross_split, size)
    return Views(train, val, chains, ViewSet(other, look, None, False, data.cache))


def build_look(config: Config) -> Look:
    """The fixed first part of the configured network, without the rest."""
    m = config.model
    return partial(look, measure=SceneStatistics() if m.statistics else None, shrink=m.shrink)
