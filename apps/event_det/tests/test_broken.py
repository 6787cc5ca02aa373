"""Broken recordings: what is valid is kept, what is not is counted with its place, and nothing ends in a traceback."""

import importlib.util
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from event_recordings import SENSOR, WAYS, WRITTEN, break_file, make_events, same, write

from event_det import FORMATS, Events, Recording
from event_det.formats.checks import BACKWARDS, OUTSIDE, Block, Tally, sift
from polyscale.errors import UserError
from polyscale.testing.command import call


def block(t: list[int]) -> Block:
    """Make a block of events with these times."""
    events = Events(np.array(t), *(np.zeros(len(t), kind) for kind in (np.uint16, np.uint16, np.uint8)))
    return Block(events, None, [], lambda index: f"event {index}")


@pytest.mark.parametrize(
    ("times", "kept", "first"),
    [
        ([1, 2, 3, 3, 4], [1, 2, 3, 3, 4], None),
        ([5, 4, 6, 7], [5, 6, 7], 1),
        ([1, 2, 900, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], 2),
        ([1, 2, 900, 901, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], 2),
        ([50, 51, 52, 53, 3, 54], [50, 51, 52, 53, 54], 4),
        ([1, 2, 900, 3, 4, 5, 1, 6], [1, 2, 3, 4, 5, 6], 2),
    ],
)
def test_time_goes_back(times: list[int], kept: list[int], first: int | None) -> None:
    tally = Tally()
    events, last = sift(block(times), None, -(1 << 62), tally)
    assert events.t.tolist() == kept
    assert last == kept[-1]
    assert tally.places.get(BACKWARDS) == (None if first is None else f"event {first}")
    assert tally.total == len(times) - len(kept)


def test_one_wrong_time_word_costs_its_own_events_only(tmp_path: Path) -> None:
    events = make_events(3000)
    path = write(tmp_path / "a.raw", events, "evt2")
    content = bytearray(path.read_bytes())
    offset = content.index(b"% end\n") + 6
    words = np.frombuffer(content, "<u4", offset=offset).copy()
    at = np.flatnonzero(words >> 28 == 8)[50]
    words[at] ^= 1 << 20
    path.write_bytes(content[:offset] + words.tobytes())
    recording = Recording(path)
    assert len(recording.read()) > 2900
    assert recording.dropped.places == {BACKWARDS: f"byte {offset + 4 * (at + 1):,}"}


@pytest.mark.parametrize("name", ["dat", "evt2", "evt3", "h5", "npz"])
def test_coordinates_outside_the_sensor(tmp_path: Path, name: str) -> None:
    events = make_events(400)
    events.x[[100, 200]] = SENSOR[0]
    recording = Recording(write(tmp_path / "a", events, name), format=name)
    assert same(recording.read(), events[np.delete(np.arange(400), [100, 200])])
    assert recording.dropped.counts == {OUTSIDE: 2}
    assert str(recording.dropped).startswith("dropped 2 events: 2 outside the sensor (first at ")


@pytest.mark.parametrize("name", ["dat", "evt2", "evt21", "evt3", "bin", "npy"])
def test_a_file_that_ends_within_an_event(tmp_path: Path, name: str) -> None:
    events = make_events(400)
    path = write(tmp_path / "a", events, name)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    recording = Recording(path, format=name)
    kept = recording.read()
    assert same(kept, events[: len(kept)])
    assert len(kept) >= 399 - 31
    assert recording.dropped.total == 1
    if name == "dat":
        assert str(recording.dropped).endswith(f"incomplete at the end of the file (first at byte {size - 8:,})")


def test_rows_that_are_not_four_numbers(tmp_path: Path) -> None:
    lines = ["t,x,y,p", "1,2,3,1", "2,2,3", "3,x,3,1", "4,70000,3,1", "5,-1,3,0", "6,2,3,7", "7,2,3,1e0", "nan,1,1,1"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    recording = Recording(tmp_path / "a.csv")
    assert recording.read().t.tolist() == [1, 7]
    assert recording.dropped.counts == {"not four numbers": 3, OUTSIDE: 2, "with a polarity other than 0, 1 and -1": 1}
    assert list(recording.dropped.places.values()) == ["row 3", "row 5", "row 7"]


CASES = {
    "empty.raw": (b"", "is empty"),
    "noise.raw": (bytes(range(1, 256)) * 9, "is no recording of a known format"),
    "header.raw": (b"% evt 3.0\n% end\n", "no event data follows the header"),
    "endless.dat": (b"% " + b"x" * 70_000, "does not end"),
    "latin.dat": (b"% caf\xe9\n\x00\x08" + bytes(80), "byte 0 is not text"),
    "version.dat": (b"% Version 9\n\x00\x08" + bytes(80), "versions 1 and 2"),
    "size.dat": (b"% Version 2\n\x00\x10" + bytes(80), "should start events of 8 bytes"),
    "short.dat": (b"% Version 2\n\x00", "found the end of the file"),
    "unnamed.raw": (b"% Date 2020\n" + bytes(range(255, 0, -1)), "names no format of events"),
    "old.aedat": (b"#!AER-DAT2.0\r\n" + bytes(80), "AEDAT 2.0 is not read"),
    "broken.aedat4": (b"#!AER-DAT4.0\r\n" + bytes(80), "cannot be read as AEDAT4"),
    "broken.npy": (b"\x93NUMPY\x01\x00\x10\x00nothing", "cannot be read as a NumPy array"),
    "broken.npz": (b"PK\x03\x04" + bytes(80), "cannot be read as an npz archive"),
    "broken.h5": (b"\x89HDF\r\n\x1a\n" + bytes(80), "cannot be read as an HDF5 file"),
    "words.csv": (b"these are words, not events\n", "no column t"),
    "ambiguous.csv": (b"1,2,3,4\n1,2,3,4\n", "cannot be told apart"),
    "blank.csv": (b"\n\n# nothing\n", "holds no row"),
    "mixed.bin": (np.random.default_rng(0).bytes(5000), "its times are out of order"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    content, words = CASES[name]
    if name == "broken.aedat4" and importlib.util.find_spec("aedat") is None:
        words = "install it with: pip install 'polyscale-event-det[aedat]'"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        Recording(tmp_path / name).read()
    assert words in str(error.value)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_array_without_rows_holds_no_events(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    with pytest.raises(UserError, match=r"none\.npy: holds no events"):
        Recording(tmp_path / "none.npy")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="expected numbers"):
        Recording(tmp_path / "a.npy")


def test_the_corpus_is_of_sixty_kinds() -> None:
    assert len({*itertools.product(WRITTEN, WAYS)}) >= 60


@pytest.mark.parametrize(("name", "way"), [*itertools.product(WRITTEN, WAYS)])
def test_sixty_broken_recordings(tmp_path: Path, name: str, way: str) -> None:
    number = len(WAYS) * WRITTEN.index(name) + WAYS.index(way)
    rng = np.random.default_rng(number)
    path = write(tmp_path / f"a{FORMATS[name].suffixes[0]}", make_events(2000, number), name)
    break_file(path, way, rng)
    recording, events, error = None, Events.allocate(0), ""
    try:
        recording = Recording(path)
        events = recording.read()
    except UserError as refusal:
        error = str(refusal)
    assert "\n" not in error
    assert not error or str(path) in error
    assert (np.diff(events.t) >= 0).all()
    if recording and recording.sensor and len(events):
        assert events.x.max() < recording.sensor[0]
        assert events.y.max() < recording.sensor[1]
    told = call("event-det", "data", "info", path)  # a traceback would come out of it
    dropped = bool(recording and recording.dropped.total)
    assert told.returncode == int(bool(error) or dropped), told.stderr
    assert len(told.errors) == int(bool(error))


def test_a_header_alone_decides_before_the_suffix(tmp_path: Path) -> None:
    events = make_events(100)
    path = write(tmp_path / "wrong.csv", events, "evt3")
    assert same(Recording(path).read(), events)
    (tmp_path / "b.raw").write_bytes(struct.pack("<3I", 8 << 28, 1, 1 << 28))
    with pytest.raises(UserError, match="known format"):
        Recording(tmp_path / "b.raw")
    assert len(Recording(tmp_path / "b.raw", format="evt2").read()) == 2
