"""The header of Prophesee's RAW and DAT files: lines that begin with %, then binary data."""

import re
from collections.abc import Iterator
from pathlib import Path

from event_det.formats.events import Sensor
from polyscale.errors import UserError

LIMIT = 1 << 16
GENERATIONS = ((r"gen_?x320", (320, 320)), (r"gen_?4|imx6[34]", (1280, 720)), (r"gen_?3", (640, 480)))
"""Sensor names in the header, and the size of each; for headers that do not state the size."""


class Header(dict[str, str]):
    """The entries of a header by their lower-case names; `size` is its length in bytes."""

    size = 0

    @property
    def sensor(self) -> Sensor | None:
        """Width and height as stated, or as the named sensor has them; None if the header tells neither."""
        for width, height in self._sizes():
            if 0 < width < 2**16 and 0 < height < 2**16:
                return width, height
        return None

    def _sizes(self) -> Iterator[Sensor]:
        entries = dict(word.partition("=")[::2] for word in self.words)
        stated = (
            self.get("geometry", ""),
            f"{self.get('width', '')}x{self.get('height', '')}",
            f"{entries.get('width', '')}x{entries.get('height', '')}",
        )
        for text in stated:
            if match := re.fullmatch(r"(\d{1,5})x(\d{1,5})", text):
                yield int(match[1]), int(match[2])
        names = " ".join(self.get(key, "") for key in ("sensor_name", "plugin_name")).lower()
        names += f" gen{self.get('sensor_generation', '')}"
        yield from (size for pattern, size in GENERATIONS if re.search(pattern, names))

    @property
    def words(self) -> list[str]:
        """The parts of the entry `format`, such as EVT21, endianness=legacy, height=720, width=1280."""
        return [word.strip().lower() for word in self.get("format", "").split(";") if word.strip()]

    @property
    def encoding(self) -> str | None:
        """evt2, evt21, evt21-legacy or evt3, None if the header names none of them."""
        named = {"2.0": "evt2", "2.1": "evt21", "3.0": "evt3"}.get(self.get("evt", ""))
        encoding = self.words[0] if self.words and self.words[0] in ("evt2", "evt21", "evt3") else named
        legacy = "endianness=legacy" in self.words or self.get("endianness", "").lower() == "legacy"
        return "evt21-legacy" if encoding == "evt21" and legacy else encoding


def read_header(path: Path) -> Header:
    """Read the lines at the start of a file that begin with "%"; a file without them has an empty header.

    The line "% end" closes the header. Without it the header ends before the first line that does not begin with "% ".

    Raises:
        UserError: a header line is not text, or does not end within 64 KB.
    """
    with path.open("rb") as file:
        content = file.read(LIMIT)
    header = Header()
    while content.startswith(b"% ", header.size):
        line, newline, _ = content[header.size :].partition(b"\n")
        if not newline:
            raise UserError(f"{path}: the header line at byte {header.size} does not end")
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise UserError(f"{path}: the header line at byte {header.size} is not text") from None
        header.size += len(line) + 1
        name, _, value = text.removeprefix("%").strip().partition(" ")
        if name.lower() == "end" and not value:
            break
        header[name.lower()] = value.strip()
    return header
