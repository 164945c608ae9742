"""Laws of `seg4eo_xr.patches.importing`, `files` and `headers`: what was exported comes back."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from dask.base import tokenize
from rasterio.errors import NotGeoreferencedWarning

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.exporting import export_patches
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.files import file_sources
from seg4eo_xr.patches.importing import UnmatchedWarning, import_patches, list_patches
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.testing import synthetic_sentinel2

SIZE = 16


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    scene, labels = synthetic_sentinel2((80, 96), seed=3)
    path = tmp_path_factory.mktemp("store") / "patches.zarr"
    return extract_patches(scene, labels, path, patch_size=SIZE, shard_size=8, progress=False)


@pytest.fixture(scope="module")
def exported(store, tmp_path_factory):
    return export_patches(store, tmp_path_factory.mktemp("export") / "Patch", progress=False)


@pytest.fixture
def folder(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "Patch"))


def contents(store):
    images, labels = (array[:] for array in store.arrays())
    ids, splits = store.coordinate("id"), store.splits
    return {
        str(name): (str(split), image, label)
        for name, split, image, label in zip(ids, splits, images, labels, strict=True)
        if split in SPLITS
    }


def rewrite(path: Path, change, **profile) -> None:
    with rasterio.open(path) as source:
        values, options = change(source.read()), {**source.profile, **profile}
    path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**options, "dtype": values.dtype}) as target:
            target.write(values)


def files_of(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"*/{kind}/*.tif"))


def test_there_and_back_is_the_same(store, exported, tmp_path):
    back = import_patches(exported, tmp_path / "back.zarr", progress=False)
    before, after = contents(store), contents(back)
    assert before.keys() == after.keys()
    for name, (split, image, label) in before.items():
        assert after[name][0] == split
        np.testing.assert_array_equal(after[name][1], image)
        np.testing.assert_array_equal(after[name][2], label)
    for split in SPLITS:
        assert back.class_counts(split) == store.class_counts(split)
        assert back.statistics(split).identical(store.statistics(split))
    for what in ("bands", "dtype", "scale", "offset", "nodata", "normalization", "classes"):
        assert getattr(back.contract, what) == getattr(store.contract, what)
    assert back.leakage == store.leakage


def test_patches_lie_where_they_lay(store, exported, tmp_path):
    back = import_patches(exported, tmp_path / "back.zarr", progress=False)

    def places(of):
        x, y = of.coordinate("patch_x"), of.coordinate("patch_y")
        return dict(zip(of.coordinate("id").tolist(), zip(x, y, strict=True), strict=True))

    before, after = places(store), places(back)
    for name, place in after.items():
        assert place == pytest.approx(before[name])


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_folders_and_files_go_by_several_names(store, folder, tmp_path, name):
    (folder / "validation").rename(folder / name)
    (folder / "train").rename(folder / "Training")
    for path in files_of(folder, "images"):
        path.rename(path.with_name(f"image_{path.name}"))
    for path in files_of(folder, "labels"):
        path.rename(path.with_name(f"{path.stem}_label.TIF"))
    pairs, unmatched = list_patches(tmp_path)
    assert not unmatched
    assert {pair.id: pair.split for pair in pairs} == {
        name: split for name, (split, _, _) in contents(store).items()
    }


def test_what_has_no_partner_is_left_out_and_named(store, folder, tmp_path):
    alone = files_of(folder, "labels")[0]
    alone.unlink()
    with pytest.warns(UnmatchedWarning, match=f"1 files .*{alone.stem}"):
        back = import_patches(folder, tmp_path / "back.zarr", progress=False)
    assert contents(back).keys() == contents(store).keys() - {alone.stem}


def test_codes_without_a_label_are_said_at_the_import(exported, tmp_path):
    options = LabelOptions(unlabelled=(1, 2))
    back = import_patches(exported, tmp_path / "a.zarr", label_options=options, progress=False)
    assert not np.isin(back.arrays()[1][:], (1, 2)).any()
    assert not set(back.contract.classes.codes) & {1, 2}


def test_bands_are_named_at_the_import(store, exported, tmp_path):
    names = tuple(f"band {number}" for number in range(len(store.contract.bands)))
    back = import_patches(exported, tmp_path / "a.zarr", band_names=names, progress=False)
    assert back.contract.bands == names
    with pytest.raises(ValueError, match=r"--band_names\) needs 10 names"):
        import_patches(exported, tmp_path / "b.zarr", band_names=("one",), progress=False)
    assert not (tmp_path / "b.zarr").exists()


def test_labels_need_no_place_and_may_be_whole_numbers_in_floats(store, folder, tmp_path):
    for path in files_of(folder, "labels"):
        nowhere = {"crs": None, "transform": rasterio.Affine.identity()}
        rewrite(path, lambda values: values.astype("float32"), **nowhere)
    back = import_patches(folder, tmp_path / "back.zarr", progress=False)
    for name, (_, _, label) in contents(back).items():
        np.testing.assert_array_equal(label, contents(store)[name][2])


def test_each_label_file_has_its_own_mark_of_missing_labels(store, folder, tmp_path):
    for path in files_of(folder, "labels")[::2]:
        rewrite(path, lambda values: np.where(values == 255, 99, values).astype("uint8"), nodata=99)
    back = import_patches(folder, tmp_path / "back.zarr", progress=False)
    assert any((label == 255).any() for _, _, label in contents(store).values())
    for name, (_, _, label) in contents(back).items():
        np.testing.assert_array_equal(label, contents(store)[name][2])


@pytest.mark.parametrize(
    ("images", "labels", "image", "label"),
    [
        ("images", "masks", "{}.tif", "{}_gt.tif"),
        ("img", "gt", "img_{}.tif", "{}_mask.tif"),
        ("Images", "Annotations", "{}.tif", "annotation_{}.tif"),
    ],
)
def test_the_usual_names_of_masks_are_known(store, folder, tmp_path, images, labels, image, label):
    for kind, to, name in (("images", images, image), ("labels", labels, label)):
        for split in SPLITS:
            (folder / split / kind).rename(folder / split / "moved")
            (folder / split / "moved").rename(folder / split / to)
            for path in (folder / split / to).iterdir():
                path.rename(path.with_name(name.format(path.stem)))
    back = import_patches(folder, tmp_path / "back.zarr", progress=False)
    assert contents(back).keys() == contents(store).keys()
    assert back.class_counts("train") == store.class_counts("train")


def as_png(path: Path, values: np.ndarray, place: rasterio.Affine) -> None:
    """Write a PNG with a world file and, as GDAL does, its CRS in a sidecar."""
    count, height, width = values.shape
    sizes = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="PNG", crs=32633, transform=place, worldfile=True, **sizes
        ) as target:
            target.write(values)


def test_png_files_are_taken_where_there_is_no_geotiff(tmp_path):
    rng = np.random.default_rng(1)
    wanted = {}
    for number in range(4):
        for kind in ("images", "masks"):
            (tmp_path / "Patch" / "train" / kind).mkdir(parents=True, exist_ok=True)
        image = rng.integers(1, 200, (3, SIZE, SIZE), np.uint8)
        mask = rng.integers(1, 3, (1, SIZE, SIZE), np.uint8)
        corner = 500000 + 10 * SIZE * number
        where = rasterio.Affine(10, 0, corner, 0, -10, 5000000)
        folder = tmp_path / "Patch" / "train"
        as_png(folder / "images" / f"{number}.png", image, where)
        as_png(folder / "masks" / f"{number}.png", mask, where)
        wanted[str(number)] = image, mask[0], corner
    (folder / "masks" / "0.png.aux.xml").unlink()  # labels need no place
    store = import_patches(tmp_path / "Patch", tmp_path / "a.zarr", progress=False)
    assert contents(store).keys() == wanted.keys()
    for name, (_, image, label) in contents(store).items():
        np.testing.assert_array_equal(image, wanted[name][0])
        np.testing.assert_array_equal(label, wanted[name][1])
    corners = store.coordinate("patch_x") - 5 * SIZE
    assert corners.tolist() == [corner for _, _, corner in wanted.values()]
    (folder / "images" / "1.png.aux.xml").unlink()
    with pytest.raises(ValueError, match=r"1\.png has no CRS"):
        import_patches(tmp_path / "Patch", tmp_path / "b.zarr", progress=False)


def test_previews_next_to_geotiffs_are_no_patches(store, folder):
    for path in files_of(folder, "images"):
        path.with_suffix(".png").write_bytes(b"a preview")
    pairs, unmatched = list_patches(folder)
    assert len(pairs) == len(contents(store))
    assert not unmatched


def test_label_files_may_differ_in_dtype(store, folder, tmp_path):
    def larger(values):
        return np.where(values == 1, np.int16(300), values)

    changed = files_of(folder, "labels")[1::2]
    for path in changed:
        rewrite(path, larger)
    classes = ClassTable.from_codes([*range(1, 7), 300])
    back = import_patches(folder, tmp_path / "back.zarr", classes=classes, progress=False)
    assert back.arrays()[1].dtype == np.int16
    odd = {path.stem for path in changed}
    assert any((label == 300).any() for _, _, label in contents(back).values())
    for name, (_, _, label) in contents(back).items():
        own = contents(store)[name][2]
        np.testing.assert_array_equal(label, larger(own) if name in odd else own)


def test_label_files_may_be_pictures_in_the_colours_of_a_table(store, folder, tmp_path):
    table = store.contract.classes
    colors = np.zeros((256, 3), np.uint8)  # black where there is no label
    colors[list(table.codes)] = table.rgb()
    for path in files_of(folder, "labels"):
        rewrite(path, lambda codes: np.moveaxis(colors[codes[0]], -1, 0), count=3, nodata=0)
    with pytest.raises(ValueError, match=r"label .* has 3 bands.*classes= \(--classes colours"):
        import_patches(folder, tmp_path / "a.zarr", progress=False)
    back = import_patches(folder, tmp_path / "a.zarr", classes=table, progress=False)
    assert back.contract.classes == table
    for name, (_, _, label) in contents(back).items():
        np.testing.assert_array_equal(label, contents(store)[name][2])
    odd = files_of(folder, "labels")[0]
    rewrite(odd, lambda values: np.full_like(values, 7))
    with pytest.raises(ValueError, match=rf"{odd.name} hold the colours #070707"):
        import_patches(folder, tmp_path / "b.zarr", classes=table, progress=False)


def test_a_code_that_the_store_cannot_hold_is_refused(folder, tmp_path):
    rest = tmp_path / "rest"
    rest.mkdir()
    (folder / "test").rename(rest / "test")
    import_patches(folder, tmp_path / "a.zarr", progress=False)
    for path in files_of(rest, "labels"):
        rewrite(path, lambda values: np.full(values.shape, 257, "int16"))
    with pytest.raises(ValueError, match="257"):
        import_patches(rest, tmp_path / "a.zarr", append=True, progress=False)


def test_a_section_travels_and_its_name_follows_its_files(folder):
    def section():
        (source,), _ = file_sources(list_patches(folder)[0], LabelOptions(), progress=False)
        return source.section(slice(0, 3))

    one = section()
    travelled = pickle.loads(pickle.dumps(one))
    assert tokenize(one) == tokenize(travelled) == tokenize(section())
    for ours, theirs in zip(one.read([]), travelled.read([]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rewrite(one.pairs[0].label, lambda values: values // 2)
    assert tokenize(one) != tokenize(section())


def test_more_patches_are_added_later(store, folder, tmp_path):
    rest = tmp_path / "rest"
    (folder / "test").rename(tmp_path / "test")
    import_patches(folder, tmp_path / "a.zarr", progress=False)
    rest.mkdir()
    (tmp_path / "test").rename(rest / "test")
    both = import_patches(rest, tmp_path / "a.zarr", append=True, progress=False)
    assert contents(both).keys() == contents(store).keys()


def broken(folder: Path, case: str) -> tuple[type[Exception], str]:
    """Spoil one file; return the error that tells so."""
    image, label = files_of(folder, "images")[3], files_of(folder, "labels")[3]
    if case == "truncated":
        content = image.read_bytes()
        image.write_bytes(content[: len(content) * 3 // 4])
        return OSError, image.name
    if case == "bands":
        rewrite(image, lambda values: values[:4], count=4)
        return ValueError, image.name
    if case == "dtype":
        rewrite(image, lambda values: values.astype("int16"))
        return ValueError, image.name
    if case == "size":
        rewrite(label, lambda values: values[:, :8, :8], height=8, width=8)
        return ValueError, label.name
    if case == "no CRS":
        rewrite(image, lambda values: values, crs=None)
        return ValueError, image.name
    if case == "elsewhere":
        rewrite(label, lambda values: values, transform=rasterio.Affine(10, 0, 0, 0, -10, 0))
        return ValueError, label.name
    rewrite(label, lambda values: np.full_like(values, 77))
    return ValueError, "77"


@pytest.mark.parametrize(
    "case", ["truncated", "bands", "dtype", "size", "no CRS", "elsewhere", "unknown code"]
)
def test_a_file_that_does_not_fit_is_named_and_nothing_is_left(folder, tmp_path, case):
    error, named = broken(folder, case)
    with pytest.raises(error, match=named):
        import_patches(folder, tmp_path / "a.zarr", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["Patch"]


def test_folders_that_hold_no_patches_say_what_is_expected(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_patches(tmp_path / "nowhere")
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds pictures, but no folder of a split"):
        list_patches(tmp_path / "other")
    for path in files_of(folder, "labels"):
        path.unlink()
    with pytest.raises(ValueError, match="stand alone"):
        list_patches(folder)


def test_two_files_of_one_patch_are_both_named(folder):
    path = files_of(folder, "images")[0]
    shutil.copy(path, path.with_name(f"image_{path.name}"))
    with pytest.raises(ValueError, match=f"image_{path.name}|{path.name}"):
        list_patches(folder)


def test_an_id_that_occurs_in_two_splits_gets_its_split(folder):
    for kind in ("images", "labels"):
        source = sorted((folder / "train" / kind).iterdir())[0]
        shutil.copy(source, folder / "test" / kind / source.name)
    pairs, _ = list_patches(folder)
    ids = [pair.id for pair in pairs]
    assert len(set(ids)) == len(ids)
    assert {f"train/{source.stem}", f"test/{source.stem}"} <= set(ids)


def cover(path: Path) -> None:
    """Hide the upper half of a file by a mask of its own."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        mask = np.full(file.shape, 255, np.uint8)
        mask[: SIZE // 2] = 0
        file.write_mask(mask)


def test_masks_of_some_images_and_labels_hide_pixels_and_move_no_code(tmp_path):
    scene, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    scene = scene.drop_attrs(deep=False)
    scene[:, 40:44, 40:44] = 0  # valid, since no nodata value is stated
    store = extract_patches(scene, labels, tmp_path / "a.zarr", patch_size=SIZE, progress=False)
    folder = export_patches(store, tmp_path / "Patch", progress=False)
    for kind in ("images", "labels"):
        cover(files_of(folder, kind)[0])
    name = files_of(folder, "images")[0].stem
    back = contents(import_patches(folder, tmp_path / "b.zarr", progress=False))
    hidden = [key for key in back if key.endswith(name) or name.endswith(key)]
    assert len(hidden) == 1
    for key, (_, image, label) in contents(store).items():
        expected, codes = np.maximum(image, 1), label.copy()
        if key in hidden:
            expected[:, : SIZE // 2], codes[: SIZE // 2] = 0, 255
        np.testing.assert_array_equal(back[key][1], expected)
        np.testing.assert_array_equal(back[key][2], codes)


@pytest.mark.parametrize("keep", [False, True])
def test_alpha_of_patches_hides_pixels_or_is_kept(tmp_path, keep):
    scene, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
    scene = (scene.isel(band=slice(4)) // 50 + 1).clip(1, 255).astype("uint8")
    store = extract_patches(scene, labels, tmp_path / "a.zarr", patch_size=SIZE, progress=False)
    folder = export_patches(store, tmp_path / "Patch", progress=False)
    for path in files_of(folder, "images"):
        rewrite(path, lambda values: values, alpha="yes")
    path = tmp_path / "b.zarr"
    if keep:
        back = import_patches(folder, path, keep_alpha=True, progress=False)
        assert len(back.contract.bands) == 4
        return
    with pytest.warns(SceneWarning, match="band 4 .* alpha"):
        back = import_patches(folder, path, progress=False)
    assert len(back.contract.bands) == 3
