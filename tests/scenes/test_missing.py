"""What is missing is missing however a file says it: masks, alpha, nodata of each band."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import ColorInterp

import seg4eo_xr as seg
from seg4eo_xr.cli import main
from seg4eo_xr.scenes.missing import mark_missing
from seg4eo_xr.testing import raising_scheduler, untrained_checkpoint

GRID = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
SIDE = 64
NUMBERS = np.random.default_rng(0).integers(0, 200, (3, SIDE, SIDE))
HIDDEN = np.zeros((SIDE, SIDE), bool)
HIDDEN[:, :24] = True


def write(path, values, *, mask=None, internal=True, colors=None, tags=None, **profile):
    """Write a GeoTIFF with what may come with it."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, **GRID, **profile}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file,
    ):
        if colors is not None:
            file.colorinterp = colors
        file.write(values)
        file.update_tags(**(tags or {}))
        if mask is not None:
            file.write_mask(np.where(mask, 0, 255).astype(np.uint8))
    return path


def write_rgba(path, alpha=None):
    alpha = np.where(HIDDEN, 0, 255) if alpha is None else alpha
    colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    values = np.concatenate([NUMBERS, alpha[None]]).astype(np.uint8)
    return write(path, values, colors=colors, photometric="RGB", alpha="YES")


def write_vrt(path, *bands):
    """Write a virtual raster of bands ``(dtype, nodata)`` of one file."""
    write(path.with_suffix(".tif"), NUMBERS.astype(np.uint16))
    source = (
        f'<SourceFilename relativeToVRT="1">{path.stem}.tif</SourceFilename><SourceBand>%d'
        "</SourceBand>"
    )
    parts = [
        f'<VRTRasterBand dataType="{dtype}" band="{number}">'
        + ("" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>")
        + f"<SimpleSource>{source % number}</SimpleSource></VRTRasterBand>"
        for number, (dtype, nodata) in enumerate(bands, start=1)
    ]
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>{''.join(parts)}</VRTDataset>"
    )
    return path


def missing_pixels(scene):
    """Where the scene's nodata value stands, ``(band, y, x)``."""
    mark = scene.rio.nodata
    return np.isnan(scene.values) if np.isnan(mark) else scene.values == mark


class TestMasks:
    @pytest.mark.parametrize("internal", [True, False], ids=["internal", "sidecar"])
    @pytest.mark.parametrize(
        ("dtype", "mark"), [("uint8", 0), ("uint16", 0), ("int16", -32768), ("float32", np.nan)]
    )
    def test_what_a_mask_hides_is_nodata_and_nothing_else_is(self, tmp_path, internal, dtype, mark):
        values = NUMBERS.astype(dtype)
        path = write(tmp_path / "m.tif", values, mask=HIDDEN, internal=internal)
        scene = seg.open_scene(path, chunks=20)
        assert scene.dtype == dtype
        np.testing.assert_equal(float(scene.rio.nodata), float(mark))
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(HIDDEN, scene.shape))
        moved = np.where(values == mark, values + 1, values)
        np.testing.assert_array_equal(scene.values[:, ~HIDDEN], moved[:, ~HIDDEN])
        assert (seg.band_statistics(scene)["count"] == (~HIDDEN).sum()).all()

    def test_a_mask_adds_to_the_nodata_value_of_the_file(self, tmp_path):
        values = NUMBERS.astype(np.uint8)
        scene = seg.open_scene(write(tmp_path / "m.tif", values, mask=HIDDEN, nodata=7))
        assert scene.rio.nodata == 7
        np.testing.assert_array_equal(missing_pixels(scene), HIDDEN | (values == 7))
        np.testing.assert_array_equal(scene.values[:, ~HIDDEN], values[:, ~HIDDEN])

    def test_another_nodata_value_keeps_the_mask(self, tmp_path):
        values = NUMBERS.astype(np.uint8)
        path = write(tmp_path / "m.tif", values, mask=HIDDEN, nodata=7)
        scene = seg.open_scene(path, nodata=250)
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(HIDDEN, scene.shape))

    def test_what_all_bands_mark_by_the_tag_nodata_values_is_missing(self, tmp_path):
        values = np.where(HIDDEN, 0, NUMBERS).astype(np.uint8)
        path = write(tmp_path / "t.tif", values, tags={"NODATA_VALUES": "0 0 0"})
        missing = (values == 0).all(axis=0)
        scene = seg.open_scene(path)
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(missing, scene.shape))

    def test_a_mask_of_labels_makes_them_unlabelled(self, tmp_path):
        codes = (NUMBERS[:1] // 100).astype(np.uint8)
        scene = seg.open_scene(write(tmp_path / "s.tif", NUMBERS.astype(np.uint16)))
        labels = seg.open_labels(write(tmp_path / "l.tif", codes, mask=HIDDEN), like=scene)
        np.testing.assert_array_equal(labels == labels.rio.nodata, HIDDEN)
        np.testing.assert_array_equal(labels.values[~HIDDEN], codes[0][~HIDDEN])

    def test_a_masked_map_is_judged_where_it_shows_something(self, tmp_path):
        codes = (NUMBERS[:1] // 100).astype(np.uint8)
        reference = write(tmp_path / "r.tif", codes)
        path = write(tmp_path / "m.tif", np.where(HIDDEN, 1 - codes, codes), mask=HIDDEN)
        report = seg.evaluate(path, reference)
        assert report.accuracy == 1
        assert int(report.matrix.sum()) == (~HIDDEN).sum()

    def test_opening_reads_nothing_and_parts_are_read_alike(self, tmp_path):
        path = write(tmp_path / "m.tif", NUMBERS.astype(np.uint16), mask=HIDDEN)
        with dask.config.set(scheduler=raising_scheduler):
            scene = seg.open_scene(path, chunks=20)
        np.testing.assert_array_equal(scene[1, 5:50:3, 7].values, scene.values[1, 5:50:3, 7])


class TestAlpha:
    def test_alpha_marks_missing_pixels_and_is_no_band(self, tmp_path):
        path = write_rgba(tmp_path / "drone.tif")
        with pytest.warns(seg.SceneWarning, match="band 4 .*alpha.*--keep_alpha"):
            scene = seg.open_scene(path)
        assert scene.shape == (3, SIDE, SIDE)
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(HIDDEN, scene.shape))

    def test_alpha_of_five_bands_counts_as_well(self, tmp_path):
        values = np.concatenate([NUMBERS, NUMBERS[:1], np.where(HIDDEN, 0, 9)[None]])
        colors = [ColorInterp.gray, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
        path = write(tmp_path / "five.tif", values.astype(np.uint16), colors=colors)
        with pytest.warns(seg.SceneWarning, match="band 5"):
            scene = seg.open_scene(path)
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(HIDDEN, scene.shape))

    def test_near_infrared_that_is_marked_as_alpha_is_seen_and_can_be_kept(self, tmp_path):
        path = write_rgba(tmp_path / "aerial.tif", alpha=NUMBERS[0])
        with pytest.warns(seg.SceneWarning, match="look like data, such as near infrared"):
            seg.open_scene(path)
        scene = seg.open_scene(path, keep_alpha=True)
        assert scene.rio.nodata is None
        np.testing.assert_array_equal(scene.values[3], NUMBERS[0])

    def test_a_band_with_a_name_of_its_own_is_kept(self, tmp_path):
        path = write_rgba(tmp_path / "aerial.tif", alpha=NUMBERS[0])
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("red", "green", "blue", "nir")
        assert seg.open_scene(path).band.values.tolist() == ["red", "green", "blue", "nir"]

    def test_a_mosaic_takes_the_second_scene_where_the_first_is_transparent(self, tmp_path):
        first = write_rgba(tmp_path / "first.tif")
        second = write_rgba(tmp_path / "second.tif", alpha=np.where(HIDDEN, 255, 0))
        with pytest.warns(seg.SceneWarning):
            mosaic = seg.open_mosaic([first, second])
        np.testing.assert_array_equal(mosaic.values, np.maximum(NUMBERS, 1))


class TestNodataOfBands:
    def test_each_band_has_its_own(self, tmp_path):
        path = write_vrt(tmp_path / "v.vrt", ("UInt16", 5), ("UInt16", 9), ("UInt16", None))
        scene = seg.open_scene(path)
        assert scene.rio.nodata == 5
        expected = [NUMBERS[0] == 5, NUMBERS[1] == 9, np.zeros_like(HIDDEN)]
        np.testing.assert_array_equal(missing_pixels(scene), expected)
        np.testing.assert_array_equal(scene.values[2], np.where(NUMBERS[2] == 5, 6, NUMBERS[2]))

    def test_a_number_that_no_pixel_can_have_marks_nothing(self, tmp_path):
        path = write_vrt(tmp_path / "v.vrt", ("UInt16", 0.5), ("UInt16", 0.5))
        with pytest.warns(seg.SceneWarning, match=r"0\.5 fits no pixel of uint16.*--nodata"):
            scene = seg.open_scene(path)
        assert scene.rio.nodata is None
        assert seg.open_scene(path, nodata=0).rio.nodata == 0

    def test_bands_of_different_dtypes_are_read_in_one_that_holds_all(self, tmp_path):
        path = write_vrt(tmp_path / "v.vrt", ("UInt16", 0), ("Float32", 0), ("Int16", None))
        with pytest.warns(seg.SceneWarning, match="float32, int16, uint16.*as float32"):
            scene = seg.open_scene(path)
        np.testing.assert_array_equal(scene.values[:2], NUMBERS[:2])
        np.testing.assert_array_equal(missing_pixels(scene)[2], np.zeros_like(HIDDEN))

    @pytest.mark.parametrize(("mark", "beside"), [(0, 1), (255, 254)])
    def test_the_neighbour_of_a_nodata_value_lies_within_the_dtype(self, mark, beside):
        values = np.array([[[mark, 9]]], np.uint8)
        mark_missing(values, np.zeros((1, 1, 1), bool), [None], mark)
        assert values.tolist() == [[[beside, 9]]]


class TestColourTables:
    @staticmethod
    def paint(path, **profile):
        codes = np.where(HIDDEN, 3, NUMBERS[:1] % 3).astype(np.uint8)
        with rasterio.open(
            path, "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", **GRID,
            **profile,
        ) as file:  # fmt: skip
            file.write(codes)
            file.write_colormap(1, {0: (0, 9, 9), 1: (200, 0, 0), 2: (7, 8, 9), 3: (1, 1, 1)})
        return path

    def test_indices_become_colours(self, tmp_path):
        path = self.paint(tmp_path / "p.tif")
        with pytest.warns(seg.SceneWarning, match="colour table"):
            scene = seg.open_scene(path)
        colors = np.array([[0, 9, 9], [200, 0, 0], [7, 8, 9], [1, 1, 1]])
        indices = np.where(HIDDEN, 3, NUMBERS[0] % 3)
        np.testing.assert_array_equal(scene.values, colors[indices].transpose(2, 0, 1))
        assert scene.rio.nodata is None

    def test_the_index_of_nodata_is_missing_in_all_colours(self, tmp_path):
        path = self.paint(tmp_path / "p.tif", nodata=3)
        with pytest.warns(seg.SceneWarning, match="colour table"):
            scene = seg.open_scene(path)
        np.testing.assert_array_equal(missing_pixels(scene), np.broadcast_to(HIDDEN, scene.shape))

    def test_labels_keep_their_codes(self, tmp_path):
        labels = seg.open_labels(self.paint(tmp_path / "p.tif", nodata=3))
        assert (labels.rio.nodata, set(np.unique(labels))) == (3, {0, 1, 2, 3})


class TestScenesTogether:
    """Scenes that state a nodata value, and scenes that state none."""

    @pytest.fixture
    def paths(self, tmp_path):
        values = NUMBERS.astype(np.uint16)
        masked = write(tmp_path / "masked.tif", values[:1], mask=HIDDEN)
        return [masked, write(tmp_path / "plain.tif", values[1:2])]

    def test_bands_of_files_keep_what_is_valid_in_each(self, paths):
        scene = seg.open_scene(paths)
        np.testing.assert_array_equal(missing_pixels(scene), [HIDDEN, np.zeros_like(HIDDEN)])
        np.testing.assert_array_equal(scene.values[1], np.maximum(NUMBERS[1], 1))

    def test_a_mosaic_of_both_has_no_hole(self, paths, tmp_path):
        mosaic = seg.open_mosaic(paths)
        expected = np.maximum(np.where(HIDDEN, NUMBERS[1], NUMBERS[0]), 1)
        np.testing.assert_array_equal(mosaic.values[0], expected)
        assert mosaic.dtype == np.uint16

    def test_a_time_series_takes_both(self, paths):
        cube = seg.open_cube(paths, ["2021-06-03", "2021-06-13"], band_names=("red",))
        assert cube.rio.nodata == 0
        assert (cube[1] == 0).sum() == 0

    @pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
    def test_nodata_is_the_same_number_in_every_dtype(self, tmp_path, order):
        paths = [
            write(tmp_path / "n.tif", NUMBERS[:1].astype(np.uint16), nodata=0),
            write(tmp_path / "f.tif", NUMBERS[1:2].astype(np.float32), nodata=0),
        ][order]
        with pytest.warns(seg.SceneWarning, match="float32, uint16; all of them are read as float"):
            scene = seg.open_scene(paths)
        assert scene.rio.nodata == 0
        np.testing.assert_array_equal(scene.values, NUMBERS[:2][order])

    @pytest.mark.parametrize("nodata", [None, np.nan])
    def test_variables_of_several_dtypes_say_what_they_become(self, tmp_path, nodata):
        plain = seg.open_scene(write(tmp_path / "n.tif", NUMBERS[:1].astype(np.uint16)))[0]
        float_path = write(tmp_path / "f.tif", NUMBERS[1:2].astype(np.float32), nodata=nodata)
        planes = {"n": plain, "f": seg.open_scene(float_path)[0]}
        dataset = xr.Dataset({name: plane.drop_vars("band") for name, plane in planes.items()})
        with pytest.warns(seg.SceneWarning, match="float32, uint16"):
            scene = seg.open_scene(dataset)
        np.testing.assert_array_equal(scene.values, NUMBERS[:2])
        assert (scene.rio.nodata is None) == (nodata is None)

    def test_files_of_different_nodata_values_are_refused_with_both(self, tmp_path):
        paths = [
            write(tmp_path / f"{mark}.tif", NUMBERS[:1].astype(np.uint16), nodata=mark)
            for mark in (0, 9)
        ]
        with pytest.raises(ValueError, match=r"nodata 0 and nodata 9.*--nodata"):
            seg.open_scene(paths)

    @pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
    def test_a_batch_takes_both_and_loses_no_black_pixel(self, paths, tmp_path, order):
        labels = write(tmp_path / "l.tif", np.ones((1, SIDE, SIDE), np.uint8))
        pairs = [seg.ScenePair(path.stem, path, labels) for path in paths][order]
        options = {"patch_size": 32, "split": seg.RandomSplit(1, 0, 0), "progress": False}
        scenes = seg.SceneOptions(band_names=("red",))
        result = seg.extract_batch(pairs, tmp_path / "b.zarr", scene_options=scenes, **options)
        assert not result.failed
        store = result.store
        assert store.contract.nodata == 0
        images = store.arrays()[0][:]
        assert (images == 0).sum() == HIDDEN.sum()

    def test_a_scene_without_nodata_is_added_to_a_store_with_it(self, paths, tmp_path):
        labels = write(tmp_path / "l.tif", np.ones((1, SIDE, SIDE), np.uint8))
        for path in paths:
            store = seg.extract_patches(
                seg.open_scene(path, band_names=("red",)), labels, tmp_path / "a.zarr",
                patch_size=32, append=True, split=seg.RandomSplit(1, 0, 0), progress=False,
            )  # fmt: skip
        assert len(store) == 8
        assert (store.arrays()[0][:] == 0).sum() == HIDDEN.sum()


@pytest.mark.filterwarnings("ignore::seg4eo_xr.SceneWarning")
class TestChains:
    def test_what_alpha_hides_is_neither_trained_on_nor_mapped(self, tmp_path):
        scene = seg.open_scene(write_rgba(tmp_path / "drone.tif"))
        codes = np.where(HIDDEN, 1, NUMBERS[0] // 100).astype(np.uint8)
        table = seg.ClassTable.from_codes([0, 1])
        path = write(tmp_path / "l.tif", codes[None])
        labels = seg.open_labels(path, like=scene, classes=table)
        store = seg.extract_patches(
            scene, labels, tmp_path / "s.zarr",
            patch_size=32, split=seg.RandomSplit(1, 0, 0), progress=False,
        )  # fmt: skip
        assert store.class_counts("train") == {
            code: int((codes[~HIDDEN] == code).sum()) for code in (0, 1)
        }
        model = untrained_checkpoint(scene, labels, patch_size=32)
        classes = seg.predict(scene, model, overlap=8)["classes"]
        np.testing.assert_array_equal(classes == classes.rio.nodata, HIDDEN)

    @pytest.mark.parametrize(("option", "bands"), [([], 3), (["--keep_alpha"], 4)])
    def test_the_shell_keeps_alpha_on_request(self, tmp_path, option, bands):
        image = write_rgba(tmp_path / "aerial.tif")
        labels = write(tmp_path / "l.tif", (NUMBERS[:1] // 100).astype(np.uint8))
        command = ["extract", "single", "--image", image, "--label", labels, "--patch_size", 32]
        command += ["--output", tmp_path / "s.zarr", *option]
        assert main(list(map(str, command))) == 0
        assert len(seg.open_store(tmp_path / "s.zarr").contract.bands) == bands
