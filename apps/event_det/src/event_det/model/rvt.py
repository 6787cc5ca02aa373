"""Reading RVT's checkpoints: Lightning files whose tensors are renamed here, and whose other objects never live.

A Lightning checkpoint holds hyper-parameters as objects of omegaconf next to the tensors. torch's restricted loader
refuses what it does not know; each such name is answered with a class that does nothing.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from event_det.model.network import EventDetector
from polyscale.errors import UserError, foreign
from polyscale.models.tensors import load_tensors

DATA_SETS = {2: (("car", "pedestrian"), (240, 304), 1), 3: (("pedestrian", "two-wheeler", "car"), (360, 640), 2)}
"""By number of classes what RVT was trained on: Gen1 and the halved 1 Mpx; names, (H, W), splits."""

NAMES = (  # RVT's name, ours
    (r"downsample_cf2cl\.", ""),
    (r"att_blocks\.(\d+)\.att_window\.", lambda m: f"attention.{2 * int(m[1])}."),
    (r"att_blocks\.(\d+)\.att_grid\.", lambda m: f"attention.{2 * int(m[1]) + 1}."),
    (r"\.self_attn\.", "."),
    (r"\.ls(\d)\.gamma$", r".scale\1"),
    (r"\.mlp\.net\.0\.0\.", ".mlp.0."),
    (r"\.mlp\.net\.2\.", ".mlp.2."),
    (r"^fpn\.lateral_conv0\.", "fpn.lateral.0."),
    (r"^fpn\.reduce_conv1\.", "fpn.lateral.1."),
    (r"^fpn\.C3_p4\.", "fpn.top_down.0."),
    (r"^fpn\.C3_p3\.", "fpn.top_down.1."),
    (r"^fpn\.bu_conv2\.", "fpn.down.0."),
    (r"^fpn\.bu_conv1\.", "fpn.down.1."),
    (r"^fpn\.C3_n3\.", "fpn.bottom_up.0."),
    (r"^fpn\.C3_n4\.", "fpn.bottom_up.1."),
    (r"^yolox_head\.stems\.(\d)\.", r"head.levels.\1.stem."),
    (r"^yolox_head\.cls_convs\.(\d)\.", r"head.levels.\1.class_convs."),
    (r"^yolox_head\.reg_convs\.(\d)\.", r"head.levels.\1.box_convs."),
    (r"^yolox_head\.cls_preds\.(\d)\.", r"head.levels.\1.class_logits."),
    (r"^yolox_head\.reg_preds\.(\d)\.", r"head.levels.\1.box."),
    (r"^yolox_head\.obj_preds\.(\d)\.", r"head.levels.\1.objectness."),
)


def load_rvt(
    path: Path | str, classes: Sequence[str] | None = None, size: tuple[int, int] | None = None
) -> EventDetector:
    """Return the network of an RVT checkpoint (.ckpt), in eval mode.

    Args:
        path: a file of RVT or of a fork that left its network as it is.
        classes: their names; by default those of Gen1 (2 classes) or 1 Mpx (3 classes).
        size: (H, W) of the frames; by default those of the same data set.

    Raises:
        UserError: no such file, no RVT checkpoint, or the classes do not fit it.
    """
    path = Path(path)
    tensors = {rename(name): tensor for name, tensor in _read(path).items() if "mask_token" not in name}
    stem, logits = tensors.get("backbone.stages.0.conv.weight"), tensors.get("head.levels.0.class_logits.bias")
    if stem is None or logits is None or stem.ndim != 4:
        raise UserError(f"{path}: not a checkpoint of RVT (no backbone and head of its names)")
    count = len(logits)
    if count not in DATA_SETS and (classes is None or size is None):
        raise UserError(f"{path}: has {count} classes, neither Gen1's 2 nor 1 Mpx's 3: name the classes and the size")
    names, frame, splits = DATA_SETS.get(count, (classes, size, 1))
    if classes is not None and len(classes) != count:
        raise UserError(f"{path}: has {count} classes, got {len(classes)} names")
    width, in_channels, kernel = stem.shape[0], stem.shape[1], stem.shape[2]
    model = EventDetector(
        list(classes or names or ()),
        size or frame or (0, 0),
        in_channels,
        width,
        head=24 if width == 48 else 32,
        depth=0.67 if "fpn.top_down.0.m.1.conv1.conv.weight" in tensors else 0.33,
        patch=(kernel + 1) // 2,
        splits=splits,
    )
    load_tensors(model, tensors, path)
    return model.eval()


def rename(name: str) -> str:
    """Our name of a tensor of RVT."""
    name = name.removeprefix("mdl.")
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    return name


class _Inert:
    """Stands for the class of any object of a checkpoint that is no tensor; what it makes only stores what comes."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()  # which the restricted loader fills as it would the object


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors under "state_dict"."""
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    if not path.is_file():
        raise UserError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    with foreign(path, "a checkpoint of RVT"):
        unknown = get_unsafe_globals_in_checkpoint(path)
        with safe_globals([(_Inert, name) for name in unknown]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: not a checkpoint of RVT (no state_dict of tensors in it)")
    return state
