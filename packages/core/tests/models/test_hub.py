"""The hub out of reach: said within seconds; what is cached loads all the same; nothing stays changed."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from polyscale.errors import UserError
from polyscale.models import hub
from polyscale.models.backbones import create_backbone
from polyscale.models.weights import Pretrained


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an endpoint that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name, value in (("ENDPOINT", endpoint), ("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", False)):
        monkeypatch.setattr(constants, name, value)
    return tmp_path


@pytest.mark.parametrize("name", ["test_resnet", "hf-hub:timm/test_resnet.r160_in1k"])
def test_weights_that_cannot_be_had_are_one_line_within_seconds(unreachable: Path, name: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not in the cache, and http://127.* does not answer: .*refused.*HF_HOME") as e:
        create_backbone(name, pretrained=True)
    assert time.monotonic() - start < 10
    assert "\n" not in str(e.value)
    assert constants.HF_HUB_OFFLINE is False


def test_a_model_that_cannot_be_had_is_one_line_within_seconds(unreachable: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"someone/small: neither a folder .* does not answer: .*refused"):
        Pretrained.from_pretrained("someone/small")
    assert time.monotonic() - start < 10


def test_cached_weights_need_nobody(unreachable: Path) -> None:
    folder = unreachable / "models--timm--test_resnet.r160_in1k"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    weights = timm.create_model("test_resnet").state_dict()
    save_file({k: torch.full_like(v, 2) for k, v in weights.items()}, folder / "snapshots/abc/model.safetensors")
    start = time.monotonic()
    backbone = create_backbone("test_resnet", pretrained=True)
    assert time.monotonic() - start < 10
    assert all((p == 2).all() for p in backbone.parameters())


def test_an_environment_that_forbids_it_is_named(unreachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not in the cache, and HF_HUB_OFFLINE is set"):
        create_backbone("test_resnet", pretrained=True)
    assert constants.HF_HUB_OFFLINE is True


class Saved(Pretrained):
    def __init__(self, backbone: str = "test_resnet") -> None:
        super().__init__()
        self.backbone = create_backbone(backbone)


@pytest.mark.parametrize("offline", [False, True])
def test_a_saved_model_with_a_missing_backbone_says_that_the_hub_is_not_asked(
    unreachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    """It was reported as "HF_HUB_OFFLINE is set", which nobody had set."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    Saved().save_pretrained(tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text().replace("test_resnet", "hf-hub:someone/gone"))
    with pytest.raises(UserError, match=r"cannot load backbone hf-hub:someone/gone \(.*asking the hub\): fill") as e:
        Saved.from_pretrained(tmp_path / "m")
    assert "HF_HUB_OFFLINE" not in str(e.value)
    assert constants.HF_HUB_OFFLINE is offline
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set" if offline else "does not answer"):
        create_backbone("hf-hub:someone/gone")


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), NotFound) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_who_refuses_answers_and_who_hangs_does_not(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub._why_unreachable(server) is None
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert "timed out" in str(hub._why_unreachable(f"http://127.0.0.1:{mute.getsockname()[1]}"))
