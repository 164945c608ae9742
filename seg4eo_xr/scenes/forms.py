"""Arrays and datasets brought into the form of a scene: order, names, CRS, transform, scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.scenes.bands import (
    band_scaling,
    has_nodata,
    joined_nodata,
    nodata_text,
    stack_bands,
    stated_nodata,
    with_band_attrs,
    with_nodata,
)
from seg4eo_xr.scenes.grid import (
    as_band_y_x,
    grid_transform,
    place,
    require_crs,
    require_crs_units,
    require_one_date,
    require_real_dtype,
)

if TYPE_CHECKING:
    import xarray as xr

# rewritten by scene_of_array, so not copied from the source
_OWN_ATTRS = {
    *("scales", "offsets", "scale_factor", "add_offset"),
    *(
        "_FillValue",
        "missing_value",
        "nodata",
        "grid_mapping",
        "long_name",
        "transform",
        "AREA_OR_POINT",
    ),
}


def scene_of_array(array: xr.DataArray, what: str) -> xr.DataArray:
    """Bring an array into the form of a scene."""
    require_real_dtype([str(array.dtype)], what)
    array = as_band_y_x(as_stated_sign(array), what)
    require_crs(array, what)
    if "x" in array.coords:
        require_crs_units(array["x"].attrs.get("units"), array.rio.crs, what)
    crs, transform = array.rio.crs, grid_transform(array, what)
    array = array.assign_coords(band=_names_of_source(array))
    scales, offsets = band_scaling(array)
    nodata = stated_nodata(array)
    kept = {key: value for key, value in array.attrs.items() if key not in _OWN_ATTRS}
    numbers = array.variable.data
    # torch knows no other order of bytes than the machine's.
    numbers = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    scene = place(numbers, crs, transform).assign_attrs(kept)
    scene = scene.assign_coords(band=array["band"].values)
    scene = with_band_attrs(scene, scales, offsets)
    return scene if nodata is None else with_nodata(scene, nodata)


def as_stated_sign(array: xr.DataArray) -> xr.DataArray:
    """Read integers as ``_Unsigned`` says, which netCDF and CF use for dtypes that they lack."""
    stated = str(array.attrs.get("_Unsigned", "")).lower()
    kind = {"true": "u", "false": "i"}.get(stated)
    if kind is None or array.dtype.kind not in "iu" or array.dtype.kind == kind:
        return array
    dtype = np.dtype(f"{array.dtype.byteorder}{kind}{array.dtype.itemsize}")
    result = array.copy(data=array.variable.data.view(dtype))
    for key in ("_FillValue", "missing_value"):
        if key in result.attrs:
            number = np.asarray(result.attrs[key], array.dtype.newbyteorder("="))
            result.attrs[key] = number.view(dtype.newbyteorder("="))[()]
    del result.attrs["_Unsigned"]
    return result


def _names_of_source(array: xr.DataArray) -> list[str]:
    """Names that the source gives its bands, or ``band_1`` and so on."""
    count = array.sizes["band"]
    numbers = [str(number) for number in range(1, count + 1)]
    if "band" in array.coords:
        given = array["band"].values
        if given.dtype.kind not in "iuf":
            return [str(name) for name in given]
        # one number for all is that of files of one band, put together
        if count == 1 or len(set(given.tolist())) > 1:
            numbers = _number_texts(given)
    described = array.attrs.get("long_name")
    described = [described] if isinstance(described, str) else list(described or ())
    found = [name or f"band_{number}" for name, number in zip(described, numbers, strict=False)]
    if len(found) == count == len(set(found)):
        return found
    return [f"band_{number}" for number in numbers]


def _number_texts(numbers: np.ndarray) -> list[str]:
    """Whole numbers, or all digits where bands such as 442.3 and 442.9 nm would be one."""
    whole = [str(int(number)) for number in numbers]
    if len(set(whole)) == len(whole):
        return whole
    return [np.format_float_positional(number, trim="-") for number in numbers]


def scene_of_dataset(dataset: xr.Dataset, what: str) -> xr.DataArray:
    """Bring a dataset of one variable ``(band, y, x)``, or a 2-D one per band, into that form."""
    require_one_date(dataset, what)
    if "time" in dataset.dims:
        dataset = dataset.squeeze("time", drop=True)
    cube = only_cube(dataset, what)
    if cube is not None:
        return scene_of_array(with_crs_of(dataset, cube), f"variable {cube.name!r} of {what}")
    planes = {str(name): array for name, array in dataset.data_vars.items() if array.ndim == 2}
    if not planes:
        raise ValueError(
            f"{what} holds no 2-D variable that could be a band; its variables are "
            f"{ {str(name): array.dims for name, array in dataset.data_vars.items()} }"
        )
    scenes = [
        scene_of_array(with_crs_of(dataset, array), f"variable {name!r} of {what}")
        for name, array in planes.items()
    ]
    scenes = joined_nodata(scenes)
    found = {
        name: nodata_text(scene)
        for name, scene in zip(planes, scenes, strict=True)
        if has_nodata(scene)
    }
    if len(set(found.values())) > 1:
        raise ValueError(f"the bands of {what} mark missing data differently: {found}")
    return stack_bands(scenes, list(planes))


def only_cube(dataset: xr.Dataset, what: str, dims: int = 3) -> xr.DataArray | None:
    """The one variable of so many dimensions, or more; None where there is none."""
    cubes = [str(name) for name, variable in dataset.data_vars.items() if variable.ndim >= dims]
    if len(cubes) > 1:
        raise ValueError(
            f"{what} holds several variables of three dimensions, {cubes}; pass one of them, as "
            "dataset['NAME'] (of a Zarr store after xarray.open_zarr), or give the command line a "
            "store of that one alone, as store[['NAME']].to_zarr(...) writes it"
        )
    return dataset[cubes[0]] if cubes else None


def with_crs_of(dataset: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """A variable with the CRS of its dataset where it names none itself."""
    if array.rio.crs is not None:
        return array
    crs = dataset.rio.crs
    if crs is None:
        # variables lose the name of their CRS variable where an encoding is given as they are
        # written, as in dataset.to_zarr(..., encoding={...})
        found = {
            variable.attrs["crs_wkt"]
            for variable in dataset.variables.values()
            if variable.ndim == 0 and "crs_wkt" in variable.attrs
        }
        crs = found.pop() if len(found) == 1 else _projection_of_stac(array, dataset)
    return array if crs is None else array.rio.write_crs(crs)


def _projection_of_stac(*described: xr.DataArray | xr.Dataset) -> str | None:
    """CRS by the names of STAC, as in the Zarr stores of Sentinel products."""
    for one in described:
        code = one.attrs.get("proj:code") or one.attrs.get("proj:epsg")
        if code:
            return str(code) if ":" in str(code) else f"EPSG:{code}"
    return None
