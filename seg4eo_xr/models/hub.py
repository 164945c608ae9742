"""Published weights from the Hugging Face Hub, or at once from its cache where there is no hub."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds that the hub may take to answer at all; without a network, names take long to look up.
_PATIENCE = 4.0


@contextmanager
def one_try() -> Iterator[None]:
    """Let weights be fetched in the block; where the hub does not answer, use its cache alone.

    huggingface_hub itself tries each file six times, with a line for each, for up to a minute.

    Raises
    ------
    OSError
        If the hub does not answer and its cache does not hold the weights.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{constants.ENDPOINT} cannot be reached, and the local cache does not hold them"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = False


def _answers(endpoint: str) -> bool:
    """Ask once, with the proxies that huggingface_hub uses; any answer will do."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(get_session().head(endpoint, timeout=_PATIENCE))
        except Exception:  # of requests, httpx or another client, by the version
            return

    # In a thread, because a look-up of a name knows no time limit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE)
    return bool(answers)
