"""The model that ships: it loads, finds what it was made to find, and every command takes it by its name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from event_recordings import DATA

from event_det import EventDetector, Predictor, Recording, write_recording
from event_det.data import synthetic
from event_det.data.synthetic import CAMERA, SIZE
from event_det.evaluation.average_precision import AveragePrecision, Found, Truth
from event_det.simulation import film, make_scene
from event_det.simulation.filming import Boxes
from polyscale.testing.command import call

SHIPPED = EventDetector.shipped_names()
SEEDS = range(9_000_000, 9_000_002)
"""Scenes that no split holds."""


def test_what_ships() -> None:
    assert SHIPPED == ["nano"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, dict[int, Boxes]]]:
    """Recordings of 4 s as EVT3, and their boxes."""
    folder, made = tmp_path_factory.mktemp("films"), []
    for seed in SEEDS:
        filmed = film(make_scene(seed, SIZE), CAMERA, seed)
        write_recording(folder / f"{seed}.raw", [filmed.events], SIZE[::-1])
        made.append((folder / f"{seed}.raw", filmed.boxes))
    return made


@pytest.mark.parametrize("name", SHIPPED)
def test_it_finds_objects_in_recordings_it_has_not_seen(name: str, films: list[tuple[Path, dict[int, Boxes]]]) -> None:
    predictor = Predictor(name, "cpu", threshold=0.01)
    truth, found = [], []
    for path, boxes in films:
        for window in predictor.stream(Recording(path), start=0):
            if window.time in boxes:
                at = boxes[window.time]
                truth.append(Truth(at.xyxy, at.labels, at.standing))
                found.append(Found(window.boxes, window.scores, window.labels))
    assert len(truth) > 70 * len(films)
    summary = AveragePrecision(truth, found, len(predictor.classes)).summary(predictor.classes)
    stated = EventDetector.about(name)["metrics"]
    assert summary["AP50"] > 0.6 * stated["AP50"]
    blind = AveragePrecision(truth, found[1:] + found[:1], len(predictor.classes)).summary(predictor.classes)
    assert summary["AP"] > blind["AP"]  # boxes of the next window fit less well


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_states_its_numbers(name: str) -> None:
    about = json.loads(call("event-det", "info", name, "--json").stdout)
    card = call("event-det", "info", name).stdout
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f"seed {about['seed']}, commit {about['commit']}" in card
    for value in about["metrics"].values():
        assert f"{value:.3f}" in card
    assert call("event-det", "info", "runs/none").returncode == 1


def test_eval_scores_it_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYSCALE_CACHE", str(tmp_path))
    monkeypatch.setattr(synthetic, "HELD_OUT", {"val": 1, "test": 2})
    monkeypatch.setattr(synthetic, "DURATION", 2_000_000)
    result = call("event-det", "eval", "--json")
    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert scores["model"]["AP"] > 3 * scores["baselines"]["blobs"]["AP"]
    assert scores["provenance"]["weights"] == "nano"


def test_predict_and_bench_take_it_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, films: list[tuple[Path, dict[int, Boxes]]]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("event-det", "predict", films[0][0], "--out", "a.json", "--threshold", "0.05", "--end", "1")
    assert result.returncode == 0, result.stderr
    made = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in made["categories"]] == ["pedestrian", "two-wheeler", "car"]
    assert made["annotations"]
    rows = json.loads(call("event-det", "bench", "--repeats", "2", "--json").stdout)
    assert rows[-1]["part"] == "step"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("file", ["evt2_sample.raw", "pedro/frame0000009.npy"])
def test_real_recordings_go_through(file: str) -> None:
    recording = Recording(DATA / file, sensor=None if file.endswith("raw") else (346, 260))
    windows = list(Predictor("nano", "cpu", threshold=0.1).stream(recording))
    assert sum(len(window.events) for window in windows) >= len(recording.read())  # an event at an edge is in both
    width, height = recording.sensor or (0, 0)
    for window in windows:
        assert ((window.boxes >= 0) & (window.boxes <= np.array([width, height] * 2))).all()


def test_its_weights_are_small_and_half() -> None:
    from safetensors import safe_open

    folder = Path(EventDetector.shipped or "") / "nano"
    assert (folder / "model.safetensors").stat().st_size < 4e6
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        kinds = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
    assert torch.float32 not in kinds
