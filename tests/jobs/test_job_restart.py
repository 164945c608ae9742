"""Laws of jobs that were stopped: what goes on ends the same, and nothing else goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zarr
from toy_jobs import OPTIONS, digest, make_files, run_job, toy_checkpoint, toy_scene
from toy_kills import SMALL, TILES, markers, require_resumed

import seg4eo_xr as seg
from seg4eo_xr.jobs import tile_work
from seg4eo_xr.patches.building import locate, require_apart

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_files(tmp_path_factory.mktemp("job"))
    run_job(folder, folder / "finished.zarr", **SMALL)
    run_job(folder, folder / "finished.tif", **SMALL)
    return folder


@pytest.fixture(scope="module")
def stopped(folder):
    """A job that was stopped before its last step."""
    output = folder / "stopped.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.finish_store", stop)
        with pytest.raises(OSError, match="stopped") as caught:
            run_job(folder, output, **SMALL)
    assert "20 of 20 tiles are finished" in caught.value.__notes__[0]
    return Path(f"{output}.run")


def stop(*_):
    raise OSError("stopped")


@pytest.fixture
def output(stopped, tmp_path):
    """Path of a map that is stopped before its last step."""
    shutil.copytree(stopped, tmp_path / "map.zarr.run")
    return tmp_path / "map.zarr"


def test_a_job_that_is_there_has_to_be_resumed_or_dropped(folder, output):
    with pytest.raises(FileExistsError, match=r"resume=True.*overwrite=True"):
        run_job(folder, output, **SMALL)
    run_job(folder, output, overwrite=True, **SMALL)
    assert digest(output) == digest(folder / "finished.zarr")


def test_a_job_with_other_settings_is_refused(folder, output, tmp_path):
    seg.save_checkpoint(toy_checkpoint(seed=1), tmp_path / "other.pth")
    seg.save_checkpoint(toy_checkpoint(codes=(1, 2, 9)), tmp_path / "classes.pth")
    toy_scene(seed=4).rio.to_raster(tmp_path / "other.tif")
    given = {"scene": folder / "scene.tif", "model": folder / "model.pth", **OPTIONS, **SMALL}
    for change, message in (
        ({"overlap": 10}, "overlap was 8 and is 10"),
        ({"blending": "linear"}, "blending was hann and is linear"),
        ({"tile_size": 96}, "tile_size, in whole chunks of the map, was 48 and is 96"),
        ({"layers": ("classes",)}, "layers was"),
        ({"output_nodata": 99}, "output_nodata was 255 and is 99"),
        ({"model": tmp_path / "other.pth"}, "another job: the model has changed; "),
        ({"model": tmp_path / "classes.pth"}, "classes was"),
        ({"scene": tmp_path / "other.tif"}, "another job: the scene .* has changed; "),
    ):
        arguments = {**given, **change}
        with pytest.raises(ValueError, match=message):
            seg.predict_to_zarr(
                arguments.pop("scene"),
                arguments.pop("model"),
                output,
                resume=True,
                progress=False,
                **arguments,
            )
    require_resumed(folder, output)


@pytest.mark.parametrize("damage", ["deleted", "empty", "changed", "garbled", "marker"])
def test_a_damaged_chunk_behind_a_marker_is_found(damage, folder, output):
    # The last chunk of the map, which the scene's edge cuts.
    (run,) = (entry for entry in Path(f"{output}.run").iterdir() if entry.is_dir())
    chunk = run / "map.zarr" / "confidence" / "c" / "4" / "3"
    if damage == "deleted":
        chunk.unlink()
    elif damage == "empty":
        chunk.write_bytes(b"")
    elif damage == "changed":
        array = zarr.open_array(run / "map.zarr" / "confidence")
        array[-1, -1] = 0.125
    elif damage == "garbled":
        chunk.write_bytes(os.urandom(100))
    else:
        (run / "done" / "4.3").write_bytes(b'{"digest": "')
    require_resumed(folder, output)


@pytest.mark.parametrize("name", ["map.zarr", "map.tif"])
def test_a_finished_map_is_left_as_it_is(name, folder, tmp_path, monkeypatch, caplog):
    output = tmp_path / name
    first = run_job(folder, output, **SMALL)
    before = digest(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.run_tiles", stop)
        with caplog.at_level("INFO", logger="seg4eo_xr.jobs.order"):
            again = run_job(folder, output, resume=True, **SMALL)
        run_job(folder, output, resume=True, overwrite=True, **SMALL)
    assert "is finished already" in caplog.text
    assert (again.files, again.statistics) == (first.files, first.statistics)
    with pytest.raises(ValueError, match=r"another job: overlap was 8 and is 10; .*--overwrite"):
        run_job(folder, output, resume=True, **SMALL | {"overlap": 10})
    with pytest.raises(FileExistsError, match="overwrite"):
        run_job(folder, output, **SMALL)
    assert digest(tmp_path) == before
    run_job(folder, output, resume=True, overwrite=True, **SMALL | {"overlap": 10})
    assert digest(tmp_path) != before


def test_a_map_that_no_job_made_is_not_gone_on_with(folder, tmp_path):
    seg.write_cog(seg.open_map(folder / "finished.zarr").seg4eo.sieve(5), tmp_path / "sieved.tif")
    seg.write_zarr(seg.predict(toy_scene(), toy_checkpoint()), tmp_path / "lazy.zarr")
    (tmp_path / "text.tif").write_bytes(b"no map at all")
    (tmp_path / "empty.zarr").mkdir()
    before = digest(tmp_path)
    for name in ("sieved.tif", "lazy.zarr", "text.tif", "empty.zarr"):
        with pytest.raises(FileExistsError, match="overwrite"):
            run_job(folder, tmp_path / name, resume=True, **SMALL)
    assert digest(tmp_path) == before


def test_a_lost_output_beside_the_map_is_made_again(folder, tmp_path):
    run_job(folder, tmp_path / "map.tif", **SMALL)
    (tmp_path / "map_confidence.tif").unlink()
    require_resumed(folder, tmp_path / "map.tif")


def test_a_full_disk_keeps_what_is_finished(folder, tmp_path, monkeypatch):
    output, stored = tmp_path / "map.zarr", []
    store = tile_work._BlockWriter.__call__

    def until_full(self, origin, layers):
        if len(stored) >= 7:
            raise OSError(28, "No space left on device")
        stored.append(origin)
        return store(self, origin, layers)

    with monkeypatch.context() as patch:
        patch.setattr(tile_work._BlockWriter, "__call__", until_full)
        with pytest.raises(seg.JobFailedError, match="No space left") as caught:
            run_job(folder, output, **SMALL)
    assert "7 of 20 tiles are finished and kept" in caught.value.__notes__[0]
    require_resumed(folder, output)


def test_only_one_process_makes_an_output(folder, tmp_path):
    from filelock import FileLock

    (tmp_path / "map.zarr.run").mkdir()
    with (
        FileLock(tmp_path / "map.zarr.run" / ".lock"),
        pytest.raises(FileExistsError, match="another process"),
    ):
        run_job(folder, tmp_path / "map.zarr")


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for a part of a map, and a function that makes room."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place],
            capture_output=True,
            check=False,
        )

    if shutil.which("mount") is None or mount("size=160k").returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield place, lambda: mount("remount,size=50m").check_returncode()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_disk_that_is_full_stops_a_job_which_goes_on_when_there_is_room(
    suffix, folder, small_disk
):
    place, make_room = small_disk
    output = place / f"map{suffix}"
    stopped = pytest.raises((seg.JobFailedError, OSError), match=r"[Nn]o space left|disk full")
    with stopped as caught:
        run_job(folder, output, **SMALL)
    assert "finished and kept" in caught.value.__notes__[0]
    assert not output.exists()
    kept = {marker.name: marker.stat().st_mtime_ns for marker in markers(output)}
    assert 0 < len(kept) < TILES
    make_room()
    require_resumed(folder, output)


def test_what_is_finished_starts_no_worker(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "finished.zarr", tmp_path / "map.zarr")
    monkeypatch.setattr("seg4eo_xr.jobs.order.job_cluster", stop)
    run_job(folder, tmp_path / "map.zarr", resume=True, **SMALL)


def test_what_cannot_be_starts_no_worker(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("seg4eo_xr.jobs.order.job_cluster", stop)
    with pytest.raises(ValueError, match="overlap"):
        run_job(folder, tmp_path / "map.zarr", **SMALL | {"overlap": 32})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("as_scene", [Path, seg.open_scene, lambda path: [path]])
def test_a_scene_is_not_replaced_by_its_map(as_scene, folder, tmp_path):
    shutil.copy(folder / "scene.tif", tmp_path)
    before = digest(tmp_path / "scene.tif")
    with pytest.raises(ValueError, match=r"scene\.tif is the scene itself"):
        seg.predict_to_zarr(
            as_scene(tmp_path / "scene.tif"),
            toy_checkpoint(),
            tmp_path / "scene.tif",
            overwrite=True,
            progress=False,
            **OPTIONS,
        )
    assert digest(tmp_path / "scene.tif") == before


@pytest.mark.parametrize(
    "source", ["gs://a/b.tif", "https://a/b.tif", 'HDF5:"/a.h5"://b', "/vsizip/a"]
)
def test_sources_that_only_gdal_can_follow_are_none_of_the_outputs(source, tmp_path):
    require_apart([locate(tmp_path / "map.tif")], [source])


def test_a_folder_is_not_replaced_by_a_file(folder, tmp_path):
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        run_job(folder, tmp_path / "map.tif", overwrite=True, **SMALL)


@pytest.fixture
def own_files(folder, tmp_path):
    """A scene and model of the test's own, and a job for them stopped before its last step."""
    for name in ("scene.tif", "model.pth"):
        shutil.copy(folder / name, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.finish_store", stop)
        with pytest.raises(OSError, match="stopped"):
            run_job(tmp_path, tmp_path / "map.zarr", **SMALL)
    return tmp_path


def touch(file, *, changed=False):
    """Give a file another time, and perhaps another last number."""
    status = file.stat()
    if changed:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert file.stat().st_size == status.st_size


def test_a_job_goes_on_where_the_scene_was_only_touched(own_files, folder, monkeypatch):
    output = own_files / "map.zarr"
    kept = {marker.name: marker.stat().st_mtime_ns for marker in markers(output)}
    assert len(kept) == TILES
    touch(own_files / "scene.tif")
    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.finish_store", stop)
        with pytest.raises(OSError, match="stopped"):
            run_job(own_files, output, resume=True, **SMALL)
    assert {marker.name: marker.stat().st_mtime_ns for marker in markers(output)} == kept
    monkeypatch.chdir(own_files)
    run_job(Path(), "map.zarr", resume=True, **SMALL)
    made, whole = seg.open_map(output), seg.open_map(folder / "finished.zarr")
    assert made.drop_attrs().identical(whole.drop_attrs())


@pytest.mark.parametrize("changes", [{"changed": True}, {}])
def test_a_touched_scene_with_other_content_or_opened_otherwise_is_refused(changes, own_files):
    scene = own_files / "scene.tif"
    touch(scene, **changes)
    opened = scene if changes else seg.open_scene(scene) + 1
    with pytest.raises(ValueError, match=r"another job: the scene .* has changed; "):
        seg.predict_to_zarr(
            opened,
            own_files / "model.pth",
            own_files / "map.zarr",
            resume=True,
            progress=False,
            **OPTIONS | SMALL,
        )


def test_a_touched_vrt_says_nothing_about_its_files(own_files):
    from rasterio.shutil import copy

    scene = own_files / "scene.tif"
    scene.rename(own_files / "pixels.tif")
    copy(own_files / "pixels.tif", scene, driver="VRT")
    run_job(own_files, own_files / "of_vrt.zarr", **SMALL)
    touch(scene)
    with pytest.raises(ValueError, match=r"another job: the scene .* has changed; "):
        run_job(own_files, own_files / "of_vrt.zarr", resume=True, **SMALL)


@pytest.mark.parametrize("name", ["map.zarr", "map.tif"])
def test_a_finished_map_of_a_touched_scene_is_left_as_it_is(name, own_files, monkeypatch):
    output = own_files / name
    run_job(own_files, output, resume=True, **SMALL)
    before = digest(own_files)
    touch(own_files / "scene.tif")
    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.jobs.order.run_tiles", stop)
        run_job(own_files, output, resume=True, **SMALL)
    assert digest(own_files) == before
    touch(own_files / "scene.tif", changed=True)
    with pytest.raises(ValueError, match=r"another job: the scene .* has changed; "):
        run_job(own_files, output, resume=True, **SMALL)
