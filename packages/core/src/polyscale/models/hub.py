"""The Hugging Face hub, failing within seconds if it is out of reach.

Without a network the hub's client tries every file for half a minute, cached or not. Here one short request comes
first; if nobody answers, the client works offline: cached files load at once, missing ones fail at once. The client's
own `etag_timeout` cannot do this: timm and transformers do not pass it on, and each file would wait for it anew.
"""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

TIMEOUT_S = 4.0  # seconds for the answer
CACHE_ONLY = "a saved model is built without asking the hub"
_switch = threading.RLock()  # one thread at a time changes the client's constant
_reasons: list[str | None] = [None]  # of each open context: why nobody is asked


@contextmanager
def hub(*, cache_only: bool = False) -> Iterator[None]:
    """Let huggingface_hub, timm or transformers ask the hub within this context.

    Args:
        cache_only: never open a connection; only cached files are found. Contexts within this one inherit it.

    Raises:
        ConnectionError: a file is not in the cache and nobody was asked; the message says why.
    """
    with _switch:
        before = constants.HF_HUB_OFFLINE
        reason = _reasons[-1] or (CACHE_ONLY if cache_only else "HF_HUB_OFFLINE is set" if before else None)
        reason = reason or _why_unreachable(constants.ENDPOINT)
        _reasons.append(reason)
        constants.HF_HUB_OFFLINE = before or reason is not None  # the client looks it up for every request
        try:
            yield
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            if reason is None:
                raise
            raise ConnectionError(f"not in the cache, and {reason}") from error
        finally:
            constants.HF_HUB_OFFLINE = before
            _reasons.pop()


def _why_unreachable(endpoint: str) -> str | None:
    """Return the reason the endpoint is unreachable, or None (HTTP and TLS errors count as reachable)."""
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=TIMEOUT_S).close()
    except HTTPError:
        return None
    except OSError as error:
        cause = error.reason if isinstance(error, URLError) else error
        return None if isinstance(cause, ssl.SSLError) else f"{endpoint} does not answer: {cause}"
    return None
