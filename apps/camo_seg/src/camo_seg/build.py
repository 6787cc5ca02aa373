"""From settings to data sets and network."""

from pathlib import Path

from camo_seg.config import Config, DataSettings
from camo_seg.data import CamoSet, open_split
from camo_seg.data.dataset import Augment, Recompose
from camo_seg.data.listing import SYNTHETIC, list_files
from camo_seg.model.network import CamoSegmenter
from polyscale.data.splits import record_splits
from polyscale.models.tensors import load_tensors
from polyscale.settings import SPLIT_FILE

SYNTHETIC_EVAL = 120  # images in each of the synthetic validation and test splits


def build_model(config: Config) -> CamoSegmenter:
    """The network that the configuration describes, with fresh weights, the hub's, or those of a trained model."""
    m = config.model
    network = CamoSegmenter(
        backbone=m.backbone,
        scales=m.scales,
        fusion=m.fusion,
        width=m.width,
        image_size=m.image_size,
        scale_heads=config.loss.scale_loss > 0,
        pretrained=m.pretrained,
        checkpoint_activations=m.checkpoint_activations,
        experts=m.experts,
        top_k=m.top_k,
        deep_heads=config.loss.deep > 0,
    )
    if m.weights is not None:
        start = CamoSegmenter.from_pretrained(m.weights).state_dict()
        load_tensors(network, start, m.weights, optional=("backbone.heads.", "decoder.deep."))
    return network


def build_set(
    data: DataSettings, split: str, size: int, *, augment: bool = False, recorded: Path | None = None
) -> CamoSet:
    """Open the "train", "val" or "test" split with samples of side `size`; `recorded` is the split.json of a run."""
    return open_split(
        data.path,
        split,
        size=size,
        layout=data.layout,
        masks=data.masks,
        val_fraction=data.val_fraction,
        seed=0,  # which images are cut off for validation does not change with train.seed
        cam_only=data.cam_only,
        mask_rule=data.mask_rule,
        recorded=recorded,
        test_set=None if data.test_set == "all" else data.test_set,
        counts=(data.train_images, SYNTHETIC_EVAL, SYNTHETIC_EVAL),
        augment=_augment(data) if augment else None,
        recompose=_recompose(data) if augment else None,
        cache=data.cache,
    )


def record_run(data: DataSettings, out: Path) -> None:
    """Write the splits of a new run to split.json in its folder, so that files which are added later move nothing."""
    if data.path == SYNTHETIC:
        return
    listing = list_files(
        data.path,
        layout=data.layout,
        masks=data.masks,
        val_fraction=data.val_fraction,
        seed=0,
        cam_only=data.cam_only,
    )
    record_splits(out / SPLIT_FILE, {split: [pair.name for pair in part] for split, part in listing.splits.items()})


def _augment(data: DataSettings) -> Augment:
    from camo_seg.data.augment import CamoAugment

    c = data.colour
    return CamoAugment(
        flip=0.5 if data.flip else 0.0,
        rotation=data.rotate,
        zoom=1 - data.zoom,
        brightness=c,
        contrast=c,
        saturation=c,
        hue=data.hue,
        grey=data.grey,
        degrade=data.degrade,
    )


def _recompose(data: DataSettings) -> Recompose | None:
    if not (data.paste or data.empty):
        return None
    from camo_seg.data.compose import Compose

    return Compose(paste=data.paste, empty=data.empty)
