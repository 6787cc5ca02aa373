"""The device of an evaluation is that of the predictors, for one process and for several."""

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from polyscale.errors import UserError
from polyscale.evaluation import create_accelerator


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def see_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine seem to have two GPUs, as far as the choice of a device asks for them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_cpu_and_a_launch_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(monkeypatch)
    assert create_accelerator("cpu").device == torch.device("cpu")
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert create_accelerator().device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_one_process_takes_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    see_gpus(monkeypatch)
    assert create_accelerator(name).device == torch.device(name)


def test_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert create_accelerator().device == torch.device("mps")


def test_one_device_is_not_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    see_gpus(monkeypatch)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"cuda:1 is not for several processes"):
        create_accelerator("cuda:1")


def test_a_device_that_is_not_there_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="this machine has no cuda"):
            create_accelerator("cuda:1")
    with pytest.raises(UserError, match="none of auto, cpu"):
        create_accelerator("gpu")
