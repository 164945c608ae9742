"""Reading a patch store: what is in it, lazily, and what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.writing import SCHEMA, SCHEMA_VERSION
from seg4eo_xr.scenes.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName

UNUSED = "unused"
_MAKE_ONE = "make one with extract_patches or `seg4eo-xr extract single`"


@dataclass(frozen=True, eq=False)
class PatchStore:
    """A committed patch store, opened by `open_store`.

    Parameters
    ----------
    path
        Where it lies.
    attrs
        Its attributes: contract, scenes, split rule, options, statistics.
    """

    path: Path
    attrs: dict[str, Any]

    def __len__(self) -> int:
        return int(self._images.shape[0])

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self.indices(name))} {name}" for name in SPLITS)
        return f"<PatchStore {self.path}: {len(self)} patches ({counts})>"

    @cached_property
    def contract(self) -> Contract:
        """Bands, normalisation, nodata and classes, from the training split."""
        return Contract.from_dict(self.attrs["contract"])

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

        opened = xr.open_zarr(self.path, chunks=None, consolidated=True, mask_and_scale=False)
        # One dask chunk a shard; xarray itself would make one a patch.
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
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        return np.flatnonzero(self.splits == split).astype(np.int64)

    def class_counts(self, split: SplitName) -> dict[int, int]:
        """Labelled pixels with data a class code in a split; no pass over the patches."""
        pixels = self.coordinate("class_pixels")[self.indices(split)].sum(axis=0, dtype=np.int64)
        return dict(zip(self.contract.classes.codes, map(int, pixels), strict=True))

    def describe(self) -> str:
        """Sizes, class distribution a split, band statistics and distances, as text for people."""
        return "\n".join(
            [*self._summary(), "", *self._split_table(), "", *self._band_table(), *self._remarks()]
        )

    def coordinate(self, name: str) -> NDArray[Any]:
        """One value a patch, such as ``row``, ``id`` or ``valid_fraction``, ``(patch, ...)``."""
        return np.asarray(cast("zarr.Array[Any]", self._group[name])[...])

    def arrays(self) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """``images (patch, band, y, x)`` and ``labels (patch, y, x)`` as Zarr arrays."""
        return self._images, cast("zarr.Array[Any]", self._group["labels"])

    def require_complete(self) -> None:
        """Raise FileNotFoundError where shards are missing, which Zarr reads as fill values."""
        count = -(-len(self) // self.shard_size)
        for name, trailing in (("images", "0/0/0"), ("labels", "0/0")):
            for shard in range(count):
                file = self.path / name / "c" / str(shard) / trailing
                if not file.exists():
                    raise FileNotFoundError(
                        f"patch store {self.path} lacks the file {file.relative_to(self.path)}; "
                        "copy the store again, or extract the patches again"
                    )

    @cached_property
    def _group(self) -> zarr.Group:
        return zarr.open_group(self.path, mode="r", use_consolidated=True)

    @cached_property
    def _images(self) -> zarr.Array[Any]:
        return cast("zarr.Array[Any]", self._group["images"])

    def _summary(self) -> list[str]:
        contract, scenes = self.contract, self.attrs["scenes"]
        raw = (self._images.nbytes + self._group["labels"].nbytes) / 1e6  # type: ignore[union-attr]
        stored = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()) / 1e6
        width, height = contract.ground_sample_distance
        return [
            f"patch store {self.path}",
            f"  {len(self)} patches of {self.patch_size} × {self.patch_size} px, "
            f"{len(contract.bands)} bands of {contract.dtype}, "
            f"pixels of {width:.4g} × {height:.4g} m",
            f"  {raw:.1f} MB of patches in {stored:.1f} MB of files, "
            f"{self.shard_size} patches a shard",
            *(f"  scene {scene['name']} in {scene['crs_name']}" for scene in scenes),
        ]

    def _split_table(self) -> list[str]:
        classes = self.contract.classes
        counts = {name: self.class_counts(name) for name in SPLITS}
        totals = {name: sum(counts[name].values()) for name in SPLITS}
        rows = [["", *SPLITS], ["patches", *(str(len(self.indices(name))) for name in SPLITS)]]
        rows.append(["labelled pixels", *(str(totals[name]) for name in SPLITS)])
        for code, label in zip(classes.codes, classes.names, strict=True):
            shares = [
                f"{100 * counts[name][code] / totals[name]:.2f} %" if totals[name] else "-"
                for name in SPLITS
            ]
            rows.append([f"{code} {label}", *shares])
        return _table(rows)

    def _band_table(self) -> list[str]:
        statistics = self.attrs["band_statistics"]
        names = list(statistics)
        rows = [["band (train, stored numbers)", *names]]
        for i, band in enumerate(self.contract.bands):
            rows.append([band, *(f"{statistics[name][i]:.6g}" for name in names)])
        return _table(rows)

    def _remarks(self) -> list[str]:
        lines = [""]
        for pair, distance in self.attrs["nearest_distance"].items():
            if distance is not None:
                lines.append(f"nearest {pair} distance: {distance:g} px")
        for reason, count in self.attrs["dropped"].items():
            lines.append(f"left out: {count} windows that {reason}")
        unused = int((self.splits == UNUSED).sum())
        if unused:
            lines.append(f"unused: {unused} patches with too few labelled pixels with data")
        return lines if len(lines) > 1 else []


def open_store(path: str | Path | PatchStore) -> PatchStore:
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
    """
    if isinstance(path, PatchStore):
        return path
    path = Path(path).absolute()
    if not path.exists():
        raise FileNotFoundError(f"patch store {path} does not exist; {_MAKE_ONE}")
    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        attrs = dict(group.attrs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no patch store; {_MAKE_ONE}") from error
    if attrs.get("schema") != SCHEMA:
        raise ValueError(f"{path} is Zarr but no patch store; {_MAKE_ONE}")
    if attrs.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"patch store {path} has schema version {attrs.get('schema_version')}, but this "
            f"release reads version {SCHEMA_VERSION}; extract the patches again, or install the "
            "release that wrote it"
        )
    try:
        zarr.open_group(path, mode="r", use_consolidated=True)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"patch store {path} is not complete: the extraction that wrote it was interrupted; "
            "extract the patches again with overwrite=True (--overwrite)"
        ) from error
    return PatchStore(path, attrs)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
