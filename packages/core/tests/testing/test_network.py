"""What calls commands in tests refuses connections, and notices those that a command hides."""

import contextlib
import socket
from typing import Any

import pytest
from huggingface_hub import constants

from polyscale.testing.network import no_connections

ADDRESSES = [("192.0.2.1", 443), ("203.0.113.9", 80)]  # reserved for documentation: nobody answers there


def ask_by_name() -> Any:
    return socket.create_connection(("example.org", 443), timeout=1)


def ask_by_number() -> Any:
    with socket.socket() as own:
        return own.connect(ADDRESSES[0])


def ask_quietly() -> Any:
    with socket.socket(socket.AF_INET) as own:
        return own.connect_ex(ADDRESSES[1])


@pytest.mark.parametrize("ask", [ask_by_name, ask_by_number, ask_quietly])
def test_a_connection_is_refused_and_told_even_where_the_refusal_is_hidden(ask: Any) -> None:
    told = pytest.raises(AssertionError, match="connections were tried")
    with told, no_connections(), contextlib.suppress(OSError):
        ask()


def test_this_machine_may_be_asked_and_offline_mode_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with no_connections(), socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()[:2], timeout=5).close()
        assert constants.HF_HUB_OFFLINE is False
    assert constants.HF_HUB_OFFLINE is True
