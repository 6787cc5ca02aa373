"""What the tests of an application share: its attributes, fixtures, one training, and what a run wrote."""

import json
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from polyscale.testing.command import Result, call
from polyscale.training import Run


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the options it was trained with, how `train` ended, and its steps of backward."""

    out: Path
    options: tuple[object, ...]
    result: Result
    steps: int


class AppTests:
    """The attributes and fixtures of the contract.

    Attributes a subclass sets:
        app: the command.
        metric: the metric that chooses the epoch and the best baseline.
        tiny: options of a `train` that takes seconds, two epochs of at least two steps.
        inputs: what `predict` takes, as `train` calls it.
        unit: what a sample of an evaluation is.
        files: options with which `predict` writes files, where it does not by itself.
        lacking: options of `polyscale.commands.types.SHARED` that have no sense here, "predict --sort", and why.
        words: how the help of a shared option begins here, where the shared words do not fit.
        start: the option of `train` that names a model to start from, where there is one.
    """

    app: ClassVar[str]
    metric: ClassVar[str]
    tiny: ClassVar[Sequence[str]]
    inputs: ClassVar[str] = "IMAGES"
    unit: ClassVar[str] = "image"
    files: ClassVar[Sequence[str]] = ()
    lacking: ClassVar[Mapping[str, str]] = {}
    words: ClassVar[Mapping[str, str]] = {}
    start: ClassVar[str] = ""

    # what a subclass may give

    def make_data(self, folder: Path) -> Path | None:
        """Write a miniature data set into `folder` and return its path; None trains on the synthetic set."""
        return None

    def make_image(self, path: Path, seed: int = 0) -> None:
        """Write an image that the application can predict."""
        noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((50 + seed, 40), Image.Resampling.BICUBIC).save(path)

    def make_input(self, images: Path) -> Path:
        """Return what shipped models can predict, one of these images unless it is something else."""
        return images / "a.png"

    # fixtures

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _one_thread(cls) -> Iterator[None]:
        """Numbers that are compared to the last bit are computed with one thread everywhere."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
        """The folder that `make_data` filled."""
        return cls().make_data(tmp_path_factory.mktemp("data"))

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, data: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
        """The training that the tests share."""
        out = tmp_path_factory.mktemp("runs") / "a"
        options = (*(() if data is None else ("--data.path", data)), *cls.tiny)
        with pytest.MonkeyPatch.context() as patch:
            steps = count_steps(patch)
            result = call(cls.app, "train", "--out", out, *options)
        assert result.returncode == 0, result.stderr
        return Trained(out, options, result, len(steps))

    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        """A folder with b.png, c.jpg (broken), a.png, img10.png, img2.png and deep/d.png."""
        folder = tmp_path / "images"
        (folder / "deep").mkdir(parents=True)
        for seed, name in enumerate(("b", "a", "img10", "img2", "deep/d")):
            self.make_image(folder / f"{name}.png", seed)
        (folder / "c.jpg").write_bytes(b"not an image")
        return folder

    def predict(self, trained: Trained, *arguments: object) -> Result:
        """Call `predict` with the shared model."""
        return call(self.app, "predict", *arguments, "--model", trained.out)


def break_weights(trained: Trained, folder: Path) -> Path:
    """Copy a run to `folder`/broken, where its best weights are no weights."""
    broken = shutil.copytree(trained.out, folder / "broken")
    (broken / "best" / "model.safetensors").write_bytes(b"\0" * 100)
    return broken


class Killed(BaseException):
    """Stands for a kill: nothing of the application catches it."""


def count_steps(patch: pytest.MonkeyPatch, stop_at: int = 0, by_signal: bool = True) -> list[int]:
    """Count the calls of Run.backward; before the call `stop_at`, send SIGTERM to this process or raise Killed."""
    steps: list[int] = []
    backward = Run.backward

    def counted(run: Run, *arguments: Any, **named: Any) -> None:
        steps.append(len(steps) + 1)
        if steps[-1] == stop_at:
            if not by_signal:
                raise Killed
            signal.raise_signal(signal.SIGTERM)
        backward(run, *arguments, **named)

    patch.setattr(Run, "backward", counted)
    return steps


def read_json(result: Result) -> Any:
    """Read what a command that ended well printed as JSON."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json without what differs between two evaluations of one model: date, seconds, place."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    del metrics["provenance"]
    return metrics
