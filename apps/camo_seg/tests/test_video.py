"""Videos in and out: as many frames as came in, at their size and rate, in flat memory, faults in one line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camo_seg.outputs import Cutout
from camo_seg.predict import Predictor
from camo_seg.predict_video import predict_video
from polyscale.errors import UserError
from polyscale.testing.command import call, one_line

av = pytest.importorskip("av")


def _film(path: Path, frames: int, size: tuple[int, int] = (50, 34), rate: int = 12) -> Path:
    """A bright square that moves to the right."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(frames):
            pixels = np.full((size[1], size[0], 3), 40, np.uint8)
            pixels[8:20, 2 * i : 2 * i + 12] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def _bright(size: int = 32) -> Predictor:
    """A predictor that finds what is bright."""
    import torch

    class Bright(torch.nn.Module):
        input_size = size

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(20.0))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.scale * (images.mean(1, keepdim=True) - 0.5)

    return Predictor(Bright(), "cpu", "fp32")


def _frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(12)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_frame_comes_out_masked_in_its_place(tmp_path: Path) -> None:
    film = _film(tmp_path / "clip.mp4", 7)
    results = list(predict_video(_bright(), film, tmp_path / "out", cutout=Cutout((255, 0, 0)), batch_size=3))
    assert [result.name for result in results] == [f"clip_{i:06}" for i in range(1, 8)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clip_cutout.mp4",
        "clip_mask.mp4",
        "clip_overlay.mp4",
    ]
    masks = _frames(tmp_path / "out" / "clip_mask.mp4")
    assert [mask.shape for mask in masks] == [(34, 50, 3)] * 7
    centres = [np.nonzero(mask[..., 0] > 128)[1].mean() for mask in masks]
    assert np.allclose(np.diff(centres), 2, atol=1)
    cut = _frames(tmp_path / "out" / "clip_cutout.mp4")[0]
    assert cut[30, 40, 0] > 180
    assert cut[30, 40, 2] < 80


def test_frames_are_read_as_they_are_needed(tmp_path: Path) -> None:
    film = _film(tmp_path / "clip.mp4", 30)
    predictor = _bright()
    read: list[int] = []
    plain = predictor.read
    predictor.read = lambda source: read.append(1) or plain(source)  # type: ignore[method-assign,func-returns-value]
    stream = predict_video(predictor, film, None, batch_size=4)
    next(stream)
    assert len(read) == 4
    stream.close()  # type: ignore[attr-defined]
    assert len(list(predict_video(predictor, film, None, limit=5))) == 5


def test_nothing_half_done_is_left(tmp_path: Path) -> None:
    film = _film(tmp_path / "clip.mp4", 9)
    stream = predict_video(_bright(), film, tmp_path / "out", batch_size=2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_prints_a_line_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = _film(tmp_path / "clip.mp4", 3)
    monkeypatch.chdir(tmp_path)
    result = call("camo-seg", "predict", film, "--json")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["name"] for line in result.stdout.splitlines()] == [f"clip_{i:06}" for i in (1, 2, 3)]
    assert [file.name for file in tmp_path.iterdir()] == [film.name]
    again = call("camo-seg", "predict", film, "--json", "--out", "made", "--limit", 1)
    assert again.stdout == result.stdout.splitlines(keepends=True)[0]
    assert sorted(file.name for file in Path("made").iterdir()) == ["clip_mask.mp4", "clip_overlay.mp4"]
    Image.new("RGB", (40, 40)).save("still.png")
    one_line(call("camo-seg", "predict", film, "still.png", "--out", tmp_path / "out"), 2, "give videos alone")
    one_line(call("camo-seg", "predict", film, "--crop", "--out", tmp_path / "out"), 2, "keep their size")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 20)
    one_line(call("camo-seg", "predict", broken, "--out", tmp_path / "out"), 1, "broken.mp4", "cannot be read")


def test_folders_globs_and_urls_give_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "films"
    folder.mkdir()
    films = [_film(folder / name, 2) for name in ("a.mp4", "b.mkv")]
    for given in ([folder], ["films/*.m*"], [film.as_uri() for film in films]):
        result = call("camo-seg", "predict", *given, "--csv", "frames.csv", "--out", "out")
        assert result.returncode == 0, result.stderr
        assert result.stderr.splitlines()[-1] == "made frames.csv: 4 frames"
        names = [line.partition(",")[0] for line in Path("frames.csv").read_text().splitlines()[1:]]
        assert names == ["a_000001", "a_000002", "b_000001", "b_000002"]
    one_line(call("camo-seg", "predict", folder, "--json", "--csv", "-"), 2, "both write to stdout")
    Image.new("RGB", (40, 40)).save(folder / "still.png")
    mixed = call("camo-seg", "predict", folder, "--json")
    assert [json.loads(line)["name"] for line in mixed.stdout.splitlines()] == ["still"]
    assert f"2 videos left out, first {films[0]}: give videos alone" in mixed.stderr


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"empty\.mp4"):
        list(predict_video(_bright(), _film(tmp_path / "empty.mp4", 0), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def _change(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """A video of JPEG frames of these sizes."""
    raw = b""
    for width, height in sizes:
        with io.BytesIO() as file:
            Image.new("RGB", (width, height)).save(file, "JPEG")
            raw += file.getvalue()
    with av.open(io.BytesIO(raw), format="mjpeg") as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            packet.stream, packet.pts, packet.dts = stream, number, number
            container.mux(packet)
    return path


def test_a_change_of_size_is_refused_before_any_video_is_segmented(tmp_path: Path) -> None:
    good, changing = _film(tmp_path / "good.mp4", 3), _change(tmp_path / "bad.mkv", [(64, 48)] * 6 + [(32, 24)])
    result = call("camo-seg", "predict", good, changing, "--out", tmp_path / "out")
    one_line(result, 1, "bad.mkv: the size changes from 64 x 48 to 32 x 24 at frame 7")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="at frame 7"):
        predict_video(_bright(), changing, None)
    assert len(list(predict_video(_bright(), changing, None, limit=6))) == 6
