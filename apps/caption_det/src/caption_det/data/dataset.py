"""Samples of the network's size, and the batches that training takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from caption_det.data.features import FeatureMaps
from caption_det.data.records import Record, Source
from caption_det.pixels import squeeze
from polyscale.data.cache import SampleCache

CACHE_BYTES = 2 << 30
MIRRORED = {"left": "right", "right": "left"}


class CaptionSet(Dataset[dict[str, Any]]):
    """A source at the side `size`: {"image" uint8 [3, S, S], "boxes" [T, 4], "labels" [T], "captions", "index"}.

    "boxes" are (centre x, centre y, width, height) as fractions of the image; where they are not known, "has_boxes" is
    False. Images are squeezed to a square.

    Attributes:
        title: data set and split.
        notes: one-line remarks for the user.
        features: maps of a frozen tower; samples have these "features" in place of "image" where they are set.
    """

    features: FeatureMaps | None = None

    def __init__(self, source: Source, split: str, size: int, notes: Sequence[str] = (), cache: bool = False) -> None:
        self.source, self.size, self.split = source, size, split
        self.names, self.categories = source.names, source.categories
        self.title, self.notes = f"{source.title}/{split}", list(notes)
        self._cache: SampleCache[Tensor] = SampleCache(CACHE_BYTES if cache else 0)
        self._records: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels: dict[str, Any] = {}
        if self.features is None:
            pixels["image"] = self._cache.get(index, self._read)
        else:
            pixels["features"] = self.features.get(index)
        record, (height, width) = self.record(index), self.image_size(index)
        known = record.boxes is not None
        boxes, labels = np.zeros((0, 4)), np.zeros(0, np.int64)
        if record.boxes is not None:
            single = slice(None) if record.crowd is None else ~record.crowd
            boxes, labels = record.boxes[single], record.labels[single]
        return {
            **pixels,
            "boxes": torch.from_numpy(fractions(boxes, height, width)).float(),
            "labels": torch.from_numpy(labels),
            "has_boxes": known,
            "captions": record.captions,
            "index": index,
        }

    def record(self, index: int) -> Record:
        """Return the labels of an image."""
        if index not in self._records:
            self._records[index] = self.source.record(index)
        return self._records[index]

    def image_size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of the image itself."""
        return self.source.image_size(index)

    def original(self, index: int) -> NDArray[np.uint8]:
        """Return the image at its own size."""
        return self.source.read(index)[0]

    def network_image(self, index: int) -> Tensor:
        """Return image `index` at the network's size, uint8 [3, S, S], without keeping it."""
        return network_image(self.original(index), self.size)

    def _read(self, index: int) -> Tensor:
        image, self._records[index] = self.source.read(index)
        return network_image(image, self.size)


def network_image(image: NDArray[np.uint8], size: int) -> Tensor:
    """Squeeze an image uint8 [H, W, 3] to the network's square: uint8 [3, S, S]."""
    return torch.from_numpy(squeeze(image, size))


def fractions(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """(x1, y1, x2, y2) in pixels -> (centre x, centre y, width, height) as fractions of the image."""
    boxes = boxes / np.array([width, height, width, height])
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


class TrainingSet(Dataset[dict[str, Any]]):
    """Samples of a CaptionSet with `captions` of each image drawn anew every epoch, as tokens, and half mirrored.

    Random numbers are torch's, which the run seeds for every sample.

    Args:
        base: the samples.
        tokenizer: None where no captions are learnt.
        captions: of each image and epoch; 0 takes all.
        max_tokens: longest caption with its end; longer ones are cut.
        flip: mirror half of the images; "left" and "right" change places in their captions.
        box_share: of the images whose boxes are learnt, drawn anew every epoch.
    """

    def __init__(
        self,
        base: CaptionSet,
        tokenizer: PreTrainedTokenizerBase | None,
        captions: int,
        max_tokens: int,
        flip: bool = False,
        box_share: float = 1.0,
    ) -> None:
        self.base, self.tokenizer, self.flip, self.box_share = base, tokenizer, flip, box_share
        self.captions, self.max_tokens = captions, max_tokens

    def __len__(self) -> int:
        return len(self.base)

    def cut_captions(self) -> tuple[int, int]:
        """Return how many captions are longer than `max_tokens`, so that their ends are not learnt, of how many."""
        captions = [caption for i in range(len(self.base)) for caption in self.base.record(i).captions]
        if self.tokenizer is None or not captions:
            return 0, 0
        tokens = self.tokenizer(captions, add_special_tokens=False)["input_ids"]
        return sum(len(ids) >= self.max_tokens for ids in tokens), len(captions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.base[index]
        captions: Sequence[str] = sample.pop("captions")
        if self.flip and torch.rand(()) < 0.5:
            if self.base.features is None:
                sample["image"] = sample["image"].flip(-1)
            else:
                sample["features"] = self.base.features.get(index, view=1)
            boxes = sample["boxes"].clone()
            boxes[:, 0] = 1 - boxes[:, 0]
            sample["boxes"], captions = boxes, [mirror(caption) for caption in captions]
        if self.box_share < 1 and torch.rand(()) >= self.box_share:
            sample["has_boxes"] = False
        sample["tokens"] = []
        if self.tokenizer is not None and captions:
            order = torch.randperm(len(captions))[: self.captions or None].tolist()
            sample["tokens"] = [encode(self.tokenizer, captions[i], self.max_tokens) for i in order]
        return sample


def encode(tokenizer: PreTrainedTokenizerBase, caption: str, max_tokens: int) -> list[int]:
    """Return the tokens of a caption and its end, at most `max_tokens`."""
    ids: list[int] = tokenizer(caption, add_special_tokens=False)["input_ids"]
    return [*ids[: max_tokens - 1], tokenizer.eos_token_id]


def mirror(caption: str) -> str:
    """Exchange the words left and right."""
    return " ".join(MIRRORED.get(word, word) for word in caption.split(" "))


def network_input(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the model takes of some samples: {"pixel_values": [B, 3, S, S] in [0, 1]} or {"features": maps}."""
    if "features" in samples[0]:
        levels = zip(*(sample["features"] for sample in samples), strict=True)
        return {"features": [torch.stack(level).float() for level in levels]}
    return {"pixel_values": torch.stack([sample["image"] for sample in samples]).float() / 255}


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join samples of a TrainingSet.

    Returns:
        "pixel_values" or "features" (see `network_input`), "labels" int64 [B * n, T] with -100 as padding (n is the
        most captions of an image; images with fewer have rows without a token), "detection_labels" and "has_boxes".
    """
    most = max(len(sample["tokens"]) for sample in samples)
    batch = {
        **network_input(samples),
        "detection_labels": [{"class_labels": s["labels"], "boxes": s["boxes"]} for s in samples],
        "has_boxes": torch.tensor([bool(sample["has_boxes"]) for sample in samples]),
        "labels": None,
    }
    if most:
        longest = max(len(tokens) for sample in samples for tokens in sample["tokens"])
        labels = torch.full((len(samples), most, longest), -100)
        for row, sample in zip(labels, samples, strict=True):
            for place, tokens in zip(row, sample["tokens"], strict=False):
                place[: len(tokens)] = torch.tensor(tokens)
        batch["labels"] = labels.flatten(0, 1)
    return batch
