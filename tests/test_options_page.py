"""docs/options.md has a row for each option that all applications share, with its commands and defaults."""

import re

from product import ROOT

from polyscale.commands.types import SHARED

PAGE = (ROOT / "docs/options.md").read_text(encoding="utf-8")
SHOWN = {None: "none", False: "off"}


def test_the_table_is_that_of_the_commands() -> None:
    rows = {
        cells[0].split("`")[1].split(" ")[0]: cells[1:4]
        for line in re.findall(r"^\| `--.*", PAGE, re.MULTILINE)
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    for place, command in enumerate(("predict", "eval", "data")):
        told = {option: cells[place] for option, cells in rows.items() if cells[place]}
        wanted = {option: SHOWN.get(default, str(default)) for option, default in SHARED[command].items()}  # type: ignore[call-overload]
        if command == "predict":
            wanted["--out"] = "predictions"  # what None stands for, except with --json
        assert told == wanted, command
