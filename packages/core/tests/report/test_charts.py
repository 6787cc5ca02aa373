"""The drawings are read back: positions in the SVG must give the values that went in."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from polyscale.report.charts import HEIGHT, WIDTH, bar_chart, line_chart, nice_ticks, number, scatter_chart


def parsed(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def by_class(figure: str, name: str) -> list[ElementTree.Element]:
    return [e for e in parsed(figure).iter() if name in e.get("class", "").split()]


def line_points(figure: str, index: int = 0) -> np.ndarray:
    path = [e for e in by_class(figure, "line") if "L" in e.get("d", "")][index].get("d", "")
    return np.array([[float(v) for v in pair.split()] for pair in path[1:].split("L")])


def axis_scale(figure: str, axis: str) -> np.ndarray:
    """Slope and offset from positions to values, from the tick labels."""
    ticks = [e for e in by_class(figure, "tick") if axis in e.get("class", "").split()]
    texts = [float((e.text or "").replace("\u2212", "-").replace("k", "e3")) for e in ticks]
    return np.polyfit([float(e.get(axis, "nan")) for e in ticks], texts, 1)


@pytest.mark.parametrize("scale", [1e-5, 0.01, 1.0, 300.0, 5e4])
def test_a_line_reads_back_through_its_own_ticks(scale: float) -> None:
    x = np.arange(0, 12)
    y = scale * (np.sin(x) + 0.3)
    figure = line_chart({"loss": list(zip(x.tolist(), y.tolist(), strict=True))}, xlabel="epoch", ylabel="value")
    drawn = line_points(figure)
    np.testing.assert_allclose(np.polyval(axis_scale(figure, "x"), drawn[:, 0]), x, atol=0.05)
    np.testing.assert_allclose(np.polyval(axis_scale(figure, "y"), drawn[:, 1]), y, atol=0.02 * scale)
    assert (drawn >= 0).all()
    assert (drawn[:, 0] <= WIDTH).all()
    assert (drawn[:, 1] <= HEIGHT).all()


def test_hover_legend_and_one_line_per_series() -> None:
    figure = line_chart(
        {"wF": [(1, 0.25), (2, 0.5)], "S & co": [(1, 0.75), (2, 0.8)]}, title="Validation", xlabel="epoch"
    )
    titles = [e.text for e in parsed(figure).iter("title")]
    assert "wF: 0.25 at epoch 1" in titles
    assert "S & co: 0.8 at epoch 2" in titles
    assert [("".join(e.itertext())) for e in parsed(figure).iter("li")] == ["wF", "S & co"]
    assert {e.get("class") for e in by_class(figure, "line")} == {"line c0", "line c1"}
    assert not list(parsed(line_chart({"loss": [(1, 2), (2, 1)]}, ylabel="loss")).iter("li"))  # nothing to tell apart


def test_gap_lone_point_and_nothing() -> None:
    figure = line_chart({"wF": [(1, 0.1), (2, 0.2), (3, math.nan), (4, 0.4), (5, math.inf), (6, 0.1), (7, 0.3)]})
    assert [len(line_points(figure, i)) for i in range(2)] == [2, 2]
    assert len(by_class(figure, "dot")) == 5
    assert "nan" not in figure
    assert "legend" not in line_chart({"wF": [(1, 1)], "S": []}, ylabel="wF")  # a series without points is not named
    for empty in ({}, {"wF": []}, {"wF": [(1, math.nan)]}):
        assert "No values yet." in line_chart(empty)
    for flat in ([(0, 0.0)], [(5, 7.0)], [(1, 0.5), (2, 0.5)], [(3, 1), (3, 2)]):
        numbers = re.findall(r"-?[\d.]+", " ".join(e.get("cy", "") for e in by_class(line_chart({"a": flat}), "dot")))
        assert all(0 <= float(value) <= HEIGHT for value in numbers)
        assert numbers


def test_a_long_run_is_thinned_but_keeps_its_spike() -> None:
    y = np.ones(100_000)
    y[70_001] = 5
    points = [(i, float(v)) for i, v in enumerate(y)]
    points[33_333] = (33_333, 0.0)
    figure = line_chart({"loss": points})
    drawn = line_points(figure)
    values = np.polyval(axis_scale(figure, "y"), drawn[:, 1])
    assert len(drawn) <= 510
    assert values.max() == pytest.approx(5, abs=0.03)
    assert values.min() == pytest.approx(0, abs=0.03)
    assert (np.diff(drawn[:, 0]) >= 0).all()
    assert len(figure) < 40_000


def test_epochs_have_whole_ticks() -> None:
    figure = line_chart({"wF": [(1, 0.1), (2, 0.3), (3, 0.4)]})
    ticks = [e.text for e in by_class(figure, "tick") if "x" in e.get("class", "").split()]
    assert ticks == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.4, 5.6, [1, 2, 3, 4, 5]),
        (-3, 3, [-2, 0, 2]),
        (0, 1e-4, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
        (0.81, 0.839, [0.81, 0.815, 0.82, 0.825, 0.83, 0.835]),
        (0, 123456, [0, 50000, 100000]),
    ],
)
def test_nice_ticks(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == expected


def test_scatter() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 5, 50), rng.uniform(1, 5, 50)
    x[3] = np.nan
    names = [f"{i}.jpg" for i in range(50)]
    figure = scatter_chart(x, y, title="IQA", xlabel="MOS", ylabel="prediction", names=names, diagonal=True)
    marks = by_class(figure, "mark")
    assert len(marks) == 49
    drawn = np.array([[float(m.get("cx", "nan")), float(m.get("cy", "nan"))] for m in marks])
    kept = np.arange(50) != 3
    np.testing.assert_allclose(np.polyval(axis_scale(figure, "x"), drawn[:, 0]), x[kept], atol=0.02)
    np.testing.assert_allclose(np.polyval(axis_scale(figure, "y"), drawn[:, 1]), y[kept], atol=0.02)
    ends = np.array([float(v) for v in re.split("[ L]", by_class(figure, "diagonal")[0].get("d", "")[1:])]).reshape(
        2, 2
    )
    on_line = np.polyval(axis_scale(figure, "x"), ends[:, 0]) - np.polyval(axis_scale(figure, "y"), ends[:, 1])
    np.testing.assert_allclose(on_line, 0, atol=0.03)
    assert "No values yet" in scatter_chart([], [])
    with pytest.raises(ValueError, match="equally many, given 2, 1 and 0"):
        scatter_chart([1, 2], [1])


def test_scatter_of_many_is_one_path() -> None:
    rng = np.random.default_rng(0)
    figure = scatter_chart(rng.random(10_000), rng.random(10_000))
    assert by_class(figure, "cloud")[0].get("d", "").count("h0") == 10_000
    assert len(figure) < 250_000


def test_bars_are_proportional_from_zero() -> None:
    figure = bar_chart({"a": 0.5, "b": -0.25, "c": math.nan, "d": 0.0}, xlabel="gain")
    bars = by_class(figure, "bar")
    widths = [float(bar.get("width", "nan")) for bar in bars]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    assert widths[2] < 1
    zero = float(bars[0].get("x", "nan"))
    assert float(bars[1].get("x", "nan")) + widths[1] == pytest.approx(zero, abs=0.11)
    assert [e.text for e in by_class(figure, "value")] == ["0.500", "\u22120.250", "–", "0.000"]
    assert "No values yet" in bar_chart({})
    assert "<script" not in bar_chart({"<script>": 1.0})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.81234, "0.8123"),
        (12, "12"),
        (-3.5, "\u22123.5"),
        (12345678, "12\u202f345\u202f678"),
        (1234.5, "1\u202f234"),
        (1e-5, "1e\u22125"),
        (0.0, "0"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text
