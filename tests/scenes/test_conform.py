import numpy as np
import pytest
import xarray as xr

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import ContractWarning, check_values, conform, ground_sample_distance
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.testing import SENTINEL2_BANDS, plain_contract, synthetic_sentinel2


def make_scene(crs: str, x: float, y: float, step: float) -> xr.DataArray:
    """Three bands of 40 × 50 pixels whose centre lies at (x, y)."""
    columns, rows = (np.arange(50) - 24.5) * step + x, (19.5 - np.arange(40)) * step + y
    coords = {"band": ["red", "green", "nir"], "y": rows, "x": columns}
    values = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords).rio.write_crs(crs)


def make_contract(bands=("red", "green"), distance=(10.0, 10.0)) -> Contract:
    table = ClassTable.from_codes([0, 1])
    maximum = (6000.0,) * len(bands)
    return plain_contract(
        bands, table, bright=5000.0, maximum=maximum, nodata=None, ground_sample_distance=distance
    )


@pytest.mark.parametrize(
    ("crs", "x", "y", "step", "expected"),
    [
        ("EPSG:32633", 500_000, 5_300_000, 10, (10.004, 10.004)),  # UTM's scale is 0.9996 there
        ("EPSG:4326", 15.0, 0.0, 0.001, (111.32, 110.57)),  # degrees of length and of width
        ("EPSG:4326", 15.0, 60.0, 0.001, (55.80, 111.41)),
        ("EPSG:3857", 0.0, 8_399_737.9, 10, (5.01, 5.00)),  # 60° north: twice as large as it is
        ("EPSG:3358", 640_000, 228_500, 28.5, (28.5, 28.5)),
        ("EPSG:2264", 2_000_000, 700_000, 10, (3.048, 3.048)),  # US survey feet
    ],
)
def test_the_ground_sample_distance_is_in_metres_whatever_the_crs(crs, x, y, step, expected):
    found = ground_sample_distance(make_scene(crs, x, y, step))
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_bands_are_picked_and_ordered_by_name():
    scene = make_scene("EPSG:32633", 500_000, 5_300_000, 10)
    picked = conform(scene, make_contract(("nir", "red")))
    assert picked["band"].values.tolist() == ["nir", "red"]
    np.testing.assert_array_equal(picked, scene.values[[2, 0]])


def test_a_missing_band_is_an_error_that_names_both_sides():
    scene = make_scene("EPSG:32633", 500_000, 5_300_000, 10)
    with pytest.raises(ValueError, match=r"\['swir'\] are missing.*band_names"):
        conform(scene, make_contract(("red", "swir")))


def test_a_model_that_knows_no_band_names_takes_the_scenes_in_their_order():
    scene = make_scene("EPSG:32633", 500_000, 5_300_000, 10)
    unknown = (float("nan"), float("nan"))
    three = make_contract(("band_1", "band_2", "band_3"), unknown)
    with pytest.warns(ContractWarning, match=r"in their order, red, green, nir.*--model_bands"):
        xr.testing.assert_identical(conform(scene, three), scene)
    named = make_contract(("nir", "red"), unknown)
    assert conform(scene, named)["band"].values.tolist() == ["nir", "red"]
    with pytest.raises(ValueError, match=r"\['band_1', 'band_2'\] are missing"):
        conform(scene, make_contract(("band_1", "band_2"), unknown))


def test_another_pixel_size_warns_and_a_similar_one_does_not():
    scene = make_scene("EPSG:32633", 500_000, 5_300_000, 10.5)
    conform(scene, make_contract())
    with pytest.warns(ContractWarning, match="resample"):
        conform(scene, make_contract(distance=(20.0, 20.0)))


@pytest.mark.parametrize(
    ("values", "suspect"),
    [
        (np.linspace(0, 5000, 400), False),
        (np.linspace(0, 30, 400), True),  # reflectance where digital numbers were meant
        (np.linspace(20_000, 30_000, 400), True),
    ],
)
def test_numbers_of_another_size_warn(values, suspect, recwarn):
    block = np.stack([values.reshape(20, 20)] * 2)
    check_values(block, np.ones((20, 20), bool), make_contract())
    assert len(recwarn) == suspect  # one warning, whatever the number of bands
    assert all("--scale" in str(warning.message) for warning in recwarn)


def test_a_handful_of_pixels_says_nothing(recwarn):
    few = np.zeros((20, 20), bool)
    few[0, :5] = True
    check_values(np.full((2, 20, 20), 60_000), few, make_contract())
    assert not recwarn


def test_sentinel_2s_other_convention_is_suspected():
    scene = synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)[0]
    darkest = tuple((scene.values.min(axis=(1, 2)) * 1e-4).tolist())
    contract = plain_contract(
        SENTINEL2_BANDS, ClassTable.from_codes([0, 1]), scale=(1e-4,) * 10, minimum=darkest
    )
    valid = np.ones((64, 64), bool)
    check_values(scene.values, valid, contract)
    with pytest.warns(ContractWarning, match=r"seem raised by 1000.*harmonize"):
        check_values(scene.values + 1000, valid, contract)
