"""Laws of `seg4eo_xr.patches.encoding`: its shards are Zarr's, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from seg4eo_xr.patches.encoding import encode_patches, shard_parts, split_shard, zarr_codec

SHARD_SIZE = 8


def written_by_zarr(patches: np.ndarray) -> bytes:
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=patches.shape,
        dtype=patches.dtype,
        chunks=(1, *patches.shape[1:]),
        shards=(SHARD_SIZE, *patches.shape[1:]),
        compressors=zarr_codec(str(patches.dtype)),
        fill_value=0,
    )
    array.with_config({"write_empty_chunks": True})[:] = patches
    (content,) = (value for key, value in store._store_dict.items() if key.startswith("c/"))
    return content.to_bytes()


def some_patches(count: int, dtype: str, highest: int) -> np.ndarray:
    shape = (count, 3, 16, 16)
    return np.random.default_rng(count).integers(0, highest, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@given(count=st.integers(1, SHARD_SIZE), highest=st.sampled_from([1, 5, 120]))
def test_a_shard_is_what_zarr_writes(dtype: str, count: int, highest: int) -> None:
    patches = some_patches(count, dtype, highest)
    shard = b"".join(shard_parts(encode_patches(patches, dtype), SHARD_SIZE))
    assert shard == written_by_zarr(patches)


@given(count=st.integers(1, SHARD_SIZE), data=st.data())
def test_a_shard_gives_back_its_first_chunks(count: int, data: st.DataObject) -> None:
    chunks = encode_patches(some_patches(count, "uint16", 9), "uint16")
    shard = b"".join(shard_parts(chunks, SHARD_SIZE))
    wanted = data.draw(st.integers(0, count))
    assert split_shard(shard, SHARD_SIZE, wanted) == chunks[:wanted]
    if count < SHARD_SIZE:
        with pytest.raises(ValueError, match=f"lacks some of its first {count + 1} patches"):
            split_shard(shard, SHARD_SIZE, count + 1)


@given(damage=st.sampled_from(["cut", "flipped", "empty"]))
def test_a_damaged_shard_is_refused(damage: str) -> None:
    chunks = encode_patches(some_patches(3, "uint16", 9), "uint16")
    shard = b"".join(shard_parts(chunks, SHARD_SIZE))
    broken = {"cut": shard[:-7], "flipped": shard[:-9] + b"\1" + shard[-8:], "empty": b""}[damage]
    with pytest.raises(ValueError, match="damaged"):
        split_shard(broken, SHARD_SIZE, 2)


def test_patches_of_another_dtype_are_encoded_in_the_store_s() -> None:
    labels = some_patches(2, "uint8", 9)
    assert encode_patches(labels, "int16") == encode_patches(labels.astype(np.int16), "int16")
