"""Patches as a network is trained on them: stored numbers and class indices, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.shards import chunk_reader
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from upath import UPath

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.shards import ChunkReader
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.contract import Contract

IGNORED_INDEX = 255


@dataclass(frozen=True, eq=False)
class PatchReader:
    """Reads patches of a store into memory of the caller's; threads may share it.

    Parameters
    ----------
    path
        The store, for messages.
    images, labels
        Readers of its arrays.
    label_shape, label_dtype
        Of the stored codes of one patch.
    valid_fraction
        Share of pixels with data, ``(patch,)``.
    index_of
        Class index by the bits of a code.
    contract
        The store's.
    """

    path: UPath
    images: ChunkReader
    labels: ChunkReader
    label_shape: tuple[int, ...]
    label_dtype: np.dtype[Any]
    valid_fraction: NDArray[np.float64]
    index_of: NDArray[np.uint8]
    contract: Contract

    @classmethod
    def of(cls, store: PatchStore, *, run_length: int = 1) -> PatchReader:
        """Make the reader of a store, of which runs of neighbours are read together."""
        images, labels = store.arrays()
        return cls(
            store.path,
            chunk_reader(images, store.path / "images", run_length=run_length),
            chunk_reader(labels, store.path / "labels", run_length=run_length),
            labels.shape[1:],
            np.dtype(labels.dtype),
            store.coordinate("valid_fraction"),
            _index_table(store.contract, np.dtype(labels.dtype)),
            store.contract,
        )

    def read_into(
        self, positions: NDArray[np.int64], images: NDArray[Any], labels: NDArray[np.uint8]
    ) -> None:
        """Read patches.

        Parameters
        ----------
        positions
            Of the patches in the store, ``(patch,)``.
        images
            Filled with the stored numbers, ``(patch, band, y, x)``, of the store's dtype.
        labels
            Filled with class indices, ``(patch, y, x)``: 255 where a pixel has no label or no data.

        Raises
        ------
        OSError
            If a patch cannot be read.
        """
        codes = np.empty(self.label_shape, self.label_dtype)
        bits = codes.view(f"u{codes.dtype.itemsize}")
        for position, image, label in zip(positions.tolist(), images, labels, strict=True):
            try:
                self.images.read_into(position, image)
                self.labels.read_into(position, codes)
            except (OSError, ValueError, RuntimeError) as error:
                raise OSError(
                    f"patch {position} of the patch store {self.path} cannot be read: {error}; "
                    "copy the store again, or extract the patches again"
                ) from error
            np.take(self.index_of, bits, out=label)
            if self.valid_fraction[position] < 1:
                valid = valid_mask(image, self.contract.nodata, self.contract.nodata_rule)
                label[~valid] = IGNORED_INDEX


def chosen_positions(store: PatchStore, split: SplitName | NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions in a store that a split's name or positions stand for.

    Parameters
    ----------
    store
        The store.
    split
        ``train``, ``validation`` or ``test``, or positions, ``(patch,)``, each at most once.

    Returns
    -------
    ndarray of int64, ``(patch,)``
        A split's ascending, positions as they are given.

    Raises
    ------
    ValueError
        If there is no such split or position, no patch at all, or a position twice.
    """
    if isinstance(split, str):
        found = store.indices(split)
        if not len(found):
            raise ValueError(
                f"the split {split!r} of {store.path} has no patch; extract the patches again with "
                "a share for it"
            )
        return found
    found = np.asarray(split)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise ValueError(
            f"split must be one of {', '.join(SPLITS)} or positions in {store.path}, got an "
            f"array {found.shape} of {found.dtype}"
        )
    found = found.astype(np.int64)
    if found.min() < 0 or found.max() >= len(store):
        raise ValueError(
            f"positions must be from 0 to {len(store) - 1}, the patches of {store.path}; got "
            f"{found.min()} to {found.max()}"
        )
    if len(np.unique(found)) < len(found):
        raise ValueError("positions must differ; give each patch once")
    return found


def _index_table(contract: Contract, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    """Class index by the bits of a label code; extraction has checked that no other code counts."""
    table = np.full(256**dtype.itemsize, IGNORED_INDEX, np.uint8)
    limits = np.iinfo(dtype)
    for index, code in enumerate(contract.classes.codes):
        if limits.min <= code <= limits.max:  # others cannot occur
            table[dtype.type(code).view(f"u{dtype.itemsize}")] = index
    return table
