"""Writing a patch store: sized first, filled shard by shard, committed last.

A shard has one writer, who writes it whole; nobody resizes. The store is built beside its final
place and moved there once its metadata are consolidated, so that what is not finished never looks
finished.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ZarrUserWarning

from seg4eo_xr.scenes.classes import ClassTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import xarray as xr

SCHEMA = "seg4eo_xr patch store"
SCHEMA_VERSION = 1
_SCHEMA_ATTRS: dict[str, Any] = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION}
_TARGET_SHARD_BYTES = 128 * 2**20
_MOST_PATCHES_A_SHARD = 4096


@dataclass(frozen=True)
class StoreLayout:
    """Sizes and dtypes of a store's arrays.

    Parameters
    ----------
    patches
        Number of patches.
    bands
        Number of bands.
    patch_size
        Side of a patch in pixels.
    shard_size
        Patches a shard, a power of two.
    dtype, label_dtype
        NumPy names.
    nodata
        What the image arrays state as their fill value; None for 0.
    ignore
        What the label array states as its fill value.
    """

    patches: int
    bands: int
    patch_size: int
    shard_size: int
    dtype: str
    label_dtype: str
    nodata: float | None
    ignore: int

    @property
    def shards(self) -> list[slice]:
        """Range of patches of each shard."""
        starts = range(0, self.patches, self.shard_size)
        return [slice(start, min(start + self.shard_size, self.patches)) for start in starts]


def default_shard_size(patches: int, bands: int, patch_size: int, dtype: np.dtype[Any]) -> int:
    """Choose patches a shard: the power of two that makes 64 to 128 MB of raw images.

    Small stores get no larger shard than holds all of their patches.

    Examples
    --------
    >>> default_shard_size(100_000, 10, 256, np.dtype("uint16"))
    64
    >>> default_shard_size(100_000, 10, 512, np.dtype("uint16"))
    16
    """
    fitting = _TARGET_SHARD_BYTES // (bands * patch_size**2 * dtype.itemsize)
    largest = 2 ** (max(1, min(fitting, _MOST_PATCHES_A_SHARD)).bit_length() - 1)
    return int(min(largest, 2 ** max(0, patches - 1).bit_length()))


@contextlib.contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to build in, which becomes `target` at the end, or vanishes with an error.

    Raises
    ------
    FileExistsError
        If `target` exists and `overwrite` is False, or is something else than a patch store.
    OSError
        If nothing can be written there.
    """
    _require_free(target, overwrite=overwrite)
    # A name of its own: two runs that mean to write the same store never write into one folder.
    staging = target.with_name(f"{target.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
    except OSError as error:
        raise OSError(
            f"cannot write the patch store {target}: {error.strerror or error}; choose a folder "
            "that you may write to"
        ) from error
    try:
        yield staging
        _require_free(target, overwrite=overwrite)
        _move(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _require_free(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(
            f"{target} exists already; pass overwrite=True (--overwrite) to replace it, or choose "
            "another name"
        )
    try:
        is_store = zarr.open_group(target, mode="r").attrs.get("schema") == SCHEMA
    except (OSError, ValueError, KeyError):
        is_store = False
    if not is_store:
        raise FileExistsError(
            f"{target} exists and is no patch store, so it is not overwritten; remove it yourself "
            "or choose another name"
        )


def _move(staging: Path, target: Path) -> None:
    if not target.exists():
        os.replace(staging, target)
        return
    old = staging.with_name(staging.name.replace(".partial-", ".replaced-"))
    os.replace(target, old)
    os.replace(staging, target)
    shutil.rmtree(old, ignore_errors=True)


def create_arrays(path: Path, layout: StoreLayout) -> None:
    """Write the metadata of a store that is not committed yet: no patch, no contract."""
    group = zarr.create_group(path, attributes=_SCHEMA_ATTRS)
    side, count, shard = layout.patch_size, layout.patches, layout.shard_size
    for name, leading, dtype, fill, dims in (
        ("images", (layout.bands,), layout.dtype, layout.nodata, ("patch", "band", "y", "x")),
        ("labels", (), layout.label_dtype, layout.ignore, ("patch", "y", "x")),
    ):
        group.create_array(
            name,
            shape=(count, *leading, side, side),
            dtype=dtype,
            chunks=(1, *leading, side, side),
            shards=(shard, *leading, side, side),
            compressors=BloscCodec(
                typesize=np.dtype(dtype).itemsize, cname="lz4", clevel=5, shuffle="bitshuffle"
            ),
            fill_value=_fill_value(fill, np.dtype(dtype)),
            dimension_names=dims,
            attributes={"nodata" if name == "images" else "ignore": fill},
        )


def _fill_value(wanted: float | None, dtype: np.dtype[Any]) -> Any:
    """Return `wanted` where the dtype can hold it, else 0."""
    if wanted is None or (dtype.kind in "iu" and not float(wanted).is_integer()):
        return dtype.type(0)
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= wanted <= np.iinfo(dtype).max:
        return dtype.type(0)
    return dtype.type(wanted)


def write_shard(path: Path, patches: slice, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one whole shard of images and labels.

    Parameters
    ----------
    path
        The store.
    patches
        Range of the shard's patches.
    images
        ``(patch, band, y, x)``.
    labels
        ``(patch, y, x)``.

    Raises
    ------
    OSError
        If the disk is full or the like.
    """
    try:
        for name, values in (("images", images), ("labels", labels)):
            # Empty chunks are written, so that a missing one means "not written".
            array = zarr.open_array(path, path=name, mode="r+").with_config(
                {"write_empty_chunks": True}
            )
            array[patches] = values
    except OSError as error:
        raise OSError(
            f"cannot write patches {patches.start}..{patches.stop - 1} to {path}: {error}; free "
            "some space, or check that every worker sees this folder"
        ) from error


def commit(path: Path, coords: xr.Dataset, attrs: Mapping[str, Any]) -> None:
    """Write the coordinates and attributes, and consolidate the metadata: the store is complete.

    Parameters
    ----------
    path
        A store whose shards are all written.
    coords
        Coordinates a patch, a band and a class.
    attrs
        The contract and what else describes the store; fit for JSON.
    """
    coords.to_zarr(path, mode="a", consolidated=False, zarr_format=3)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    # xarray has replaced the attributes of the group.
    group.attrs.update({**_SCHEMA_ATTRS, **attrs})
    classes = ClassTable.from_dict(attrs["contract"]["classes"])
    group["labels"].attrs.update(classes.to_attrs())
    with warnings.catch_warnings():
        # Every reader of interest knows consolidated metadata, and it is what makes this atomic.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        zarr.consolidate_metadata(path)
