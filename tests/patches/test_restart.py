"""Laws of killed extractions: readers see no part of them, and started again they go on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import dask
import numpy as np
import pytest

from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.writing import write_shard
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.testing import synthetic_sentinel2

OPTIONS = {"patch_size": 16, "shard_size": 4, "progress": False, "split": RandomSplit(1, 0, 0)}

# What a child process runs: the extraction, slowed down or halted where it is to be killed.
CHILD = """
import sys, time
from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches import extract, planning, writing

name, halt = sys.argv[1:]

def slowly(*arguments, write=planning.write_shard):
    time.sleep(0.1)
    write(*arguments)

def never(*arguments):
    open("halted", "w").close()
    time.sleep(300)

planning.write_shard = slowly
if halt == "before the coordinates":
    extract.commit = never
if halt == "before the commit":
    writing.zarr.consolidate_metadata = never
extract.extract_patches(
    f"{name}.tif", "labels.tif", "a.zarr", append=name == "second",
    patch_size=16, shard_size=4, progress=False, split=RandomSplit(1, 0, 0),
)
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for name, seed in (("first", 1), ("second", 2)):
        scene, labels = synthetic_sentinel2((70, 90), seed=seed)
        select_bands(scene, ["B02", "B03"]).rio.to_raster(folder / f"{name}.tif")
        labels.rio.to_raster(folder / "labels.tif")
    with contextlib.chdir(folder):
        for name in ("first", "second"):
            extract(name)
            (folder / f"{name}.digest").write_text(repr(digest(folder / "a.zarr")))
    return folder


def extract(name):
    """Extract in the current folder: a store names its scenes by their paths."""
    return extract_patches(
        f"{name}.tif", "labels.tif", "a.zarr", append=name == "second", **OPTIONS
    )


def digest(path):
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def expected(originals, name):
    return (originals / f"{name}.digest").read_text()


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in originals.glob("*.tif"):
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def records(folder):
    return len(list(folder.glob("**/journal/*/*.npz")))


def kill_child(folder, name, *, shards=None, halt="never"):
    """Start an extraction, and kill it when so many shards are done or where it halts."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, name, halt])
    try:
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            if (folder / "halted").exists() or (shards is not None and records(folder) >= shards):
                break
            time.sleep(0.01)
        assert child.poll() is None, "the child ended before it was killed"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (folder / "halted").unlink(missing_ok=True)


def require_restarted(folder, originals, name):
    extract(name)
    assert repr(digest(folder / "a.zarr")) == expected(originals, name)
    kinds = {entry.suffix for entry in folder.iterdir()}
    assert kinds == {".tif", ".zarr"}


@pytest.mark.parametrize("point", [{"shards": 2}, {"halt": "before the commit"}])
def test_a_killed_extraction_goes_on_where_it_was(point, folder, originals):
    kill_child(folder, "first", **point)
    assert not (folder / "a.zarr").exists()
    done = {file: file.stat().st_mtime_ns for file in folder.glob("**/images/c/**/0")}
    (partial,) = folder.glob("a.zarr.partial-*")
    with pytest.raises(ValueError, match="not complete"):
        open_store(partial)
    assert done
    require_restarted(folder, originals, "first")


@pytest.mark.parametrize("point", [{"shards": 2}, {"halt": "before the commit"}])
def test_a_killed_append_leaves_the_old_store_and_goes_on(point, folder, originals):
    store = extract("first")
    images = store.dataset.images.values
    kill_child(folder, "second", **point)
    old = open_store(folder / "a.zarr")
    assert len(old) == len(store)
    np.testing.assert_array_equal(old.dataset.images.values, images)
    np.testing.assert_array_equal(old.coordinate("digest"), store.coordinate("digest"))
    assert old.attrs == store.attrs
    require_restarted(folder, originals, "second")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_kills_at_random_points(seed, folder, originals):
    rng = np.random.default_rng(seed)
    for name in ("first", "second"):
        kill_child(folder, name, shards=int(rng.integers(0, 5)))
        kill_child(
            folder, name, halt=str(rng.choice(["before the coordinates", "before the commit"]))
        )
        require_restarted(folder, originals, name)


def test_a_full_disk_keeps_what_is_finished(folder, originals, monkeypatch):
    written, again = [], []

    def until_full(path, patches, images, labels):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(patches.start)
        write_shard(path, patches, images, labels)

    def counted(path, patches, images, labels):
        again.append(patches.start)
        write_shard(path, patches, images, labels)

    for name in ("first", "second"):
        written.clear()
        again.clear()
        with monkeypatch.context() as patch, dask.config.set(scheduler="synchronous"):
            patch.setattr("seg4eo_xr.patches.planning.write_shard", until_full)
            with pytest.raises(OSError, match="No space left") as caught:
                extract(name)
            assert "3 shards of a.zarr are finished and kept" in caught.value.__notes__[0]
            if name == "second":
                assert len(open_store("a.zarr").attrs["scenes"]) == 1
            patch.setattr("seg4eo_xr.patches.planning.write_shard", counted)
            require_restarted(folder, originals, name)
        assert again
        assert not set(written) & set(again)


def test_only_one_process_appends_at_a_time(folder):
    from filelock import FileLock

    extract("first")
    with (
        FileLock(folder / "a.zarr" / ".lock"),
        pytest.raises(FileExistsError, match="another process is writing"),
    ):
        extract("second")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_is_killed_costs_no_byte(folder, originals):
    from distributed import Client, LocalCluster

    def slow_down():
        from seg4eo_xr.patches import planning
        from seg4eo_xr.patches.writing import write_shard

        def slowly(*arguments):
            time.sleep(0.1)
            write_shard(*arguments)

        planning.write_shard = slowly

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.run(slow_down)
        victim = next(iter(client.run(os.getpid).values()))
        finished = threading.Event()

        def kill():
            while records(folder) < 2 and not finished.wait(0.01):
                pass
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            extract("first")
        finally:
            finished.set()
            killer.join()
    assert repr(digest(folder / "a.zarr")) == expected(originals, "first")
