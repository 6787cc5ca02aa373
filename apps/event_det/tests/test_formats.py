"""Reading and writing every format: round trips, wraps of the clock, seeking, and the layouts of others."""

import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from event_recordings import DATA, SENSOR, WRITTEN, make_events, same, write

from event_det import FORMATS, Events, Recording
from event_det.formats.prophesee.evt import evt_header
from polyscale.errors import UserError

SAMPLES = {  # file, format, events, first and last time, sum of x, y and p: equal to independent decoders
    "evt2_sample.raw": ("evt2", 539_481, 1_317_888, 1_367_888),
    "sample_ncars.dat": ("dat", 2_009, 0, 99_952),
    "sample_nmnist.bin": ("bin", 4_325, 654, 311_175),
    "sample.aedat4": ("aedat4", 111_954, 1_605_537_493_718_345, 1_605_537_494_308_262),
    "pedro/frame0017525.npy": ("npy", 2_498, 1_677_325_148_906_694, 1_677_325_148_946_675),
}


LEGACY, LITTLE = "endianness=legacy;", ""


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("seed", range(3))
def test_round_trip(tmp_path: Path, name: str, seed: int) -> None:
    events = make_events(int(np.random.default_rng(seed).integers(1, 3000)), seed)
    path = write(tmp_path / f"a{FORMATS[name].suffixes[0]}", events, name)
    recording = Recording(path)
    assert same(recording.read(), events)
    assert not recording.dropped.total
    assert recording.format == name.split("-")[0] if name.startswith("h5") else name
    if name not in ("npy", "csv", "bin"):
        assert recording.sensor == SENSOR
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("name", "period"), [("dat", 32), ("evt2", 34), ("evt21", 34), ("evt21-legacy", 34), ("evt3", 24)]
)
def test_the_clock_wraps(tmp_path: Path, name: str, period: int) -> None:
    events = make_events(2000, 1, step=(1 << period) // 150, start=(1 << period) - (1 << period) // 100)
    assert events.t[-1] > 2 << period
    assert same(Recording(write(tmp_path / "a", events, name), format=name).read(), events)


@pytest.mark.parametrize("name", [*WRITTEN])
def test_many_blocks_seeking_and_windows(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("prophesee.dat", "prophesee.evt", "tabular.arrays", "tabular.hdf5", "bins"):
        monkeypatch.setattr(f"event_det.formats.{module}.BLOCK", 100)
    monkeypatch.setattr("event_det.formats.tabular.text.BYTES", 1000)
    events = make_events(3000, 2)
    recording = Recording(write(tmp_path / "a", events, name), format=name)
    chunks = list(recording.chunks())
    assert len(chunks) > 5
    assert same(Events.concatenate(chunks), events)
    low, high = int(events.t[1500]), int(events.t[2500])
    fresh = Recording(tmp_path / "a", format=name)
    for source in (recording, fresh):  # with and without knowing where the parts begin
        assert same(source.read(low, high), events.between(low, high))
    pieces = list(recording.windows(500))
    assert [start for start, _ in pieces] == [int(events.t[0]) + 500 * i for i in range(len(pieces))]
    assert all(len(piece) == 0 or start <= piece.t[0] <= piece.t[-1] < start + 500 for start, piece in pieces)
    assert same(Events.concatenate(piece for _, piece in pieces), events)
    first = Recording(tmp_path / "a", format=name, time_origin="first")
    assert same(first.read(), events.shifted(-int(events.t[0])))
    assert same(first.read(100, 900), events.shifted(-int(events.t[0])).between(100, 900))


@pytest.mark.parametrize("file", SAMPLES)
def test_real_recordings(file: str) -> None:
    if not (DATA / file).exists():
        pytest.skip("needs ../shared/data")
    name, count, first, last = SAMPLES[file]
    if name == "aedat4":
        pytest.importorskip("aedat")
    recording = Recording(DATA / file)
    events = recording.read()
    assert (recording.format, len(events), int(events.t[0]), int(events.t[-1])) == (name, count, first, last)
    assert not recording.dropped.total
    if name == "npy":
        assert np.array_equal(np.stack([events.t, events.x, events.y, events.p], 1), np.load(DATA / file))
    if name == "aedat4":
        aedat = pytest.importorskip("aedat")
        rows = np.concatenate([packet["events"] for packet in aedat.Decoder(DATA / file) if "events" in packet])
        kinds = {"t": np.int64, "x": np.uint16, "y": np.uint16, "on": np.uint8}
        assert same(events, Events(*(rows[column].astype(kind) for column, kind in kinds.items())))


def test_evt3_words_by_hand(tmp_path: Path) -> None:
    words = [
        0x2005,  # an event before any time: dropped
        0x8FFF, 0x6FF0, 0x0007, 0x2803,  # t = 0xFFFFF0, y = 7, x = 3 ON
        0x3010, 0x4805, 0x5003,  # base 16 OFF: 12 columns 0, 2, 11, then 8 columns 0 and 1 from 28
        0xA001, 0x7000,  # a trigger and a continuation: passed over
        0x8000, 0x2001,  # the clock wraps; the low time is 0 again
        0x6001, 0x2802, 0xC000,  # an unknown type
    ]  # fmt: skip
    path = tmp_path / "a.raw"
    path.write_bytes(evt_header("EVT3", "3.0", SENSOR) + struct.pack(f"<{len(words)}H", *words) + b"\x01")
    recording = Recording(path)
    events = recording.read()
    early = 0xFFFFF0
    assert events.t.tolist() == [early] * 6 + [1 << 24, (1 << 24) + 1]
    assert events.x.tolist() == [3, 16, 18, 27, 28, 29, 1, 2]
    assert events.p.tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert set(events.y.tolist()) == {7}
    size = path.stat().st_size
    assert recording.dropped.counts == {
        "before the first time word": 1, "of unknown type": 1, "incomplete at the end of the file": 1
    }  # fmt: skip
    assert list(recording.dropped.places.values()) == [f"byte {at}" for at in (size - 31, size - 3, size - 1)]


def test_evt21_half_words_are_what_the_header_says(tmp_path: Path) -> None:
    head, mask = 1 << 28 | 5 << 22 | 64 << 11 | 9, 0x80000001
    for extra, pairs in (
        ("endianness=legacy;", [(8 << 28 | 2, 0), (head, mask)]),
        ("", [(0, 8 << 28 | 2), (mask, head)]),
    ):
        words = [word for pair in pairs for word in pair]
        (tmp_path / "a.raw").write_bytes(evt_header("EVT21", "2.1", SENSOR, extra) + struct.pack("<4I", *words))
        events = Recording(tmp_path / "a.raw").read()
        assert (events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()) == (
            [2 * 64 + 5] * 2, [64, 95], [9, 9], [1, 1]
        )  # fmt: skip


def test_dat_version_1_and_without_header(tmp_path: Path) -> None:
    body = struct.pack("<II", 77, 300 | 200 << 9 | 1 << 17)
    (tmp_path / "a.dat").write_bytes(b"% Data file containing events\n% Version 1\n\x00\x08" + body)
    events = Recording(tmp_path / "a.dat").read()
    assert (events.t[0], events.x[0], events.y[0], events.p[0]) == (77, 300, 200, 1)
    (tmp_path / "b.dat").write_bytes(struct.pack("<II", 77, 300 | 200 << 14 | 1 << 28))
    with pytest.raises(UserError, match="--format"):
        Recording(tmp_path / "b.dat")
    assert Recording(tmp_path / "b.dat", format="dat").read().y.tolist() == [200]


TABLES = {
    "metavision": "5,6,1,1000\n7,8,0,1001\n",
    "named": "timestamp,x,y,polarity\n1000,5,6,1\n1001,7,8,0\n",
    "semicolons": '"x";"y";"t";"p";"more"\r\n5;6;1000;1;9\r\n7;8;1001;-1;9\r\n',
    "seconds": "0.001000 5 6 1\n0.001001 7 8 0",
    "exponents": "1.000e+03 5.0 6.0 1.0\n1.001e+03 7.0 8.0 0.0\n",
    "comments": "# by somebody\n\nt,x,y,p\n1000,5,6,1\n# more\n1001,7,8,0\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_text_tables(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text, newline="")
    events = Recording(tmp_path / "a.txt").read()
    assert [events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()] == [
        [1000, 1001], [5, 7], [6, 8], [1, 0]
    ]  # fmt: skip


def test_no_digit_of_a_time_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,x,y,p\n1672932747906204,1,1,1\n1672932747906205,1,1,0\n")
    assert Recording(tmp_path / "a.csv").read().t.tolist() == [1672932747906204, 1672932747906205]
    (tmp_path / "b.txt").write_text("1672.9327479062 1 1 1\n1672.9327489996 1 1 0\n")
    assert Recording(tmp_path / "b.txt").read().t.tolist() == [1672932748, 1672932749]


@pytest.mark.parametrize("order", [None, "C", "F"])
def test_arrays_of_others(tmp_path: Path, order: str | None) -> None:
    events = make_events(500)
    if order is None:
        rows = np.zeros(500, [("timestamp", "f8"), ("x", "i2"), ("y", "i2"), ("polarity", "?")])
        for name, column in zip(rows.dtype.names or (), (events.t, events.x, events.y, events.p), strict=True):
            rows[name] = column
    else:
        rows = np.array(np.stack([events.t, events.x, events.y, events.p.astype(int) * 2 - 1], 1), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", rows)
    assert same(Recording(tmp_path / "a.npy").read(), events)


def test_hdf5_of_others(tmp_path: Path) -> None:
    events = make_events(500)
    with h5py.File(tmp_path / "a.h5", "w") as file:  # DSEC as published: its times are uint32
        for name in "xyp":
            file[f"events/{name}"] = getattr(events, name)
        file["events/t"] = (events.t - 500).astype(np.uint32)
        file["t_offset"] = 500
    assert same(Recording(tmp_path / "a.h5").read(), events)
    path = write(tmp_path / "b.h5", events, "h5-dsec")
    with h5py.File(path) as file:
        elapsed, starts = file["events/t"][:], file["ms_to_idx"][:]
        assert starts.tolist() == np.searchsorted(elapsed, np.arange(len(starts)) * 1000).tolist()


def test_blosc_needs_its_plugin(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    events = make_events(500)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xypt":
            file.create_dataset(f"events/{name}", data=getattr(events, name), **hdf5plugin.Blosc(cname="zstd"))
    assert same(Recording(tmp_path / "a.h5").read(), events)


def test_a_missing_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = make_events(500)
    path = write(tmp_path / "a.h5", events, "h5-metavision")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(UserError, match=r"a\.h5: /CD/events is compressed with filter 2, which is missing here"):
        Recording(path)


def test_nmnist_overflow(tmp_path: Path) -> None:
    rows = [(1, 2, 0x80, 0, 9), (0, 240, 0, 0, 0), (3, 4, 0, 0, 1)]
    (tmp_path / "a.bin").write_bytes(b"".join(map(bytes, rows)))
    events = Recording(tmp_path / "a.bin").read()
    assert (events.t.tolist(), events.p.tolist()) == ([9, 8193], [1, 0])


def test_a_large_npz_is_read_in_parts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "txyp":
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<i8", "fortran_order": False, "shape": (2_000_000,)}
                )
                for _ in range(10):
                    file.write(bytes(1_600_000))
    import tracemalloc

    tracemalloc.start()
    assert sum(map(len, Recording(tmp_path / "a.npz").chunks())) == 2_000_000
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("dat", {"x": 20_000}, "coordinates below 16384"),
        ("evt3", {"y": 3000}, "coordinates below 2048"),
        ("bin", {"x": 300}, "coordinates below 256 x 240"),
        ("bin", {"t": 9_000_000}, "times below 8.39 s"),
        ("dat", {"t": 1 << 33}, "a pause of"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, change: dict[str, int], words: str) -> None:
    events = make_events(100)
    for column, value in change.items():
        getattr(events, column)[-1] = value
    with pytest.raises(UserError, match=words):
        write(tmp_path / "a", events, name)
    assert list(tmp_path.iterdir()) == []
