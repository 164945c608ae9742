"""The cases of the comparison of readers; run as a script, it measures one of them.

All read the same patches in the same random order, as batches of tensors. Importing is not timed.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    import torch
    from numpy.typing import NDArray

    Batch = dict[str, torch.Tensor]

BANDS = 10
WORKERS = (0, 2)


@dataclass(frozen=True)
class Setup:
    """Patches, and how they are read.

    Parameters
    ----------
    folder
        Of all files of this run.
    patches
        How many, at least 4.
    patch_size
        Side of a patch in pixels.
    batch_size
        Patches a batch.
    """

    folder: str
    patches: int
    patch_size: int
    batch_size: int

    @property
    def store(self) -> Path:
        """The patch store."""
        return Path(self.folder, "patches.zarr")

    @property
    def raw(self) -> Path:
        """The same patches as they are in memory, one after the other."""
        return Path(self.folder, "patches.bin")

    def tiff(self, kind: str, number: int) -> Path:
        """One of ``images`` or ``labels``."""
        return Path(self.folder, "tiffs", "train", kind, f"{number:05d}.tif")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of one patch."""
        return BANDS, self.patch_size, self.patch_size

    def batches(self) -> list[NDArray[np.int64]]:
        """Positions, in the order that all ways of reading go by."""
        from seg4eo_xr.patches.order import sampling_order

        order = sampling_order(_range(self.patches), seed=0, epoch=0)
        starts = range(0, self.patches, self.batch_size)
        return [order[start : start + self.batch_size] for start in starts]

    def memory(self, count: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Room for images and labels of a batch."""
        import numpy as np

        shape = (count, *self.image_shape)
        return np.empty(shape, np.uint16), np.empty((count, *shape[2:]), np.uint8)


def prepare(setup: Setup) -> dict[str, float]:
    """Write the patches three times: as GeoTIFFs, as a patch store, and raw."""
    import numpy as np

    from seg4eo_xr import PatchStream, import_patches

    for number, patch in enumerate(_synthetic_patches(setup)):
        _write_tiffs(setup, number, *patch)
    import_patches(Path(setup.folder, "tiffs"), setup.store, progress=False)
    in_order = _range(setup.patches)
    with setup.raw.open("wb") as file:
        for batch in PatchStream(setup.store, in_order, batch_size=1, shuffle=False):
            file.write(batch["image"].numpy().tobytes())
            file.write(batch["label"].numpy().astype(np.uint8).tobytes())
    return {}


def _synthetic_patches(setup: Setup) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut a scene into patches, and flip them where it holds too few."""
    import numpy as np

    from seg4eo_xr.testing import synthetic_sentinel2

    side = setup.patch_size
    across = int(np.ceil(np.sqrt(setup.patches / 4)))
    scene, labels = synthetic_sentinel2((across * side,) * 2, nodata_wedge=False, chunks=512)
    pixels, codes = scene.load().to_numpy(), labels.load().to_numpy()
    for number in range(setup.patches):
        place, flips = divmod(number, 4)
        y, x = (side * n for n in divmod(place, across))
        image, label = (array[..., y : y + side, x : x + side] for array in (pixels, codes))
        axes = tuple(axis for axis, wanted in ((-1, flips & 1), (-2, flips & 2)) if wanted)
        yield np.flip(image, axes), np.flip(label, axes)


def _write_tiffs(setup: Setup, number: int, image: np.ndarray, label: np.ndarray) -> None:
    import rasterio
    from affine import Affine

    side = setup.patch_size
    for kind, array in (("images", image), ("labels", label[None])):
        path = setup.tiff(kind, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(array),
            height=side,
            width=side,
            dtype=array.dtype,
            crs="EPSG:32633",
            transform=Affine(10, 0, 10 * side * number, 0, -10, 0),
            compress="lzw",
        ) as file:
            file.write(array)


def ours(setup: Setup) -> dict[str, float]:
    """Stream the store."""
    import torch  # noqa: F401  (else the first pass would import it)

    from seg4eo_xr import PatchStream, open_store

    store = open_store(setup.store)
    cores = os.cpu_count() or 1
    streams = {
        f"{threads} threads": PatchStream(
            store, "train", batch_size=setup.batch_size, shuffle=True, seed=0, threads=threads
        )
        for threads in sorted({1, min(2, cores), min(4, cores)})
    }
    return {way: _seconds(setup, stream) for way, stream in streams.items()}


def dataset(setup: Setup) -> dict[str, float]:
    """Read the store through a loader with processes."""
    from seg4eo_xr.patches.dataset import PatchDataset

    return _loader_seconds(setup, PatchDataset(setup.store, "train"))


def preadv(setup: Setup) -> dict[str, float]:
    """Read the raw file straight into the memory of the batches: no reader can do less."""
    import torch

    image_bytes = 2 * BANDS * setup.patch_size**2
    step = image_bytes + setup.patch_size**2
    file = os.open(setup.raw, os.O_RDONLY)
    order = setup.batches()

    def batches() -> Iterator[Batch]:
        for positions in order:
            images, labels = setup.memory(len(positions))
            for position, image, label in zip(positions.tolist(), images, labels, strict=True):
                parts = [memoryview(image).cast("B"), memoryview(label).cast("B")]
                os.preadv(file, parts, position * step)
            yield {"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}

    seconds = _seconds(setup, batches())
    os.close(file)
    return {"one thread": seconds}


def rasterio(setup: Setup) -> dict[str, float]:
    """Read a GeoTIFF a patch through a loader."""
    import rasterio  # noqa: F401  (else the first pass would import it)

    return _loader_seconds(setup, _Tiffs(setup))


class _Tiffs:
    """The GeoTIFFs as a loader takes them."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    def __len__(self) -> int:
        return self.setup.patches

    def __getitem__(self, number: int) -> Batch:
        import rasterio
        import torch

        read = []
        for kind in ("images", "labels"):
            with rasterio.open(self.setup.tiff(kind, number)) as file:
                read.append(file.read())
        return {"image": torch.from_numpy(read[0]), "label": torch.from_numpy(read[1][0])}


def zarr_python(setup: Setup) -> dict[str, float]:
    """Read the store patch by patch through zarr-python."""
    import torch
    import zarr

    group = zarr.open_group(str(setup.store), mode="r")
    stored_images, stored_labels = group["images"], group["labels"]
    order = setup.batches()

    def batches() -> Iterator[Batch]:
        for positions in order:
            images, labels = setup.memory(len(positions))
            for slot, position in enumerate(positions.tolist()):
                images[slot] = stored_images[position]
                labels[slot] = stored_labels[position]
            yield {"image": torch.from_numpy(images), "label": torch.from_numpy(labels)}

    return {"one thread": _seconds(setup, batches())}


def xbatcher(setup: Setup) -> dict[str, float]:
    """Read the store patch by patch through xbatcher's dataset and a loader."""
    import xarray as xr
    from xbatcher import BatchGenerator
    from xbatcher.loaders.torch import MapDataset

    opened = xr.open_zarr(str(setup.store), chunks=None, mask_and_scale=False)
    images, labels = (
        BatchGenerator(
            opened[name].reset_coords(drop=True),
            {dim: 1 if dim == "patch" else size for dim, size in opened[name].sizes.items()},
        )
        for name in ("images", "labels")
    )
    return _loader_seconds(setup, MapDataset(images, labels), workers=(0,))


def _loader_seconds(
    setup: Setup, source: Any, workers: tuple[int, ...] = WORKERS
) -> dict[str, float]:
    from torch.utils.data import DataLoader

    order = [positions.tolist() for positions in setup.batches()]
    return {
        f"{count} workers": _seconds(
            setup, DataLoader(source, batch_sampler=order, num_workers=count)
        )
        for count in workers
    }


def _seconds(setup: Setup, batches: Iterable[Any]) -> float:
    """Seconds of a pass that keeps no batch; it must give all patches."""
    counts = []

    def work() -> None:
        counts.extend(len(_image(batch)) for batch in batches)

    seconds = seconds_of(work)
    if sum(counts) != setup.patches:
        raise RuntimeError(f"{sum(counts)} of {setup.patches} patches were read")
    return seconds


def _image(batch: Any) -> Any:
    return batch["image"] if isinstance(batch, dict) else batch[0]


def _range(count: int) -> NDArray[np.int64]:
    import numpy as np

    return np.arange(count, dtype=np.int64)


# Each returns the seconds of every way in which it was tried.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    case.__name__: case
    for case in (prepare, rasterio, zarr_python, xbatcher, dataset, preadv, ours)
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
