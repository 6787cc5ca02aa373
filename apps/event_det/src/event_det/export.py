"""One step of a detector as an ONNX file or a torch.export program, its state an explicit input and output.

The file is run next to the model over 20 steps, each side with its own states, and only kept where they agree.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from event_det.model.network import EventDetector, State
from polyscale.data.images import replace_file
from polyscale.errors import UserError
from polyscale.inference import session
from polyscale.inference.export import quiet_exporter

STEPS = 20
TOLERANCE = 1e-3  # pixels of a box, and a tenth of it for scores and states
KINDS = (".onnx", ".pt2")


class Step(nn.Module):
    """(frame [1, C, H, W], first bool [1], states...) -> (boxes [A, 4], scores [A, K], states...).

    With `first` the stream begins: the states are not looked at, and may be zeros.
    """

    def __init__(self, model: EventDetector) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            _, state = model(self.blank()[None])
        self.names = [f"{kind}_{i}" for kind, tensors in state.items() for i in range(len(tensors))]
        self.shapes = [tensor.shape for tensors in state.values() for tensor in tensors]
        self._counts = {kind: len(tensors) for kind, tensors in state.items()}

    def blank(self) -> Tensor:
        """A frame [1, C, H, W] without events."""
        return torch.zeros(1, self.model.in_channels, *self.model.size)

    def start(self) -> list[Tensor]:
        """States for the first step."""
        return [torch.zeros(shape) for shape in self.shapes]

    def forward(self, frame: Tensor, first: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Do one step."""
        state: State = {}
        rest = list(states)
        for kind, count in self._counts.items():
            state[kind], rest = rest[:count], rest[count:]
        cells, after = self.model(frame[None], state, first)
        scores = cells.objectness[0, :, None].sigmoid() * cells.classes[0].sigmoid()
        return (cells.boxes[0], scores, *(tensor for tensors in after.values() for tensor in tensors))


def export_step(model: EventDetector, file: str | Path) -> list[str]:
    """Write one step of `model`; see the class Step.

    Args:
        model: it is moved to the CPU and set to eval.
        file: ends in .onnx or .pt2.

    Returns:
        The names of the states.

    Raises:
        UserError: another ending, a package is missing, the network cannot be written, or the file does not agree.
    """
    file = Path(file)
    suffix = file.suffix.lower()
    if suffix not in KINDS:
        raise UserError(f"{file}: name a file that ends in {' or '.join(KINDS)}", exit_code=2)
    step = Step(model.cpu().eval())
    example = (step.blank(), torch.tensor([True]), *step.start())
    program = _exported(step, example, file)
    content = _onnx(program, step) if suffix == ".onnx" else _pt2(program)
    _verify(step, _runner(content, suffix, step), file)
    replace_file(file, content)
    return step.names


def _exported(step: Step, example: tuple[Tensor, ...], file: Path) -> Any:
    try:
        with torch.no_grad():
            return torch.export.export(step, example, strict=False)
    except Exception as error:  # whatever torch's tracer raises: dozens of kinds, none of them the user's fault
        raise UserError(f"{file}: the network cannot be exported ({type(error).__name__}: {error})") from error


def _pt2(program: Any) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _onnx(program: Any, step: Step) -> bytes:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise UserError(f'export to ONNX needs {name}: pip install "polyscale-event-det[onnx]"')
    names = {
        "input_names": ["frame", "first", *step.names],
        "output_names": ["boxes", "scores", *(f"{name}_next" for name in step.names)],
    }
    with quiet_exporter(), torch.no_grad():
        written = torch.onnx.export(program, (), dynamo=True, verbose=False, optimize=False, **names)  # type: ignore[arg-type]
        assert written is not None
        optimizer = importlib.import_module("onnxscript").optimizer
        optimizer.fold_constants(written.model, onnx_shape_inference=False)
        optimizer.remove_unused_nodes(written.model)
    content: bytes = written.model_proto.SerializeToString()
    return content


Runner = Callable[[Sequence[Tensor]], list[Tensor]]


def _runner(content: bytes, suffix: str, step: Step) -> Runner:
    """What runs the file: inputs -> outputs."""
    if suffix == ".pt2":
        program = torch.export.load(io.BytesIO(content)).module()
        return lambda inputs: list(program(*inputs))
    runtime = session(content)
    names = ["frame", "first", *step.names]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        fed = {name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in runtime.run(None, fed)]

    return run


@torch.no_grad()
def _verify(step: Step, run: Runner, file: Path) -> None:
    """Play STEPS frames of noise through both."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = step.start(), step.start()
    for number in range(STEPS):
        frame = torch.randint(0, 11, step.blank().shape, generator=generator).float()
        frame *= torch.rand(frame.shape, generator=generator) < 0.05
        first = torch.tensor([number == 0])
        expected, got = step(frame, first, *ours), run([frame, first, *theirs])
        boxes, *others = (float((a - b).abs().max()) for a, b in zip(expected, got, strict=True))
        if not max(boxes, 10 * max(others)) <= TOLERANCE:
            raise UserError(
                f"{file}: differs from the model in step {number + 1}, by {boxes:.2g} pixels in its boxes and by "
                f"{max(others):.2g} in its scores and states"
            )
        ours, theirs = list(expected[2:]), list(got[2:])
