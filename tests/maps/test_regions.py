from __future__ import annotations

import json

import numpy as np
import pystac
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import shape

from seg4eo_xr.maps.cog import verify_cog
from seg4eo_xr.maps.regions import write_region
from seg4eo_xr.maps.stac import _common_bounds
from seg4eo_xr.maps.store import open_map, write_zarr
from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.testing import plain_contract


@pytest.fixture(autouse=True)
def _many_blocks(monkeypatch):
    monkeypatch.setattr("seg4eo_xr.maps.layers.SMALLEST_BLOCK", 1)
    monkeypatch.setattr("seg4eo_xr.maps.regions._COG_BLOCK", 16)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    table = ClassTable.from_codes([1, 4, 7], ["sea & lake", "forêt", "built-up"])
    contract = plain_contract(["red", "nir"], table, bright=900.0, maximum=(1000.0, 1000.0))
    spec = ModelSpec("unet", "resnet18", in_channels=2, out_channels=3)
    with torch.random.fork_rng():
        weights = build_model(spec).state_dict()
    checkpoint = Checkpoint(weights, spec, contract, 64, "multiclass")
    return save_checkpoint(checkpoint, tmp_path_factory.mktemp("run") / "model.pth")


def test_the_vrt_and_the_tiles_hold_the_map(make_map, tmp_path):
    prediction = make_map((150, 130))
    region = write_region(prediction, tmp_path / "region", tile_size=64)
    tiles = sorted((region / "classes").glob("*.tif"))
    assert [tile.name for tile in tiles][:4] == ["0.0.tif", "0.1.tif", "0.2.tif", "1.0.tif"]
    for layer in ("classes", "confidence"):
        whole = open_map(region / layer / "layer.vrt")[layer]
        np.testing.assert_array_equal(whole, prediction[layer])
        assert whole.rio.crs == prediction.rio.crs
        np.testing.assert_allclose(whole.rio.transform(), prediction[layer].rio.transform())
    assert ClassTable.from_attrs(open_map(region / "classes" / "layer.vrt")["classes"].attrs)
    for row, col in np.ndindex(3, 3):
        path = region / "classes" / f"{row}.{col}.tif"
        verify_cog(path)
        part = prediction["classes"][64 * row : 64 * (row + 1), 64 * col : 64 * (col + 1)]
        opened = open_map(path)["classes"]
        np.testing.assert_array_equal(opened, part)
        np.testing.assert_allclose(opened.x, part.x)
        np.testing.assert_allclose(opened.y, part.y)


def test_the_log_names_the_region_alone(make_map, tmp_path, caplog):
    with caplog.at_level("INFO", logger="seg4eo_xr.staging"):
        region = write_region(make_map((150, 130)), tmp_path / "region", tile_size=64)
    assert caplog.messages == [f"wrote {region}"]


def test_items_are_valid_and_lie_where_the_tiles_lie(make_map, tmp_path, model_path):
    region = write_region(
        write_zarr(make_map(), tmp_path / "map.zarr"),
        tmp_path / "region",
        tile_size=64,
        model=model_path,
        date="2021-06-13",
    )
    collection = pystac.Collection.from_file(str(region / "collection.json"))
    items = {item.id: item for item in collection.get_items()}
    assert sorted(items) == sorted(["model", *(f"{r}.{c}" for r, c in np.ndindex(3, 3))])
    for item in items.values():
        again = pystac.Item.from_dict(json.loads(json.dumps(item.to_dict())))
        assert again.datetime.date().isoformat() == "2021-06-13"
        west, _, east, _ = item.bbox
        assert -180 <= west < east <= 180
        assert collection.extent.spatial.bboxes[0][0] <= west
        for asset in item.get_assets().values():
            assert (region / "items" / asset.href).resolve().exists()
    item = items["1.2"]
    with rasterio.open(region / "items" / item.assets["classes"].href) as file:
        assert item.properties["proj:code"] == "EPSG:32633"
        assert item.properties["proj:shape"] == list(file.shape)
        np.testing.assert_allclose(item.properties["proj:transform"], list(file.transform)[:6])
    described = item.assets["classes"].extra_fields
    assert (described["nodata"], described["data_type"]) == (255, "uint8")
    assert described["classification:classes"][1]["title"] == "forêt"
    assert item.get_single_link("derived_from").href.endswith("model.json")
    model = shape(items.pop("model").geometry)
    assert model.is_valid
    assert all(model.buffer(1e-9).covers(shape(tile.geometry)) for tile in items.values())


def test_the_model_is_described_by_the_mlm_extension(make_map, tmp_path, model_path):
    region = write_region(make_map(), tmp_path / "region", tile_size=4096, model=model_path)
    item = json.loads((region / "items" / "model.json").read_text(encoding="utf-8"))
    properties = item["properties"]
    assert any("/mlm/" in extension for extension in item["stac_extensions"])
    assert properties["mlm:architecture"] == "unet"
    assert properties["mlm:input"][0]["bands"] == ["red", "nir"]
    assert properties["mlm:input"][0]["input"]["shape"] == [-1, 2, 64, 64]
    assert len(properties["mlm:input"][0]["value_scaling"]) == 2
    assert properties["mlm:output"][0]["result"]["shape"] == [-1, 3, 64, 64]
    assert "mlm:model" in item["assets"]["model"]["roles"]
    assert (region / "items" / item["assets"]["model"]["href"]).resolve() == model_path


def test_mlm_fields_read_with_the_extension_of_pystac(make_map, tmp_path, model_path):
    mlm = pytest.importorskip("pystac.extensions.mlm")
    region = write_region(make_map(), tmp_path / "region", tile_size=4096, model=model_path)
    extension = mlm.MLMExtension.ext(pystac.Item.from_file(str(region / "items" / "model.json")))
    assert extension.architecture == "unet"
    assert extension.input[0].bands == ["red", "nir"]
    assert extension.output[0].name == "logits"


def test_a_region_is_whole_or_not_there(make_map, tmp_path, break_block):
    with pytest.raises(RuntimeError, match="broken block"):
        write_region(break_block(make_map()), tmp_path / "region", tile_size=64)
    assert not list(tmp_path.iterdir())
    write_region(make_map(), tmp_path / "region")
    with pytest.raises(FileExistsError, match="overwrite"):
        write_region(make_map(), tmp_path / "region")
    assert write_region(make_map(seed=2), tmp_path / "region", overwrite=True).is_dir()


def test_a_published_tile_is_a_scene_for_gdal(make_map, tmp_path):
    prediction = make_map()
    region = write_region(prediction, tmp_path / "region", tile_size=64)
    confidence = open_scene(region / "confidence" / "layer.vrt")
    np.testing.assert_array_equal(confidence[0], prediction["confidence"])
    with pytest.warns(SceneWarning, match="open_map"):
        colors = open_scene(region / "classes" / "layer.vrt")
    table = ClassTable.from_attrs(prediction["classes"].attrs)
    shown = colors.to_numpy()[:, prediction["classes"].to_numpy() == table.codes[1]].T
    wanted = [int(table.colors[1][at : at + 2], 16) for at in (1, 3, 5)]
    # 0 marks missing pixels in the colours, so a valid 0 is 1
    np.testing.assert_array_equal(shown, np.maximum(wanted, 1) + np.zeros_like(shown))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"tile_size": 8}, "tile_size must be at least"), ({"date": "June"}, "date must be written")],
)
def test_options_that_do_not_fit_are_refused(make_map, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        write_region(make_map(), tmp_path / "region", **options)


def test_only_a_published_map_is_replaced(make_map, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="no published map"):
        write_region(make_map(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years"
    region = write_region(make_map(), tmp_path / "region")
    assert write_region(make_map(), region, overwrite=True) == region


def test_a_missing_model_is_told_before_anything_is_written(make_map, tmp_path, monkeypatch):
    monkeypatch.setattr("seg4eo_xr.maps.regions.write_cog", None)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        write_region(make_map(), tmp_path / "region", model=tmp_path / "nothing.pth")


def test_tiles_say_nothing_of_the_job_of_the_whole(make_map, tmp_path):
    whole = make_map().assign_attrs(job="{}", statistics="{}", model="unet")
    region = write_region(whole, tmp_path / "region")
    attrs = open_map(region / "classes" / "0.0.tif").attrs
    assert attrs["model"] == "unet"
    assert not {"job", "statistics"} & set(attrs)


@pytest.mark.parametrize(
    ("crs", "west", "step"), [(32660, 5.5e5, 3000), (3857, 1.99e7, 3000), (4326, 178.8, 0.0202)]
)
def test_maps_across_the_antimeridian_are_where_they_are(crs, west, step, make_map, tmp_path):
    south = 6.5e6 if crs != 4326 else 59.0
    transform = Affine(step, 0, west, 0, -step, south + 150 * step)
    plane = make_map()["classes"].compute()
    here = place(plane.values, crs, transform).assign_attrs(plane.attrs).to_dataset(name="classes")
    region = write_region(here, tmp_path / "region", tile_size=64)
    bounds = json.loads((region / "collection.json").read_text())["extent"]["spatial"]["bbox"][0]
    assert 170 < bounds[0] <= 180
    assert -180 <= bounds[2] < -170
    for file in (region / "items").glob("*.json"):
        item = json.loads(file.read_text())
        footprint = shape(item["geometry"])
        assert footprint.is_valid
        assert -180 <= footprint.bounds[0] <= footprint.bounds[2] <= 180
        begin, end = item["bbox"][0], item["bbox"][2]
        # A box that crosses is told from one that does not by west being greater than east.
        crosses = footprint.geom_type == "MultiPolygon"
        assert (begin > end) == crosses


@given(st.lists(st.tuples(st.integers(-90, 90), st.integers(0, 60)), min_size=1))
def test_a_common_box_holds_all_boxes_wherever_the_globe_is_cut(spans):
    turned = []
    for cut in (0, 113, 180):
        wrapped = [
            [((a + cut + 180) % 360) - 180, 0, ((a + w + cut + 180) % 360) - 180, 1]
            for a, w in spans
        ]
        west, _, east, _ = _common_bounds(wrapped)
        turned.append(((west - cut) % 360, (east - west) % 360))
    first, last = min(a for a, _ in spans), max(a + w for a, w in spans)
    assert set(turned) == {(first % 360, last - first)}
