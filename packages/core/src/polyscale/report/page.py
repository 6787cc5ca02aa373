"""One HTML file per run that can be opened, mailed and printed anywhere: text, tables, curves, images, settings.

Everything is inside the file: style, SVG drawings, images as base64. No script, no font, no address from elsewhere.
Light or dark follows the reader's system. Everything given is escaped, so file names and labels are safe to pass.
"""

import base64
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from polyscale.data.images import replace_file
from polyscale.report.charts import Points, bar_chart, escape, line_chart, number, scatter_chart

Best = Literal["max", "min"]

_PIXELS_WIDE = {1: 1280, 2: 800}  # by columns of a gallery; else 640: sharp at the width it is shown in
_DASH = "–"


class Report:
    """A page filled from top to bottom in the order of the calls, written by `save`.

    Charts added one after another stand side by side where the window is wide enough.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._blocks: list[tuple[str, str]] = []  # (kind, HTML)

    def heading(self, text: str) -> None:
        """Start a new part of the page."""
        self._add("heading", f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph; line breaks are kept."""
        self._add("text", f"<p>{escape(text)}</p>")

    def table(
        self,
        rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        caption: str = "",
        highlight: Mapping[str, Best] | None = None,
        *,
        decimals: int = 3,
    ) -> None:
        """One row per mapping, columns by key in order of appearance, the first one naming the row.

        A single mapping becomes a two-column list of key and value. `highlight` says per column whether the largest
        ("max") or smallest ("min") value is best: it is marked, ties all, and the header shows the direction. Floats
        have `decimals` places, fewer from 100 up; where that would show nothing but zeros, one digit, in a list four.
        None, NaN and absent cells are a dash.
        Raises ValueError where `highlight` names no column or no direction.
        """
        if isinstance(rows, Mapping):
            body = "".join(
                f'<tr><th scope="row">{escape(key)}</th><td>{_cell(value, decimals, 4)}</td></tr>'
                for key, value in rows.items()
            )
            table = f'<table class="pairs"><tbody>{body}</tbody></table>'
        else:
            table = _table(rows, dict(highlight or {}), decimals)
        note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._add("table", f'<figure class="table"><div class="scroll">{table}</div>{note}</figure>')

    def curves(self, series: Mapping[str, Points], title: str = "", xlabel: str = "", ylabel: str = "") -> None:
        """Lines of (x, y) over one pair of axes, values on hover. Not finite = a gap; long runs keep every spike."""
        self._add("chart", line_chart(series, title=title, xlabel=xlabel, ylabel=ylabel))

    def history(self, records: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
        """The course of a run from the records of its log.jsonl: loss by step, the validation's `shown` by epoch."""
        loss = [(r["step"], r["loss"]) for r in records if r["kind"] == "training"]
        validations = [r for r in records if r["kind"] == "validation"]
        scores = {key: [(r["epoch"] + 1, r[key]) for r in validations if key in r] for key in shown}
        scores = {key: points for key, points in scores.items() if points}
        if loss:
            self.curves({"loss": loss}, title="Training", xlabel="step", ylabel="loss")
        if scores:
            name = "" if len(scores) > 1 else next(iter(scores))  # of several the legend tells
            self.curves(scores, title="Validation", xlabel="epoch", ylabel=name)

    def scatter(
        self,
        x: Sequence[float],
        y: Sequence[float],
        title: str = "",
        xlabel: str = "",
        ylabel: str = "",
        *,
        names: Sequence[str] = (),
        diagonal: bool = False,
    ) -> None:
        """One dot per (x, y), `names` on hover, the line y = x where `diagonal`. ValueError for unequal lengths."""
        chart = scatter_chart(x, y, title=title, xlabel=xlabel, ylabel=ylabel, names=names, diagonal=diagonal)
        self._add("chart", chart)

    def bars(self, values: Mapping[str, float], title: str = "", xlabel: str = "") -> None:
        """A horizontal bar per name, from zero."""
        self._add("chart", bar_chart(values, title=title, xlabel=xlabel))

    def images(self, captioned: Sequence[tuple[np.ndarray, str]], title: str = "", columns: int = 3) -> None:
        """(array, caption) pairs in a grid of at most `columns`, fewer on a narrow screen.

        Arrays are uint8 [H, W, 3], or [H, W] as bool, uint8 or float in [0, 1]. They are shrunk to what the grid can
        show (640 px wide for three columns and more, 800 for two, 1280 for one), so a report stays a few MB.
        Raises ValueError for other arrays.
        """
        wide = _PIXELS_WIDE.get(columns, 640)
        figures = "".join(_figure(array, caption, wide) for array, caption in captioned)
        heading = f"<h3>{escape(title)}</h3>" if title else ""
        look = "images one" if columns == 1 else "images" if columns < 4 else "images many"
        grid = f'<div class="{look}" style="--columns:{int(columns)}">{figures}</div>'
        self._add("images", f"<section>{heading}{grid}</section>")

    def details(self, title: str, text: str) -> None:
        """Long text such as a configuration, folded away until asked for, spaces kept."""
        self._add("details", f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>")

    def html(self) -> str:
        """The page as it would be saved."""
        parts: list[str] = []
        for position, (kind, block) in enumerate(self._blocks):
            before = self._blocks[position - 1][0] if position else ""
            after = self._blocks[position + 1][0] if position + 1 < len(self._blocks) else ""
            opening = '<div class="charts">' if kind == "chart" != before else ""
            parts.append(opening + block + ("</div>" if kind == "chart" != after else ""))
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title>\n<style>\n{_style()}</style></head>\n<body>"
            f"<header><h1>{escape(self.title)}</h1>{subtitle}</header>\n<main>\n" + "\n".join(parts) + "\n</main>\n"
            "</body></html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page; the file appears whole or not at all. Raises UserError where it cannot be written."""
        return replace_file(path, self.html().encode("utf-8"))

    def _add(self, kind: str, block: str) -> None:
        self._blocks.append((kind, block))


@cache
def _style() -> str:
    return resources.files("polyscale.report").joinpath("report.css").read_text(encoding="utf-8")


def _table(rows: Sequence[Mapping[str, Any]], highlight: dict[str, Best], decimals: int) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for name, best in highlight.items():
        if name not in columns or best not in ("max", "min"):
            raise ValueError(f"highlight must map columns {columns} to 'max' or 'min', given {name!r}: {best!r}")
    winners = {name: _winner([row.get(name) for row in rows], best) for name, best in highlight.items()}
    arrows = {name: " ↑" if best == "max" else " ↓" for name, best in highlight.items()}
    words = {c for c in columns[1:] if any(isinstance(row.get(c), str) for row in rows)}
    head = "".join(
        f'<th scope="col"{_class("words" if c in words else "")}>{escape(c)}{arrows.get(c, "")}</th>' for c in columns
    )
    lines = []
    for row in rows:
        cells = [f'<th scope="row">{_cell(row.get(columns[0]), decimals)}</th>']
        for c in columns[1:]:
            value = row.get(c)
            won = winners.get(c) is not None and _is_number(value) and value == winners[c]
            look = " ".join(word for word, on in (("words", c in words), ("best", won)) if on)
            cells.append(f"<td{_class(look)}>{_cell(value, decimals)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _winner(values: Sequence[Any], best: Best) -> float | None:
    """The best number of a column; none where there is no choice."""
    known = [value for value in values if _is_number(value)]
    if len(known) < 2:
        return None
    return max(known) if best == "max" else min(known)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _cell(value: Any, decimals: int, least: int = 1) -> str:
    """A value as text; `least` significant digits where `decimals` would round it to zero."""
    if value is None or (isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isnan(value)):
        return _DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return number(int(value))
    if _is_number(value):
        size = abs(float(value))
        if 0 < size < 0.5 * 10.0**-decimals:
            return number(float(f"{value:.{least}g}"))
        if size >= 1000:
            return number(float(value))
        return f"{float(value):.{decimals if size < 100 else min(decimals, 1)}f}".replace("-", "\u2212")
    return escape(value)


def _figure(array: np.ndarray, caption: str, wide: int) -> str:
    array = np.asarray(array)
    if array.ndim == 2 and array.dtype != np.uint8:
        array = np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise ValueError(f"images must be uint8 [H, W, 3] or a map [H, W], given {array.dtype} {list(array.shape)}")
    image = Image.fromarray(array)
    if image.width > wide:
        size = (wide, max(1, round(image.height * wide / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    if image.mode == "L":  # masks and maps: flat areas, where PNG is both exact and small
        image.save(buffer, "PNG", optimize=True)
    else:  # full colour resolution, or thin coloured outlines smear; optimize=True fails on noise
        image.save(buffer, "JPEG", quality=88, subsampling=0)
    kind = "png" if image.mode == "L" else "jpeg"
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    shape = f'width="{image.width}" height="{image.height}" alt="{escape(caption)}"'
    return f'<figure><img src="data:image/{kind};base64,{data}" {shape}>{note}</figure>'
