"""What a Predictor runs: one network, in torch or, from an ONNX file, in onnxruntime without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from polyscale.errors import UserError
from polyscale.models.sources import CONFIG, EXPORTED, find

RUNTIMES = ("auto", "torch", "onnx")


class Network(Protocol):
    """A network ready for images, whatever runs it.

    Attributes:
        about: what its predictor has to know: the size of its input, the range of its output.
    """

    about: Mapping[str, Any]

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Map uint8 [B, 3, H, W] to outputs by name, each [B, ...]. Raises UserError where it cannot run."""
        ...


def resolve_runtime(model: object, runtime: str, program: str) -> Literal["torch", "onnx"]:
    """Say what runs `model`.

    An .onnx file is run by onnxruntime and a module by torch; for a saved model `auto` is torch where it is installed,
    else onnxruntime.

    Args:
        model: a module, or what names a saved model or an ONNX file.
        runtime: one of RUNTIMES.
        program: the command, whose distribution is "polyscale-" + program.

    Raises:
        UserError: the runtime does not exist, cannot run this model, or is not installed.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"runtime: {runtime!r} is none of {', '.join(RUNTIMES)}", exit_code=2)
    is_name = isinstance(model, str | os.PathLike)
    needed = "torch" if not is_name else "onnx" if is_exported(model) else None
    if needed and runtime not in ("auto", needed):
        kind = "an ONNX file" if needed == "onnx" else "a torch module"
        raise UserError(
            f"runtime: {model if is_name else 'the model'} is {kind}, which {runtime} does not run; use auto"
        )
    has_torch = find_spec("torch") is not None
    chosen = needed or (runtime if runtime != "auto" else "torch" if has_torch else "onnx")
    if chosen == "torch" and not has_torch:
        raise UserError(f'runtime: torch is not installed: pip install "polyscale-{program}[train]"')
    return "torch" if chosen == "torch" else "onnx"


def is_exported(model: object) -> bool:
    """Return whether `model` names an ONNX file."""
    return isinstance(model, str | os.PathLike) and os.fspath(model).lower().endswith(".onnx")


def find_exported(model: str | Path, shipped: Path, program: str) -> Path:
    """Return the ONNX file that `model` names: itself, or the model.onnx of a saved model.

    Args:
        model: an .onnx file, or what `polyscale.models.find` takes.
        shipped: folder of the weights that come with the application.
        program: the command that exports.

    Raises:
        UserError: nothing is there; the message says how to make it.
    """
    if is_exported(model):
        return Path(model)
    file = find(model, shipped=shipped, files=(CONFIG, EXPORTED)) / EXPORTED
    if not file.is_file():
        made = f"write it with `{program} export {model}`, or use the runtime torch"
        raise UserError(f'{file}: no such file; {made} (pip install "polyscale-{program}[train]")')
    return file


def export_target(
    model: str | Path, folder: Path, out: Path | None = None, endings: Sequence[str] = (".onnx",)
) -> Path:
    """Return where `export` writes.

    Args:
        model: what the user named.
        folder: where it was found.
        out: the file that the user asked for.
        endings: those that `out` may have.

    Returns:
        `out`; without it model.onnx, where `find_exported` finds it, or NAME.onnx: see `beside`.

    Raises:
        UserError: `out` has another ending; by .onnx `is_exported` knows such a file.
    """
    if out is not None:
        if out.suffix.lower() not in endings and not out.is_dir():  # a folder is refused as every target is
            raise UserError(f"{out}: name a file that ends in {' or '.join(endings)}", exit_code=2)
        return out
    return beside(model, folder, EXPORTED, ".onnx")


def beside(model: str | Path, folder: Path, name: str, ending: str) -> Path:
    """Return `name` in the `folder` where `model` was found if that is the user's own; NAME + `ending` here if not.

    Not the user's own are the folders of shipped models and of the hub's, whose NAME is the last part of `model`.
    """
    if os.path.isdir(model):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        return folder / name
    return Path(f"{str(model).rpartition('/')[2]}{ending}")
