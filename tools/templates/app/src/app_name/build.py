"""From settings to data sets and network."""

from app_name.config import Config
from app_name.data.dataset import MaskSet, open_split
from app_name.model import Segmenter


def build_model(config: Config) -> Segmenter:
    """Build the network that the configuration describes, with fresh weights or the hub's."""
    m = config.model
    return Segmenter(backbone=m.backbone, width=m.width, image_size=m.image_size, pretrained=m.pretrained)


def build_set(config: Config, split: str, size: int | None = None) -> MaskSet:
    """Open the "train", "val" or "test" split with samples of side `size`, by default the configured network's."""
    data = config.data
    count = data.train_images if split == "train" else data.eval_images
    return open_split(data.path, split, size=size or config.model.image_size, count=count)
