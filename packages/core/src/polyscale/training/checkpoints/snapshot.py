"""What a checkpoint holds, as safetensors and JSON only: nothing is pickled, so nothing in a run's folder is executed.

A tree of dicts, lists, tuples, numbers, text and tensors (an optimizer's state, a recurrent state) becomes one
safetensors file: its tensors under their number, its structure as JSON in the file's metadata.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from polyscale.errors import UserError


def write_tree(path: Path, tree: Any) -> None:
    """Write a tree to the safetensors file `path`; tensors are detached and copied to the CPU.

    Raises:
        SafetensorError: The file cannot be written.
        TypeError: The tree holds something else than dicts, lists, tuples, None, numbers, text and tensors.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_describe(tree, tensors))
    save_file(tensors, path, metadata={"tree": structure})


def read_tree(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read a tree that `write_tree` wrote, with its tensors on `device` in the memory format they had."""
    with safe_open(path, framework="pt") as file:
        return _rebuild(json.loads(file.metadata()["tree"]), file, device)


def _describe(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the JSON structure of `value` and put its tensors into `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        layout = torch.empty_like(value, device="meta").stride()  # of a gap-free tensor: its own
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name} if layout == tensors[name].stride() else {"tensor": name, "stride": layout}
    if isinstance(value, Mapping):
        return {"dict": [[key, _describe(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_describe(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_describe(item, tensors) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a checkpoint holds tensors, numbers, text, dicts, lists and tuples, not {type(value).__name__}")


def _rebuild(node: Any, file: Any, device: torch.device | str) -> Any:
    if isinstance(node, list):
        return [_rebuild(item, file, device) for item in node]
    if not isinstance(node, dict):
        return node
    if "dict" in node:
        return {key: _rebuild(item, file, device) for key, item in node["dict"]}
    if "tuple" in node:
        return tuple(_rebuild(item, file, device) for item in node["tuple"])
    tensor = file.get_tensor(node["tensor"]).to(device)
    if "stride" not in node:
        return tensor
    return torch.empty_strided(tensor.shape, node["stride"], dtype=tensor.dtype, device=device).copy_(tensor)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of this process's random number generators: torch (CPU and `device`), NumPy and Python."""
    name, keys, *numpy_rest = np.random.get_state()  # noqa: NPY002 - augmentations of others draw from it
    states = {"torch": torch.get_rng_state(), "python": random.getstate()}
    states["numpy"] = (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *numpy_rest)
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Set the generators to what `random_states` returned."""
    name, keys, *numpy_rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *numpy_rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    if device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])


class Frozen:
    """The parameters of a model that are not trained, which a checkpoint leaves out.

    They come back with the model that is built anew; `digest` tells whether they are the same. One that is changed
    after all (unfrozen, or moved by hand as a momentum teacher is) counts as trained from then on.
    """

    def __init__(self, model: nn.Module) -> None:
        frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
        self._versions = {name: (parameter, parameter._version) for name, parameter in frozen.items()}
        self.digest = digest(frozen.items())

    def trained_state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return everything of the state_dict that training changes; tied tensors once, under their first name."""
        for name, (parameter, version) in list(self._versions.items()):
            if parameter.requires_grad or parameter._version != version:
                del self._versions[name]
        unchanged = {id(parameter) for parameter, _ in self._versions.values()}
        state: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and id(tensor) not in unchanged:
                state.setdefault(id(tensor), (name, tensor))
        return dict(state.values())


@torch.no_grad()
def load_state(model: nn.Module, source: Path) -> None:
    """Copy what `Frozen.trained_state` returned, written as the tree `source`, back into `model`.

    Raises:
        UserError: A tensor is of another model.
    """
    own, tensors = model.state_dict(keep_vars=True), read_tree(source)
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise UserError(f"{source}: {name} is not that of this model; the run was trained with another one")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 over the names and bytes of tensors."""
    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
