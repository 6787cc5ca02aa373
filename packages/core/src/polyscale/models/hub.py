"""The Hugging Face hub, or word within seconds that it is out of reach.

Without a network the hub's client tries every file for half a minute, cached or not. Here one short question comes
first; where nobody answers, the client works offline: what is cached loads at once, what is not is missing at once.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

TIMEOUT_S = 4.0  # seconds for the answer


@contextmanager
def hub() -> Iterator[None]:
    """Files are asked of the hub within this context, by huggingface_hub itself or by timm or transformers.

    Raises ConnectionError, saying why nobody was asked, for a file that is not in the cache.
    """
    wanted = constants.HF_HUB_OFFLINE
    reason = "HF_HUB_OFFLINE is set" if wanted else _silence(constants.ENDPOINT)
    if reason is None:
        yield
        return
    constants.HF_HUB_OFFLINE = True  # the client looks it up for every request
    try:
        yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"not in the cache, and {reason}") from error
    finally:
        constants.HF_HUB_OFFLINE = wanted


def _silence(endpoint: str) -> str | None:
    """Why `endpoint` does not answer, None where it does: a refusal, or a certificate for the client to judge."""
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=TIMEOUT_S).close()
    except HTTPError:
        return None
    except OSError as error:
        cause = error.reason if isinstance(error, URLError) else error
        return None if isinstance(cause, ssl.SSLError) else f"{endpoint} does not answer: {cause}"
    return None
