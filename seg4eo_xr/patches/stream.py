"""Batches of patches, read ahead by threads in an order that no thread can change."""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.options import OptionSet, changed
from seg4eo_xr.patches.order import sampling_order
from seg4eo_xr.patches.reading import IGNORED_INDEX, PatchReader, chosen_positions
from seg4eo_xr.patches.store import PatchStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName


@dataclass(frozen=True, kw_only=True)
class StreamOptions(OptionSet):
    """How patches become batches.

    Parameters
    ----------
    batch_size
        Patches a batch, those of all processes counted; the last one may be smaller.
    shuffle
        Whether `sampling_order` mixes the patches; else they come as `split` has them.
    seed
        Seed of the order, at least 0.
    threads
        Threads that read; 0 reads in the caller's.
    prefetch
        Batches that are read or wait, at most; at least 1.
    prefetch_bytes
        Memory of the batches that are read or wait, at most; one batch there is in any case.
    drop_last
        Leave out a last batch that is not full.
    pin_memory
        Give tensors in page-locked memory, from which copies to a GPU overlap with its work.
    rank, world_size
        Number of this process, from 0, and how many there are.
    run_length
        Neighbours that `sampling_order` keeps near each other: 1, an exact uniform permutation,
        suits a disk, and 8 an object store, where one request then fetches the patches of a run.

    Raises
    ------
    ValueError
        If a number is out of range, or the processes cannot share a batch evenly.
    """

    batch_size: int = 8
    shuffle: bool = False
    seed: int = 42
    threads: int = 2
    prefetch: int = 4
    prefetch_bytes: int = 2**30
    drop_last: bool = False
    pin_memory: bool = False
    rank: int = 0
    world_size: int = 1
    run_length: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "prefetch", "prefetch_bytes", "world_size", "run_length"):
            _require_at_least(1, name, getattr(self, name))
        for name in ("seed", "threads", "rank"):
            _require_at_least(0, name, getattr(self, name))
        if self.rank >= self.world_size:
            raise ValueError(f"rank must be below world_size {self.world_size}, got {self.rank}")
        if self.batch_size % self.world_size:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared out evenly among "
                f"{self.world_size} processes; choose a multiple of {self.world_size}"
            )


class PatchStream:
    """An epoch of patches as batches of tensors, again and again.

    Each pass gives the same patches; with `shuffle` their order follows from seed and epoch alone.
    Batches are read and decoded by `threads` threads, some way ahead. The numbers are those of the
    store: `seg4eo_xr.scenes.contract.normalize` belongs on the device.

    Of several processes that train together, each makes a stream with its own `rank`. A batch of
    `batch_size` patches is then shared out among them: the same patches, in as many steps, whatever
    their number. Where a last batch has fewer patches than there are processes, those without one
    get a patch whose labels are all 255.

    Parameters
    ----------
    store
        A patch store or its path.
    split
        ``train``, ``validation`` or ``test``, or positions in the store, ``(patch,)``.
    options
        How they become batches; `StreamOptions` has the defaults.
    **changes
        Single options by name, as ``batch_size=16``.

    Raises
    ------
    ValueError
        If there is no patch, `drop_last` leaves no batch, or a number is out of range.
    FileNotFoundError
        If files of the store are missing.
    """

    def __init__(
        self,
        store: PatchStore | str | Path,
        split: SplitName | NDArray[np.int64],
        options: StreamOptions | None = None,
        **changes: Any,
    ) -> None:
        self.options = options = changed(options, StreamOptions, changes)
        self.store = open_store(store)
        self.indices = chosen_positions(self.store, split)
        if options.drop_last and options.batch_size > len(self.indices):
            name = f"the split {split!r}" if isinstance(split, str) else "the positions"
            raise ValueError(
                f"batch_size {options.batch_size} is more than the {len(self.indices)} patches of "
                f"{name} of {self.store.path}; choose a smaller one, or drop_last=False"
            )
        self.store.require_complete()
        self.epoch = 0
        self._delivered = self._resume_at = 0
        self._image_shape = self.store.arrays()[0].shape[1:]
        share = options.batch_size // options.world_size
        share_bytes = share * math.prod(self._image_shape) * self.store.dtype.itemsize
        self._ahead = min(options.prefetch, max(1, options.prefetch_bytes // share_bytes))
        self._reader = PatchReader.of(self.store, run_length=options.run_length)

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.indices), self.options.batch_size)
        return full + (rest > 0 and not self.options.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; another epoch than the current begins at its start."""
        if epoch != self.epoch:
            self._delivered = self._resume_at = 0
        self.epoch = epoch

    def order(self) -> NDArray[np.int64]:
        """Positions in the store, in the order of this epoch, of all processes."""
        if not self.options.shuffle:
            return self.indices
        return sampling_order(
            self.indices,
            seed=self.options.seed,
            epoch=self.epoch,
            run_length=self.options.run_length,
            shard_size=self.store.shard_size,
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the pass stands: what it takes to go on after the last batch that was given.

        Returns
        -------
        dict
            ``epoch``, ``delivered`` (patches of this epoch, of all processes), and what both rest
            on: ``seed``, ``batch_size``, ``shuffle``, ``run_length``, ``drop_last``, ``commit`` of
            the store and ``patches``, a digest of what is read. Plain numbers and text.
        """
        return {"epoch": self.epoch, "delivered": self._delivered, **self._identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next pass begin where another stream stood; nothing before it is read.

        The number of processes may be another. A state from after the last batch leaves nothing of
        its epoch: `set_epoch` goes on to the next.

        Parameters
        ----------
        state
            From `state_dict`.

        Raises
        ------
        ValueError
            If it is the state of another store, of another commit or of a stream with other
            options.
        """
        for name, own in self._identity.items():
            if name not in state or state[name] != own:
                raise ValueError(
                    f"this stream of {self.store.path} cannot go on from that state: {name} was "
                    f"{state.get(name)!r} and is {own!r}; resume with the same store and options, "
                    "or begin anew"
                )
        epoch, delivered = int(state["epoch"]), int(state["delivered"])
        if epoch < 0 or not 0 <= delivered <= len(self.indices):
            raise ValueError(
                f"the state of a stream must have an epoch of at least 0 and at most "
                f"{len(self.indices)} patches delivered, got {epoch} and {delivered}; begin anew"
            )
        self.epoch = epoch
        self._delivered = self._resume_at = delivered

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Give the batches of this epoch.

        Yields
        ------
        dict
            ``image`` in the store's dtype, ``(batch, band, y, x)``, and ``label``, uint8 class
            indices ``(batch, y, x)``, 255 where a pixel has no label or no data.
        """
        order = self.order()
        first, self._resume_at = self._resume_at, 0
        starts = range(first, len(self) * self.options.batch_size, self.options.batch_size)
        self._delivered = first
        batches = [order[start : start + self.options.batch_size] for start in starts]
        for batch, tensors in zip(batches, self._read_ahead(batches), strict=True):
            # Before the caller works on it: a state saved meanwhile does not give it again.
            self._delivered += len(batch)
            yield tensors

    def _read_ahead(self, batches: list[NDArray[np.int64]]) -> Iterator[dict[str, torch.Tensor]]:
        if self.options.threads == 0:
            yield from map(self._read, batches)
            return
        pool = ThreadPoolExecutor(self.options.threads, thread_name_prefix="patches")
        waiting: deque[Future[dict[str, torch.Tensor]]] = deque()
        try:
            for batch in batches:
                if len(waiting) == self._ahead:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(self._read, batch))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, batch: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Read this process's share of a batch."""
        share = np.array_split(batch, self.options.world_size)[self.options.rank]
        positions = share if len(share) else batch[:1]
        images = self._memory((len(positions), *self._image_shape), self.store.dtype)
        labels = self._memory((len(positions), *self._image_shape[1:]), np.dtype(np.uint8))
        self._reader.read_into(positions, images.numpy(), labels.numpy())
        if not len(share):
            labels.fill_(IGNORED_INDEX)
        return {"image": images, "label": labels}

    def _memory(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
        import torch

        if self.options.pin_memory:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(shape, dtype=kind, pin_memory=True)
        # NumPy asks for huge pages, which torch does not: less time in page faults.
        return torch.from_numpy(np.empty(shape, dtype))

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What the patches of an epoch and their order rest on."""
        own = ("seed", "batch_size", "shuffle", "run_length", "drop_last")
        return {
            **{name: getattr(self.options, name) for name in own},
            "commit": int(self.store.attrs["commits"]),
            "patches": _digest(self.store, self.indices),
        }


def _digest(store: PatchStore, positions: NDArray[np.int64]) -> str:
    """Tell patches of a store from those of others, wherever the store lies."""
    digest = hashlib.blake2b(digest_size=16)
    described = [store.attrs["contract"], [scene["name"] for scene in store.attrs["scenes"]]]
    digest.update(json.dumps(described, sort_keys=True).encode())
    digest.update(positions.tobytes())
    for name in ("scene", "row", "col"):
        digest.update(np.ascontiguousarray(store.coordinate(name)[positions]).tobytes())
    return digest.hexdigest()


def _require_at_least(least: int, name: str, number: int) -> None:
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
