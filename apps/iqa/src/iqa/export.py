"""A model as one ONNX file that scores images of any size without torch: see polyscale.inference.export."""

from pathlib import Path

from torch import nn

from iqa.model.scored import ScoredImages
from polyscale.inference.export import export_onnx as export


def export_onnx(model: nn.Module, file: str | Path, *, source: Path | None = None) -> Path:
    """Write a QualityNet as ONNX: image float32 [N, 3, H, W], RGB in [0, 1] -> score [N], spread [N].

    Images of more than `input_size` squared pixels (in the metadata, with `low` and `high`) are to be shrunk to that
    first, aspect kept, bicubic and anti-aliased (see iqa.data.network_pixels).

    Args:
        model: a QualityNet; it is moved to the CPU and set to eval.
        file: the file to write.
        source: folder of the saved model, for the card and the hash of the weights in the metadata.

    Returns:
        The file's path.

    Raises:
        UserError: see polyscale.inference.export.export_onnx.
    """
    return export(ScoredImages(model), file, program="iqa", source=source)
