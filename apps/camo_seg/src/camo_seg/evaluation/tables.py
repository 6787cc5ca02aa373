"""Result tables as files: CSV for spreadsheets, LaTeX (booktabs) for papers."""

import csv
import io
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from polyscale.data.images import replace_file

_ESCAPED = {ord(letter): f"\\{letter}" for letter in "&%$#_{}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
}


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]], lower_is_better: AbstractSet[str]) -> list[Path]:
    """Write table.csv and table.tex into `folder`; returns their paths.

    Args:
        folder: Made where it is missing.
        rows: One mapping a row, columns by key; the first one names the row.
        lower_is_better: The metrics that get a downward arrow.
    """
    latex = to_latex(rows, lower_is_better)
    return [
        replace_file(folder / "table.csv", to_csv(rows).encode()),
        replace_file(folder / "table.tex", latex.encode()),
    ]


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header; the unnamed first column is called name."""
    columns = _columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column or "name" for column in columns])
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    return buffer.getvalue()


def to_latex(rows: Sequence[Mapping[str, Any]], lower_is_better: AbstractSet[str], digits: int = 3) -> str:
    """Return rows as a LaTeX tabular (needs booktabs): metrics with arrows, numbers as papers print them (.734)."""
    columns = _columns(rows)
    metrics = {c for c in columns if any(isinstance(row.get(c), float) for row in rows)}
    arrows = {c: r" $\downarrow$" if c in lower_is_better else r" $\uparrow$" for c in metrics}
    heads = [_text(c) + arrows.get(c, "") for c in columns]
    lines = [" & ".join(heads), *(" & ".join(_cell(row.get(c), digits) for c in columns) for row in rows)]
    head, *body = [f"{line} \\\\" for line in lines]
    spec = "l" + "r" * (len(columns) - 1)
    return "\n".join(
        [f"\\begin{{tabular}}{{{spec}}}", "\\toprule", head, "\\midrule", *body, "\\bottomrule", "\\end{tabular}", ""]
    )


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "--"
    if isinstance(value, float):
        text = f"{value:.{digits}f}"
        return text[1:] if text.startswith("0.") else text
    return _text(str(value))


def _text(text: str) -> str:
    return text.translate(_ESCAPED)
