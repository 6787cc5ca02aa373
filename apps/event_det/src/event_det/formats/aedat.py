"""AEDAT4 (iniVation), through the library `aedat`, the extra of that name. Reading only, packet by packet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from event_det.formats.checks import UNREADABLE, Block, Drop, narrow
from event_det.formats.events import Events, Sensor
from event_det.formats.tabular.columns import sensor_or_none
from polyscale.errors import UserError, first_line


class AedatReader:
    """Reads the first stream of events of an AEDAT4 file."""

    start = 0

    def __init__(self, path: Path) -> None:
        try:
            import aedat
        except ImportError:
            message = (
                f"{path}: AEDAT4 needs the library aedat; install it with: pip install 'polyscale-event-det[aedat]'"
            )
            raise UserError(message) from None
        self.path, self.open = path, aedat.Decoder
        streams = self._ask(lambda: self.open(path).id_to_stream())
        found = [(key, stream) for key, stream in streams.items() if stream.get("type") == "events"]
        if not found:
            raise UserError(
                f"{path}: holds no stream of events, but {[stream.get('type') for stream in streams.values()]}"
            )
        self.stream, stream = found[0]
        self.sensor: Sensor | None = sensor_or_none(stream.get("width"), stream.get("height"))
        self.packets: Iterator[Any] = iter(())
        self.position = -1

    def _ask(self, question: Any) -> Any:
        """Ask the library; whatever it raises on a damaged file, a panic of its Rust code too, is a UserError."""
        try:
            return question()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            raise UserError(f"{self.path}: cannot be read as AEDAT4 ({first_line(error)})") from None

    def read(self, cursor: int) -> Block:
        """Decode the next packet of events from packet number `cursor`; a damaged packet ends the recording."""
        if cursor != self.position:
            self.packets = iter(self._ask(lambda: self.open(self.path)))
            for _ in range(cursor):
                self._ask(lambda: next(self.packets, None))
        place = f"packet {cursor}"
        try:
            packet = self._ask(lambda: next(self.packets, None))
        except UserError as error:
            reason = f"packet {UNREADABLE} ({error})"
            return Block(Events.allocate(0), None, [Drop(reason, 1, place)], str)
        self.position = cursor + 1
        if packet is None:
            return Block(Events.allocate(0), None, [], str)
        if packet.get("stream_id") != self.stream or "events" not in packet:
            return Block(Events.allocate(0), self.position, [], str)
        rows = packet["events"]
        polarity = rows["on"] if "on" in rows.dtype.names else rows["p"]
        events, drops, where = narrow(rows["t"], rows["x"], rows["y"], polarity, lambda i: f"{place}, event {i}")
        return Block(events, self.position, drops, where)
