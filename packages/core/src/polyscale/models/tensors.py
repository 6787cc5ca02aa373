"""Files of tensors: written as safetensors, read without ever running code, loaded into a model all or nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # only the error that torch's restricted loader raises
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from polyscale.errors import UserError, foreign

_TIED = "tied"  # key of the safetensors metadata: JSON {name: name of the tensor it shares}


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], *, dtype: torch.dtype | None = None) -> None:
    """Write a .safetensors file; tensors that share all of their memory (tied weights) are stored once.

    Args:
        path: the file.
        tensors: on any device, of any layout.
        dtype: store floating-point tensors in this format.
    """
    kept: dict[tuple[Any, ...], str] = {}
    tied = {}
    for name, value in tensors.items():
        memory = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        first = kept.setdefault(memory, name) if value.numel() else name
        if first != name:
            tied[name] = first
    stored = {name: _stored(value, dtype) for name, value in tensors.items() if name not in tied}
    save_file(stored, path, metadata={"format": "pt", **({_TIED: json.dumps(tied)} if tied else {})})


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of a foreign .pt/.pth through the loader that runs no code.

    Raises:
        UserError: the file is missing, damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    with foreign(path, "a weight file"):
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            raise UserError(f"{path}: broken, or holds more than tensors; only plain state dicts are loaded") from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: not a state dict (a mapping of names to tensors)")
    return state


def load_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], source: Path | str, optional: tuple[str, ...] = ()
) -> None:
    """Load `tensors` into `model`, all or nothing.

    Args:
        model: keeps its own dtypes.
        tensors: one for each entry of the model's state.
        source: named in errors.
        optional: names that begin with one of these may be missing or unknown; the model keeps its own values.

    Raises:
        UserError: names, shapes or kinds of numbers do not fit; one line names them.
    """
    own = model.state_dict()
    tensors = {k: v for k, v in tensors.items() if k in own or not k.startswith(optional)}
    known = {k: v for k, v in tensors.items() if k in own}
    problems = {
        "missing": [k for k in own if k not in tensors and not k.startswith(optional)],
        "unknown": [k for k in tensors if k not in own],
        "of another shape": [k for k, v in known.items() if own[k].shape != v.shape],
        "of another kind of number": [k for k, v in known.items() if _kind(own[k]) != _kind(v)],
    }
    if any(problems.values()):
        parts = [
            f"{len(v)} {what} ({', '.join(v[:3])}{', ...' if len(v) > 3 else ''})" for what, v in problems.items() if v
        ]
        raise UserError(f"{source}: weights of another model: {'; '.join(parts)[:400]}")
    model.load_state_dict({**own, **{k: v.to(own[k].dtype) for k, v in tensors.items()}})


def _kind(value: Tensor) -> str:
    return "float" if value.is_floating_point() else "complex" if value.is_complex() else "integer"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no mapping
        tied = json.loads((file.metadata() or {}).get(_TIED, "{}"))
    return tensors | {name: tensors[first] for name, first in tied.items()}


def _stored(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().to("cpu")
    return (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous().clone()
