"""From settings to data sets and network."""

from iqa.config import Config
from iqa.data import Discs
from iqa.model import Segmenter


def build_model(config: Config) -> Segmenter:
    """The network that the configuration describes, with fresh or hub weights."""
    m = config.model
    return Segmenter(backbone=m.backbone, width=m.width, image_size=m.image_size, pretrained=m.pretrained)


def build_set(config: Config, split: str) -> Discs:
    """The "train", "val" or "test" split with samples at the network's size."""
    data = config.data
    count = data.train_images if split == "train" else data.eval_images
    return Discs(split, count, config.model.image_size, data.contrast)
