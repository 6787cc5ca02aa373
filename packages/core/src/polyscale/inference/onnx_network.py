"""A network in onnxruntime, from an ONNX file that `export` of an application wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyscale import __version__
from polyscale.errors import UserError, foreign, read_bounded
from polyscale.inference.onnx import session
from polyscale.inference.onnx_file import MAX_BYTES, read_metadata
from polyscale.models.sources import EXPORTED, WEIGHTS

FORMAT = 1  # of the metadata; readers refuse newer ones


class OnnxNetwork:
    """An exported network on the processor.

    Args:
        file: the ONNX file.
        kind: the class that it has to be of, for example "iqa.QualityNet".
        device: "auto" or "cpu".
        precision: "auto" or "fp32".
        threads: of one operator; 0 takes one per core.

    Raises:
        UserError: a file that is missing, damaged, of another model, of a newer polyscale, or older than the weights
            beside it; onnxruntime is missing or too old; a device or precision that is not there.
    """

    def __init__(
        self, file: Path, kind: str, device: object = "auto", precision: str = "fp32", *, threads: int = 0
    ) -> None:
        if str(device) not in ("auto", "cpu"):
            raise UserError(
                f"device: onnxruntime predicts on cpu, not {device}; use cpu, or runtime torch", exit_code=2
            )
        if precision not in ("auto", "fp32"):
            raise UserError(
                f"precision: an ONNX file has fp32, not {precision}; use fp32, or runtime torch", exit_code=2
            )
        self.file = file
        size = file.stat().st_size if file.is_file() else 0  # reading makes room for all that it may read
        content = read_bounded(file, min(size, MAX_BYTES))
        self.about: Mapping[str, Any] = _checked(read_metadata(content, file), kind, file)
        if file.name == EXPORTED and file.with_name(WEIGHTS).is_file():
            self._check_weights(file.with_name(WEIGHTS), kind)
        self.outputs: list[str] = self.about["outputs"]
        self._session = session(content, threads=threads, name=file)
        inputs, outputs = self._session.get_inputs(), {output.name for output in self._session.get_outputs()}
        if [i.name for i in inputs] != ["image"] or len(inputs[0].shape) != 4 or not outputs.issuperset(self.outputs):
            raise UserError(f"{file}: its inputs and outputs are not those of a {kind}; it is damaged or not ours")
        self._size = inputs[0].shape[2:]  # numbers where the network takes one size only, else names

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Map uint8 [B, 3, H, W] to outputs by name."""
        for own, given in zip(self._size, images.shape[2:], strict=True):
            if isinstance(own, int) and own != given:
                size = " x ".join(map(str, images.shape[2:]))
                raise UserError(f"{self.file}: takes {' x '.join(map(str, self._size))} pixels only, given {size}")
        with foreign(self.file, "a model for this image"):
            outputs = self._session.run(self.outputs, {"image": images.astype(np.float32) / np.float32(255)})
        if any(output.shape[:1] != images.shape[:1] for output in outputs):
            raise UserError(
                f"{self.file}: gives {outputs[0].shape} for {len(images)} images; it is damaged or not ours"
            )
        return dict(zip(self.outputs, outputs, strict=True))

    def _check_weights(self, weights: Path, kind: str) -> None:
        with weights.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != self.about.get("weights"):
            program = kind.partition(".")[0].replace("_", "-")
            again = f"write it again with `{program} export {self.file.parent}`"
            raise UserError(f"{self.file}: was not made from the {WEIGHTS} beside it; {again}")


def _checked(about: dict[str, Any], kind: str, file: Path) -> dict[str, Any]:
    program = kind.partition(".")[0].replace("_", "-")
    version, outputs = about.get("format"), about.get("outputs")
    if "class" not in about or type(version) is not int:
        raise UserError(f"{file}: is no model that `{program} export` wrote")
    if about["class"] != kind:
        raise UserError(f"{file}: holds a {str(about['class'])[:60]}, not a {kind}")
    if version > FORMAT:
        written = str(about.get("polyscale", "a newer polyscale"))[:20]
        raise UserError(f"{file}: format {version} was written by {written}; this is {__version__}: upgrade polyscale")
    if not isinstance(outputs, list) or not outputs or not all(isinstance(name, str) for name in outputs):
        raise UserError(f"{file}: names no outputs; it is damaged")
    return about
