"""Curves, scatter plots and bars as inline SVG that follows the page's colours and needs no script.

Each function returns one `<figure>`. Colours, type and dark mode come from report.css through classes; the drawing
itself only knows positions in a view box small enough that its lettering stays legible on a telephone.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 480, 270
_TOP, _RIGHT, _BOTTOM = 26, 16, 42
_LETTER = 6.7  # mean width of a letter at the size of the tick labels
_COLOURS = 8  # classes c0..c7 in report.css
_MOST_POINTS = 500  # more cannot be seen on 480 units; a long run would only make the file heavy
_MOST_HOVERS = 60


def escape(text: object) -> str:
    """`text` made safe for HTML text and attributes; what UTF-8 cannot hold (odd file names) becomes "?"."""
    plain = str(text).encode("utf-8", "replace").decode("utf-8")
    return html.escape("".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in plain))


def line_chart(series: Mapping[str, Points], *, title: str = "", xlabel: str = "", ylabel: str = "") -> str:
    """One line per series of (x, y). A value that is not finite leaves a gap; a lone point becomes a dot."""
    finite = [(x, y) for points in series.values() for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return _figure(title, '<p class="none">No values yet.</p>')
    series = {name: points for name, points in series.items() if points}
    axes = _Axes(finite, xlabel, ylabel)
    body = [axes.svg()]
    for index, (name, points) in enumerate(series.items()):
        thin = " dense" if len(points) > 200 else ""
        look = f"c{index % _COLOURS}" + (" dashed" if index // _COLOURS % 2 else "")
        pieces = [_thinned(piece) for piece in _finite_pieces(points)]
        for piece in pieces:
            if len(piece) > 1:
                path = "M" + "L".join(f"{axes.x(x):.1f} {axes.y(y):.1f}" for x, y in piece)
                body.append(f'<path class="line{thin} {look}" d="{path}"><title>{escape(name)}</title></path>')
        shown = [point for piece in pieces for point in piece]
        kind = "dot" if len(shown) <= 25 else "hit"  # dots where they can be told apart, else only the hover areas
        for x, y in shown[:: math.ceil(len(shown) / _MOST_HOVERS) or 1]:
            body.append(_point(axes, x, y, f"{kind} {look}", 2.4 if kind == "dot" else 6, f"{name}: ", xlabel))
    legend = _legend(series) if len(series) > 1 or next(iter(series)) not in (title, ylabel) else ""
    return _figure(title, legend + _svg(body, title or ylabel))


def scatter_chart(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    names: Sequence[str] = (),
    diagonal: bool = False,
) -> str:
    """One dot per pair that is finite; `names` appear on hover; `diagonal` adds the line y = x."""
    if len(xs) != len(ys) or (names and len(names) != len(xs)):
        raise ValueError(f"x, y and names must be equally many, given {len(xs)}, {len(ys)} and {len(names)}")
    kept = [i for i in range(len(xs)) if math.isfinite(xs[i]) and math.isfinite(ys[i])]
    if not kept:
        return _figure(title, '<p class="none">No values yet.</p>')
    axes = _Axes([(float(xs[i]), float(ys[i])) for i in kept], xlabel, ylabel, from_zero=False)
    body = [axes.svg()]
    if diagonal:
        low, high = max(axes.left, axes.low), min(axes.right, axes.high)
        if high > low:
            ends = "L".join(f"{axes.x(value):.1f} {axes.y(value):.1f}" for value in (low, high))
            body.append(f'<path class="diagonal" d="M{ends}"/>')
    if len(kept) > 2 * _MOST_POINTS:  # one path instead of thousands of elements
        path = "".join(f"M{axes.x(float(xs[i])):.1f} {axes.y(float(ys[i])):.1f}h0" for i in kept)
        body.append(f'<path class="cloud c0" d="{path}"/>')
    else:
        for i in kept:
            prefix = f"{names[i]}: " if names else ""
            body.append(_point(axes, float(xs[i]), float(ys[i]), "mark c0", 2.6, prefix, xlabel))
    return _figure(title, _svg(body, title or ylabel))


def bar_chart(values: Mapping[str, float], *, title: str = "", xlabel: str = "") -> str:
    """Horizontal bars from zero, the value written at each; a value that is not finite is a dash."""
    finite = [value for value in values.values() if math.isfinite(value)]
    if not finite:
        return _figure(title, '<p class="none">No values yet.</p>')
    names = {name: name if len(name) <= 26 else name[:25] + "…" for name in values}
    left = 12 + _LETTER * max(len(name) for name in names.values())
    low, high = min(0.0, *finite), max(0.0, *finite)
    scale = (WIDTH - left - 58) / ((high - low) or 1)
    decimals = min(6, max(0, 2 - math.floor(math.log10(max(high, -low) or 1))))  # three digits of the largest
    row = 26
    body = []
    for i, (name, value) in enumerate(values.items()):
        middle = 8 + row * i + row / 2
        body.append(f'<text class="name" x="{left - 8:.1f}" y="{middle:.1f}">{escape(names[name])}</text>')
        if not math.isfinite(value):
            body.append(f'<text class="value" x="{left + 6:.1f}" y="{middle:.1f}">–</text>')
            continue
        start, end = left + (min(value, 0) - low) * scale, left + (max(value, 0) - low) * scale
        text = f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "\u2212")
        hover = f"<title>{escape(name)}: {text}</title>"
        bar = f'x="{start:.1f}" y="{middle - 8:.1f}" width="{max(end - start, 0.8):.1f}" height="16" rx="2"'
        body.append(f'<rect class="bar c0" {bar}>{hover}</rect>')
        body.append(f'<text class="value" x="{end + 6:.1f}" y="{middle:.1f}">{text}</text>')
    height = 16 + row * len(values) + (18 if xlabel else 0)
    zero = left - low * scale
    body.append(f'<path class="axis" d="M{zero:.1f} 6V{12 + row * len(values)}"/>')
    if xlabel:
        body.append(f'<text class="label" x="{left:.1f}" y="{height - 6}">{escape(xlabel)}</text>')
    return _figure(title, _svg(body, title or xlabel, height))


def number(value: float) -> str:
    """Four significant digits, without an exponent where it can be avoided: 0.8123, 12 400, 1e-5."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "\u2212")
    if abs(value) >= 1000:
        return number(round(value))
    return f"{value:.4g}".replace("e-0", "e-").replace("e-", "e\u2212").replace("-", "\u2212")


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """The finest multiples of 1, 2 or 5 times a power of ten inside [low, high] that are at most `most`."""
    power = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    for step in (factor * power for factor in (1, 2, 5, 10, 20, 50, 100)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


class _Axes:
    """The frame: the ranges of both axes, ticks, labels, and the place of a value in the view box."""

    def __init__(self, points: Iterable[tuple[float, float]], xlabel: str, ylabel: str, from_zero: bool = True) -> None:
        xs, ys = zip(*points, strict=True)
        self.xlabel, self.ylabel = xlabel, ylabel
        self.left, self.right = _widened(min(xs), max(xs), 0.0 if from_zero else 0.04)
        low, high = _widened(min(ys), max(ys), 0.06)
        if from_zero and min(ys) >= 0 and low < 0.3 * high:
            low = 0.0
        self.low, self.high = low, high
        self.x_ticks = nice_ticks(self.left, self.right, 7)
        if all(x == int(x) for x in xs):
            self.x_ticks = sorted({tick for tick in self.x_ticks if tick == int(tick)}) or [min(xs)]
        self.y_ticks = nice_ticks(low, high)
        self.x_texts, self.y_texts = _tick_texts(self.x_ticks), _tick_texts(self.y_ticks)
        self.margin = 10 + _LETTER * max((len(text) for text in self.y_texts), default=0)

    def x(self, value: float) -> float:
        return self.margin + (value - self.left) / (self.right - self.left) * (WIDTH - _RIGHT - self.margin)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - _BOTTOM - _TOP)

    def svg(self) -> str:
        foot = HEIGHT - _BOTTOM
        parts = []
        for tick, text in zip(self.y_ticks, self.y_texts, strict=True):
            y = self.y(tick)
            parts.append(f'<path class="grid" d="M{self.margin:.1f} {y:.1f}H{WIDTH - _RIGHT}"/>')
            parts.append(f'<text class="tick y" x="{self.margin - 7:.1f}" y="{y:.1f}">{text}</text>')
        parts.append(f'<path class="axis" d="M{self.margin:.1f} {foot}H{WIDTH - _RIGHT}"/>')
        for tick, text in zip(self.x_ticks, self.x_texts, strict=True):
            x = self.x(tick)
            parts.append(f'<path class="axis" d="M{x:.1f} {foot}v4"/>')
            parts.append(f'<text class="tick x" x="{x:.1f}" y="{foot + 17}">{text}</text>')
        parts.append(f'<text class="label" x="0" y="12">{escape(self.ylabel)}</text>')
        parts.append(f'<text class="label end" x="{WIDTH - _RIGHT}" y="{HEIGHT - 5}">{escape(self.xlabel)}</text>')
        return "".join(parts)


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # one value: something to stand in the middle of
        half = 0.5 * abs(high) or 0.5
        return low - half, high + half
    return low - share * (high - low), high + share * (high - low)


def _tick_texts(ticks: Sequence[float]) -> list[str]:
    """All ticks of one axis with the same number of decimals, in thousands or with an exponent where shorter."""
    largest = max((abs(tick) for tick in ticks), default=0)
    if largest >= 10_000 or 0 < largest < 1e-3:
        power = 3 * math.floor(math.log10(largest) / 3) if largest >= 1 else math.floor(math.log10(largest))
        suffix = {3: "k", 6: "M", 9: "G"}.get(power, f"e{power}".replace("-", "\u2212"))
        texts = [f"{tick / 10.0**power:.4g}{suffix}" if tick else "0" for tick in ticks]
    else:
        step = min((b - a for a, b in pairwise(ticks)), default=1)
        texts = [f"{tick:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" for tick in ticks]
    return [text.replace("-", "\u2212") for text in texts]


def _finite_pieces(points: Points) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lowest and the highest point of each of many slices: thinner, but no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return points
    slices = _MOST_POINTS // 2
    kept = {0, len(points) - 1}
    for i in range(slices):
        indices = range(i * len(points) // slices, (i + 1) * len(points) // slices)
        kept |= {min(indices, key=lambda j: points[j][1]), max(indices, key=lambda j: points[j][1])}
    return [points[i] for i in sorted(kept)]


def _point(axes: _Axes, x: float, y: float, look: str, radius: float, prefix: str, xlabel: str) -> str:
    hover = escape(f"{prefix}{number(y)} at {xlabel + ' ' if xlabel else ''}{number(x)}")
    return (
        f'<circle class="{look}" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="{radius}"><title>{hover}</title></circle>'
    )


def _legend(names: Iterable[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 18 8" aria-hidden="true"><path class="line c{i % _COLOURS}'
        f'{" dashed" if i // _COLOURS % 2 else ""}" d="M1 4H17"/></svg>{escape(name)}</li>'
        for i, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _svg(body: Iterable[str], label: str, height: float = HEIGHT) -> str:
    head = f'<svg class="plot" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">'
    return head + "".join(body) + "</svg>"


def _figure(title: str, content: str) -> str:
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<figure class="chart">{heading}{content}</figure>'
