import dask
import dask.array as da
import numpy as np
import pytest
import rasterio.features
from hypothesis import given
from hypothesis import strategies as st
from mosaics import NODATA, as_map, chunked_mosaics, noisy_codes

import seg4eo_xr as seg
from seg4eo_xr.postprocessing.components import Components
from seg4eo_xr.postprocessing.sieving import sieve_layers
from seg4eo_xr.testing import raising_scheduler


def sieved(codes, min_pixels):
    return sieve_layers(codes, [], NODATA, min_pixels)[0]


@given(chunked_mosaics(), st.integers(1, 60))
def test_any_chunking_gives_the_result_of_the_whole_image(mosaic, min_pixels):
    codes, chunks = mosaic
    lazy = sieved(da.from_array(codes, chunks=chunks), min_pixels)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), sieved(codes, min_pixels))


@given(chunked_mosaics(), st.integers(1, 60))
def test_what_is_too_small_in_the_end_has_no_neighbour_but_nodata(mosaic, min_pixels):
    codes, _ = mosaic
    result = sieved(codes, min_pixels)
    components = Components.of(result)
    valid = components.codes != NODATA
    pairs = components.neighbours(valid & (components.sizes < min_pixels))
    assert not valid[pairs].all(1).any()
    np.testing.assert_array_equal(result == NODATA, codes == NODATA)


@given(chunked_mosaics(), st.integers(1, 30))
def test_large_components_stay_and_a_second_sieve_changes_nothing(mosaic, min_pixels):
    codes, _ = mosaic
    components = Components.of(codes)
    large = (components.sizes >= min_pixels)[components.labels]
    result = sieved(codes, min_pixels)
    np.testing.assert_array_equal(result[large], codes[large])
    np.testing.assert_array_equal(sieved(result, min_pixels), result)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_gdal_where_that_clears_all_that_is_too_small(seed):
    codes = np.kron(noisy_codes(seed, (12, 12), specks=0, missing=0), np.ones((9, 9), np.uint8))
    rng = np.random.default_rng(seed)
    rows, columns = (rng.permutation(36)[:20] * 3 + 1 for _ in range(2))
    codes[rows, columns] = 1
    codes[rows + 1, columns] = 2
    oracle = rasterio.features.sieve(codes, 20, connectivity=4)
    np.testing.assert_array_equal(sieved(codes, 20), oracle)


def test_of_equal_neighbours_the_first_takes_a_component():
    codes = np.array([[5, 5, 9, 1, 1]], np.uint8)
    assert sieved(codes, 2).tolist() == [[5, 5, 5, 1, 1]]


def test_blocks_wait_for_the_decision_and_other_layers_for_them():
    read = []

    def note(codes, block_id=None):
        read.append(block_id)
        return codes

    source = da.from_array(noisy_codes(0, (40, 40)), chunks=20).map_blocks(note, dtype=np.uint8)
    prediction = as_map(noisy_codes(0, (40, 40)))
    prediction["classes"] = prediction["classes"].copy(data=source)
    prediction["confidence"] = prediction["confidence"].copy(data=source / np.float32(255))
    read.clear()
    with dask.config.set(scheduler=raising_scheduler):
        result = seg.sieve(prediction, 9)
    assert not read
    dask.compute(result["classes"].data, result["confidence"].data, scheduler="synchronous")
    # once to learn, and once for both layers
    assert len(read) == 8
    np.testing.assert_array_equal(result["confidence"], source.compute() / np.float32(255))


def test_graphs_are_deterministic():
    codes = da.from_array(noisy_codes(0, (40, 40)), chunks=20)
    assert sieved(codes, 9).name == sieved(codes, 9).name
    assert sieved(codes, 9).name != sieved(codes, 8).name


def test_a_mapping_unit_of_no_pixels_is_refused():
    with pytest.raises(ValueError, match="min_pixels must be 1 or more, got 0"):
        seg.sieve(as_map(noisy_codes(0, (9, 9))), 0)


@pytest.mark.parametrize("chunks", [None, 32])
def test_a_written_map_is_filtered_sieved_and_outlined_as_the_array_is(chunks, tmp_path):
    codes = noisy_codes(3, (90, 70))
    seg.write_cog(as_map(codes)[["classes"]], tmp_path / "map.tif")
    seg.write_zarr(as_map(codes), tmp_path / "map.zarr")
    for name in ("map.tif", "map.zarr"):
        written = seg.open_map(tmp_path / name)
        if chunks:
            written = written.chunk(y=chunks, x=chunks)
        result = written.seg4eo.sieve(6)
        np.testing.assert_array_equal(result["classes"], sieved(codes, 6), err_msg=name)
        calm = written.seg4eo.majority_filter(3)
        expected = sieved(calm["classes"].values, 6)
        np.testing.assert_array_equal(calm.seg4eo.sieve(6)["classes"], expected, err_msg=name)
        polygons = calm.seg4eo.to_polygons(min_pixels=6)
        assert polygons["pixels"].sum() == (expected != NODATA).sum()
