"""Where a saved model is: a folder, a run's folder, a name that ships with a package, or a Hugging Face hub id.

Nothing here imports torch, so that an exported model is found where torch is not installed.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from polyscale.errors import UserError, first_line

CONFIG, WEIGHTS, EXPORTED = "config.json", "model.safetensors", "model.onnx"
MAX_CONFIG_BYTES = 1 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)


def shipped_names(shipped: Path | None) -> list[str]:
    """Return the names of the saved models in the folder `shipped`."""
    return sorted(path.parent.name for path in shipped.glob(f"*/{CONFIG}")) if shipped else []


def find(source: Path | str, *, shipped: Path | None = None, files: Sequence[str] = (CONFIG, WEIGHTS)) -> Path:
    """Return the folder of the saved model that `source` names.

    Args:
        source: a folder with config.json, a run's folder (its best/ is taken), a name in `shipped`, or a hub id
            owner/name. What can only be a path (it begins with runs/, ., / or ~, or its first part is a folder here)
            never makes the hub be asked.
        shipped: folder of the weights that come with a package.
        files: what is fetched from the hub.

    Raises:
        UserError: nothing is there, or the hub cannot give it.
    """
    text = str(source)
    if not text:
        raise UserError("an empty name of a model was given")
    if os.path.isdir(text):  # noqa: PTH112  Path.is_dir raises on a name that is too long
        for folder in (Path(text), Path(text, "best")):
            if os.path.lexists(folder / CONFIG):
                return folder
        raise UserError(f"{source}: no {CONFIG} in it, nor in its best/; it is no saved model and no run")
    names = shipped_names(shipped)
    if shipped and text in names:
        return shipped / text
    owner = text.partition("/")[0]
    is_path = os.path.lexists(text) or owner == "runs" or os.path.lexists(owner)
    if text.lower().endswith(".onnx") and os.path.isfile(text):  # noqa: PTH113
        raise UserError(f"{source}: is an ONNX file, which predict runs; give the folder of the model it was made from")
    if is_path or not _HUB_ID.fullmatch(text):
        known = ", ".join(names) or "none"
        raise UserError(f"{source}: no such model; give a folder, a hub id owner/name, or a shipped name ({known})")
    return _download(text, files)


def _download(hub_id: str, files: Sequence[str]) -> Path:
    try:
        from huggingface_hub import snapshot_download

        from polyscale.models.hub import hub
    except ModuleNotFoundError as error:
        raise UserError(
            f"{hub_id}: no such folder, and the hub needs a package: pip install huggingface-hub"
        ) from error

    try:
        with hub():
            return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (OSError, ValueError) as error:  # all hub and connection errors derive from these
        raise UserError(f"{hub_id}: neither a folder here nor reachable on the hub ({first_line(error)})") from error
