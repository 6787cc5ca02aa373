"""The commands: view, data info, data convert."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from event_recordings import SENSOR, make_events, same, write
from event_sets import write_square
from PIL import Image

from event_det import Recording
from event_det.formats import summarise
from event_det.video import read_video
from polyscale.testing.command import application, call, one_line


def test_info_describes_a_recording(tmp_path: Path) -> None:
    events = make_events(3000)
    path = write(tmp_path / "a.raw", events, "evt3")
    done = call("event-det", "data", "info", path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["sensor"], found["events"]) == ("evt3", "200x180", 3000)
    assert found["duration_us"] == events.t[-1] - events.t[0]
    assert found["on_share"] == pytest.approx(events.p.mean())
    assert found["dropped"] == {}
    assert "3,000" in call("event-det", "data", "info", path).stdout


def test_summary_finds_gaps_and_peaks_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("event_det.formats.prophesee.dat.BLOCK", 7)
    events = make_events(200, step=1)
    events.t[100:] += 500_000
    found = summarise(Recording(write(tmp_path / "a.dat", events, "dat")))
    counts = np.bincount(events.t // 10_000)
    assert (found["gaps"], found["longest_pause_us"]) == (1, int(np.diff(events.t).max()))
    assert found["longest_pause_at_us"] == events.t[99]
    assert found["peak_rate"] == counts.max() * 100


def test_what_was_dropped_is_one_line_and_exit_1(tmp_path: Path) -> None:
    events = make_events(300)
    events.x[7] = SENSOR[0]
    path = write(tmp_path / "a.dat", events, "dat")
    for words in (["data", "info"], ["view", "-o", tmp_path / "a.gif"]):
        done = call("event-det", *words, path)
        assert done.returncode == 1
        assert "a.dat: dropped 1 event: 1 outside the sensor (first at byte " in done.stderr
    assert (tmp_path / "a.gif").exists()
    done = call("event-det", "data", "convert", path, tmp_path / "b.npz")
    assert done.returncode == 1
    assert len(Recording(tmp_path / "b.npz").read()) == 299


def test_convert_and_cut(tmp_path: Path) -> None:
    events = make_events(3000)
    path = write(tmp_path / "a.raw", events, "evt21")
    for target in ("b.dat", "b.h5", "b.csv", "b.raw"):
        done = call("event-det", "data", "convert", path, tmp_path / target)
        assert done.returncode == 0, done.stderr
        assert same(Recording(tmp_path / target).read(), events)
        assert f"event-det view {tmp_path / target}" in done.stderr
    assert Recording(tmp_path / "b.raw").format == "evt3"
    done = call("event-det", "data", "convert", path, tmp_path / "c.npy", "--start", "0.005", "--end", "0.01")
    assert done.returncode == 0, done.stderr
    assert same(Recording(tmp_path / "c.npy").read(), events.between(5000, 10_000))
    done = call(
        "event-det", "data", "convert", tmp_path / "c.npy", tmp_path / "d.raw", "--to", "evt2", "--time-origin", "first"
    )
    assert "states no sensor size" in done.stderr
    assert Recording(tmp_path / "d.raw").read().t[0] == 0


def test_view_draws_a_gif_and_a_strip(tmp_path: Path) -> None:
    events = make_events(3000)
    path = write(tmp_path / "a.raw", events, "evt3")
    done = call("event-det", "view", path, "--out", tmp_path / "a.gif", "--window", "1")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.gif") as image:
        assert image.size == SENSOR
        assert image.n_frames == -(-(events.t[-1] - events.t[0] + 1) // 1000)
    done = call("event-det", "view", path, "--out", tmp_path / "a.png", "--frames", "3")
    assert "3 images" in done.stderr
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * SENSOR[0] + 2 * 4, SENSOR[1])
    done = call("event-det", "view", path, "--out", tmp_path / "b.gif", "--window", "1", "--frames", "2")
    assert "stopped after 2 of" in done.stderr


def test_view_draws_an_mp4(tmp_path: Path) -> None:
    pytest.importorskip("av")
    events = make_events(3000)
    path = write(tmp_path / "a.raw", events, "evt3")
    done = call("event-det", "view", path, "--out", tmp_path / "a.mp4", "--window", "1")
    assert done.returncode == 0, done.stderr
    frames = list(read_video(tmp_path / "a.mp4"))
    assert len(frames) == -(-(events.t[-1] - events.t[0] + 1) // 1000)
    assert frames[0][1].shape == SENSOR[::-1]
    assert np.ptp(frames[0][1]) > 100


def test_view_draws_the_polarity_of_most_events(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,x,y,p\n0,0,0,1\n1,1,0,0\n2,2,0,1\n3,2,0,1\n4,3,0,0\n5,3,0,0\n6,3,0,1\n7,3,0,0\n8,5,1,1\n")
    assert call("event-det", "view", path, "-o", tmp_path / "a.png", "--frames", "1").returncode == 0
    colours = np.asarray(Image.open(tmp_path / "a.png"))
    on, off, background = (255, 240, 215), (150, 190, 235), (26, 32, 46)
    assert [tuple(colours[0, x]) for x in (2, 3, 4)] == [on, off, background]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["data", "info", "none.raw"], 1, "none.raw: no such file"),
        (["data", "info", "."], 1, "is a folder, not a recording"),
        (["data", "info", "a.dat", "--format", "evt9"], 2, "'evt9' is no format"),
        (["data", "info", "a.dat", "--sensor", "wide"], 2, "'wide' is not a sensor size"),
        (["data", "convert", "a.dat", "b.xyz"], 2, "no format is written as .xyz"),
        (["data", "convert", "a.dat", "b.aedat4", "--to", "aedat4"], 2, "aedat4 is only read"),
        (["data", "convert", "a.dat", "a.dat"], 1, "a.dat: is one of the inputs"),
        (["export", "none"], 1, "none: no such model; give a folder"),
        (["export", "nano", "--out", "a.txt"], 2, "a.txt: name a file that ends in .onnx or .pt2"),
        (["data", "info", "long.csv"], 1, "has no column p among t, x, y, q, q, q, q, q, q, q, q, q, q, q, q, q, q"),
        (["data", "info", "long.csv"], 1, "q ...; expected t, x, y, p"),
        (["data", "convert", "a.dat", "a.dat/b.npy"], 2, "a.dat is a file, not a folder"),
        (["view", "a.dat", "-o", "a.dat/b.gif"], 2, "a.dat is a file, not a folder"),
        (["view", "a.dat", "--sensor", "1x1"], 1, "holds no events (dropped 100 events: 100 outside the sensor"),
        (["view", "a.dat", "-o", "a.avi"], 2, "should end in .gif, .mp4 or .png"),
        (["view", "a.dat", "--start", "99"], 1, "holds no events from 99 s; it has some from"),
        (["view", "empty.dat"], 1, "holds no events"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.dat"), make_events(100), "dat")
    write(Path("empty.dat"), make_events(100)[:0], "dat")
    Path("long.csv").write_text("t, x, y" + ", q" * 1000 + "\n")
    one_line(call("event-det", *words), code, text)


def test_folders_are_made(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", make_events(100), "dat")
    for words in (["data", "convert", path, tmp_path / "b/a.npy"], ["view", path, "-o", tmp_path / "c/d/a.gif"]):
        done = call("event-det", *words)
        assert done.returncode == 0, done.stderr
        assert Path(words[-1]).is_file()


def test_no_empty_frames_lead_up_to_the_first_event(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", make_events(100).shifted(1_600_000_000_000_000), "npy")
    plain, early = (
        json.loads(call("event-det", "view", path, "-o", tmp_path / "a.gif", "--json", *words).stdout)
        for words in ([], ["--start", "1"])
    )
    assert early == plain
    out = tmp_path / "a.csv"
    done = call("event-det", "predict", path, "--start", "1", "--sensor", "200x180", "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"made {out}: 1 window," in done.stderr


def test_a_part_without_events_names_the_times_of_the_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", make_events(100).shifted(1_300_000), "dat")
    done = call("event-det", "predict", path, "--end", "1", "--out", tmp_path / "a.csv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {path}: holds no events before 1 s; it has some from 1.3")
    assert not (tmp_path / "a.csv").exists()


def test_an_empty_recording_is_described(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", make_events(10)[:0], "dat")
    assert json.loads(call("event-det", "data", "info", path, "--json").stdout)["events"] == 0
    assert call("event-det", "data", "info", path).returncode == 0


def test_help_needs_neither_torch_nor_numba() -> None:
    code = "import sys; import event_det.cli; assert not {'torch', 'numba', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    done = subprocess.run(
        [sys.executable, "-m", "event_det", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "view" in done.stdout


def test_predict_offers_no_file_that_it_cannot_run() -> None:
    help_text = call("event-det", "predict", "--help").stdout
    assert "--model" in help_text
    assert "ONNX" not in help_text


def test_every_command_prints_json_on_demand(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", make_events(2000), "dat")
    done = call("event-det", "data", "convert", path, tmp_path / "b.raw", "--json")
    size = f"{SENSOR[0]}x{SENSOR[1]}"
    assert json.loads(done.stdout) == {
        "path": str(tmp_path / "b.raw"), "format": "evt3", "sensor": size, "events": 2000
    }  # fmt: skip
    done = call("event-det", "view", path, "--out", tmp_path / "strip.png", "--json")
    shown = json.loads(done.stdout)
    assert (shown["out"], shown["images"]) == (str(tmp_path / "strip.png"), 6)
    top = typer.main.get_command(application("event-det"))
    groups = [top, *(command for command in top.commands.values() if hasattr(command, "commands"))]  # type: ignore[attr-defined]
    commands = [command for group in groups for command in group.commands.values() if command not in groups]
    assert len(commands) > 10
    without = [each.name for each in commands if not any("--json" in option.opts for option in each.params)]
    assert without == ["config"]  # it prints YAML, or with --schema JSON


def test_a_set_without_val_says_how_to_do_without_it(tmp_path: Path) -> None:
    write_square(tmp_path / "set/test/r0", 12, 0)
    (tmp_path / "set/event_det.json").write_text('{"classes": ["wide", "tall", "other"]}', encoding="utf-8")
    result = call("event-det", "eval", "nano", "--data", tmp_path / "set")
    one_line(result, 1, "holds no folder val", "--no-baselines leaves them out")
