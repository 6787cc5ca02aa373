"""An exported model run by onnxruntime, without torch: greedy captions and scored boxes.

encoder.onnx maps an image to boxes, scores, and the state in which a caption begins; decoder.onnx does one word, token
and state -> logits and the new state; tokenizer.json turns tokens into words.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caption_det.describer import Decoding, Described, choose_boxes
from caption_det.pixels import squeeze
from polyscale.errors import UserError, foreign
from polyscale.inference.onnx import session

ENCODER, DECODER, TOKENIZER = "encoder.onnx", "decoder.onnx", "tokenizer.json"
EXPORTED = "onnx"  # the folder of these files beside the weights of a model, as on the hub


@dataclass(frozen=True, eq=False)
class Description:
    """What an exported model says of one image.

    Attributes:
        caption: None for a model without captions.
        boxes: float32 [N, 4], (x1, y1, x2, y2) as fractions of the image; overlapping ones are not suppressed.
        scores: float32 [N, K] of each class, in [0, 1]; None for both in a model without boxes.
    """

    caption: str | None
    boxes: NDArray[np.float32] | None
    scores: NDArray[np.float32] | None


class OnnxCaptioner:
    """The folder that `caption-det export` writes: `OnnxCaptioner("photo-onnx")([image])[0].caption`.

    Args:
        folder: with the files above.
        threads: of one operator; 0 takes one per core.

    Attributes:
        about: metadata of the export: image_size, categories, max_tokens, the ids of the tokens.

    Raises:
        UserError: a file is missing or is not what it should be, or onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        folder = Path(folder)
        self._encoder = session(folder / ENCODER, threads=threads)
        with foreign(folder / ENCODER, "an encoder of caption-det export"):
            metadata = self._encoder.get_modelmeta().custom_metadata_map
            self.about: dict[str, Any] = {key: json.loads(value) for key, value in metadata.items()}
            self._speaks = bool(self.about["captions"])
            if not {"nms_iou", "image_size", "categories", "max_tokens"} <= self.about.keys():
                raise UserError(f"{folder / ENCODER}: was written by an older version; write it again with "
                                "`caption-det export`")  # fmt: skip
        if self._speaks:
            self._decoder = session(folder / DECODER, threads=threads)
            self._tokenizer = _tokenizer(folder / TOKENIZER)

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Description]:
        """Describe images uint8 [H, W, 3] of any sizes."""
        found = self.encode(np.stack([self.squeezed(image) for image in images]))
        boxes, scores = found.pop("boxes", None), found.pop("scores", None)
        captions = self.decode(found) if self._speaks else [None] * len(images)
        return [
            Description(caption, None if boxes is None else boxes[i], None if scores is None else scores[i])
            for i, caption in enumerate(captions)
        ]

    def squeezed(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return an image uint8 [H, W, 3] as the encoder takes it: [3, S, S] in [0, 1]."""
        return (squeeze(image, int(self.about["image_size"])) / np.float32(255)).astype(np.float32)

    def encode(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run the encoder on [B, 3, S, S] in [0, 1]: its outputs by name."""
        names = [output.name for output in self._encoder.get_outputs()]
        return dict(zip(names, self._encoder.run(names, {"image": pixels}), strict=True))

    def tokens(self, state: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Write captions greedily from the state that the encoder gave: int64 [B, T], ended ones are padded."""
        state, about = dict(state), self.about
        fed = [entry.name for entry in self._decoder.get_inputs() if entry.name != "token"]
        made = [entry.name for entry in self._decoder.get_outputs()]
        count = len(next(iter(state.values())))
        for entry in self._decoder.get_inputs():  # the words so far: none
            if entry.name not in state and entry.name != "token":
                heads, width = entry.shape[1], entry.shape[3]
                state[entry.name] = np.zeros((count, heads, 0, width), np.float32)
        token = np.full((count, 1), about["start"], np.int64)
        ended = np.zeros(count, bool)
        written: list[NDArray[np.int64]] = []
        while len(written) < about["max_tokens"] and not ended.all():
            inputs = {"token": token, **{name: state[name] for name in fed}}
            answers = dict(zip(made, self._decoder.run(made, inputs), strict=True))
            chosen = np.where(ended, about["pad"], answers.pop("logits").argmax(-1)).astype(np.int64)
            state |= {name.removesuffix("_next"): value for name, value in answers.items()}
            ended |= chosen == about["end"]
            written.append(chosen)
            token = chosen[:, None]
        return np.stack(written, 1)

    def decode(self, state: dict[str, NDArray[Any]]) -> list[str]:
        """Write captions greedily from the state that the encoder gave."""
        return [self._tokenizer.decode(row, skip_special_tokens=True).strip() for row in self.tokens(state).tolist()]


class OnnxDescriber:
    """An exported folder ready for images, see caption_det.describer.Describer.

    Args:
        folder: what `caption-det export` wrote.
        device: "auto" or "cpu".
        precision: "auto" or "fp32".
        decoding: the captions are greedy ones.
        threshold: lowest score of the boxes.

    Raises:
        UserError: see OnnxCaptioner; a device, precision or search that onnxruntime does not do here.
    """

    def __init__(self, folder: Path, device: object, precision: str, decoding: Decoding, threshold: float) -> None:
        if str(device) not in ("auto", "cpu"):
            raise UserError(
                f"device: onnxruntime predicts on cpu, not {device}; use cpu, or a saved model", exit_code=2
            )
        if precision not in ("auto", "fp32"):
            raise UserError(f"precision: an export has fp32, not {precision}; use fp32, or a saved model", exit_code=2)
        if replace(decoding, beams=None) != Decoding() or decoding.beams not in (None, 1):
            raise UserError(
                f"{folder}: an exported model writes one greedy caption; leave captions, beams, temperature, top-p "
                "away, or take the model that it was made from", exit_code=2)  # fmt: skip
        if not (folder / ENCODER).is_file():
            raise UserError(
                f"{folder / ENCODER}: no such file; write it with `caption-det export` "
                '(pip install "polyscale-caption-det[export]"), or use the runtime torch'
            )
        self._captioner, self._threshold = OnnxCaptioner(folder), threshold
        about = self._captioner.about
        self.image_size, self.categories = int(about["image_size"]), list(about["categories"])
        self.speaks = bool(about["captions"])
        self._nms_iou: float | None = about["nms_iou"]

    def __call__(self, images: NDArray[np.uint8]) -> list[Described]:
        """Describe images uint8 [B, 3, S, S]."""
        answers = []
        for one in self._captioner(list(images.transpose(0, 2, 3, 1))):
            nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
            found = nothing
            if one.boxes is not None and one.scores is not None:
                found = choose_boxes(one.boxes, one.scores, self._nms_iou, self._threshold)
            answers.append(Described([] if one.caption is None else [one.caption], *found))
        return answers


def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    if not file.is_file():
        raise UserError(f"{file}: no such file")
    with foreign(file, "a tokenizer"):
        return Tokenizer.from_file(str(file))
