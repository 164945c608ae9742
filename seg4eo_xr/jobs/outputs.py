"""The outputs of a finished job: a Zarr store, or cloud-optimised GeoTIFFs made from one."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import dask

from seg4eo_xr.jobs.run_folder import require_free
from seg4eo_xr.maps.cog import remove_sidecars, write_cog
from seg4eo_xr.maps.mosaic import CATEGORIES_SUFFIX
from seg4eo_xr.maps.store import open_map
from seg4eo_xr.notices import without_log
from seg4eo_xr.patches.writing import is_local
from seg4eo_xr.staging import commit

if TYPE_CHECKING:
    from upath import UPath

    from seg4eo_xr.inference.layers import LayerName
    from seg4eo_xr.jobs.run_folder import RunFolder


def output_files(target: UPath, layers: tuple[LayerName, ...]) -> dict[str, UPath]:
    """Name the outputs by the layer: one store, or the GeoTIFF of each layer, the map itself first.

    Parameters
    ----------
    target
        The output, as ``map.tif``.
    layers
        Layers of the map.

    Examples
    --------
    >>> from upath import UPath
    >>> files = output_files(UPath("map.tif"), ("classes", "confidence"))
    >>> {layer: file.name for layer, file in files.items()}
    {'classes': 'map.tif', 'confidence': 'map_confidence.tif'}
    """
    if target.suffix == ".zarr":
        return {layers[0]: target}
    main = "classes" if "classes" in layers else layers[0]
    return {
        layer: target
        if layer == main
        else target.with_name(f"{target.stem}_{layer}{target.suffix}")
        for layer in (main, *(layer for layer in layers if layer != main))
    }


def write_outputs(run: RunFolder, layers: tuple[LayerName, ...], *, overwrite: bool) -> None:
    """Bring the finished store of a run to its final place, as what its name asks for.

    Parameters
    ----------
    run
        The run; its store is complete.
    layers
        Layers of the map.
    overwrite
        Whether existing outputs may be replaced.

    Raises
    ------
    FileExistsError
        If an output came into being meanwhile.
    OSError
        If an output cannot be written, or not completely.
    """
    if run.target.suffix == ".zarr":
        run.commit_store(overwrite=overwrite)
        return
    files = output_files(run.target, layers)
    with ExitStack() as stack:
        if is_local(run.target):
            folder = Path(str(run.run))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seg4eo-")))
        made = {layer: folder / file.name for layer, file in files.items()}
        main = next(iter(made))
        others = {layer: file for layer, file in made.items() if layer != main}
        dataset = open_map(run.store)
        # Workers elsewhere do not see this folder, and nobody looks for it: the log names the
        # final paths.
        with dask.config.set(scheduler="threads"), without_log("seg4eo_xr.staging"):
            write_cog(dataset, made[main], overwrite=True, **others)
        # The map itself last: where it stands, the others do.
        for layer in reversed(files):
            require_free(files[layer], overwrite=overwrite)
            _put(made[layer], files[layer])


def _put(made: Path, target: UPath) -> None:
    """Bring a GeoTIFF to its place, and then the names of its classes."""
    sidecar = made.with_name(made.name + CATEGORIES_SUFFIX)
    if is_local(target):
        final = Path(str(target))
        commit(made, final)
        remove_sidecars(final)
        if sidecar.exists():
            Path(sidecar).replace(final.with_name(sidecar.name))
        return
    target.fs.put_file(str(made), target.path)
    names = target.path + CATEGORIES_SUFFIX
    if sidecar.exists():
        target.fs.put_file(str(sidecar), names)
    elif target.fs.exists(names):
        target.fs.rm_file(names)  # those of a map that was replaced
