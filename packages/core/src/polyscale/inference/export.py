"""A network as one ONNX file that takes images of any size, any number at once, without torch.

torch.onnx writes pools of unknown size wrong or not at all; here averages become two products with the matrices of
their windows, and maxima are taken over gathered windows: the same numbers. Convolutions padded as TensorFlow does it,
by what the size asks for, become ONNX's own of that kind. The file is then run next to the network at sizes that it was
not traced at, and only kept where the outputs agree. Weights that float16 holds exactly are stored
so, at half the size; onnxruntime widens them when it loads the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from polyscale import __version__
from polyscale.data.images import replace_file
from polyscale.errors import UserError
from polyscale.inference.onnx import load_onnxruntime, session
from polyscale.inference.onnx_network import FORMAT
from polyscale.inference.torch_network import Exportable
from polyscale.models.sources import WEIGHTS
from polyscale.models.weights import class_name

EXPORT_TOLERANCE = 1e-4  # of the outputs' range, between the file and the network
MIN_TORCH = (2, 8)  # 2.6 and 2.7 write files that fail the comparison
OPSET, IR_VERSION = 18, 8  # of 2022: what older onnxruntimes and other programs read
MIN_SIDE = 32  # pixels a side that a file of any size accepts
_ANY_SIZE = ((1, 3, 120, 151), (3, 3, 384, 512), (2, 3, 333, 90), (1, 3, MIN_SIDE, 40))
_HALVED = 256  # numbers in a tensor that is worth storing as float16


def export_onnx(
    module: Exportable,
    file: str | Path,
    *,
    program: str,
    size: tuple[int, int] | None = None,
    source: Path | None = None,
) -> Path:
    """Write a network as ONNX: input "image", float32 [N, 3, H, W], RGB in [0, 1]; outputs as the module names them.

    The metadata hold `module.about`, and format, polyscale, class, outputs, and of `source` the card and the SHA-256 of
    the weights, each as JSON.

    Args:
        module: is moved to the CPU and set to eval.
        file: the file to write.
        program: the command, whose extra [export] is needed.
        size: (height, width) of a network that takes one size only; None is any size from MIN_SIDE.
        source: folder of the saved model.

    Returns:
        The file's path.

    Raises:
        UserError: the extra is missing, the network cannot be written for every size, or the file's numbers differ
            from the network's by more than EXPORT_TOLERANCE of the range.
    """
    onnx = _needed(program)
    module = module.cpu().eval()
    proto = _traced(onnx, module, size)
    _tidy(onnx, proto)
    about = {**module.about, "format": FORMAT, "polyscale": __version__, "class": class_name(type(module.network))}
    about |= {"outputs": list(module.outputs), **_origin(source)}
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in about.items()})
    content = proto.SerializeToString()
    _verify(module, content, _ANY_SIZE if size is None else ((1, 3, *size), (3, 3, *size)))
    return replace_file(file, content)


def _origin(source: Path | None) -> dict[str, str]:
    if source is None:
        return {}
    card = source / "README.md"
    return {
        "weights": hashlib.sha256((source / WEIGHTS).read_bytes()).hexdigest(),
        "card": card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "",
    }


def _needed(program: str) -> Any:
    """Import onnx; raise UserError where a part of the extra is missing or too old."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise UserError(f'export needs {name}: pip install "polyscale-{program}[export]"')
    if tuple(map(int, torch.__version__.split(".")[:2])) < MIN_TORCH:
        least = ".".join(map(str, MIN_TORCH))
        raise UserError(
            f"export needs torch {least} or newer, this is {torch.__version__}: older ones write wrong files"
        )
    load_onnxruntime()  # before the others, which may import it
    return importlib.import_module("onnx")


def export_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[str, Any],
    *,
    program: str,
    about: Mapping[str, Any],
) -> bytes:
    """Return any module as ONNX; it is not compared with the module, which is left to the caller.

    Args:
        module: on the CPU, in eval mode, without gradients.
        inputs: of its forward in order, by the names that they get; free dimensions are larger than 1 here.
        outputs: names of what it returns.
        free: dimensions of any size, as dynamic_shapes of torch.export.
        program: the command, whose extra [export] is needed.
        about: goes into the metadata, each value as JSON.

    Raises:
        UserError: the extra is missing, or the module cannot be written.
    """
    onnx = _needed(program)
    try:
        proto = _written(onnx, module, inputs, outputs, free)
    except Exception as error:  # whatever torch's tracer raises: dozens of kinds, none of them the user's fault
        raise UserError(f"the network cannot be written as ONNX: {_describe(error)}") from error
    _tidy(onnx, proto)
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in about.items()})
    content: bytes = proto.SerializeToString()
    return content


def _traced(onnx: Any, module: Exportable, size: tuple[int, int] | None) -> Any:
    """The module as an ONNX ModelProto."""
    image = torch.rand((2, 3, *(size or (200, 264))), generator=torch.Generator().manual_seed(0))
    free = {"image": dict.fromkeys((0,) if size else (0, 2, 3), torch.export.Dim.AUTO)}
    try:
        return _written(onnx, module, {"image": image}, module.outputs, free)
    except Exception as error:  # as above
        raise UserError(f"the network cannot be written as ONNX{_sizes(size)}: {_describe(error)}") from error


def _written(
    onnx: Any, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], free: Mapping[str, Any]
) -> Any:
    with quiet_exporter(), _maxima_of_any_size(), _padding_of_any_size(), torch.no_grad():
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=free, strict=False)
        table = torch.export.default_decompositions()
        aten = torch.ops.aten
        for mean in (aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default):
            table[mean] = adaptive_mean
        program = program.run_decompositions(table)
        names: dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs)}
        # the whole optimiser takes minutes, and drops additions below 1e-8 that may keep a logarithm finite
        written = torch.onnx.export(
            program, (), dynamo=True, verbose=False, optimize=False, opset_version=OPSET, **names
        )
        assert written is not None
        optimizer = importlib.import_module("onnxscript").optimizer
        optimizer.fold_constants(written.model, onnx_shape_inference=False)
        optimizer.remove_unused_nodes(written.model)
    proto = written.model_proto
    _pad_as_tensorflow(onnx, proto, {f"{n}.weight" for n, m in module.named_modules() if isinstance(m, Conv2dSame)})
    return proto


def _sizes(size: tuple[int, int] | None) -> str:
    return "" if size else " for every size"


def adaptive_mean(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """adaptive_avg_pool2d of [B, C, H, W] as two matrix products."""
    rows, columns = (_shares(x, axis, cells) for axis, cells in zip((-2, -1), output_size, strict=True))
    return rows @ x @ columns.transpose(0, 1)


def adaptive_maximum(x: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """adaptive_max_pool2d of [B, C, H, W] as maxima over gathered windows, one axis after the other."""
    sizes = (output_size, output_size) if isinstance(output_size, int) else output_size
    for axis, cells in zip((-2, -1), sizes, strict=True):
        start, end = _windows(x.shape[axis], cells, x.device)
        longest = (x.shape[axis] + cells - 1) // cells + 1
        place = torch.minimum(start[:, None] + torch.arange(longest, device=x.device), end[:, None] - 1)
        x = x[..., place, :].amax(-2) if axis == -2 else x[..., place].amax(-1)
    return x


def _shares(x: Tensor, axis: int, cells: int) -> Tensor:
    """[cells, length]: each cell's share of every row (or column)."""
    start, end = (edge[:, None] for edge in _windows(x.shape[axis], cells, x.device))
    place = torch.arange(x.shape[axis], device=x.device)
    inside = ((place >= start) & (place < end)).to(x.dtype)
    return inside / (end - start)


def _windows(length: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and last-plus-one place of each cell's window, as torch cuts them."""
    cell = torch.arange(cells, device=device)
    return cell * length // cells, ((cell + 1) * length + cells - 1) // cells


def _tidy(onnx: Any, proto: Any) -> None:
    """Leave out what only the exporter reads (it holds paths of this machine), and halve what float16 holds exactly."""
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "polyscale", __version__
    graph = proto.graph
    graph.ClearField("value_info")
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _HALVED:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_float16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_float16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    graph.ClearField("node")
    graph.node.extend(nodes)


def _verify(module: Exportable, content: bytes, shapes: Sequence[tuple[int, ...]]) -> None:
    runner = session(content)
    for shape in shapes:
        image = sample_images(shape)
        try:
            with torch.no_grad():
                wanted = [output.numpy() for output in module(image)]
            got = runner.run(list(module.outputs), {"image": image.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class
            raise UserError(f"the network cannot be written as ONNX for every size: {_describe(error)}") from error
        worst = max(float(np.abs(w - g).max()) for w, g in zip(wanted, got, strict=True)) / module.span
        if not worst <= EXPORT_TOLERANCE:
            size = f"{shape[2]} x {shape[3]} pixels"
            raise UserError(f"at {size} the ONNX file's outputs differ from the network's by {worst:.1g} of the range")


def sample_images(shape: Sequence[int]) -> Tensor:
    """What photographs are made of: a slope in steps of 8 bits, a black and a white corner, and noise next to them.

    On noise alone a logarithm of nothing would never be met.
    """
    height, width = shape[-2:]
    noise = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(1))
    image = torch.linspace(0, 1, width).expand(tuple(shape)).clone()
    image[..., height // 2 :, :] *= noise[..., height // 2 :, :]
    image[..., : height // 4, : width // 4], image[..., -height // 4 :, -width // 4 :] = 0, 1
    return (image * 255).round() / 255


@contextlib.contextmanager
def _maxima_of_any_size() -> Iterator[None]:
    """Let networks call `adaptive_maximum`: torch's own operator takes plain numbers, which tracing would fix."""
    own = F.adaptive_max_pool2d
    setattr(F, "adaptive_max_pool2d", adaptive_maximum)  # noqa: B010  its type is an overloaded function
    try:
        yield
    finally:
        setattr(F, "adaptive_max_pool2d", own)  # noqa: B010


@contextlib.contextmanager
def _padding_of_any_size() -> Iterator[None]:
    """Pad Conv2dSame equally on both sides while it is traced: the sizes come out right, and tracing stays fast."""
    own = Conv2dSame.forward

    def forward(self: Conv2dSame, x: Tensor) -> Tensor:
        padding = [d * (k - 1) // 2 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    setattr(Conv2dSame, "forward", forward)  # noqa: B010
    try:
        yield
    finally:
        setattr(Conv2dSame, "forward", own)  # noqa: B010


def _pad_as_tensorflow(onnx: Any, proto: Any, weights: set[str]) -> None:
    """Let the convolutions with these weights pad as Conv2dSame does: what is odd goes to the right and the bottom."""
    for node in proto.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            kept = [attribute for attribute in node.attribute if attribute.name not in ("pads", "auto_pad")]
            node.ClearField("attribute")
            node.attribute.extend([*kept, onnx.helper.make_attribute("auto_pad", "SAME_UPPER")])


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence torch.onnx and onnxscript, which narrate their steps and warn of their own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
