"""The core's page: its tables name every public block and loss, and the costs are those of the code."""

import importlib.util
import re
from types import ModuleType

import pytest
from product import ROOT

from polyscale import blocks, losses

PAGE = (ROOT / "packages/core/README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def block_costs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("block_costs", ROOT / "tools/bench/block_costs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(start: str, end: str) -> list[str]:
    """First cells of the table between two markers of the page."""
    return re.findall(r"^\| `(\w+)` \|", PAGE.partition(start)[2].partition(end)[0], re.MULTILINE)


def test_every_block_has_its_row(block_costs: ModuleType) -> None:
    missing, gone = set(blocks.__all__) - set(block_costs.ROWS), set(block_costs.ROWS) - set(blocks.__all__)
    advice = "give it a Row in tools/bench/block_costs.py and run it"
    assert not missing, f"blocks without a row: {sorted(missing)}; {advice}"
    assert not gone, f"rows without a block: {sorted(gone)}; {advice}"
    assert names(block_costs.START, block_costs.END) == list(block_costs.ROWS)


def test_every_loss_has_its_row() -> None:
    table = names("<!-- losses -->", "<!-- end of losses -->")
    assert sorted(table) == sorted(losses.__all__), "packages/core/README.md: the table of losses is written by hand"


def test_costs_are_those_of_the_code(block_costs: ModuleType) -> None:
    assert block_costs.rewritten(PAGE) == PAGE, "the table of blocks is old; run python tools/bench/block_costs.py"


def test_a_cost_is_counted_right(block_costs: ModuleType) -> None:
    parameters, multiply_adds = block_costs.cost(block_costs.ROWS["ScaleFusion"])
    assert parameters == 3 * 64 * 64 + 64
    assert multiply_adds == (32**2 + 2 * 64**2) * 64 * 64  # coarse before, fine after its resize
    assert [block_costs.short(n) for n in (0, 999, 1000, 12_345, 999_600, 7_000_000_000)] == [
        "0", "999", "1 k", "12.3 k", "1 M", "7 G",
    ]  # fmt: skip
