"""255 and other codes of labels on their way into a store: no class is lost without a word."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pytest

from seg4eo_xr.cli import main
from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.batch import extract_batch
from seg4eo_xr.patches.exporting import export_patches
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.importing import import_patches
from seg4eo_xr.patches.pairs import ScenePair
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelOptions, LabelWarning
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.testing import synthetic_sentinel2

SCENE, LABELS = synthetic_sentinel2((64, 64), nodata_wedge=False)
SCENE = select_bands(SCENE, ["B02", "B03"])
CODES = LABELS.values.astype(np.int64)
WATER = CODES == 1
MASK = np.where(CODES > 3, 255, 0)
OPTIONS = {"patch_size": 32, "split": RandomSplit(1, 0, 0), "progress": False}


def write(path, codes, dtype="uint8", nodata=None, east=0):
    array = LABELS.drop_attrs(deep=False).copy(data=codes.astype(dtype))
    array = array if nodata is None else array.rio.write_nodata(nodata)
    array.assign_coords(x=array.x + east).rio.to_raster(path)
    return path


def pixels(store):
    return {code: count for code, count in store.class_counts("train").items() if count}


def counts_of(codes):
    return dict(
        zip(*(found.tolist() for found in np.unique(codes, return_counts=True)), strict=True)
    )


@pytest.fixture
def pair(tmp_path):
    """Write a scene and labels for a batch, each further east."""

    def make(name, *codes, **options):
        east = 5000 * len(list(tmp_path.glob("scene*")))
        scene = tmp_path / f"scene_{name}.tif"
        SCENE.assign_coords(x=SCENE.x + east).rio.to_raster(scene)
        return ScenePair(name, scene, write(tmp_path / f"{name}.tif", *codes, **options, east=east))

    return make


def test_one_warning_is_given_for_all_masks_of_a_batch(pair, tmp_path):
    pairs = [pair("mask", MASK), pair("other", MASK)]
    both = rf"mask.tif' and 1 more hold 255 in {2 * (MASK == 255).sum():,} of 8,192 pixels"
    with pytest.warns(LabelWarning, match=both) as caught:
        store = extract_batch(pairs, tmp_path / "a.zarr", **OPTIONS).store
    assert len([w for w in caught if w.category is LabelWarning]) == 1
    assert pixels(store)[255] == 2 * (MASK == 255).sum()


def test_a_mask_of_0_and_255_is_extracted_and_trained_on_with_its_foreground(tmp_path):
    path = write(tmp_path / "mask.tif", MASK)
    with pytest.warns(LabelWarning, match="255 in"):
        store = extract_patches(SCENE, path, tmp_path / "a.zarr", **OPTIONS)
    assert store.contract.classes.codes == (0, 255)
    assert store.contract.ignore == 254
    assert pixels(store) == counts_of(MASK)
    stream = PatchStream(store, "train", batch_size=4, shuffle=False)
    (batch,) = list(stream)
    assert np.bincount(batch["label"].numpy().ravel()).tolist() == list(counts_of(MASK).values())


def test_masks_of_0_and_1_and_of_0_and_255_keep_both_foregrounds(tmp_path, pair):
    pairs = [pair("ones", MASK // 255), pair("bytes", MASK)]
    with pytest.warns(LabelWarning) as caught:
        result = extract_batch(pairs, tmp_path / "b.zarr", **OPTIONS)
    told = [str(warning.message) for warning in caught if warning.category is LabelWarning]
    assert any("bytes.tif' hold 255 in" in text for text in told)
    assert any("labels of bytes (1 of 2" in text and "those of ones" in text for text in told)
    assert not result.failed
    foreground = int((MASK == 255).sum())
    assert pixels(result.store) == {0: 2 * int((MASK == 0).sum()), 1: foreground, 255: foreground}
    quiet = LabelOptions(ignore=255)
    result = extract_batch(pairs, tmp_path / "c.zarr", labels=quiet, **OPTIONS)
    assert set(pixels(result.store)) == {0, 1}


def test_labels_of_a_batch_may_state_different_nodata_values(tmp_path, pair):
    pairs = [
        pair("zero", np.where(WATER, 0, CODES), nodata=0),
        pair("usual", np.where(WATER, 255, CODES), nodata=255),
        pair("wide", np.where(WATER, -9999, CODES), "int16", nodata=-9999),
    ]
    store = extract_batch(pairs, tmp_path / "b.zarr", **OPTIONS).store
    rest = {code: 3 * count for code, count in counts_of(CODES).items() if code != 1}
    assert pixels(store) == rest
    assert store.contract.ignore not in rest
    labels = store.dataset.labels.values
    assert (labels == store.contract.ignore).sum() == 3 * WATER.sum()


class TestAppending:
    @pytest.fixture
    def path(self, tmp_path):
        extract_patches(SCENE, LABELS, tmp_path / "a.zarr", **OPTIONS)
        return tmp_path / "a.zarr"

    def test_labels_with_another_nodata_value_take_the_code_of_the_store(self, path, tmp_path):
        other = write(tmp_path / "l.tif", np.where(WATER, 0, CODES), nodata=0)
        store = extract_patches(SCENE, other, path, append=True, **OPTIONS)
        assert store.contract.ignore == 255
        assert (store.dataset.labels == 255).sum() == WATER.sum()
        assert sum(pixels(store).values()) == 2 * CODES.size - WATER.sum()

    def test_a_class_with_the_code_of_the_store_is_refused(self, path, tmp_path):
        other = write(tmp_path / "l.tif", np.where(WATER, 255, CODES), nodata=0)
        before = len(open_store(path))
        with pytest.raises(ValueError, match=r"255.*not in the class table|class code 255"):
            extract_patches(SCENE, other, path, append=True, **OPTIONS)
        assert len(open_store(path)) == before


class TestClassTables:
    def test_255_in_the_table_is_a_class(self, tmp_path):
        path, table = write(tmp_path / "mask.tif", MASK), ClassTable.from_codes([0, 255])
        store = extract_patches(SCENE, path, tmp_path / "a.zarr", classes=table, **OPTIONS)
        assert (store.contract.classes, store.contract.ignore) == (table, 254)
        assert pixels(store) == counts_of(MASK)

    def test_255_in_the_table_of_labels_opened_before(self, tmp_path):
        table = ClassTable.from_codes([*range(7), 255])
        plain = open_labels(write(tmp_path / "l.tif", CODES))
        store = extract_patches(SCENE, plain, tmp_path / "a.zarr", classes=table, **OPTIONS)
        assert store.contract.classes == table
        assert store.contract.ignore not in table.codes
        assert pixels(store) == counts_of(CODES)

    def test_an_entry_that_the_file_calls_missing_is_left_out(self, tmp_path):
        path = write(tmp_path / "l.tif", np.where(WATER, 255, CODES), nodata=255)
        table = ClassTable.from_codes([*range(7), 255])
        with pytest.warns(LabelWarning, match="lists the code 255"):
            store = extract_patches(SCENE, path, tmp_path / "a.zarr", classes=table, **OPTIONS)
        assert (store.contract.classes, store.contract.ignore) == (table.without([255]), 255)


class TestWhatIsCountedLate:
    def test_255_of_lazy_labels_is_told(self, tmp_path):
        lazy = LABELS.drop_attrs(deep=False).copy(data=MASK.astype("uint8")).chunk(32)
        share = rf"array hold 255 in {int((MASK == 255).sum()):,} of 4,096.*\(--ignore 255\)"
        with pytest.warns(LabelWarning, match=share) as caught:
            extract_patches(SCENE, lazy, tmp_path / "a.zarr", **OPTIONS)
        assert [w.filename for w in caught if w.category is LabelWarning] == [__file__]
        extract_patches(SCENE, lazy.rio.write_nodata(255), tmp_path / "b.zarr", **OPTIONS)

    def test_negative_codes_next_to_a_nodata_value_are_told(self, tmp_path):
        path = write(tmp_path / "l.tif", np.where(WATER, -1, CODES), "int16", nodata=-9999)
        with pytest.warns(LabelWarning, match=rf"-1 in {int(WATER.sum()):,} of.*--unlabelled -1\)"):
            extract_patches(SCENE, path, tmp_path / "a.zarr", **OPTIONS)


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        """Write a folder of patches, whose label files state no nodata value."""

        def make(codes, dtype="uint8", nodata=None):
            labels = LABELS.copy(data=CODES.astype(dtype)).drop_attrs(deep=False)
            extract_patches(SCENE, labels.rio.write_nodata(99), tmp_path / "s.zarr", **OPTIONS)
            folder = export_patches(tmp_path / "s.zarr", tmp_path / "Patch", progress=False)
            for path in sorted((folder / "train/labels").glob("*.tif")):
                row, col = (int(part) for part in path.stem.split("_")[-2:])
                path.unlink()
                window = (slice(row, row + 32), slice(col, col + 32))
                array = LABELS.drop_attrs(deep=False)[window].copy(data=codes[window].astype(dtype))
                marked = array if nodata is None else array.rio.write_nodata(nodata)
                marked.rio.to_raster(path)
            return folder

        return make

    def test_a_mask_of_0_and_255_keeps_its_foreground(self, folder, tmp_path):
        patches = folder(MASK)
        with pytest.warns(LabelWarning, match="label files of .* hold 255 in"):
            store = import_patches(patches, tmp_path / "a.zarr", progress=False)
        assert pixels(store) == counts_of(MASK)
        assert store.contract.ignore == 254
        stated = import_patches(
            patches, tmp_path / "b.zarr", label_options=LabelOptions(ignore=255), progress=False
        )
        assert set(pixels(stated)) == {0}
        table = ClassTable.from_codes([0, 255])
        listed = import_patches(patches, tmp_path / "c.zarr", classes=table, progress=False)
        assert pixels(listed) == counts_of(MASK)
        table = ClassTable.from_codes([0, 1])
        with pytest.raises(ValueError, match=r"codes \[255\].*\[0, 1\].*--unlabelled"):
            import_patches(patches, tmp_path / "d.zarr", classes=table, progress=False)

    def test_class_255_next_to_another_nodata_value_stays(self, folder, tmp_path):
        codes = np.select([WATER, CODES == 4], [-9999, 255], CODES)
        store = import_patches(folder(codes, "int16", -9999), tmp_path / "a.zarr", progress=False)
        assert store.contract.ignore == -9999
        assert pixels(store)[255] == (CODES == 4).sum()

    def test_what_is_exported_comes_back(self, tmp_path):
        path = write(tmp_path / "mask.tif", np.where(WATER, 7, MASK))
        labels = open_labels(path, unlabelled=(7,), classes=ClassTable.from_codes([0, 255]))
        store = extract_patches(SCENE, labels, tmp_path / "a.zarr", **OPTIONS)
        exported = export_patches(store, tmp_path / "Patch", progress=False)
        again = import_patches(exported, tmp_path / "b.zarr", progress=False)
        assert (again.contract.classes, again.contract.ignore) == (store.contract.classes, 254)
        assert pixels(again) == pixels(store)

    def test_files_added_to_a_store_take_its_code(self, folder, tmp_path):
        patches = folder(np.where(WATER, 0, CODES), nodata=0)
        extract_patches(SCENE, LABELS, tmp_path / "a.zarr", **OPTIONS)
        store = import_patches(patches, tmp_path / "a.zarr", append=True, progress=False)
        assert (store.dataset.labels == 255).sum() == WATER.sum()

    def test_borders_do_not_reach_into_other_patches(self, folder, tmp_path):
        stripes = np.repeat([[1, 2], [2, 1]], 32, axis=0).repeat(32, axis=1)
        options = LabelOptions(ignore_border=2)
        store = import_patches(
            folder(stripes), tmp_path / "a.zarr", label_options=options, progress=False
        )
        assert sum(pixels(store).values()) == 64 * 64


def test_the_command_line_warns_and_offers_both_ways_out(tmp_path, capfd):
    SCENE.rio.to_raster(tmp_path / "s.tif")
    write(tmp_path / "m.tif", MASK)
    words = ["extract", "single", "--image", f"{tmp_path}/s.tif", "--label", f"{tmp_path}/m.tif"]
    words += ["--patch_size", "32", "--train_ratio", "1", "--val_ratio", "0", "--test_ratio", "0"]

    def run(*more):
        shutil.rmtree(tmp_path / "a.zarr", ignore_errors=True)
        with warnings.catch_warnings():
            warnings.simplefilter("default", LabelWarning)
            assert main([*words, "--output", f"{tmp_path}/a.zarr", *more]) == 0
        return open_store(tmp_path / "a.zarr"), capfd.readouterr().err

    store, told = run()
    assert pixels(store) == counts_of(MASK)
    assert "--ignore 255" in told
    assert "--classes 0 255" in told
    store, told = run("--ignore", "255")
    assert set(pixels(store)) == {0}
    assert "255 in" not in told
    store, told = run("--classes", "0", "255")
    assert pixels(store) == counts_of(MASK)
    assert "255 in" not in told
