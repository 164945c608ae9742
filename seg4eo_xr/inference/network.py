"""A network as prediction holds it: frozen, picklable, named by its weights."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from seg4eo_xr.inference.options import Device, Precision
    from seg4eo_xr.models.checkpoint import Checkpoint


_lock = threading.Lock()
_turns: dict[str, threading.Semaphore] = {}
# One entry a pass under way on the processor: the thread count to go back to.
_passes: list[int] = []


class Network:
    """A segmentation network and how to run it.

    Parameters
    ----------
    module
        Turns ``(batch, band, y, x)`` float32 into logits ``(batch, channel, y, x)``. It is put into
        evaluation mode and belongs to this object from now on.
    token
        Names the weights: equal tokens promise equal results.
    binary
        Whether a single output passes through a sigmoid; otherwise all pass through a softmax.
    precision
        Number format of the forward pass; probabilities are float32 in any case.
    device
        Where to run; ``auto`` takes CUDA, then Apple's MPS, then the processor, as found where the
        work is done.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        token: str,
        binary: bool,
        precision: Precision = "float32",
        device: Device = "auto",
    ) -> None:
        # Channels-last is 1.6 times as fast for convolutions on AVX-512 processors.
        self.module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.token = token
        self.binary = binary
        self.precision = precision
        self.device = device
        self._placed: dict[str, torch.nn.Module] = {}

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, *, precision: Precision = "float32", device: Device = "auto"
    ) -> Network:
        """Take over the network of a checkpoint."""
        return cls(
            checkpoint.build(),
            token=weights_token(checkpoint.state_dict, repr(checkpoint.spec)),
            binary=checkpoint.mode == "binary",
            precision=precision,
            device=device,
        )

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return ("Network", self.token, str(self.binary), self.precision, self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_placed": {}}

    def resolve_device(self) -> str:
        """Name of the device to run on, as this machine has it."""
        return resolve_device(self.device)

    def probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        """Run one batch.

        Parameters
        ----------
        batch
            Normalised windows, float32 ``(batch, band, y, x)``, on the device.

        Returns
        -------
        Tensor of float32, ``(batch, channel, y, x)``
            Probabilities, contiguous.

        Raises
        ------
        ValueError
            If the network's answer is of another size than its input, or not finite.
        """
        device = batch.device.type
        with torch.inference_mode(), self._autocast(device):
            logits = self._on(device)(batch)
        if logits.shape[0] != batch.shape[0] or logits.shape[2:] != batch.shape[2:]:
            raise ValueError(
                f"the network answered {tuple(logits.shape)} to an input of {tuple(batch.shape)}; "
                "it must give one number a class for every pixel"
            )
        # Window by window, because a small softmax stays in the cache.
        activate = torch.sigmoid if self.binary else _softmax
        result = torch.stack([activate(one.float().contiguous()) for one in logits])
        if not torch.isfinite(result.sum()):
            raise ValueError(
                "the network answered NaN or infinity; its weights may be damaged"
                + ("" if self.precision == "float32" else ", or try precision='float32'")
            )
        return result

    def _autocast(self, device: str) -> AbstractContextManager[Any]:
        # Autocast and inference mode are thread-local, so each call enters them anew.
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device, dtype=getattr(torch, self.precision))

    def _on(self, device: str) -> torch.nn.Module:
        if device == "cpu":
            return self.module
        with _lock:
            if device not in self._placed:
                self._placed[device] = self.module.to(device)
            return self._placed[device]


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(0)


def resolve_device(device: Device) -> str:
    """Turn ``auto`` into the fastest device of this machine.

    Raises
    ------
    ValueError
        If the device asked for is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if device not in available:
        raise ValueError(f"device must be one of auto, {', '.join(available)}, got {device!r}")
    if not available[device]:
        raise ValueError(f"device {device!r} is not available here; choose 'auto' or 'cpu'")
    return device


@contextmanager
def turn_on(device: str) -> Iterator[None]:
    """Wait for a turn on a device and hold it for the block's time.

    An accelerator takes one forward pass at a time; threads that wait have already read their
    chunk, so they act as read-ahead. A processor takes a pass a dask thread, and each pass runs on
    one core: many networks answer in other bits on another number of cores, which differs between a
    laptop's threads and a cluster's workers, and several passes side by side are no slower than one
    on all.
    """
    if device == "cpu":
        with _one_core_a_pass():
            yield
        return
    with _lock:
        turn = _turns.setdefault(device, threading.Semaphore(1))
    with turn:
        yield


@contextmanager
def _one_core_a_pass() -> Iterator[None]:
    """Set torch to one thread here; the last pass to end gives the process its setting back."""
    with _lock:
        _passes.append(_passes[0] if _passes else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            before = _passes.pop()
            if not _passes:
                torch.set_num_threads(before)


def weights_token(state_dict: Mapping[str, torch.Tensor], architecture: str) -> str:
    """Name weights by their content: the same in every process and after every copy."""
    digest = hashlib.blake2b(architecture.encode(), digest_size=16)
    for name, tensor in sorted(state_dict.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
