"""Chunks on their way to an accelerator, while it still works on the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np


class Upload:
    """A chunk that is being copied to a device.

    On CUDA it leaves from pinned memory in a stream of its own, so that copying and computing go on
    at the same time; elsewhere the windows are copied when they are needed.

    Parameters
    ----------
    chunk
        Stored numbers, ``(band, y, x)``.
    device
        Where to.
    """

    def __init__(self, chunk: np.ndarray, device: str) -> None:
        self._numbers = torch.from_numpy(chunk)
        self._stream: torch.cuda.Stream | None = None
        if device == "cuda":
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pinned = self._numbers.pin_memory()
            with torch.cuda.stream(self._stream):
                self._numbers = self._pinned.to(device, non_blocking=True)

    def arrived(self) -> torch.Tensor:
        """Return the chunk, safe to use by what is queued from here on."""
        if self._stream is not None:
            computing = torch.cuda.current_stream()
            computing.wait_stream(self._stream)
            # Its memory may be used anew only when the computing stream is done with it.
            self._numbers.record_stream(computing)
        return self._numbers
