"""Stores on S3, through the real protocol, against stores on the disk."""

from __future__ import annotations

import pytest

from seg4eo_xr.geometry.splits import RandomSplit
from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.patches.writing import write_shard
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.testing import synthetic_sentinel2

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def bucket():
    import fsspec

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3")
        files.mkdir("patches")
        yield "s3://patches"
        files.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def scenes():
    made = [synthetic_sentinel2((40, 60), seed=seed) for seed in (1, 2)]
    return [(select_bands(scene, ["B02", "B03"]), labels) for scene, labels in made]


def extract(pair, path, **options):
    return extract_patches(
        *pair,
        path,
        patch_size=16,
        shard_size=2,
        progress=False,
        split=RandomSplit(0.5, 0.3, 0.2) if not options.get("append") else RandomSplit(1, 0, 0),
        **options,
    )


def objects(path):
    """Content of every object of a store, by its key."""
    return {
        file.path.removeprefix(path.path).lstrip("/"): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.mark.filterwarnings("ignore::seg4eo_xr.patches.extract.LeakageWarning")
def test_a_store_on_s3_holds_the_same_bytes(bucket, scenes, tmp_path):
    url = f"{bucket}/same.zarr"
    for append, pair in enumerate(scenes):
        remote = extract(pair, url, append=bool(append))
        local = extract(pair, tmp_path / "same.zarr", append=bool(append))
        assert objects(remote.path) == objects(local.path)
    remote.require_complete()
    assert remote.describe().splitlines()[0] == f"patch store {url}"
    batches = [
        [batch["image"] for batch in PatchStream(store, "train", batch_size=5, shuffle=True)]
        for store in (remote, local)
    ]
    assert all((one == other).all() for one, other in zip(*batches, strict=True))
    with pytest.raises(FileExistsError, match="overwrite"):
        extract(scenes[0], url)
    assert len(extract(scenes[0], url, overwrite=True)) == len(local) / 2


def test_an_interrupted_store_on_s3_is_no_store_and_goes_on(bucket, scenes, tmp_path, monkeypatch):
    url, written = f"{bucket}/broken.zarr", []

    def until_lost(path, patches, images, labels):
        if len(written) == 2:
            raise OSError("connection lost")
        written.append(patches.start)
        write_shard(path, patches, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr("seg4eo_xr.patches.planning.write_shard", until_lost)
        with pytest.raises(OSError, match="connection lost"):
            extract(scenes[0], url)
    with pytest.raises(ValueError, match="not complete"):
        open_store(url)
    store = extract(scenes[0], url)
    local = extract(scenes[0], tmp_path / "broken.zarr")
    assert objects(store.path) == objects(local.path)


def test_what_is_not_there_is_named(bucket, scenes):
    with pytest.raises(OSError, match=r"s3://none/a\.zarr: .*bucket does not exist"):
        extract(scenes[0], "s3://none/a.zarr")
    with pytest.raises(FileNotFoundError, match=r"s3://patches/none\.zarr does not exist"):
        open_store(f"{bucket}/none.zarr")
