"""From settings to data sets and network."""

from iqa.config import Config, DataSettings
from iqa.data import PairSet, QualitySet, ViewSet, open_split
from iqa.model import QualityNet
from polyscale.weights import load_tensors

SYNTHETIC_EVAL = 240  # pictures in each of the synthetic validation and test splits


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


def build_set(data: DataSettings, split: str, size: int, *, cache: bool = False) -> QualitySet:
    """The "train", "val" or "test" split (or "all"), whole pictures of at most `size` squared pixels."""
    return open_split(
        data.path,
        split,
        size=size,
        layout=data.layout,
        val_fraction=data.val_fraction,
        seed=0,  # which pictures are cut off for validation does not change with train.seed
        counts=(data.train_images, SYNTHETIC_EVAL, SYNTHETIC_EVAL),
        cache=cache,
    )


def cross_settings(data: DataSettings) -> DataSettings:
    """The settings of the data set that data.cross names."""
    return data.model_copy(update={"path": data.cross, "layout": "auto"})


def training_views(base: QualitySet, network: QualityNet, data: DataSettings) -> ViewSet:
    """The training pictures as the trainable part of `network` meets them: cropped and mirrored."""
    return ViewSet(base, network.look, data.crop, data.flip, data.cache)


def training_pairs(base: QualitySet, network: QualityNet, data: DataSettings, seed: int) -> PairSet | None:
    """The ordered pairs beside the opinions, where the settings ask for them."""
    return PairSet(base, network.look, data.pairs, data.pair_size, seed) if data.pairs else None
