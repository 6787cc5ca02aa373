"""save_pretrained / from_pretrained for every model of the house: a folder with config.json and model.safetensors.

A source is a folder, the folder of a run (its best/ is taken), the name of weights shipped inside the app, or a
Hugging Face hub id. Nothing is ever unpickled: foreign .pt files go through torch's weights_only loader.
"""

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from pickle import UnpicklingError  # only the error that torch's restricted loader raises
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polyscale.errors import UserError

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Pretrained(nn.Module):
    """Base of a model that can be saved and loaded; its constructor takes plain JSON values only.

    Subclasses set `shipped` to the folder of the weights that come with their package: a sub-folder there is a name
    that `from_pretrained` knows.
    """

    shipped: ClassVar[Path | None] = None
    arguments: dict[str, Any]
    """The constructor's arguments, recorded when the model is built."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def save_pretrained(
        self, folder: Path | str, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """Write config.json and model.safetensors into `folder`.

        `dtype` stores floating-point tensors in another format (float16 halves the file); `about` is kept in
        config.json as it is (data set, metrics, seed, commit).
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: _stored(v, dtype) for k, v in self.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        config = {"class": _class_name(type(self)), "arguments": self.arguments, "about": dict(about or {})}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors lets nobody but the owner read it

    @classmethod
    def from_pretrained(cls, source: Path | str, **changes: Any) -> Self:
        """The model saved under `source`, in eval mode, in float32; `changes` replace recorded arguments.

        Raises UserError naming the source if it is not there, holds another model, or its tensors do not fit.
        """
        folder = cls._find(source)
        config = _read_config(folder)
        if config["class"] != _class_name(cls):
            raise UserError(f"{folder}: holds a {config['class']}, not a {_class_name(cls)}")
        arguments = {**config["arguments"], "pretrained": False} if _takes(cls, "pretrained") else config["arguments"]
        try:
            model = cls(**{**arguments, **changes})
        except TypeError as error:
            raise UserError(f"{folder / CONFIG}: arguments do not fit {_class_name(cls)}: {error}") from error
        load_tensors(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
        return model.eval()

    @classmethod
    def about(cls, source: Path | str) -> dict[str, Any]:
        """What was recorded about the weights under `source`: data set, metrics, seed, commit."""
        about: dict[str, Any] = _read_config(cls._find(source)).get("about", {})
        return about

    @classmethod
    def shipped_names(cls) -> list[str]:
        """Names of the weights that come with the package."""
        return sorted(p.parent.name for p in cls.shipped.glob(f"*/{CONFIG}")) if cls.shipped else []

    @classmethod
    def _find(cls, source: Path | str) -> Path:
        if not str(source):
            raise UserError("an empty name of a model was given")
        path = Path(source)
        if path.is_dir():
            for folder in (path, path / "best"):
                if (folder / CONFIG).exists():
                    return folder
            raise UserError(f"{path}: no {CONFIG} in it, nor in its best/; it is no saved model and no run")
        if cls.shipped and str(source) in cls.shipped_names():
            return cls.shipped / str(source)
        if path.exists() or str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
            names = ", ".join(cls.shipped_names()) or "none"
            raise UserError(f"{source}: no such model; give a folder, a hub id owner/name, or a shipped name ({names})")
        return _download(str(source))


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a foreign .pt/.pth through the loader that runs no code."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnpicklingError as error:
        raise UserError(f"{path}: broken, or holds more than tensors; only plain state dicts are loaded") from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable weight file ({_first_line(error)})") from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: not a state dict (a mapping of names to tensors)")
    return state


def load_tensors(
    model: nn.Module, tensors: Mapping[str, Tensor], source: Path | str, optional: tuple[str, ...] = ()
) -> None:
    """Load `tensors` into `model`, all or nothing; what does not fit is named in one line.

    Names that begin with one of `optional` may be missing or unknown; the model keeps its own values for them.
    """
    own = model.state_dict()
    tensors = {k: v for k, v in tensors.items() if k in own or not k.startswith(optional)}
    problems = {
        "missing": [k for k in own if k not in tensors and not k.startswith(optional)],
        "unknown": [k for k in tensors if k not in own],
        "of another shape": [k for k, v in tensors.items() if k in own and own[k].shape != v.shape],
    }
    if any(problems.values()):
        parts = [
            f"{len(v)} {what} ({', '.join(v[:3])}{', ...' if len(v) > 3 else ''})" for what, v in problems.items() if v
        ]
        raise UserError(f"{source}: weights of another model: {'; '.join(parts)}")
    model.load_state_dict({**own, **{k: v.to(own[k].dtype) for k, v in tensors.items()}})


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @wraps(init)
    def wrapper(self: Pretrained, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = {k: v for k, v in bound.arguments.items() if k != "self"}
        init(self, *args, **kwargs)
        if type(self).__init__ is wrapper:  # a subclass's own record stands
            self.arguments = json.loads(json.dumps(given))

    return wrapper


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    from polyscale.models.hub import hub

    try:
        with hub():
            return Path(snapshot_download(hub_id, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:  # all hub and connection errors derive from these
        raise UserError(f"{hub_id}: neither a folder here nor reachable on the hub ({_first_line(error)})") from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not {"class", "arguments"} <= config.keys():
            raise KeyError("class, arguments")  # noqa: TRY301 - one place says what is wrong with the file
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / CONFIG}: not the configuration of a saved model ({_first_line(error)})") from error
    return dict(config)


def _stored(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().to("cpu")
    return (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous().clone()


def _class_name(cls: type) -> str:
    return f"{cls.__module__.split('.')[0]}.{cls.__qualname__}"


def _takes(cls: type, argument: str) -> bool:
    return argument in inspect.signature(cls).parameters


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
