"""Saving and loading: what is recorded, what is refused, and that nothing runs code."""

import json
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from polyscale.errors import UserError
from polyscale.models.tensors import load_tensors, read_tensors
from polyscale.models.weights import Pretrained


class Small(Pretrained):
    def __init__(self, width: int = 3, names: tuple[str, ...] = ("a",)) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)


class Other(Small):
    pass


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Small(width=4, names=("x", "y")).save_pretrained(tmp_path / "m", about={"seed": 0})
    return tmp_path / "m"


def test_round_trip_with_arguments(saved: Path) -> None:
    model = Small.from_pretrained(saved)
    assert model.arguments == {"width": 4, "names": ["x", "y"]}
    assert not model.training
    assert json.loads((saved / "config.json").read_text())["about"] == {"seed": 0}
    again = Small.from_pretrained(saved)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_arguments_that_are_gone_load_with_the_value_that_is_done_now(saved: Path) -> None:
    class Small(Pretrained):
        retired: ClassVar = {"names": ["x", "y"]}

        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(width, width), nn.Linear(width, 1)

    Small.__qualname__ = "Small"
    assert Small.from_pretrained(saved).arguments == {"width": 4}
    Small.retired = {"names": ["z"]}
    with pytest.raises(UserError, match=r"Small has no names any more, as if always \['z'\].*: train it again"):
        Small.from_pretrained(saved)


def test_a_run_gives_its_best(saved: Path, tmp_path: Path) -> None:
    saved.rename(tmp_path / "best")
    assert Small.from_pretrained(tmp_path).layer.in_features == 4


def test_half_precision_on_disk_is_float32_in_memory(tmp_path: Path) -> None:
    model = Small()
    model.save_pretrained(tmp_path, dtype=torch.float16)
    assert read_tensors(tmp_path / "model.safetensors")["layer.weight"].dtype == torch.float16
    loaded = Small.from_pretrained(tmp_path)
    assert loaded.layer.weight.dtype == torch.float32
    torch.testing.assert_close(loaded.layer.weight, model.layer.weight, rtol=1e-3, atol=1e-3)


def test_wrong_sources_are_one_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a .*Small, not a .*Other"):
        Other.from_pretrained(saved)
    with pytest.raises(UserError, match=r"no config\.json in it"):
        Small.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="no such model"):
        Small.from_pretrained(tmp_path / "none")
    (saved / "config.json").write_text("[1")
    with pytest.raises(UserError, match="cannot be read as the configuration of a saved model"):
        Small.from_pretrained(saved)


def test_hub_ids_are_fetched_and_their_absence_is_explained(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr("polyscale.models.hub.hub", lambda **_: nullcontext())
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(saved))
    assert Small.from_pretrained("someone/small").layer.in_features == 4
    assert asked == ["someone/small"]

    def unreachable(name: str, **_: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"neither a folder here nor reachable on the hub \(no network\)"):
        Small.from_pretrained("someone/small")


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("touched"),))


def test_a_foreign_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"evil\.pt: broken, or holds more than tensors"):
        read_tensors(tmp_path / "evil.pt")
    torch.save({"state_dict": Small().state_dict(), "extra": Evil()}, tmp_path / "evil2.pt")
    with pytest.raises(UserError, match="holds more than tensors"):
        read_tensors(tmp_path / "evil2.pt")
    assert not (tmp_path / "touched").exists()
    torch.save({"state_dict": Small().state_dict()}, tmp_path / "fine.pt")
    assert "layer.weight" in read_tensors(tmp_path / "fine.pt")
    with pytest.raises(UserError, match="no such file"):
        read_tensors(tmp_path / "none.pt")


def test_optional_tensors_may_be_missing_or_unknown() -> None:
    full, lean = Small(), {k: v + 1 for k, v in Small().state_dict().items() if not k.startswith("head.")}
    before = full.head.weight.clone()
    load_tensors(full, {**lean, "head.extra": torch.zeros(1)}, "x", optional=("head.",))
    assert torch.equal(full.layer.weight, lean["layer.weight"])
    assert torch.equal(full.head.weight, before)
    with pytest.raises(UserError, match=r"x: weights of another model: 2 missing \(head\.weight, head\.bias\)"):
        load_tensors(full, lean, "x")
    wrong = {**Small().state_dict(), "layer.bias": torch.zeros(7)}
    with pytest.raises(UserError, match=r"1 of another shape \(layer\.bias\)"):
        load_tensors(full, wrong, "x")


def test_who_may_read_the_configuration_may_read_the_weights(saved: Path) -> None:
    assert (saved / "model.safetensors").stat().st_mode == (saved / "config.json").stat().st_mode
