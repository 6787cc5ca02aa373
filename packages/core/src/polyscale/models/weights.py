"""save_pretrained / from_pretrained: a model is a folder with config.json, model.safetensors and a card.

A source is a folder, the folder of a run (its best/ is taken), the name of weights that come with the package, or a
Hugging Face hub id. Nothing is ever unpickled: foreign .pt files go through torch's weights_only loader. A folder from
a stranger is bounded: its config.json in bytes, what it builds by the weights that come with it.
"""

import inspect
import json
import math
import shutil
import tempfile
import threading
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from polyscale import __version__
from polyscale.errors import UserError, first_line, foreign, read_bounded
from polyscale.models.card import CARD, card_text, write_card
from polyscale.models.sources import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, find, shipped_names
from polyscale.models.tensors import load_tensors, read_tensors, write_tensors

FORMAT = 1  # of config.json; readers refuse newer ones


class Pretrained(nn.Module):
    """Base of a model that can be saved and loaded; its constructor takes plain JSON values only.

    Subclasses set `shipped` to the folder of the weights that come with their package: a sub-folder there is a name
    that `from_pretrained` knows. With a `title` a model card is written next to the weights; `task` is the hub's
    pipeline tag and `tags` are further tags of that card.
    """

    shipped: ClassVar[Path | None] = None
    title: ClassVar[str] = ""
    task: ClassVar[str] = ""
    tags: ClassVar[tuple[str, ...]] = ()
    retired: ClassVar[Mapping[str, Any]] = {}
    """Arguments of older saved models that are gone, each with the value that is passed over; another is refused."""
    arguments: dict[str, Any]
    """The constructor's arguments, recorded when the model is built."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def save_pretrained(
        self, folder: Path | str, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """Write config.json, model.safetensors and, for a class with a title, README.md into `folder`.

        Args:
            folder: made if it is missing.
            dtype: store floating-point tensors in another format (float16 halves the file).
            about: kept in config.json and shown in the card (data, metrics, seed, commit, license).
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = class_name(type(self))
        write_tensors(folder / WEIGHTS, self.state_dict(), dtype=dtype)
        config = {"format": FORMAT, "polyscale": __version__, "class": name, "arguments": self.arguments}
        text = json.dumps({**config, "about": dict(about or {})}, indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors lets nobody but the owner read it
        if self.title:
            write_card(folder, card_text(self.title, name, task=self.task, tags=self.tags, about=about or {}))

    def push_to_hub(
        self, repo_id: str, *, about: Mapping[str, Any] | None = None, private: bool = False, token: str | None = None
    ) -> str:
        """Upload the model and its card to the Hugging Face hub.

        Args:
            repo_id: owner/name; made if it is missing.
            about: as in `save_pretrained`.
            private: make a new repository private.
            token: access token; that of `hf auth login` by default.

        Returns:
            The address of the commit.

        Raises:
            UserError: the hub cannot be reached or refuses.
        """
        from huggingface_hub import HfApi

        from polyscale.models.hub import hub

        try:
            with hub(), tempfile.TemporaryDirectory() as folder:
                api = HfApi(token=token)
                api.create_repo(repo_id, private=private, exist_ok=True)
                self.save_pretrained(folder, about=about)
                names = [name for name in (CONFIG, WEIGHTS, CARD) if (Path(folder) / name).exists()]
                done = api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names)
        except Exception as error:  # those of the hub's client and of the one below it, which differ between versions
            raise UserError(f"{repo_id}: not pushed to the hub ({first_line(error)})") from error
        return str(done)

    @classmethod
    def from_pretrained(cls, source: Path | str, **changes: Any) -> Self:
        """Return the model saved under `source`, in eval mode, in float32.

        Args:
            source: a folder, a run's folder, a shipped name or a hub id; see `find`.
            changes: replace recorded arguments.

        Raises:
            UserError: the source is not there, is damaged, holds another model, or its tensors do not fit.
        """
        folder = find(source, shipped=cls.shipped)
        config = _read_config(folder)
        name = class_name(cls)
        if config["class"] != name:
            raise UserError(f"{folder}: holds a {config['class']}, not a {name}")
        where = folder / CONFIG
        arguments = _without_retired(cls, config["arguments"], where)
        arguments |= {"pretrained": False} if _takes(cls, "pretrained") else {}
        tensors = read_tensors(folder / WEIGHTS)
        _check_arguments(cls, arguments, where)
        with _named(where, f"{name} cannot be built"), _cache_only(), _bounded_by(tensors):
            model = cls(**{**arguments, **changes})
        load_tensors(model, tensors, folder / WEIGHTS)
        return model.eval()

    @classmethod
    def about(cls, source: Path | str) -> dict[str, Any]:
        """Return what was recorded about the weights under `source`: data, metrics, seed, commit."""
        about: dict[str, Any] = _read_config(find(source, shipped=cls.shipped)).get("about", {})
        return about

    @classmethod
    def shipped_names(cls) -> list[str]:
        """Return the names of the weights that come with the package."""
        return shipped_names(cls.shipped)


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


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    content = read_bounded(path, MAX_CONFIG_BYTES)
    with foreign(path, "the configuration of a saved model"):
        config = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    about = config.get("about", {}) if isinstance(config, dict) else None
    fits = isinstance(config, dict) and isinstance(config.get("class"), str)
    if not fits or not isinstance(config.get("arguments"), dict) or not isinstance(about, dict):
        raise UserError(f"{path}: not the configuration of a saved model (class and arguments are needed)")
    version = config.get("format", FORMAT)  # folders of before have none
    if type(version) is not int or version < 1:
        raise UserError(f"{path}: format is not a number of a format")
    if version > FORMAT:
        written = str(config.get("polyscale", "a newer polyscale"))[:20]
        raise UserError(f"{path}: format {version} was written by {written}; this is {__version__}: upgrade polyscale")
    return dict(config)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _without_retired(cls: type[Pretrained], arguments: Mapping[str, Any], where: Path) -> dict[str, Any]:
    for name, value in cls.retired.items():
        if arguments.get(name, value) != value:
            gone = f"{class_name(cls)} has no {name} any more, as if always {value!r}"
            raise UserError(f"{where}: {gone}; this model has another: train it again")
    return {name: value for name, value in arguments.items() if name not in cls.retired}


def _check_arguments(cls: type, arguments: Mapping[str, Any], where: Path) -> None:
    """Raise UserError for an argument that the constructor does not have or whose type is not the annotated one."""
    parameters = inspect.signature(cls).parameters
    try:
        hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    except NameError:  # an annotation that only a type checker can resolve
        hints = {}
    for name, value in arguments.items():
        if name not in parameters:
            raise UserError(f"{where}: arguments do not fit {class_name(cls)}: it has no {name[:60]!r}")
        if not _is_a(value, hints.get(name, Any)):
            text = f"{where}: arguments do not fit {class_name(cls)}: {name} cannot be {value!r}"
            raise UserError(text if len(text) < 300 else f"{text[:300]}...")


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a JSON value fits a type annotation; annotations that JSON cannot express fit anything."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_is_a(value, part) for part in parts)
    if kind is Literal:
        return value in parts
    if kind in (int, bool):
        return type(value) is kind
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (str, type(None)):
        return isinstance(value, str if kind is str else type(None))
    if isinstance(kind, type) and issubclass(kind, Sequence):
        kinds = parts if kind is tuple and ... not in parts else parts[:1] * len(value) if _is_list(value) else ()
        return _is_list(value) and len(value) == len(kinds or value) and all(map(_is_a, value, kinds))
    return not (isinstance(kind, type) and issubclass(kind, Mapping)) or isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


@contextmanager
def _named(where: Path, what: str) -> Iterator[None]:
    """Turn whatever a constructor raises on foreign arguments into one line."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, UserError) else first_line(error)
        raise UserError(f"{where}: {what}: {text}") from error


@contextmanager
def _bounded_by(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse to build parameters far beyond `tensors`: four times as many, for what a constructor builds and drops."""
    numbers = 4 * sum(value.numel() for value in tensors.values()) + (1 << 24)
    count = 4 * len(tensors) + 2000
    thread = threading.get_ident()  # the hook sees those of every thread

    def check(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal numbers, count
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return
        numbers, count = numbers - parameter.numel(), count - 1
        if min(numbers, count) < 0:
            raise ValueError("they ask for a far larger network than the weights are of")

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _cache_only() -> Iterator[None]:
    """Open no connection: what was saved is built from what is here."""
    from polyscale.models.hub import hub

    with hub(cache_only=True):
        yield


def class_name(cls: type) -> str:
    """Return what a saved model is called in its config.json: "iqa.QualityNet"."""
    return f"{cls.__module__.split('.')[0]}.{cls.__qualname__}"


def _takes(cls: type, argument: str) -> bool:
    return argument in inspect.signature(cls).parameters
