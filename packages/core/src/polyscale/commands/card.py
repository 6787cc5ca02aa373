"""`info MODEL` of every application: the card of a model, without torch."""

import json
from pathlib import Path
from typing import Any

import typer

from polyscale.commands.output import print_json
from polyscale.errors import UserError, foreign, printable, read_bounded
from polyscale.inference.network import is_exported
from polyscale.inference.onnx_file import MAX_BYTES, read_metadata
from polyscale.models.card import CARD
from polyscale.models.sources import CONFIG, MAX_CONFIG_BYTES, find


def show_card(model: str, shipped: Path, *, as_json: bool) -> None:
    """Print the card of a saved model or of an ONNX file that `export` wrote.

    Args:
        model: what the user named.
        shipped: folder of the weights that come with the application.
        as_json: print what was recorded instead: of a saved model data, metrics, seed and commit, of an ONNX file the
            rest of its metadata.

    Raises:
        UserError: there is no such model, it cannot be read, or it has no card.
    """
    card, about = _read_exported(Path(model)) if is_exported(model) else _read_saved(model, shipped)
    if as_json:
        print_json(about)
    elif card:
        typer.echo("\n".join(map(printable, card.splitlines())))
    else:
        raise UserError(f"{model}: this model has no card")


def _read_exported(file: Path) -> tuple[str, dict[str, Any]]:
    metadata = read_metadata(read_bounded(file, MAX_BYTES), file)
    return str(metadata.pop("card", "")), metadata


def _read_saved(model: str, shipped: Path) -> tuple[str, dict[str, Any]]:
    folder = find(model, shipped=shipped, files=(CONFIG, CARD))
    content = read_bounded(folder / CONFIG, MAX_CONFIG_BYTES)
    with foreign(folder / CONFIG, "the configuration of a saved model"):
        about = dict(json.loads(content).get("about") or {})
    card = folder / CARD
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "", about
