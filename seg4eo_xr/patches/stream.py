"""Batches of a split, read ahead by threads in an order that no thread can change."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.patches.order import sampling_order
from seg4eo_xr.patches.store import PatchStore, open_store
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from upath import UPath

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.scenes.contract import Contract

IGNORED_INDEX = 255


class PatchStream:
    """An epoch of a split as batches of tensors, again and again.

    Each pass gives the same patches; with `shuffle` their order follows from seed and epoch alone.
    Batches are read and decoded by `threads` threads, at most `prefetch` batches ahead. The numbers
    are those of the store: `seg4eo_xr.scenes.contract.normalize` belongs on the device.

    Parameters
    ----------
    store
        A patch store or its path.
    split
        ``train``, ``validation`` or ``test``.
    batch_size
        Patches a batch; the last one may be smaller.
    shuffle
        Whether `sampling_order` mixes the patches; else they come in the store's order.
    seed
        Seed of the order, at least 0.
    threads
        Threads that read; 0 reads in the caller's.
    prefetch
        Batches that are read or wait, at most; at least 1.
    drop_last
        Leave out a last batch that is not full.
    pin_memory
        Give tensors in page-locked memory, from which copies to a GPU overlap with its work.

    Raises
    ------
    ValueError
        If the split has no patch, or `drop_last` leaves no batch.
    FileNotFoundError
        If files of the store are missing.
    """

    def __init__(
        self,
        store: PatchStore | str | Path,
        split: SplitName,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 42,
        threads: int = 2,
        prefetch: int = 4,
        drop_last: bool = False,
        pin_memory: bool = False,
    ) -> None:
        for name, number, least in (
            ("batch_size", batch_size, 1),
            ("threads", threads, 0),
            ("prefetch", prefetch, 1),
        ):
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")
        self.store = open_store(store)
        self.indices = self.store.indices(split)
        if not len(self.indices):
            raise ValueError(
                f"the split {split!r} of {self.store.path} has no patch; extract the "
                "patches again with a share for it"
            )
        if drop_last and batch_size > len(self.indices):
            raise ValueError(
                f"batch_size {batch_size} is more than the {len(self.indices)} patches of the "
                f"split {split!r} of {self.store.path}; choose a smaller one, or drop_last=False"
            )
        self.store.require_complete()
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        self._threads = threads
        self._prefetch = prefetch
        self._pin_memory = pin_memory
        self._reader = _Reader.of(self.store)

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.indices), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def order(self) -> NDArray[np.int64]:
        """Positions in the store, in the order of this epoch."""
        if not self.shuffle:
            return self.indices
        return sampling_order(self.indices, seed=self.seed, epoch=self.epoch)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Give the batches of this epoch.

        Yields
        ------
        dict
            ``image`` in the store's dtype, ``(batch, band, y, x)``, and ``label``, uint8 class
            indices ``(batch, y, x)``, 255 where a pixel has no label or no data.
        """
        order = self.order()
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        batches = [order[start : start + self.batch_size] for start in starts]
        if self._threads == 0:
            for batch in batches:
                yield self._tensors(*self._reader.read(batch))
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="patches")
        waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        try:
            for batch in batches:
                if len(waiting) == self._prefetch:
                    yield self._tensors(*waiting.popleft().result())
                waiting.append(pool.submit(self._reader.read, batch))
            while waiting:
                yield self._tensors(*waiting.popleft().result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _tensors(self, images: np.ndarray, labels: np.ndarray) -> dict[str, torch.Tensor]:
        import torch

        batch = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}
        if self._pin_memory:
            return {name: tensor.pin_memory() for name, tensor in batch.items()}
        return batch


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads batches; holds no state that threads could share by mistake."""

    path: UPath
    images: Any
    labels: Any
    valid_fraction: NDArray[np.float64]
    index_of: NDArray[np.uint8]
    contract: Contract

    @classmethod
    def of(cls, store: PatchStore) -> _Reader:
        images, labels = store.arrays()
        index_of = _index_table(store.contract, np.dtype(labels.dtype))
        valid_fraction = store.coordinate("valid_fraction")
        return cls(store.path, images, labels, valid_fraction, index_of, store.contract)

    def read(self, positions: NDArray[np.int64]) -> tuple[np.ndarray, np.ndarray]:
        """Return stored numbers and class indices of the patches at `positions`."""
        images = np.empty((len(positions), *self.images.shape[1:]), self.images.dtype)
        indices = np.empty((len(positions), *self.labels.shape[1:]), np.uint8)
        for slot, position in enumerate(positions.tolist()):
            images[slot], codes = self._patch(position)
            indices[slot] = self.index_of[codes.view(f"u{codes.dtype.itemsize}")]
            if self.valid_fraction[position] < 1:
                contract = self.contract
                valid = valid_mask(images[slot], contract.nodata, contract.nodata_rule)
                indices[slot][~valid] = IGNORED_INDEX
        return images, indices

    def _patch(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            return np.asarray(self.images[position]), np.asarray(self.labels[position])
        except (OSError, ValueError, RuntimeError) as error:
            raise OSError(
                f"patch {position} of the patch store {self.path} cannot be read: {error}; copy "
                "the store again, or extract the patches again"
            ) from error


def _index_table(contract: Contract, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """Class index by the bits of a label code; extraction has checked that no other code counts."""
    table = np.full(256**dtype.itemsize, IGNORED_INDEX, np.uint8)
    limits = np.iinfo(dtype)
    for index, code in enumerate(contract.classes.codes):
        if limits.min <= code <= limits.max:  # others cannot occur
            table[dtype.type(code).view(f"u{dtype.itemsize}")] = index
    return table
