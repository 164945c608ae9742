"""Jobs on S3, through the real protocol, against jobs on the disk."""

from __future__ import annotations

import threading

import pytest
from toy_jobs import OPTIONS, digest, failing_scene, make_files, run_job, toy_checkpoint

import seg4eo_xr as seg
from seg4eo_xr.jobs import order
from seg4eo_xr.patches.building import locate

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]


class Moody:
    """A server in front of another one, which fails from a certain write on."""

    def __init__(self, server):
        self.server, self.writes_left, self.failed = server, None, 0

    def __call__(self, environ, start_response):
        if self.writes_left is not None:
            self.writes_left -= environ["REQUEST_METHOD"] in ("PUT", "POST")
            if self.writes_left < 0:
                self.failed += 1
                start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
                return [b"<Error><Code>InternalError</Code><Message>Oh</Message></Error>"]
        return self.server(environ, start_response)


@pytest.fixture(scope="module")
def moody():
    return Moody(moto_server.DomainDispatcherApplication(moto_server.create_backend_app))


@pytest.fixture(scope="module")
def bucket(moody):
    import fsspec
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, moody, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        # One try: whoever tries again meets the same.
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setattr("s3fs.S3FileSystem.retries", 1)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = fsspec.filesystem("s3")
        files.mkdir("maps")
        yield "s3://maps"
        files.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = make_files(tmp_path_factory.mktemp("job"))
    run_job(folder, folder / "local.zarr")
    run_job(folder, folder / "local.tif")
    return folder


def objects(url):
    import hashlib

    path = locate(url)
    return {
        file.path.removeprefix(path.path).lstrip("/"): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


def test_a_map_on_s3_holds_the_same_bytes(bucket, folder):
    url = f"{bucket}/map.zarr"
    result = run_job(folder, url)
    assert objects(url) == digest(folder / "local.zarr")
    assert result.open().equals(seg.open_map(folder / "local.zarr"))
    assert not locate(f"{url}.run").exists()
    with pytest.raises(FileExistsError, match="overwrite"):
        run_job(folder, url)
    run_job(folder, url, overwrite=True)
    assert objects(url) == digest(folder / "local.zarr")


def test_a_cog_on_s3_is_put_there_whole(bucket, folder):
    run_job(folder, f"{bucket}/map.tif")
    names = ("map.tif", "map.tif.aux.xml", "map_confidence.tif")
    for name in names:
        content = (folder / name.replace("map", "local")).read_bytes()
        assert locate(f"{bucket}/{name}").read_bytes() == content
    assert {file.name for file in locate(bucket).glob("map*.tif*")} == set(names)
    assert not locate(f"{bucket}/map.tif.run").exists()


def test_names_of_classes_of_a_map_that_is_replaced_on_s3_go(bucket, folder):
    target = locate(f"{bucket}/replaced_confidence.tif.aux.xml")
    target.write_text("names of another map")
    run_job(folder, f"{bucket}/replaced.tif")
    assert not target.exists()
    assert locate(f"{bucket}/replaced.tif.aux.xml").exists()


# While the arrays are made, among the tiles, and before the last of the metadata.
@pytest.mark.parametrize("writes", [3, 14, 31])
def test_a_server_that_fails_stops_a_job_which_goes_on_later(writes, bucket, moody, folder):
    url = f"{bucket}/broken{writes}.zarr"
    moody.writes_left, moody.failed = writes, 0
    try:
        with pytest.raises((seg.JobFailedError, OSError), match=r"Oh|reach") as caught:
            run_job(folder, url, retries=0)
    finally:
        moody.writes_left = None
    assert moody.failed
    assert any("--resume" in note for note in caught.value.__notes__)
    with pytest.raises((ValueError, FileNotFoundError)):
        seg.open_map(url)
    with pytest.raises(FileExistsError, match="resume"):
        run_job(folder, url)
    run_job(folder, url, resume=True)
    assert objects(url) == digest(folder / "local.zarr")
    assert not locate(f"{url}.run").exists()
    run_job(folder, url, resume=True)  # finished already


def test_a_server_that_fails_gets_no_half_a_cog(bucket, moody, folder, monkeypatch):
    url = f"{bucket}/broken.tif"

    def fail(*arguments, write=order.write_outputs, **named):
        moody.writes_left = 1  # that of the confidence
        write(*arguments, **named)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(order, "write_outputs", fail)
            with pytest.raises(OSError, match=r"Oh|reach"):
                run_job(folder, url)
    finally:
        moody.writes_left = None
    assert locate(f"{bucket}/broken_confidence.tif").exists()
    assert not locate(url).exists()
    run_job(folder, url, resume=True)
    assert locate(url).read_bytes() == (folder / "local.tif").read_bytes()


def test_a_bucket_that_is_not_there_is_named(bucket, folder):
    with pytest.raises(OSError, match=r"s3://none/map\.zarr"):
        run_job(folder, "s3://none/map.zarr")


def test_a_job_without_a_finished_tile_leaves_nothing(bucket):
    place = f"{bucket}/broken.zarr"
    with pytest.raises(seg.JobFailedError):
        seg.predict_to_zarr(
            failing_scene(OSError("unreadable"))[:, 140:, 90:],
            toy_checkpoint(),
            place,
            progress=False,
            **OPTIONS,
        )
    assert not locate(place).exists()
    assert not locate(f"{place}.run").exists()


def test_only_maps_are_replaced(folder, bucket):
    place = f"{bucket}/precious.zarr"
    (locate(place) / ".zgroup").write_text("{}")
    with pytest.raises(FileExistsError, match="no Zarr store"):
        run_job(folder, place, overwrite=True)
    assert (locate(place) / ".zgroup").read_text() == "{}"


def test_options_that_workers_would_not_get_are_refused(folder, bucket):
    from upath import UPath

    output = UPath(f"{bucket}/own.zarr", key="key", secret="secret")
    with pytest.raises(ValueError, match="AWS_ACCESS_KEY_ID"):
        run_job(folder, output)
