"""Data sets of caption-det: the embedded world, COCO, Flickr8k and JSON lines, and the batches of training."""

from caption_det.data.dataset import CaptionSet, TrainingSet, collate, network_image
from caption_det.data.open import describe_sources, open_data, open_split
from caption_det.data.records import Record, Source

__all__ = [
    "CaptionSet",
    "Record",
    "Source",
    "TrainingSet",
    "collate",
    "describe_sources",
    "network_image",
    "open_data",
    "open_split",
]
