"""A model as one ONNX file that scores images of any size, any number at once, without torch.

torch.onnx writes adaptive pools of unknown size wrong or not at all; here they become two products with the matrices of
their windows, which is the same mean. The file is then run next to the model at sizes that it was not traced at, and
only kept where scores and spreads agree. Needs the extra: pip install "polyscale-iqa[onnx]".
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iqa.predict import ScoreRange
from polyscale.data.images import replace_file
from polyscale.errors import UserError
from polyscale.inference import load_onnxruntime, session

TOLERANCE = 1e-4  # of the range of scores, between the file and the model
MIN_TORCH = (2, 8)  # 2.6 and 2.7 write files that fail the comparison
MIN_SIDE = 32  # pixels a side that the file accepts
_TRACED = (2, 3, 200, 264)
_TRIED = ((1, 3, 120, 151), (3, 3, 384, 512), (2, 3, 333, 90), (1, 3, 32, 40))


class _Scored(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        score, spread = self.model.score_with_spread(image)
        return score, spread


def export_onnx(model: nn.Module, file: str | Path) -> Path:
    """Write a model as ONNX.

    The file's input is image, float32 [N, 3, H, W], RGB in [0, 1], sides of at least MIN_SIDE, of at most
    `model.input_size` squared pixels (see iqa.data.network_image). Its outputs are score [N] and spread [N], float32,
    in the model's units. Its metadata hold low, high, lower_better and input_size.

    Args:
        model: a QualityNet; it is moved to the CPU and set to eval.
        file: the file to write.

    Returns:
        The file's path.

    Raises:
        UserError: the extra is missing, the network cannot be written for every size, or the file's numbers differ
            from the model's by more than TOLERANCE of the range.
    """
    onnx = _needed()
    scored = _Scored(model.cpu().eval())
    proto = _traced(scored)
    about: dict[str, Any] = {name: getattr(model, name) for name in ("low", "high", "input_size")}
    onnx.helper.set_model_props(
        proto, {key: json.dumps(value) for key, value in (about | {"lower_better": False}).items()}
    )
    units = ScoreRange(about["low"], about["high"])
    proto.doc_string = f"Blind image quality, {units.describe()}. Input: RGB in [0, 1]."
    content = proto.SerializeToString()
    _verify(scored, session(content), units.high - units.low)
    return replace_file(file, content)


def _needed() -> Any:
    """Import onnx; raise UserError where a part of the extra is missing or too old."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise UserError(f'export needs {name}: pip install "polyscale-iqa[onnx]"')
    if tuple(map(int, torch.__version__.split(".")[:2])) < MIN_TORCH:
        least = ".".join(map(str, MIN_TORCH))
        raise UserError(
            f"export needs torch {least} or newer, this is {torch.__version__}: older ones write wrong files"
        )
    load_onnxruntime()  # before the others, which may import it
    return importlib.import_module("onnx")


def _traced(scored: nn.Module) -> Any:
    """The model as an ONNX ModelProto."""
    image = torch.rand(_TRACED, generator=torch.Generator().manual_seed(0))
    free = {"image": dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)}
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(scored, (image,), dynamic_shapes=free, strict=False)
            table = torch.export.default_decompositions()
            table[torch.ops.aten.adaptive_avg_pool2d.default] = adaptive_mean
            table[torch.ops.aten._adaptive_avg_pool2d.default] = adaptive_mean
            program = program.run_decompositions(table)
            names: dict[str, Any] = {"input_names": ["image"], "output_names": ["score", "spread"]}
            # the whole optimiser takes minutes, and drops additions below 1e-8 that may keep a logarithm finite
            written = torch.onnx.export(program, (), dynamo=True, verbose=False, optimize=False, **names)
            assert written is not None
            optimizer = importlib.import_module("onnxscript").optimizer
            optimizer.fold_constants(written.model, onnx_shape_inference=False)
            optimizer.remove_unused_nodes(written.model)
    except Exception as error:  # whatever torch's tracer raises: dozens of kinds, none of them the user's fault
        raise UserError(f"the network cannot be written as ONNX for every size: {_describe(error)}") from error
    return written.model_proto


def adaptive_mean(x: Tensor, output_size: list[int]) -> Tensor:
    """adaptive_avg_pool2d of [B, C, H, W] as two matrix products."""
    rows, columns = (_windows(x, axis, cells) for axis, cells in zip((-2, -1), output_size, strict=True))
    return rows @ x @ columns.transpose(0, 1)


def _windows(x: Tensor, axis: int, cells: int) -> Tensor:
    """[cells, length]: each cell's share of every row (or column), its window as torch cuts it."""
    length = x.shape[axis]
    cell = torch.arange(cells, device=x.device)[:, None]
    place = torch.arange(length, device=x.device)
    start, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = ((place >= start) & (place < end)).to(x.dtype)
    return inside / (end - start)


def _verify(scored: nn.Module, runner: Any, span: float) -> None:
    for shape in _TRIED:
        size = f"{shape[2]} x {shape[3]} pixels"
        image = _images(shape)
        try:
            with torch.no_grad():
                wanted = [output.numpy() for output in scored(image)]
            got = runner.run(None, {"image": image.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class
            raise UserError(f"the network cannot be written as ONNX for every size: {_describe(error)}") from error
        worst = max(float(np.abs(w - g).max()) for w, g in zip(wanted, got, strict=True)) / span
        if not worst <= TOLERANCE:
            raise UserError(f"at {size} the ONNX file's scores differ from the model's by {worst:.1g} of the range")


def _images(shape: tuple[int, int, int, int]) -> Tensor:
    """What photographs are made of: a slope in steps of 8 bits, a black and a white corner, and noise next to them.

    On noise alone a logarithm of nothing would never be met.
    """
    height, width = shape[-2:]
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    image = torch.linspace(0, 1, width).expand(shape).clone()
    image[..., height // 2 :, :] *= noise[..., height // 2 :, :]
    image[..., : height // 4, : width // 4], image[..., -height // 4 :, -width // 4 :] = 0, 1
    return (image * 255).round() / 255


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx narrates its steps on stdout and warns of its own future."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
