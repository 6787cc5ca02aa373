"""A model as one ONNX file that finds camouflaged objects without torch: see polyscale.inference.export."""

from pathlib import Path

from torch import nn

from camo_seg.model.probability import ProbabilityMaps
from polyscale.inference.export import export_onnx as export


def export_onnx(model: nn.Module, file: str | Path, *, fixed_size: bool = False, source: Path | None = None) -> Path:
    """Write a CamoSegmenter as ONNX: image float32 [N, 3, H, W], RGB in [0, 1] -> probability [N, 1, H, W].

    The network was trained on squares of `input_size` pixels (in the metadata) and is best at them.

    Args:
        model: a CamoSegmenter; it is moved to the CPU and set to eval.
        file: the file to write.
        fixed_size: take `input_size` alone, for networks that cannot be written for every size.
        source: folder of the saved model, for the card and the hash of the weights in the metadata.

    Returns:
        The file's path.

    Raises:
        UserError: see polyscale.inference.export.export_onnx.
    """
    size = int(model.input_size)  # type: ignore[arg-type]
    square = (size, size) if fixed_size else None
    return export(ProbabilityMaps(model, size), file, program="camo-seg", size=square, source=source)
