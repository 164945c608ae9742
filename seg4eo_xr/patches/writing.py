"""Writing a patch store: sized first, filled shard by shard, committed last.

A shard has one writer at a time; nobody but the coordinator resizes. Readers go by the consolidated
metadata of the store's root, one file that is replaced at once: until then they see the store as it
was. All that an older reader may still read stays where it was: arrays only grow at their end, and
a shard that is written on begins with the same bytes.
"""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.encoding import shard_parts, split_shard, zarr_codec
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.histogram import BandHistogram, FineCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from upath import UPath

SCHEMA = "seg4eo_xr patch store"
SCHEMA_VERSION = 2
# The group whose attributes describe the store: they become visible with the consolidated metadata,
# where attributes of the root itself would be rewritten under a reader's eyes.
ABOUT = "about"
_TARGET_SHARD_BYTES = 128 * 2**20
_BYTES_AT_ONCE = 32 * 2**20
_MOST_PATCHES_A_SHARD = 4096
_COORDINATES_A_CHUNK = 2**14
_MOMENTS = ("minimum", "maximum", "mean", "deviation")


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
    first
        Number of patches that are committed already; the others are to be written.
    """

    patches: int
    bands: int
    patch_size: int
    shard_size: int
    dtype: str
    label_dtype: str
    nodata: float | None
    ignore: int
    first: int = 0

    @property
    def patches_at_once(self) -> int:
        """Patches that are read and encoded together: a power of two, so that it divides shards."""
        fitting = _BYTES_AT_ONCE // _patch_bytes(self.bands, self.patch_size, self.dtype)
        return _power_of_two(min(fitting, self.shard_size))

    @property
    def shards(self) -> list[slice]:
        """Range of the patches to write, cut where shards begin."""
        size = self.shard_size
        starts = range(self.first // size * size, self.patches, size)
        return [slice(max(s, self.first), min(s + size, self.patches)) for s in starts]


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
    fitting = _TARGET_SHARD_BYTES // _patch_bytes(bands, patch_size, dtype)
    largest = _power_of_two(min(fitting, _MOST_PATCHES_A_SHARD))
    return int(min(largest, 2 ** max(0, patches - 1).bit_length()))


def _patch_bytes(bands: int, patch_size: int, dtype: np.dtype[Any] | str) -> int:
    return bands * patch_size**2 * np.dtype(dtype).itemsize


def _power_of_two(most: int) -> int:
    """Largest power of two up to `most`, at least 1."""
    return int(2 ** (max(1, most).bit_length() - 1))


def size_arrays(path: UPath, layout: StoreLayout) -> None:
    """Create the arrays of images and labels, or bring those that exist to their new length."""
    group = zarr.open_group(
        str(path), mode="a", attributes={"schema": SCHEMA, "schema_version": SCHEMA_VERSION}
    )
    for name, leading, dtype, fill, dims in (
        ("images", (layout.bands,), layout.dtype, layout.nodata, ("patch", "band", "y", "x")),
        ("labels", (), layout.label_dtype, layout.ignore, ("patch", "y", "x")),
    ):
        inner = (*leading, layout.patch_size, layout.patch_size)
        existing = _array(group, name)
        if existing is not None:
            existing.resize((layout.patches, *inner))
            continue
        group.create_array(
            name,
            shape=(layout.patches, *inner),
            dtype=dtype,
            chunks=(1, *inner),
            shards=(layout.shard_size, *inner),
            compressors=zarr_codec(dtype),
            fill_value=_fill_value(fill, np.dtype(dtype)),
            dimension_names=dims,
            attributes={"nodata" if name == "images" else "ignore": fill},
        )


def _array(group: zarr.Group, name: str) -> zarr.Array[Any] | None:
    found = group.get(name)
    return found if isinstance(found, zarr.Array) else None


def _fill_value(wanted: float | None, dtype: np.dtype[Any]) -> Any:
    """Return `wanted` where the dtype can hold it, else 0."""
    if wanted is None or (dtype.kind in "iu" and not float(wanted).is_integer()):
        return dtype.type(0)
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= wanted <= np.iinfo(dtype).max:
        return dtype.type(0)
    return dtype.type(wanted)


def write_shard(
    path: UPath, patches: slice, images: Sequence[bytes], labels: Sequence[bytes]
) -> None:
    """Write the patches of one shard, or those that follow the committed ones in the last shard.

    Parameters
    ----------
    path
        The store.
    patches
        Range of the patches.
    images, labels
        The chunk of each patch, as `encode_patches` makes it.

    Raises
    ------
    OSError
        If the disk is full or the like.
    """
    try:
        for name, chunks in (("images", images), ("labels", labels)):
            # Fails where the store is gone because its run has failed.
            array = zarr.open_array(str(path), path=name, mode="r+")
            _write_chunks(path / name, array, patches.start, chunks)
    except OSError as error:
        raise OSError(
            f"cannot write patches {patches.start}..{patches.stop - 1} to {path}: {error}; free "
            "some space, or check that every worker sees this folder"
        ) from error


def _write_chunks(
    folder: UPath, array: zarr.Array[Any], first: int, chunks: Sequence[bytes]
) -> None:
    """Write encoded chunks into one shard, from the position `first` of the array on."""
    assert array.shards is not None  # `size_arrays` has made it so
    shard_size = array.shards[0]
    shard, before = divmod(first, shard_size)
    file = folder / array.metadata.encode_chunk_key((shard, *(0 for _ in array.shape[1:])))
    if before:
        try:
            chunks = [*split_shard(file.read_bytes(), shard_size, before), *chunks]
        except ValueError as error:
            raise OSError(f"{file}: {error}") from error
    _replace_file(file, shard_parts(chunks, shard_size))


def _replace_file(file: UPath, parts: Sequence[bytes]) -> None:
    """Write a file so that readers see the old one or the new one, and nothing between."""
    if not is_local(file):
        file.write_bytes(b"".join(parts))
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        with unfinished.open("wb") as opened:
            opened.writelines(parts)
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def is_local(path: UPath) -> bool:
    """Whether a path lies on a file system of this machine."""
    return path.protocol in ("", "file", "local")


def commit(
    path: UPath,
    first: int,
    coordinates: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]],
    histograms: dict[str, BandHistogram],
    about: Mapping[str, Any],
) -> None:
    """Write what describes the patches, and then the consolidated metadata that make it so.

    Parameters
    ----------
    path
        A store whose shards are all written.
    first
        Number of patches that were committed before.
    coordinates
        Dimensions and values by name; those along ``patch`` are of the new patches only.
    histograms
        Counts of the new patches, by split.
    about
        Attributes that describe the whole store, fit for JSON; ``commits`` counts this one.
    """
    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    for name, (dims, values) in coordinates.items():
        _write_coordinate(group, name, dims, values, first)
    classes = ClassTable.from_dict(about["contract"]["classes"])
    # By this attribute xarray knows coordinates from data.
    named = {"coordinates": " ".join(name for name in coordinates if name not in ("band", "class"))}
    group["images"].attrs.update(named)
    group["labels"].attrs.update({**named, **classes.to_attrs()})
    described = group.require_group(ABOUT)
    _write_histograms(described, histograms, about["commits"] - 1)
    described.attrs.put(dict(about))
    with warnings.catch_warnings():
        # Every reader of interest knows consolidated metadata, and it is what makes this atomic.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        # The journal, which is removed after this.
        warnings.filterwarnings("ignore", "Object at", ZarrUserWarning)
        zarr.consolidate_metadata(str(path))


def _write_coordinate(
    group: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any], first: int
) -> None:
    along_patches = dims[0] == "patch"
    shape = (first + len(values), *values.shape[1:]) if along_patches else values.shape
    array = _array(group, name)
    if array is not None:
        array.resize(shape)
    else:
        array = group.create_array(
            name,
            shape=shape,
            dtype=str if values.dtype.kind in "UO" else values.dtype,
            # A length of its own, so that chunks are only ever written on.
            chunks=(_COORDINATES_A_CHUNK if along_patches else shape[0], *shape[1:]),
            dimension_names=dims,
        )
    array[first if along_patches else 0 :] = values


def _write_histograms(
    group: zarr.Group, histograms: dict[str, BandHistogram], position: int
) -> None:
    """Store a commit's histograms as one more entry; older readers stop before it."""
    known = next(iter(histograms.values()))
    bands, bins = known.counts.shape
    stored = {
        "histogram_counts": np.zeros((len(SPLITS), bands, bins), np.int64),
        "histogram_moments": np.full((len(SPLITS), bands, len(_MOMENTS)), np.nan),
    }
    if known.fine:
        stored |= {
            "histogram_shifts": np.zeros((len(SPLITS), bands, 1), np.uint8),
            "histogram_keys": np.zeros((len(SPLITS), bands, bins), np.uint32),
            "histogram_fine": np.zeros((len(SPLITS), bands, bins), np.int64),
        }
    for place, split in enumerate(SPLITS):
        if split not in histograms:
            continue
        arrays = histograms[split].to_arrays()
        stored["histogram_counts"][place] = arrays["counts"]
        moments = np.stack([arrays[name] for name in _MOMENTS], axis=-1)
        stored["histogram_moments"][place] = moments
        for band, fine in enumerate(histograms[split].fine):
            stored["histogram_shifts"][place, band] = fine.shift
            stored["histogram_keys"][place, band, : len(fine.keys)] = fine.keys
            stored["histogram_fine"][place, band, : len(fine.keys)] = fine.counts
    for name, values in stored.items():
        array = _array(group, name)
        if array is None:
            array = group.create_array(
                name,
                shape=(0, *values.shape),
                dtype=values.dtype,
                chunks=(1, 1, *values.shape[1:]),
                attributes={"dtype": known.dtype, "splits": list(SPLITS)},
            )
        array.resize((position + 1, *values.shape))
        array[position] = values


def read_histograms(group: zarr.Group) -> list[dict[str, BandHistogram]]:
    """Read the histograms of a store's commits, by split."""
    counts, moments = group["histogram_counts"], group["histogram_moments"]
    assert isinstance(counts, zarr.Array)
    assert isinstance(moments, zarr.Array)
    dtype = str(counts.attrs["dtype"])
    commits = []
    for position in range(counts.shape[0]):
        of_commit: dict[str, BandHistogram] = {}
        parts = zip(
            SPLITS,
            np.asarray(counts[position]),
            np.asarray(moments[position]),
            _read_fine(group, position),
            strict=True,
        )
        for split, numbers, columns, fine in parts:
            if numbers.any():
                named = dict(zip(_MOMENTS, np.moveaxis(columns, -1, 0), strict=True))
                plain = {"dtype": dtype, "counts": numbers, **named}
                of_commit[split] = replace(BandHistogram.from_arrays(plain), fine=fine)
        commits.append(of_commit)
    return commits


def _read_fine(group: zarr.Group, position: int) -> list[tuple[FineCounts, ...]]:
    """Finer counts of one commit, by split and band; none in commits of before."""
    arrays = [_array(group, f"histogram_{name}") for name in ("shifts", "keys", "fine")]
    known = [array for array in arrays if array is not None and position < array.shape[0]]
    if len(known) < len(arrays):
        return [()] * len(SPLITS)
    shifts, keys, counts = (np.asarray(array[position]) for array in known)
    if not counts.any():
        return [()] * len(SPLITS)
    return [
        tuple(
            FineCounts(int(shift[0]), key[number > 0], number[number > 0])
            for shift, key, number in zip(*split, strict=True)
        )
        for split in zip(shifts, keys, counts, strict=True)
    ]
