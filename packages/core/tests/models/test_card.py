"""Model cards: front matter that the hub reads, a hand-written card stays, a push takes the card along."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from polyscale.errors import UserError
from polyscale.models.weights import Pretrained

ABOUT = {"data": "BIQ2021", "seed": 0, "license": "apache-2.0", "metrics": {"SRCC": 0.81, "intervals": {"a": 1}}}


class Titled(Pretrained):
    title, task, tags = 'A "model": of ours', "image-segmentation", ("vision",)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Untitled(Titled):
    title = ""


def front_matter(card: Path) -> dict[str, Any]:
    text = card.read_text(encoding="utf-8")
    assert text.startswith("---\n")
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_the_card_has_the_front_matter_of_the_hub(tmp_path: Path) -> None:
    Titled().save_pretrained(tmp_path, about=ABOUT)
    assert front_matter(tmp_path / "README.md") == {
        "license": "apache-2.0",
        "library_name": "polyscale",
        "pipeline_tag": "image-segmentation",
        "tags": ["vision"],
        "datasets": ["BIQ2021"],
        "metrics": ["SRCC"],
    }
    assert "| SRCC | 0.81 |" in (tmp_path / "README.md").read_text(encoding="utf-8")
    Untitled().save_pretrained(tmp_path / "b")
    assert not (tmp_path / "b/README.md").exists()


def test_a_card_of_ones_own_stays(tmp_path: Path) -> None:
    Titled().save_pretrained(tmp_path)
    Titled().save_pretrained(tmp_path, about=ABOUT)
    assert "BIQ2021" in (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_bytes("café\xff".encode("latin-1"))
    Titled().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_bytes() == "café\xff".encode("latin-1")


def test_the_shipped_cards_have_it() -> None:
    cards = list(Path(__file__).parents[4].glob("apps/*/src/*/weights/*/README.md"))
    assert cards
    for card in cards:
        keys = front_matter(card).keys()
        assert {"license", "library_name", "tags", "datasets", "metrics", "pipeline_tag"} <= keys, card


class Api:
    """A hub that remembers what it was sent."""

    sent: dict[str, Any]

    def __init__(self, token: str | None = None) -> None:
        Api.sent = {"token": token}

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
        Api.sent |= {"repo": repo_id, "private": private}

    def upload_folder(self, repo_id: str, folder_path: str, allow_patterns: list[str]) -> str:
        Api.sent["files"] = sorted(path.name for path in Path(folder_path).iterdir())
        assert allow_patterns == ["config.json", "model.safetensors", "README.md"]
        return f"https://hub/{repo_id}/commit/1"


def test_a_push_takes_the_card_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("polyscale.models.hub._why_unreachable", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert Titled().push_to_hub("me/model", about=ABOUT, private=True) == "https://hub/me/model/commit/1"
    assert Api.sent["files"] == ["README.md", "config.json", "model.safetensors"]
    assert (Api.sent["repo"], Api.sent["private"]) == ("me/model", True)


def test_a_push_that_cannot_be_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"me/model: not pushed to the hub \("):
        Titled().push_to_hub("me/model")
