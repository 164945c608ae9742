"""Single patches as a map-style dataset of torch, for training loops of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.patches.reading import PatchReader, chosen_positions
from seg4eo_xr.patches.store import PatchStore, open_store

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName


class PatchDataset:
    """The patches of a split, one by one, as ``torch.utils.data.DataLoader`` takes them.

    `PatchStream` reads faster: its threads decode into the memory of a batch, where a loader's
    processes pass on copies. Processes may be spawned; each opens the store for itself.

    Parameters
    ----------
    store
        A patch store or its path.
    split
        ``train``, ``validation`` or ``test``, or positions in the store, ``(patch,)``.

    Raises
    ------
    ValueError
        If there is no such patch.
    FileNotFoundError
        If files of the store are missing.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from torch.utils.data import DataLoader
    >>> from seg4eo_xr.patches.extract import extract_patches
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((128, 128), nodata_wedge=False)
    >>> with TemporaryDirectory() as folder:
    ...     store = extract_patches(
    ...         scene, labels, f"{folder}/patches.zarr", patch_size=32, progress=False
    ...     )
    ...     batch = next(iter(DataLoader(PatchDataset(store, "train"), batch_size=8)))
    >>> batch["image"].shape
    torch.Size([8, 10, 32, 32])
    """

    def __init__(
        self, store: PatchStore | str | Path, split: SplitName | NDArray[np.int64]
    ) -> None:
        self.store = open_store(store)
        self.indices = chosen_positions(self.store, split)
        self.store.require_complete()
        self._reader = PatchReader.of(self.store)

    def __len__(self) -> int:
        """Patches."""
        return len(self.indices)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Read one patch.

        Parameters
        ----------
        number
            From 0 to the number of patches less 1; negative ones count from the end.

        Returns
        -------
        dict
            ``image`` in the store's dtype, ``(band, y, x)``, and ``label``, uint8 class indices
            ``(y, x)``, 255 where a pixel has no label or no data.

        Raises
        ------
        IndexError
            If there is no patch of that number.
        OSError
            If it cannot be read.
        """
        import torch

        if not -len(self) <= number < len(self):
            raise IndexError(f"patch {number} of {len(self)} patches; numbers begin at 0")
        shape = self.store.arrays()[0].shape[1:]
        image = np.empty((1, *shape), self.store.dtype)
        label = np.empty((1, *shape[1:]), np.uint8)
        self._reader.read_into(self.indices[[number]], image, label)
        return {"image": torch.from_numpy(image[0]), "label": torch.from_numpy(label[0])}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out open files, which belong to one process."""
        return {"path": str(self.store.path), "indices": self.indices}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the store again."""
        self.store = open_store(state["path"])
        self.indices = state["indices"]
        self._reader = PatchReader.of(self.store)
