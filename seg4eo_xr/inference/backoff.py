"""Batches that fit: smaller ones where a device runs out of memory, and a record of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

from seg4eo_xr.notices import Seg4EOWarning, warn
from seg4eo_xr.running import active_client

if TYPE_CHECKING:
    from seg4eo_xr.inference.network import Network

_lock = threading.Lock()
# Windows a forward pass that fit, by the token of the weights; only where it is not all of a batch.
_fitting: dict[str, int] = {}


class BatchWarning(Seg4EOWarning):
    """A device ran out of memory, and batches became smaller."""


def run_in_memory(network: Network, batch: torch.Tensor) -> torch.Tensor:
    """Run a batch, in smaller ones from where the device ran out of memory on.

    Parameters
    ----------
    network
        What to run.
    batch
        Normalised windows, float32 ``(batch, band, y, x)``, on the device.

    Returns
    -------
    Tensor of float32, ``(batch, channel, y, x)``
        What `Network.probabilities` gives. The smaller batches are full as well; many networks
        answer to them in other bits, within rounding.

    Raises
    ------
    MemoryError
        If not even a single window fits.

    Warns
    -----
    BatchWarning
        When the batch is halved.
    """
    while True:
        size = min(len(batch), _fitting.get(network.token, len(batch)))
        try:
            if size == len(batch):
                return network.probabilities(batch)
            parts = [
                network.probabilities(_filled(part, size)) for part in torch.split(batch, size)
            ]
            return torch.cat(parts)[: len(batch)]
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if size == 1:
                raise MemoryError(_no_window_fits(batch, network)) from error
        # Outside of the handler, which would keep what the failed pass holds.
        _halve(network.token, size, batch.device.type)


def fitted_batch(token: str) -> int | None:
    """Windows a forward pass that the smallest batch was cut to, or None if all ran as planned.

    Parameters
    ----------
    token
        `Network.token`, the ``model_token`` of a map's attributes.

    Returns
    -------
    int or None
        Over this process, and all workers of the dask client in use.
    """
    client = active_client()
    sizes = [_fitting_here(token)]
    if client is not None:
        # A worker that dies now has nothing to tell.
        sizes += client.run(_fitting_here, token, on_error="ignore").values()
    return min((size for size in sizes if size is not None), default=None)


def _fitting_here(token: str) -> int | None:
    # A function of this module, since `_fitting.get` would travel with the caller's numbers.
    return _fitting.get(token)


def _filled(part: torch.Tensor, size: int) -> torch.Tensor:
    if len(part) == size:
        return part
    return torch.cat([part, part.new_zeros((size - len(part), *part.shape[1:]))])


def _out_of_memory(error: RuntimeError) -> bool:
    # On a processor torch knows no error of its own for it.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halve(token: str, size: int, device: str) -> None:
    with _lock:
        _fitting[token] = min(_fitting.get(token, size), (size + 1) // 2)
    if device == "cuda":
        torch.cuda.empty_cache()
    warn(
        f"a batch of {size} windows does not fit into the memory of {device!r}; from here on "
        f"batches are of {_fitting[token]}: set batch_size={_fitting[token]} (--batch_size) for "
        "the same bits in every run",
        BatchWarning,
        stacklevel=3,
    )


def _no_window_fits(batch: torch.Tensor, network: Network) -> str:
    height, width = batch.shape[-2:]
    smaller = "" if network.precision == "bfloat16" else ", --precision bfloat16"
    return (
        f"a window of {height} × {width} px does not fit into the memory of "
        f"{batch.device.type!r}; set a smaller patch_size (--patch_size){smaller}, fewer threads, "
        "or --device cpu"
    )
