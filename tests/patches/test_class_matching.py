"""Laws of classes in a store: what has one name is one class, wherever its labels come from."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr

import seg4eo_xr as seg
from seg4eo_xr.cli.main import main
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.testing import synthetic_sentinel2

SIZE = 16
WHOLE = seg.RandomSplit(1, 0, 0)
TABLE = seg.ClassTable.from_codes([1, 2], ["maize", "wheat"])


def scene(number, folder=None):
    made, _ = synthetic_sentinel2((64, 64), seed=number, nodata_wedge=False)
    made = select_bands(made, ["B02", "B03"])
    made.encoding["source"] = f"scene {number}"
    if folder is None:
        return made
    path = folder / f"Image_{number}.tif"
    made.rio.to_raster(path)
    return path


def halves(like, left, right, name="crop"):
    """Polygons of two halves of a scene, each with a class."""
    west, south, east, north = like.rio.bounds()
    middle = (west + east) / 2
    boxes = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
    return gpd.GeoDataFrame({name: [left, right]}, geometry=boxes, crs=like.rio.crs)


def coded(like, left, right, table):
    """Labels of two halves, each with a code."""
    codes = np.full(like.shape[1:], left, np.uint8)
    codes[:, 32:] = right
    labels = like.isel(band=0, drop=True).copy(data=codes)
    labels.attrs, labels.encoding = {} if table is None else table.to_attrs(), {}
    return labels.rio.write_nodata(255)


def extract(like, labels, path, **options):
    return seg.extract_patches(
        like, labels, path, patch_size=SIZE, split=WHOLE, progress=False, **options
    )


def counts_of(store):
    """Labelled pixels by name."""
    names = dict(zip(store.contract.classes.codes, store.contract.classes.names, strict=True))
    return {names[code]: count for code, count in store.class_counts("train").items()}


class TestAppending:
    @pytest.mark.parametrize("opened", [True, False])
    def test_a_second_scene_has_the_codes_of_the_store(self, opened, tmp_path):
        path = tmp_path / "a.zarr"
        first, second = scene(1), scene(2)
        labels = seg.open_labels(halves(first, "maize", "wheat"), like=first, column="crop")
        extract(first, labels, path)
        shapes = halves(second, "wheat", "Rye")
        burned = seg.open_labels(shapes, like=second, column="crop")
        if not opened:
            burned.rio.to_raster(tmp_path / "labels.tif")
        store = extract(second, burned if opened else tmp_path / "labels.tif", path, append=True)
        assert store.contract.classes.names == ("maize", "wheat", "Rye")
        assert counts_of(store) == {"maize": 2048, "wheat": 4096, "Rye": 2048}
        labels = store.dataset.labels.values
        for scene_number, codes in ((0, [1, 2]), (1, [2, 3])):
            own = labels[store.coordinate("scene") == scene_number]
            assert np.unique(own).tolist() == codes
        assert seg.ClassTable.from_attrs(store.dataset.labels.attrs) == store.contract.classes

    def test_numbered_names_get_the_codes_that_somebody_chose(self, tmp_path):
        path, table = tmp_path / "a.zarr", seg.ClassTable.from_codes([7, 20], ["wheat", "maize"])
        first, second = scene(1), scene(2)
        extract(first, coded(first, 7, 20, table), path)
        shapes = halves(second, "MAIZE", "wheat")
        labels = seg.open_labels(shapes, like=second, column="crop")
        assert counts_of(extract(second, labels, path, append=True)) == {
            "wheat": 4096,
            "maize": 4096,
        }

    @pytest.mark.parametrize(
        ("codes", "names", "says"),
        [
            ([1, 2], ["wheat", "maize"], r"class 'wheat' has the code 2 in .*a\.zarr, but 1 in"),
            ([1, 3], ["wheat", "rye"], r"class 'wheat' has the code 2"),
            ([1, 2], ["maize", "rye"], r"code 2 is 'wheat' in .*a\.zarr, but 'rye' in"),
        ],
    )
    def test_codes_that_contradict_the_store_are_refused(self, codes, names, says, tmp_path):
        path = tmp_path / "a.zarr"
        first, second = scene(1), scene(2)
        extract(first, coded(first, 1, 2, TABLE), path)
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        labels = coded(second, *codes, seg.ClassTable.from_codes(codes, names))
        with pytest.raises(ValueError, match=says):
            extract(second, labels, path, append=True)
        labels.rio.to_raster(tmp_path / "labels.tif")
        with pytest.raises(ValueError, match=says):
            extract(second, tmp_path / "labels.tif", path, append=True)
        assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before

    def test_new_codes_follow_wherever_they_lie_and_old_counts_stay(self, tmp_path):
        path = tmp_path / "a.zarr"
        first, second = scene(1), scene(2)
        old = extract(
            first, coded(first, 3, 9, seg.ClassTable.from_codes([3, 9], ["a", "b"])), path
        )
        before = old.dataset.class_pixels.values
        table = seg.ClassTable.from_codes([3, 5], ["a", "c"])
        store = extract(second, coded(second, 3, 5, table), path, append=True)
        assert store.contract.classes.codes == (3, 5, 9)
        assert counts_of(store) == {"a": 4096, "c": 2048, "b": 2048}
        for codes in (store.dataset["class"].values, store.coordinate("class")):
            assert codes.tolist() == [3, 9, 5]
        np.testing.assert_array_equal(store.dataset.class_pixels.values[:16, :2], before)
        # who has the store open reads what was there
        np.testing.assert_array_equal(old.dataset.class_pixels.values, before)
        again = extract(scene(3), coded(second, 5, 9, None), path, append=True)
        assert counts_of(again) == {"a": 4096, "c": 4096, "b": 4096}

    def test_a_given_table_adds_classes_and_does_not_change_those_there_are(self, tmp_path):
        path = tmp_path / "a.zarr"
        first, second = scene(1), scene(2)
        extract(first, coded(first, 1, 2, None), path, classes=TABLE)
        bare = coded(second, 2, 4, None)
        with pytest.raises(ValueError, match=r"class codes \[4\].*not in the class table \[1, 2\]"):
            extract(second, bare, path, append=True)
        for swapped in (["wheat", "maize"], ["maize", "rye"]):
            table = seg.ClassTable.from_codes([1, 2], swapped)
            with pytest.raises(ValueError, match=r"'wheat'.*a\.zarr.*in the labels of scene 2"):
                extract(second, bare, path, append=True, classes=table)
        table = seg.ClassTable.from_codes([2, 4], ["wheat", "rye"])
        store = extract(second, bare, path, append=True, classes=table)
        assert counts_of(store) == {"maize": 2048, "wheat": 4096, "rye": 2048}

    def test_a_code_that_the_labels_of_the_store_cannot_hold_is_refused(self, tmp_path):
        path, like = tmp_path / "a.zarr", scene(1)
        extract(like, coded(like, 1, 2, TABLE), path)
        table = seg.ClassTable.from_codes([1, 300], ["maize", "rye"])
        with pytest.raises(ValueError, match=r"uint8.*\[300\] cannot be added"):
            extract(scene(2), coded(like, 1, 1, None), path, append=True, classes=table)

    def test_names_and_bare_codes_do_not_mix(self, tmp_path):
        path, like = tmp_path / "a.zarr", scene(1)
        extract(like, coded(like, 1, 2, None), path)
        labels = seg.open_labels(halves(like, "wheat", "rye"), like=like, column="crop")
        with pytest.raises(ValueError, match=r"rye, wheat.*codes without names \(\[1, 2\]\)"):
            extract(scene(2), labels, path, append=True)
        # but codes may get their names later
        assert counts_of(extract(scene(2), coded(like, 1, 2, TABLE), path, append=True)) == {
            "maize": 4096,
            "wheat": 4096,
        }

    def test_the_command_line_appends_by_name(self, tmp_path):
        words = ["--column", "crop", "--output", str(tmp_path / "a.zarr"), "--patch_size", "16"]
        words += ["--train_ratio", "1", "--val_ratio", "0", "--test_ratio", "0"]
        for number, names in enumerate((("maize", "wheat"), ("wheat", "wheat")), start=1):
            image, label = scene(number, tmp_path), tmp_path / f"Label_{number}.gpkg"
            halves(seg.open_scene(image), *names).to_file(label)
            given = ["--image", str(image), "--label", str(label), *words]
            assert main(["extract", "single", *given, "--append", "--quiet"]) == 0
        store = seg.open_store(tmp_path / "a.zarr")
        assert counts_of(store) == {"maize": 2048, "wheat": 6144}


class TestOpeningWithATable:
    @pytest.mark.parametrize("chunks", [None, 20])
    def test_numbered_names_move_to_the_codes_of_the_table(self, chunks):
        like = scene(1)
        labels = seg.open_labels(halves(like, "maize", "wheat"), like=like, column="crop")
        labels = labels if chunks is None else labels.chunk(chunks)
        table = seg.ClassTable.from_codes([1, 2, 300], ["Wheat", "Maize", "rye"])
        opened = seg.open_labels(labels, classes=table)
        assert seg.ClassTable.from_attrs(opened.attrs) == table
        np.testing.assert_array_equal(opened, coded(like, 2, 1, None))
        dropped = seg.open_labels(labels, classes=table, unlabelled=("wheat",))
        np.testing.assert_array_equal(dropped, coded(like, 2, 255, None))
        assert seg.ClassTable.from_attrs(dropped.attrs).names == ("Maize", "rye")
        with pytest.raises(ValueError, match=r"hold the classes \['maize'\].*\['wheat', 'rye'\]"):
            seg.open_labels(labels, classes=seg.ClassTable.from_codes([2, 3], ["wheat", "rye"]))

    def test_codes_that_somebody_chose_do_not_change_their_name(self, tmp_path):
        like = scene(1)
        labels = coded(like, 1, 2, TABLE)
        labels.rio.to_raster(tmp_path / "labels.tif")
        bare = coded(like, 1, 2, None)
        bare.rio.to_raster(tmp_path / "names.tif")
        names = "<Category></Category><Category>maize</Category><Category>wheat</Category>"
        (tmp_path / "names.tif.aux.xml").write_text(
            f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{names}</CategoryNames>"
            "</PAMRasterBand></PAMDataset>"
        )
        for source in (labels, tmp_path / "labels.tif", tmp_path / "names.tif"):
            for other in (["wheat", "maize"], ["maize", "rye"], ["rye", "maize"]):
                table = seg.ClassTable.from_codes([1, 2], other)
                with pytest.raises(ValueError, match="in the given class table"):
                    seg.open_labels(source, classes=table)
                with pytest.raises(ValueError, match="given class table"):
                    extract(like, source, tmp_path / "a.zarr", classes=table)
            more = seg.ClassTable.from_codes([1, 2, 3], ["Maize", "wheat", "rye"])
            assert seg.ClassTable.from_attrs(seg.open_labels(source, classes=more).attrs) == more


class TestBatches:
    @pytest.mark.parametrize("options", [{}, {"column": "k"}, {"column": "k", "background": 0}])
    def test_vectors_of_one_class_agree_whatever_their_files_are_called(self, options, tmp_path):
        for number in (1, 2):
            frame = halves(seg.open_scene(scene(number, tmp_path)), 1, 2, name="k").iloc[:1]
            frame.to_file(tmp_path / f"Label_{number}.gpkg")
        store = seg.extract_batch(
            seg.find_pairs(tmp_path),
            tmp_path / "a.zarr",
            patch_size=SIZE,
            split=WHOLE,
            labels=seg.LabelOptions(**options),
            progress=False,
        ).store
        expected = {} if options == {"column": "k"} else {0: 4096}
        assert store.class_counts("train") == expected | {1: 4096}
        names = ("background", "class 1" if options else "labelled")
        assert store.contract.classes.names == names[-len(expected) - 1 :]

    def test_names_are_numbered_around_the_background(self, tmp_path):
        for number, names in ((1, ("wheat", "rye")), (2, ("Rye", "oats"))):
            shapes = halves(seg.open_scene(scene(number, tmp_path)), *names)
            shapes.geometry = shapes.geometry.buffer(-10, join_style="mitre")
            shapes.to_file(tmp_path / f"Label_{number}.gpkg")
        paths = [str(tmp_path / "a.zarr"), "--data_dir", str(tmp_path), "--patch_size", "16"]
        split = ["--train_ratio", "1", "--val_ratio", "0", "--test_ratio", "0"]
        words = ["--column", "crop", "--background", "1", "--quiet", "--output", *paths, *split]
        assert main(["extract", "batch", *words]) == 0
        store = seg.open_store(tmp_path / "a.zarr")
        assert store.contract.classes.code_of == {"background": 1, "Rye": 2, "oats": 3, "wheat": 4}
        counts = counts_of(store)
        assert counts["Rye"] == counts["oats"] + counts["wheat"]

    def test_a_scene_that_contradicts_the_others_fails_alone(self, tmp_path):
        pairs = []
        for number, names in enumerate((["maize", "wheat"], ["wheat", "maize"], ["maize", "x"])):
            like = scene(number)
            labels = coded(like, 1, 2, seg.ClassTable.from_codes([1, 2], names))
            labels.rio.to_raster(tmp_path / f"l{number}.tif")
            label = tmp_path / f"l{number}.tif"
            pairs.append(seg.ScenePair(str(number), scene(number, tmp_path), label))
        with pytest.warns(seg.FailedSceneWarning):
            result = seg.extract_batch(
                pairs, tmp_path / "a.zarr", patch_size=SIZE, split=WHOLE, progress=False
            )
        assert set(result.failed) == {"1", "2"}
        assert "code 2 in the labels of 0, but 1" in result.failed["1"]
        assert "code 2 is 'wheat' in the labels of 0, but 'x'" in result.failed["2"]
        assert counts_of(result.store) == {"maize": 2048, "wheat": 2048}


def write_patch(folder, name, codes, table=None, **about):
    """One GeoTIFF patch of a split, and its label of two halves."""
    place = rasterio.transform.from_origin(5e5 + 1000 * int(name), 5e6, 10, 10)
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "width": 16, "height": 16, "crs": "EPSG:32633"}
    profile |= {"transform": place, "count": 1}
    image = np.random.default_rng(int(name)).integers(1, 99, (1, 16, 16)).astype(np.uint16)
    with rasterio.open(folder / f"train/images/{name}.tif", "w", dtype="uint16", **profile) as file:
        file.write(image)
    label = np.repeat(np.array(codes, np.uint8), 8)[None].repeat(16, 0)
    with rasterio.open(folder / f"train/labels/{name}.tif", "w", dtype="uint8", **profile) as file:
        file.write(label, 1)
        if table is not None:
            file.update_tags(**{key: str(value) for key, value in table.to_attrs().items()})
        file.update_tags(**about)


class TestImporting:
    def test_numbered_label_files_are_matched_by_name(self, tmp_path):
        made_up = {"class_numbering": "alphabetical"}
        only = seg.ClassTable.from_codes([1], ["wheat"])
        write_patch(tmp_path / "a", "1", (1, 2), TABLE, **made_up)
        write_patch(tmp_path / "a", "2", (1, 1), only, **made_up)
        write_patch(tmp_path / "b", "3", (1, 1), only, **made_up)
        store = seg.import_patches(tmp_path / "a", tmp_path / "a.zarr", progress=False)
        assert counts_of(store) == {"maize": 128, "wheat": 384}
        store = seg.import_patches(tmp_path / "b", tmp_path / "a.zarr", append=True, progress=False)
        assert counts_of(store) == {"maize": 128, "wheat": 640}
        given = seg.ClassTable.from_codes([4, 5], ["wheat", "maize"])
        store = seg.import_patches(
            tmp_path / "a", tmp_path / "c.zarr", classes=given, progress=False
        )
        assert store.contract.classes == given
        assert counts_of(store) == {"maize": 128, "wheat": 384}

    def test_label_files_that_contradict_each_other_are_refused(self, tmp_path):
        swapped = seg.ClassTable.from_codes([1, 2], ["wheat", "maize"])
        write_patch(tmp_path / "a", "1", (1, 2), TABLE)
        write_patch(tmp_path / "b", "2", (1, 2), swapped)
        for table in (swapped, seg.ClassTable.from_codes([1, 2], ["maize", "rye"])):
            write_patch(tmp_path / "c", "1", (1, 2), TABLE)
            write_patch(tmp_path / "c", "2", (1, 2), table)
            with pytest.raises(ValueError, match="'wheat'"):
                seg.import_patches(tmp_path / "c", tmp_path / "c.zarr", progress=False)
        seg.import_patches(tmp_path / "a", tmp_path / "a.zarr", progress=False)
        with pytest.raises(ValueError, match=r"'wheat' has the code 2 in .*a\.zarr, but 1"):
            seg.import_patches(tmp_path / "b", tmp_path / "a.zarr", append=True, progress=False)


def test_matching_reads_no_pixel_and_does_not_depend_on_chunks():
    like = scene(1)
    labels = seg.open_labels(halves(like, "maize", "wheat"), like=like, column="crop")
    table = seg.ClassTable.from_codes([5, 6], ["wheat", "maize"])

    def fail(block):
        raise AssertionError("a pixel was read")

    lazy = xr.apply_ufunc(fail, labels.chunk(7), dask="parallelized", output_dtypes=[labels.dtype])
    seg.open_labels(lazy.assign_attrs(labels.attrs), classes=table)
    results = [seg.open_labels(labels.chunk(side), classes=table).values for side in (7, 64)]
    np.testing.assert_array_equal(*results)
