"""Reading a patch store: what is in it, lazily, and what it tells about itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr
from affine import Affine

from seg4eo_xr.geometry.leakage import LeakageReport
from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.building import locate, remote_errors
from seg4eo_xr.patches.footprints import footprints_of
from seg4eo_xr.patches.summary import merge_by_split, typical_dark
from seg4eo_xr.patches.writing import (
    ABOUT,
    SCHEMA,
    SCHEMA_VERSION,
    StoreLayout,
    read_histograms,
)
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.scenes.open import band_names_of, band_scaling
from seg4eo_xr.scenes.statistics import statistics_dataset

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray
    from upath import UPath

    from seg4eo_xr.geometry.footprints import Footprints
    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.sources import PatchSource
    from seg4eo_xr.scenes.histogram import BandHistogram

UNUSED = "unused"
_MAKE_ONE = "make one with extract_patches or `seg4eo-xr extract single`"


@dataclass(frozen=True, eq=False)
class PatchStore:
    """A committed patch store, opened by `open_store`.

    Parameters
    ----------
    path
        Where it lies: a local path, or one of fsspec's.
    group
        Its arrays, as they were when it was opened: what is appended later is not seen.
    attrs
        What describes it: contract, scenes, split rule, options, leakage.
    """

    path: UPath
    group: zarr.Group
    attrs: dict[str, Any]

    def __len__(self) -> int:
        return int(self._images.shape[0])

    def __repr__(self) -> str:
        counts = Counter(self.splits.tolist())
        names = (*SPLITS, "unused") if counts["unused"] else SPLITS
        told = ", ".join(f"{counts[name]} {name}" for name in names)
        share = self.labelled_share
        shown = "" if share is None else f", {100 * share:.1f} % of the labelled ground"
        return f"<PatchStore {self.path}: {len(self)} patches ({told}){shown}>"

    @cached_property
    def contract(self) -> Contract:
        """Bands, normalisation, nodata and classes, from the training split."""
        contract = Contract.from_dict(self.attrs["contract"])
        dark = typical_dark(self.attrs["scenes"])
        if contract.dark or dark is None or np.isnan(dark).any():
            return contract
        # Stores of before say it of their scenes only.
        low = dark * contract.scale + contract.offset
        return replace(contract, dark=tuple(low.tolist()))

    @cached_property
    def labelled_share(self) -> float | None:
        """Share of the scenes' labelled pixels that the patches of the splits show, 0 to 1.

        None where the store is older than this figure, or nothing is labelled. For scenes of more
        than 2^28 pixels it is an estimate, unless the patches cover all of them.
        """
        counts = [scene.get("labelled") for scene in self.attrs["scenes"]]
        if None in counts:
            return None
        shown, total = np.array(counts, np.int64).reshape(-1, 2).sum(axis=0).tolist()
        return shown / total if total else None

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self._images.shape[-1])

    @property
    def shard_size(self) -> int:
        """Patches a shard."""
        return int((self._images.shards or self._images.chunks)[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the stored images."""
        return np.dtype(self._images.dtype)

    @cached_property
    def dataset(self) -> xr.Dataset:
        """``images``, ``labels`` and the patches' coordinates as a lazy Dataset."""
        import xarray as xr

        opened = xr.open_zarr(str(self.path), chunks=None, consolidated=True, mask_and_scale=False)
        # One dask chunk a shard; xarray itself would make one a patch.
        opened = opened.isel(patch=slice(len(self)))
        lazy = opened.drop_vars(opened.coords).chunk({"patch": self.shard_size})
        dataset: xr.Dataset = lazy.assign_coords(opened.coords.to_dataset().load().coords)
        return dataset

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """Split of each patch: ``train``, ``validation``, ``test`` or ``unused``, ``(patch,)``."""
        return self.coordinate("split").astype("<U10")

    def indices(self, split: SplitName) -> NDArray[np.int64]:
        """Positions of a split's patches, ascending.

        Raises
        ------
        ValueError
            If there is no split of that name.
        """
        _require_split(split)
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def class_counts(self, split: SplitName) -> dict[int, int]:
        """Labelled pixels with data a class code in a split; no pass over the patches."""
        pixels = self.coordinate("class_pixels")[self.indices(split)].sum(axis=0, dtype=np.int64)
        return dict(zip(self.contract.classes.codes, map(int, pixels), strict=True))

    def statistics(self, split: SplitName) -> xr.Dataset:
        """Statistics of a split's stored numbers a band; no pass over the patches.

        Returns
        -------
        Dataset (band)
            ``count``, ``minimum``, ``maximum``, ``mean``, ``std``, ``p01``, ``p50`` and ``p99`` of
            the pixels with data; no band if the split has no patch of use.

        Raises
        ------
        ValueError
            If there is no split of that name.
        """
        _require_split(split)
        merged = merge_by_split(self.histograms())
        if split not in merged:
            raise ValueError(f"the split {split!r} of {self.path} has no patch")
        return statistics_dataset(merged[split], self.contract.bands)

    def histograms(self) -> list[dict[str, BandHistogram]]:
        """Counts of the stored numbers a band, by split, of each extraction that added patches."""
        about = self.group[ABOUT]
        assert isinstance(about, zarr.Group)
        return read_histograms(about)

    @cached_property
    def leakage(self) -> LeakageReport:
        """How near the splits come to each other, and what they share."""
        return LeakageReport.from_dict(self.attrs["leakage"])

    def grid_of_scene(self, number: int) -> tuple[Affine, str]:
        """Transform and CRS (as WKT) of the scene of that number."""
        scene = self.attrs["scenes"][number]
        return Affine(*scene["transform"]), str(self.attrs["crs"][scene["crs"]])

    def shown_windows(self) -> tuple[NDArray[np.int64], ...]:
        """Row, column, height and width of what each patch shows of its scene, ``(patch,)``."""
        row, col, height, width = (self.coordinate(n) for n in ("row", "col", "height", "width"))
        shapes = np.array([scene["shape"] for scene in self.attrs["scenes"]], np.int64)
        rows, cols = shapes[self.coordinate("scene")].T
        return row, col, np.minimum(height, rows - row), np.minimum(width, cols - col)

    def footprints(self) -> Footprints:
        """Where the patches lie on the grid of the first scene, with their splits as fixed."""
        windows = self.shown_windows()
        grids = [self.grid_of_scene(i) for i in range(len(self.attrs["scenes"]))]
        return footprints_of(windows, self.coordinate("scene"), grids, self.splits)

    @property
    def layout(self) -> StoreLayout:
        """Sizes and dtypes of the arrays."""
        images, labels = self.arrays()
        return StoreLayout(
            len(self),
            images.shape[1],
            self.patch_size,
            self.shard_size,
            str(images.dtype),
            str(labels.dtype),
            self.contract.nodata,
            self.contract.ignore,
            first=len(self),
        )

    def require_fits(self, source: PatchSource, options: ExtractOptions) -> None:
        """Raise ValueError unless patches of a source, cut by these options, can be added."""
        contract, layout = self.contract, self.layout
        scene = source.scene
        # a scene without a nodata value takes the store's
        nodata = contract.nodata if scene.rio.nodata is None else float(scene.rio.nodata)
        for what, own, other in (
            ("patch_size", layout.patch_size, options.patch_size),
            ("normalization", contract.normalization.kind, options.normalization),
            ("nodata_rule", contract.nodata_rule, options.nodata_rule),
            ("shard_size", layout.shard_size, options.shard_size or layout.shard_size),
            ("bands", list(contract.bands), band_names_of(scene)),
            ("dtype", layout.dtype, str(scene.dtype)),
            ("nodata value", str(contract.nodata), str(nodata)),
            ("scaling", (contract.scale, contract.offset), band_scaling(scene)),
        ):
            if own != other:
                raise ValueError(
                    f"{source.name} cannot be added to {self.path}: its {what} is {other}, that of "
                    f"the store {own}; make them alike, or write another store"
                )

    def describe(self) -> str:
        """Sizes, class distribution and band statistics a split, leakage, as text for people."""
        from seg4eo_xr.patches.report import describe_text

        return describe_text(self)

    def _repr_html_(self) -> str:
        from seg4eo_xr.patches.report import describe_html

        return describe_html(self)

    def coordinate(self, name: str) -> NDArray[Any]:
        """One value per patch, such as ``row``, ``id`` or ``valid_fraction``, ``(patch, ...)``.

        The columns of ``class_pixels`` are in the order of the contract's classes.
        """
        values = np.asarray(cast("zarr.Array[Any]", self.group[name])[...])
        if name != "class_pixels":
            return values
        # classes that were appended have the last columns, whatever their codes
        stored = self.coordinate("class").tolist()
        return values[:, [stored.index(code) for code in self.contract.classes.codes]]

    def arrays(self) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """``images (patch, band, y, x)`` and ``labels (patch, y, x)`` as Zarr arrays."""
        return self._images, cast("zarr.Array[Any]", self.group["labels"])

    def require_complete(self) -> None:
        """Raise FileNotFoundError where shards are missing, which Zarr reads as fill values."""
        wanted = {str(shard) for shard in range(-(-len(self) // self.shard_size))}
        for name, rest in (("images", "0/0/0"), ("labels", "0/0")):
            files = (self.path / name / "c").glob(f"*/{rest}")
            missing = wanted - {file.parts[-rest.count("/") - 2] for file in files}
            if missing:
                raise FileNotFoundError(
                    f"patch store {self.path} lacks the file {name}/c/{min(missing, key=int)}/"
                    f"{rest}; copy the store again, or extract the patches again"
                )

    @cached_property
    def _images(self) -> zarr.Array[Any]:
        return cast("zarr.Array[Any]", self.group["images"])


def open_store(path: str | Path | UPath | PatchStore) -> PatchStore:
    """Open a patch store for reading.

    Parameters
    ----------
    path
        Folder that `extract_patches` wrote; a store that is open already passes as it is.

    Returns
    -------
    PatchStore

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is no patch store, is not complete, or is of another schema version.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.patches.extract import extract_patches
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((128, 128), nodata_wedge=False)
    >>> with TemporaryDirectory() as folder:
    ...     store = extract_patches(
    ...         scene, labels, f"{folder}/patches.zarr", patch_size=32, progress=False
    ...     )
    ...     open_store(f"{folder}/patches.zarr").patch_size
    32
    """
    if isinstance(path, PatchStore):
        return path
    place = locate(path)
    with remote_errors(place):
        return _opened(place)


def _opened(place: UPath) -> PatchStore:
    try:
        root = zarr.open_group(str(place), mode="r", use_consolidated=False)
    except FileNotFoundError as error:
        if place.exists():
            raise ValueError(f"{place} is no patch store; {_remedy(place)}") from error
        raise FileNotFoundError(f"patch store {place} does not exist; {_MAKE_ONE}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place} is no patch store; {_remedy(place)}") from error
    if root.attrs.get("schema") != SCHEMA:
        raise ValueError(f"{place} is Zarr but no patch store; {_MAKE_ONE}")
    if root.attrs.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"patch store {place} has schema version {root.attrs.get('schema_version')}, but this "
            f"release reads version {SCHEMA_VERSION}; extract the patches again, or install the "
            "release that wrote it"
        )
    try:
        group = zarr.open_group(str(place), mode="r", use_consolidated=True)
        return PatchStore(place, group, dict(group[ABOUT].attrs))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"patch store {place} is not complete: the extraction that wrote it was interrupted; "
            "start it again to go on, or extract the patches again with overwrite=True "
            "(--overwrite)"
        ) from error


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")


def _remedy(place: UPath) -> str:
    """How to come to a patch store where there is something else."""
    for folder in (place, place / "Patch"):
        if (folder / "train" / "images").is_dir():
            return (
                "it is a folder of GeoTIFF patches; bring them into a patch store first: "
                f"import_patches, or seg4eo-xr import --data_dir {place} --output {place.name}.zarr"
            )
    return _MAKE_ONE
