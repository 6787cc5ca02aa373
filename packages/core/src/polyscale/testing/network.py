"""No command opens a connection that was not asked for: tests call commands where each attempt is refused and fails."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

HERE = ("127.0.0.1", "::1", "localhost", "", None, socket.gethostname())


@contextlib.contextmanager
def no_connections() -> Iterator[None]:
    """Refuse every connection that leaves this machine, also where HF_HUB_OFFLINE would have kept it from being tried.

    Raises:
        AssertionError: (at the end) one was tried.
    """
    tried: list[object] = []
    resolve = socket.getaddrinfo

    def check(host: object) -> None:
        if host not in HERE:
            tried.append(host)
            raise ConnectionRefusedError(f"{host}: no connection may be opened")

    def guarded(connect: Any) -> Any:
        def connect_here(own: socket.socket, address: Any) -> Any:
            if own.family in (socket.AF_INET, socket.AF_INET6):
                check(address[0])
            return connect(own, address)

        return connect_here

    def resolve_here(host: Any, *arguments: Any, **named: Any) -> Any:
        check(host)
        return resolve(host, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        patch.setattr(socket, "getaddrinfo", resolve_here)
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield
    assert not tried, f"connections were tried: {tried}"
