"""Laws of `seg4eo_xr.patches.shards`: zarr-python reads the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath
from zarr.codecs import ZstdCodec

from seg4eo_xr.patches import shards
from seg4eo_xr.patches.encoding import zarr_codec
from seg4eo_xr.patches.shards import ShardReader, ZarrReader, chunk_reader, shard_index

SHAPE = (3, 16, 8)


def numbers(count: int, dtype: str, highest: int = 120) -> np.ndarray:
    return np.random.default_rng(count).integers(0, highest, (count, *SHAPE)).astype(dtype)


def stored(folder, patches: np.ndarray, *, shard: int = 4, **options) -> zarr.Array:
    options = {"shards": (shard, *SHAPE), "compressors": zarr_codec(str(patches.dtype)), **options}
    array = zarr.create_array(
        str(folder),
        shape=patches.shape,
        dtype=patches.dtype,
        chunks=(1, *SHAPE),
        overwrite=True,
        **options,
    )
    array.with_config({"write_empty_chunks": True})[:] = patches
    return array


def read(reader, position: int, dtype: str) -> np.ndarray:
    out = np.full(SHAPE, 77, dtype)
    reader.read_into(position, out)
    return out


@pytest.fixture
def folder(tmp_path):
    return UPath(tmp_path / "array")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@settings(max_examples=15)
@given(count=st.integers(1, 11), highest=st.sampled_from([1, 5, 120]), shard=st.integers(1, 8))
def test_patches_are_what_zarr_reads(dtype, count, highest, shard, tmp_path_factory):
    folder = UPath(tmp_path_factory.mktemp("shards"))
    array = stored(folder, numbers(count, dtype, highest), shard=shard)
    reader = chunk_reader(array, folder)
    assert isinstance(reader, ShardReader)
    for position in np.random.default_rng(shard).permutation(count).tolist():
        np.testing.assert_array_equal(read(reader, position, dtype), array[position])


OTHERS = {
    "no shards": {"shards": None},
    "index at the start": {"shards": {"shape": (4, *SHAPE), "index_location": "start"}},
    "zstd": {"compressors": ZstdCodec()},
    "no compression": {"compressors": None},
    "big-endian": {"serializer": zarr.codecs.BytesCodec(endian="big")},
    "several codecs": {"compressors": [zarr_codec("uint16"), zarr.codecs.Crc32cCodec()]},
    "filters": {"filters": zarr.codecs.TransposeCodec(order=(0, 1, 3, 2))},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_what_is_encoded_otherwise_is_left_to_zarr(options, folder):
    patches = numbers(6, "uint16")
    array = stored(folder, patches, **options)
    reader = chunk_reader(array, folder)
    assert isinstance(reader, ZarrReader)
    for position in range(6):
        np.testing.assert_array_equal(read(reader, position, "uint16"), patches[position])


def test_threads_may_share_a_reader_that_keeps_few_files_open(folder, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN_FILES", 2)
    patches = numbers(40, "uint16")
    reader = chunk_reader(stored(folder, patches), folder)
    order = np.random.default_rng(0).permutation(400) % 40
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda position: read(reader, position, "uint16"), order.tolist()))
    np.testing.assert_array_equal(found, patches[order])
    assert reader._file.cache_info().currsize == 2


@pytest.mark.parametrize(("run_length", "requests"), [(1, 2 + 7), (2, 2 + 4), (4, 2 + 2)])
def test_runs_of_patches_elsewhere_take_a_request_each(run_length, requests, folder, monkeypatch):
    patches = numbers(7, "uint16")
    array = stored(folder, patches)
    elsewhere = UPath("memory://test_shards/array")
    for file in folder.rglob("*"):
        if file.is_file():
            (elsewhere / str(file.relative_to(folder))).write_bytes(file.read_bytes())
    made = []
    cat_file = MemoryFileSystem.cat_file
    monkeypatch.setattr(
        MemoryFileSystem,
        "cat_file",
        lambda *args, **kwds: made.append(1) or cat_file(*args, **kwds),
    )
    reader = chunk_reader(array, elsewhere, run_length=run_length)
    assert isinstance(reader, ShardReader)
    for position in (5, 0, 3, 6, 1, 4, 2):
        np.testing.assert_array_equal(read(reader, position, "uint16"), patches[position])
    assert len(made) == requests


def damage(folder, kind: str) -> None:
    file = folder / "c/0/0/0/0"
    content = file.read_bytes()
    index = np.frombuffer(content[-68:-4], "<u8").reshape(4, 2)
    start, length = index[1].tolist()
    changed = {
        "index": content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
        "short": content[:30],
        "no header": content[:start] + bytes(16) + content[start + 16 :],
        "other size": content[: start + 4] + b"\1" + content[start + 5 :],
        "body": content[: start + 16] + b"\xff" * (length - 16) + content[start + length :],
    }
    file.write_bytes(changed[kind])


@pytest.mark.parametrize("kind", ["index", "short", "no header", "other size", "body"])
def test_damage_is_an_error(kind, folder):
    array = stored(folder, numbers(4, "uint16"))
    damage(folder, kind)
    with pytest.raises((ValueError, RuntimeError)):
        read(chunk_reader(array, folder), 1, "uint16")


def test_a_patch_that_was_not_written_is_an_error(folder):
    patches = numbers(4, "uint16")
    array = stored(folder, patches)
    zarr.open_array(str(folder)).resize((8, *SHAPE))
    longer = zarr.open_array(str(folder)).with_config({"write_empty_chunks": False})
    longer[4:6] = patches[:2]
    reader = chunk_reader(longer, folder)
    np.testing.assert_array_equal(read(reader, 5, "uint16"), array[1])
    with pytest.raises(ValueError, match=r"1/0/0/0 does not hold it"):
        read(reader, 6, "uint16")


def test_an_index_that_is_cut_off_or_changed_is_refused():
    with pytest.raises(ValueError, match="does not match its checksum"):
        shard_index(bytes(36), 2)
    with pytest.raises(ValueError, match="does not match its checksum"):
        shard_index(b"", 2)
