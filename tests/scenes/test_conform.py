from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from affine import Affine

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import ContractWarning, ValueCheck, conform, ground_sample_distance
from seg4eo_xr.scenes.contract import Contract
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.statistics import make_contract as contract_of
from seg4eo_xr.scenes.statistics import scene_histogram
from seg4eo_xr.testing import plain_contract, synthetic_sentinel2


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
    with pytest.raises(ValueError, match=r"\['swir'\] are missing.*--band_names$"):
        conform(scene, make_contract(("red", "swir")))


def test_a_model_that_knows_no_band_names_takes_the_scenes_in_their_order():
    scene = make_scene("EPSG:32633", 500_000, 5_300_000, 10)
    unknown = (float("nan"), float("nan"))
    three = make_contract(("band_1", "band_2", "band_3"), unknown)
    with pytest.warns(ContractWarning, match=r"in their order, red, green, nir.*--model_bands"):
        xr.testing.assert_identical(conform(scene, three), scene)
    named = make_contract(("nir", "red"), unknown)
    assert conform(scene, named)["band"].values.tolist() == ["nir", "red"]
    with pytest.raises(ValueError, match=r"\['band_1', 'band_2'\] are missing.*--model_bands B04"):
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
def test_numbers_of_another_size_warn_once(values, suspect, recwarn):
    block = np.stack([values.reshape(20, 20)] * 2)
    check = ValueCheck(make_contract())
    for _ in range(3):
        check(block, np.ones((20, 20), bool), make_contract())
    assert len(recwarn) == suspect  # one warning, whatever the number of bands and chunks


def test_the_remedy_fits_the_data():
    everywhere = np.ones((20, 20), bool)
    numbers = np.linspace(100, 4000, 800).reshape(2, 20, 20)
    trained = replace(make_contract(), scale=(1e-4, 1e-4), maximum=(0.6, 0.6))
    trained = replace(trained, normalization=replace(trained.normalization, upper=(0.4, 0.4)))
    with pytest.warns(ContractWarning, match=r"--scale 0.0001 --offset 0 \(scale=0.0001"):
        ValueCheck(trained)(numbers.astype(np.uint16), everywhere, replace(trained, scale=(1, 1)))
    applied = (numbers * 1e-4).astype(np.float32)  # and the attributes kept
    with pytest.warns(ContractWarning, match=r"applied before.*--scale 1 --offset 0"):
        ValueCheck(trained)(applied, everywhere, trained)
    pictures = np.full((2, 20, 20), 40, np.uint8)
    with pytest.warns(ContractWarning, match=r"uint16 and the scene is uint8.*--nodata") as caught:
        ValueCheck(make_contract())(pictures, everywhere, make_contract())
    assert "--scale" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("scale", "suspect"),
    [(1.0, True), (20.0, False)],  # 255 × 20 reaches the bright numbers of the training
)
def test_a_copy_of_fewer_bits_is_suspect_though_training_saw_dark_pixels(scale, suspect, recwarn):
    copy = np.linspace(1, 255, 800).reshape(2, 20, 20).astype(np.uint8)
    contract = replace(make_contract(), scale=(scale, scale))
    ValueCheck(make_contract())(copy, np.ones((20, 20), bool), contract)
    assert [str(one.message).split(":")[0] for one in recwarn] == suspect * [
        "the scene holds values that the model never saw"
    ]


def test_a_handful_of_pixels_says_nothing(recwarn):
    few = np.zeros((20, 20), bool)
    few[0, :5] = True
    ValueCheck(make_contract())(np.full((2, 20, 20), 60_000), few, make_contract())
    assert not recwarn


def trained_on(scene: xr.DataArray, scale: float, offset: float = 0.0) -> Contract:
    """A contract whose dark numbers are those of a scene, as scale and offset make them."""
    scene = scene.assign_attrs(scales=(scale,) * 10, offsets=(offset,) * 10)
    return contract_of(scene_histogram(scene), scene, ClassTable.from_codes([0, 1]))


EVERYWHERE = np.ones((64, 64), bool)


@pytest.fixture(scope="module")
def sentinel2():
    return synthetic_sentinel2((64, 64), seed=3, nodata_wedge=False)[0]


@pytest.mark.parametrize(
    ("scale", "factor", "dtype"),
    [
        (1e-4, 1, "uint16"),
        (1, 1, "uint16"),
        (1, 1, "int32"),
        (1, 1, "float32"),
        (1, 1e-4, "float32"),
    ],
)
def test_sentinel_2s_other_convention_is_seen_whatever_the_tags(sentinel2, scale, factor, dtype):
    old = sentinel2.copy(data=(sentinel2.values * factor).astype(dtype))
    new = sentinel2.copy(data=((sentinel2.values + 1000.0) * factor).astype(dtype))
    remedy = "harmonize" if np.dtype(dtype).kind in "ui" else "--offset -"
    for trained, seen, what in (
        (old, new, f"raised by (1000|0.1) .*{remedy}"),
        (new, old, "lowered by"),
    ):
        contract = trained_on(trained, scale)
        check = ValueCheck(contract)
        check(trained.values, EVERYWHERE, contract)
        with pytest.warns(ContractWarning, match=what):
            check(seen.values, EVERYWHERE, contract)
        check(seen.values, EVERYWHERE, contract)  # a second warning would be an error


def test_an_offset_that_the_scene_states_is_no_shift(sentinel2, recwarn):
    contract = trained_on(sentinel2, 1e-4)
    stated = replace(contract, offset=(-0.1,) * 10)
    ValueCheck(contract)(sentinel2.values + 1000, EVERYWHERE, stated)
    assert not recwarn


def test_zeros_constants_and_heights_hide_no_offset(sentinel2):
    contract = trained_on(sentinel2, 1)
    raised = sentinel2.values + 1000
    raised[:, :, :8] = 0
    raised[9] = 0
    raised[8] = sentinel2.values[8]
    with pytest.warns(ContractWarning, match="seem raised by 1000"):
        ValueCheck(contract)(raised, EVERYWHERE, contract)


def test_a_contract_without_dark_numbers_goes_by_its_minimum(sentinel2):
    contract = replace(trained_on(sentinel2, 1), dark=())
    contract = replace(contract, minimum=tuple(low - 300.0 for low in contract.minimum))
    with pytest.warns(ContractWarning, match="seem raised by 1000"):
        ValueCheck(contract)(sentinel2.values + 1000, EVERYWHERE, contract)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_other_data_are_no_sentinel_2(dtype, recwarn):
    heights = np.linspace(100, 200, 4096).reshape(1, 64, 64).astype(dtype)
    contract = plain_contract(
        ["height"], ClassTable.from_codes([0, 1]), bright=5000.0, nodata=None, dark=(100.0,)
    )
    shift = {"uint8": 50, "int16": 2500, "float32": 1000}[dtype]
    contract = replace(contract, dtype=dtype)
    ValueCheck(contract)(heights + np.array(shift, dtype), EVERYWHERE, contract)
    assert not recwarn


def marked_contract() -> Contract:
    return replace(make_contract(("red", "green", "blue")), dtype="uint8", nodata=0.0)


def test_nothing_is_said_of_inherited_nodata_where_pixels_are_missing_as_nan():
    values = np.random.default_rng(0).uniform(500, 4000, (3, 32, 32)).astype("f4")
    values[:, :4] = np.nan
    valid = np.isfinite(values).all(axis=0)
    ValueCheck(marked_contract(), inherits=True)(values, valid, marked_contract())
    values[:, 4:8] = 0
    valid[4:8] = False
    with pytest.warns(ContractWarning, match=r"12\.5% of the pixels"):
        ValueCheck(marked_contract(), inherits=True)(values, valid, marked_contract())


def test_nodata_that_a_scene_only_inherits_makes_no_hole_without_a_word():
    values = np.random.default_rng(0).integers(1, 255, (3, 40, 40)).astype(np.uint8)
    values[:, 10:20, 10:20] = 0
    valid = (values != 0).any(axis=0)
    check = ValueCheck(marked_contract(), inherits=True)
    with pytest.warns(ContractWarning, match=r"6\.2% .* are 0, the nodata value of the training"):
        check(values, valid, marked_contract())
    ValueCheck(marked_contract())(values, valid, marked_contract())


def test_a_margin_that_is_mapped_like_data_is_named_once():
    values = np.random.default_rng(0).integers(1, 255, (3, 40, 40)).astype(np.uint8)
    values[:, :10] = 255
    check = ValueCheck(marked_contract())
    with pytest.warns(SceneWarning, match=r"25% .* are 255 in all bands.*--nodata 255") as caught:
        check(values, np.ones((40, 40), bool), marked_contract())
    assert len(caught) == 1
    check(values, np.ones((40, 40), bool), marked_contract())


@pytest.mark.parametrize(
    ("dtype", "bands", "told"),
    [("int16", 1, False), ("float32", 1, False), ("uint16", 1, True), ("int16", 2, True)],
)
def test_heights_of_0_at_the_sea_are_no_margin(dtype, bands, told, recwarn):
    values = np.random.default_rng(0).integers(1, 4000, (bands, 40, 40)).astype(dtype)
    values[:, :10] = 0
    contract = replace(make_contract(("height", "slope")[:bands]), dtype=dtype)
    ValueCheck(contract)(values, np.ones((40, 40), bool), contract)
    assert [one.category for one in recwarn] == told * [SceneWarning]


def test_slanted_pixels_of_a_sinusoidal_grid_are_of_one_size_everywhere():
    crs = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    size = 463.312716528
    for x in (0, 1111950.519667, -6671703.118):  # h18, h20 and h12 of MODIS
        grid = Affine(size, 0, x, 0, -size, 5559752.598333)
        scene = place(np.ones((1, 64, 64), "i2"), crs, grid)
        assert ground_sample_distance(scene) == pytest.approx((size, size), rel=1e-3)
