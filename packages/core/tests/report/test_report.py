import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyscale.errors import UserError
from polyscale.report.page import Report

VOID = {"meta", "img", "br"}
EVIL = "<script>alert('x')</script> & \"quotes\""


class Page(HTMLParser):
    """Checks that tags are balanced, collects text, tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def full_report() -> Report:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    report = Report(f"run {EVIL}", EVIL)
    report.text(EVIL)
    report.heading(EVIL)
    report.table([{"": EVIL, EVIL: 1.0}, {"": "b", EVIL: EVIL}], EVIL)
    report.table({EVIL: EVIL}, EVIL)
    report.curves({EVIL: [(1, 1), (2, 2)], "b": [(1, 0)]}, EVIL, EVIL, EVIL)
    report.scatter([1, 2], [3, 4], EVIL, EVIL, EVIL, names=[EVIL, "b"])
    report.bars({EVIL: 1.0}, EVIL, EVIL)
    report.images([(photo, EVIL), (photo[..., 0] > 99, "mask")], EVIL)
    report.details(EVIL, f"model:\n  name: {EVIL}\n")
    return report


def test_page_is_balanced_escaped_and_needs_nothing_from_elsewhere() -> None:
    html = full_report().html()
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert "script" not in names
    assert "link" not in names
    assert html.count("alert(") == html.count("alert(&#x27;x&#x27;)")
    assert page.words.count(EVIL) >= 12
    addresses = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "data", "xlink:href")]
    assert addresses
    assert all(str(address).startswith("data:image/") for address in addresses)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert html == full_report().html()  # nothing random, no clock


def test_blocks_keep_their_order_and_neighbouring_charts_share_a_row() -> None:
    report = Report("r")
    report.text("first")
    report.bars({"a": 1.0})
    report.bars({"b": 1.0})
    report.text("second")
    report.bars({"c": 1.0})
    html = report.html()
    body = html[html.index("<main>") :]
    kinds = re.findall(r'<p>\w+|class="charts"|class="chart"', body)
    assert kinds == [
        "<p>first",
        'class="charts"',
        *['class="chart"'] * 2,
        "<p>second",
        'class="charts"',
        'class="chart"',
    ]
    Page(html)


def test_history_is_loss_by_step_and_scores_by_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(Report, "curves", lambda self, series, **words: drawn.append((series, words)))
    records = [{"kind": "training", "step": step, "epoch": (step - 1) // 20, "loss": 2 / step} for step in (10, 20, 30)]
    records += [{"kind": "validation", "step": 20, "epoch": 0, "IoU": 0.1}, {"kind": "note", "step": 21, "epoch": 1}]
    Report("r").history(records, ("IoU", "MAE"))
    Report("r").history(records[:3], ("IoU",))
    Report("r").history([], ("IoU",))
    loss = [(10, 0.2), (20, 0.1), (30, 2 / 30)]
    training = ({"loss": loss}, {"title": "Training", "xlabel": "step", "ylabel": "loss"})
    validation = ({"IoU": [(1, 0.1)]}, {"title": "Validation", "xlabel": "epoch", "ylabel": "IoU"})
    assert drawn == [training, validation, training]


def cells(html: str) -> list[list[str]]:
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_table_values_and_best() -> None:
    report = Report("r")
    rows = [
        {"": "model", "wF": 0.71349, "MAE": np.float32(0.04), "n": 12345, "note": "ours"},
        {"": "centre", "wF": 0.28, "MAE": 0.2, "n": np.int64(7), "late": True},
        {"": "empty", "wF": float("nan"), "MAE": None, "n": 0, "late": False, "note": 1e-5},
        {"": "tie", "wF": 0.71349, "MAE": 123.456, "n": -1},
        {"": "tiny", "MAE": 0.0004073},
    ]
    report.table(rows, "Scores", {"wF": "max", "MAE": "min"})
    html = report.html()
    assert cells(html) == [
        ["", "wF ↑", "MAE ↓", "n", "note", "late"],
        ["model", "0.713", "0.040", "12\u202f345", "ours", "–"],
        ["centre", "0.280", "0.200", "7", "–", "yes"],
        ["empty", "–", "–", "0", "1e\u22125", "no"],
        ["tie", "0.713", "123.5", "\u22121", "–", "–"],
        ["tiny", "–", "0.0004", "–", "–", "–"],
    ]
    assert re.findall(r'class="best">(.*?)<', html) == ["0.713", "0.713", "0.0004"]


def test_table_of_pairs_alone_and_wrong_highlight() -> None:
    report = Report("r")
    report.table({"lr": 1.25e-4, "amp": True, "scales": [0.5, 1.0]})
    assert cells(report.html()) == [["lr", "0.000125"], ["amp", "yes"], ["scales", "[0.5, 1.0]"]]
    report.table([])  # nothing scored yet
    Page(report.html())
    with pytest.raises(ValueError, match=r"highlight must map columns \['a'\] to 'max' or 'min', given 'b': 'max'"):
        report.table([{"a": 1}], highlight={"b": "max"})
    with pytest.raises(ValueError, match="given 'a': 'best'"):
        report.table([{"a": 1}], highlight={"a": "best"})  # type: ignore[dict-item]
    report = Report("one row")
    report.table([{"": "model", "wF": 0.5}], highlight={"wF": "max"})
    assert 'class="best"' not in report.html()  # no contest


def test_images_come_back_smaller_but_whole() -> None:
    photo = np.zeros((900, 1800, 3), np.uint8)
    photo[:, 900:] = (200, 40, 90)
    mask = np.indices((50, 60)).sum(0) % 7 == 0
    report = Report("r")
    report.images([(photo, "three"), (mask, ""), (mask * 0.5, "")], columns=3)
    report.images([(photo, "one")], columns=1)
    page = Page(report.html())
    found = [attrs for tag, attrs in page.tags if tag == "img"]
    decoded = [Image.open(io.BytesIO(base64.b64decode(str(a["src"]).split(",")[1]))) for a in found]
    assert [(str(p.width), str(p.height)) for p in decoded] == [(a["width"], a["height"]) for a in found]
    assert [p.size for p in decoded] == [(640, 320), (60, 50), (60, 50), (1280, 640)]
    assert np.abs(np.asarray(decoded[0]).astype(int)[160, [100, 600]] - [[0, 0, 0], [200, 40, 90]]).max() <= 4
    np.testing.assert_array_equal(np.asarray(decoded[1]), mask * 255)
    np.testing.assert_array_equal(np.asarray(decoded[2]), mask * 128)
    assert [a["alt"] for a in found] == ["three", "", "", "one"]
    for bad in (photo / 255, np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="images must be uint8"):
            report.images([(bad, "")])


def test_report_of_large_photographs_stays_small() -> None:
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((2400, 1800)))
    report = Report("r")
    report.images([(photo, "p")] * 5)
    assert len(report.html()) < 5 * 200_000


@pytest.mark.parametrize("shape", [(300, 400, 3), (481, 321, 3), (64, 2000, 3), (9, 7, 3), (300, 400)])
def test_noise_is_drawn(shape: tuple[int, ...]) -> None:
    # Pillow's optimize=True ends in "broken data stream" where a JPEG is larger than the buffer that it guesses
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    report = Report("r")
    report.images([(noise, "n")], columns=1)
    (image,) = (attrs for tag, attrs in Page(report.html()).tags if tag == "img")
    drawn = Image.open(io.BytesIO(base64.b64decode(str(image["src"]).split(",")[1])))
    drawn.load()
    assert drawn.size == (min(shape[1], 1280), round(shape[0] * min(1, 1280 / shape[1])))


def test_save_is_whole_or_nothing_and_survives_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("café – 图像", "name from a broken disk: \udcff\x00")
    path = report.save(tmp_path / "new" / "report.html")
    text = path.read_text(encoding="utf-8")
    assert "café – 图像" in text
    assert "broken disk: ?\ufffd" in text

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    report.text("more")
    with pytest.raises(UserError, match=r"report\.html: cannot be written: No space left"):
        report.save(path)
    assert path.read_text(encoding="utf-8") == text
    assert os.listdir(path.parent) == ["report.html"]  # noqa: PTH208
