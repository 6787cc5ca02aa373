"""The measurements of tools/bench run and count right."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from event_det import Recording, write_recording

pytest.importorskip("resource")  # not on Windows
BENCH = Path(__file__).parents[3] / "tools/bench"


@pytest.fixture(scope="module")
def stream() -> ModuleType:
    spec = importlib.util.spec_from_file_location("event_stream", BENCH / "event_stream.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recording(stream: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "a.raw"
    assert write_recording(path, stream.made_up(3000, 0.5, (64, 48)), (64, 48), format="evt3") == 3000
    return path


@pytest.mark.parametrize(("way", "model"), [("windows", ""), ("histograms", ""), ("prediction", "nano")])
def test_a_stream_is_read_whole(stream: ModuleType, recording: Path, way: str, model: str) -> None:
    events = Recording(recording).read()
    twice = sum(int((events.t == edge).sum()) for edge in range(50_000, 500_000, 50_000))  # in both windows
    found = stream.measure(way, recording, 0.5, model)
    assert (found["windows"], found["events"]) == (10, 3000 + twice)
    assert 0 < found["seconds"] < 60
    assert 0 <= found["growth_MB"] <= found["memory_MB"]
    line = stream.describe({**found, "seconds": 2.0, "processor_seconds": 1.0, "growth_MB": 0.04}, 0.5)
    assert line.startswith(f"{way}: 0.25 times real time (0.50 in processor time)")
    assert re.search(r"MB at most, \+0\.0 MB after the first tenth, in use (nan|[+-]\d+\.\d) MB$", line)
    assert ("boxes" in line) == (way == "prediction")
