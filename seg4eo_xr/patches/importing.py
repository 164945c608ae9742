"""Folders of GeoTIFF patches, as other tools leave them, brought into a patch store."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.errors import NotGeoreferencedWarning

from seg4eo_xr.geometry.splits import SPELLINGS, ColumnSplit
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import changed
from seg4eo_xr.patches.building import locate
from seg4eo_xr.patches.extract import run_extraction, store_to_extend
from seg4eo_xr.patches.files import file_sources
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.pairs import IMAGE_WORDS, LABEL_WORDS
from seg4eo_xr.patches.planning import plan_extraction
from seg4eo_xr.scenes.class_files import as_class_table
from seg4eo_xr.scenes.label_options import LabelOptions

if TYPE_CHECKING:
    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable

_SUFFIXES = (".tif", ".tiff")
# Looked for in folders without a GeoTIFF only: elsewhere they are previews.
_OTHER_SUFFIXES = (".png",)
_WORDS = {"images": IMAGE_WORDS, "labels": LABEL_WORDS}
# image_12, 12_image and 12 are the same patch, and so are label_12 and 12_gt.
_ROLE = re.compile(
    rf"^(?:{IMAGE_WORDS}|{LABEL_WORDS})s?[_-]|[_-](?:{IMAGE_WORDS}|{LABEL_WORDS})s?$",
    re.IGNORECASE,
)
_SHOWN = 5  # files in a message


class UnmatchedWarning(Seg4EOWarning):
    """Files of a folder have no partner and are left out."""


@dataclass(frozen=True)
class PatchPair:
    """A patch's image and label as files.

    Parameters
    ----------
    split
        ``train``, ``validation`` or ``test``.
    id
        What the names of both files share.
    image, label
        The files.
    """

    split: SplitName
    id: str
    image: Path
    label: Path


def import_patches(
    folder: str | Path,
    store: str | Path,
    options: ExtractOptions | None = None,
    *,
    label_options: LabelOptions | None = None,
    classes: ClassTable | str | Path | None = None,
    band_names: tuple[str, ...] | None = None,
    keep_alpha: bool = False,
    progress: bool = True,
    **changes: Any,
) -> PatchStore:
    """Bring ``{train,validation,test}/{images,labels}/*.tif`` into a patch store.

    Images and labels are paired by the names of their files, with or without words such as
    ``image``, ``label``, ``mask`` and ``gt`` in them. The folders may be called ``img``, ``masks``,
    ``annotations`` or ``gt`` as well. PNG files are taken from folders without a GeoTIFF; images
    need a world file, and a CRS as GDAL keeps it in ``.png.aux.xml``.

    Patches keep their pixels and their split. Where a patch lies becomes whole pixels of one grid a
    CRS, of the most frequent pixel size.

    Parameters
    ----------
    folder
        The folder that holds the splits' folders, or one that holds such a folder as ``Patch``.
    store
        What `extract_patches` writes to: a folder or URL.
    options
        As for `extract_patches`; what says how to cut is without meaning here.
    label_options
        Which codes of the label files mean "no label".
    classes
        Codes, names and colours, or a file that `read_classes` reads; None joins the tables of the
        label files, or else takes the codes that occur. What is appended has the store's codes, as
        in `extract_patches`.
    band_names
        Names of the bands, by which prediction finds them in a scene; None takes the files'
        descriptions, or else band_1, band_2 and so on.
    keep_alpha
        Keep a band of the images that is marked as alpha; by default it says which pixels are
        missing (see `SceneOptions`).
    progress
        Show a bar where it takes longer than two seconds.
    **changes
        Single options by name, as ``overwrite=True``.

    Returns
    -------
    PatchStore
        Open for reading.

    Raises
    ------
    FileNotFoundError, OSError
        If the folder does not exist, a file cannot be read, or the store cannot be written.
    ValueError
        If there are no patches, or images differ in bands, dtype, size or nodata value, or an image
        and its label do not lie on one grid.

    Warns
    -----
    UnmatchedWarning
        If images or labels have no partner.
    SceneWarning
        If an alpha band is no band of the patches.

    Examples
    --------
    >>> from seg4eo_xr.patches.exporting import export_patches
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.patches.extract import extract_patches
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, labels = synthetic_sentinel2((128, 128), nodata_wedge=False)
    >>> with TemporaryDirectory() as folder:
    ...     store = extract_patches(
    ...         scene, labels, f"{folder}/patches.zarr", patch_size=32, progress=False
    ...     )
    ...     written = export_patches(store, f"{folder}/Patch", progress=False)
    ...     len(import_patches(written, f"{folder}/again.zarr", progress=False)) == len(store)
    True
    """
    options = changed(options, ExtractOptions, changes)
    target = locate(store)
    existing = store_to_extend(target, options)
    pairs, unmatched = list_patches(folder)
    if unmatched:
        warnings.warn(
            f"{len(unmatched)} files below {folder} have no partner and are left out: "
            f"{_some(unmatched)}",
            UnmatchedWarning,
            stacklevel=2,
        )
    with warnings.catch_warnings():
        # Labels may do without a place; images without one are refused.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        sources, size = file_sources(
            pairs,
            label_options or LabelOptions(),
            classes=as_class_table(classes),
            band_names=band_names,
            keep_alpha=keep_alpha,
            ignore=None if existing is None else existing.contract.ignore,
            progress=progress,
        )
        options = replace(options, patch_size=size)
        job = plan_extraction(sources, options, split=ColumnSplit("folder"), existing=existing)
        return run_extraction(job, target, progress=progress)


def list_patches(folder: str | Path) -> tuple[list[PatchPair], list[Path]]:
    """Find the patches of a folder, and the files that have no partner; opens no file.

    Parameters
    ----------
    folder
        As in `import_patches`.

    Returns
    -------
    pairs : list of PatchPair
        By split, then by id. Ids differ: one that occurs in two splits gets the split before it.
    unmatched : list of Path
        Images without a label, and labels without an image.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no patches, or two files of one folder have the same id.
    """
    # Absolute, for workers that stand elsewhere.
    root = _root(Path(folder).absolute())
    pairs: list[PatchPair] = []
    unmatched: list[Path] = []
    for split_folder in sorted(root.iterdir()):
        split = SPELLINGS.get(split_folder.name.lower())
        if split is None or not split_folder.is_dir():
            continue
        images, labels = (_by_id(split_folder, kind) for kind in ("images", "labels"))
        shared = sorted(images.keys() & labels.keys())
        pairs += [PatchPair(split, name, images[name], labels[name]) for name in shared]
        unmatched += [
            path for name, path in {**images, **labels}.items() if name not in set(shared)
        ]
    if not pairs:
        raise ValueError(
            f"{root} holds no patches: no image below {{train,validation,test}}/images has a label "
            f"of its name below labels ({len(unmatched)} files stand alone); files ending in "
            f"{', '.join((*_SUFFIXES, *_OTHER_SUFFIXES))} are looked for"
        )
    ids = [pair.id for pair in pairs]
    if len(set(ids)) < len(ids):
        pairs = [replace(pair, id=f"{pair.split}/{pair.id}") for pair in pairs]
    return pairs, sorted(unmatched)


def _root(folder: Path) -> Path:
    """Folder that holds those of the splits."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the one with train, validation, test")
    inner = [entry for entry in folder.iterdir() if entry.name.lower() in ("patch", "patches")]
    for candidate in (folder, *inner):
        if candidate.is_dir() and any(e.name.lower() in SPELLINGS for e in candidate.iterdir()):
            return candidate
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:_SHOWN]) or "nothing"
    raise ValueError(
        f"{folder} holds {found}, but no folder of a split; expected is "
        "{train,validation,test}/{images,labels}/*.tif (val and valid are fine too)"
    )


def _by_id(split_folder: Path, kind: str) -> dict[str, Path]:
    """Files of a folder ``images`` or ``labels`` by what their names share with the other's."""
    folders = [entry for entry in split_folder.iterdir() if entry.is_dir()]
    usual = re.compile(f"(?:{_WORDS[kind]})s?", re.IGNORECASE)
    folders = [entry for entry in folders if entry.name.lower() == kind] or [
        entry for entry in folders if usual.fullmatch(entry.name)
    ]
    paths = sorted(path for folder in folders for path in folder.iterdir())
    files = [path for path in paths if path.suffix.lower() in _SUFFIXES]
    files = files or [path for path in paths if path.suffix.lower() in _OTHER_SUFFIXES]
    found: dict[str, Path] = {}
    for path in files:
        name = _ROLE.sub("", path.stem) or path.stem
        other = found.setdefault(name, path)
        if other is not path:
            raise ValueError(
                f"{other} and {path.name} are both the {kind[:-1]} of patch {name!r}; move one away"
            )
    return found


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(map(str, paths[:_SHOWN])) + more
