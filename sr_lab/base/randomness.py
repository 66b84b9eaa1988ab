"""Randomness that is a pure function of integers, equal on every device and for every batch size.

Two levels. A *stream* (64 bits, one a sample) is split by the names of the operations and turned into uniform
numbers, from which parameters are made. A *seed* (one of those parameters) is turned into 16 random bits a pixel by an
integer hash of the pixel's number, and these into normal deviates by a table: no floating-point operation comes
before the table, so CPU and GPU give the same bits, and a replay gives the same bytes.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Streams = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
NUM_LEVELS = 1 << 16
_MASK = 0xFFFFFFFF
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def digest64(*key: int | str) -> int:
    """A 63-bit number that depends on ``key`` alone; keys that differ in any part give unrelated ones."""
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele et al., OOPSLA 2014): a bijection of 64 bits without visible structure."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def child(streams: Streams, name: str) -> Streams:
    """The streams of the operation ``name``: unrelated to those of every other name."""
    return mix(streams ^ np.uint64(_name_digest(name)))


def uniforms(streams: Streams, count: int) -> Floats:
    """(B, count) independent numbers in [0, 1) from (B,) streams; multiples of 2**-53."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mix(streams[:, None] + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def seeds(uniform: Floats) -> npt.NDArray[np.int64]:
    """53-bit seeds from uniform numbers, for the noise of a sample."""
    return (uniform * 2.0**53).astype(np.int64)


def frame_seed(seed: int, number: int) -> int:
    """Seed of frame ``number`` of a clip, below 2**53: unrelated for every number, ``seed`` itself for the first."""
    if number == 0:
        return seed
    step = np.array([number], dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)
    return int((mix(mix(np.array([seed], dtype=np.uint64)) ^ step) >> np.uint64(11))[0])


def pixel_bits(seed: int, count: int, *, plane: int = 0) -> npt.NDArray[np.uint16]:
    """16 random bits for each of ``count`` pixels (a hash of seed, plane and the pixel's number).

    The hash is "lowbias32" (Wellons) with the second half of the key added between its rounds; each 32-bit word serves
    two pixels.

    Args:
        seed: of the sample, 0 <= seed < 2**53.
        count: number of values.
        plane: tells apart several fields of one seed.
    """
    start, added = _hash_key(np.array([seed], dtype=np.uint64), plane)
    words = np.arange((count + 1) // 2, dtype=np.uint32)
    words += np.uint32(start[0])
    shifted = np.right_shift(words, np.uint32(16))
    words ^= shifted
    words *= np.uint32(_FIRST)
    np.right_shift(words, np.uint32(15), out=shifted)
    words ^= shifted
    words += np.uint32(added[0])
    words *= np.uint32(_SECOND)
    np.right_shift(words, np.uint32(16), out=shifted)
    words ^= shifted
    return words.astype("<u4", copy=False).view("<u2")[:count]


def pixel_bits_tensor(seeds: npt.NDArray[np.int64], positions: Tensor, *, plane: int = 0) -> Tensor:
    """The same bits on a device.

    Args:
        seeds: (B,), on the host.
        positions: (B, ...) number of each pixel as in ``pixel_bits``; int64, or int32, which moves half the memory.
        plane: as in ``pixel_bits``.

    Returns:
        tensor of the shape and type of ``positions``, values below 2**16.
    """
    start, added = _hash_key(seeds.astype(np.uint64), plane)
    shape = (-1,) + (1,) * (positions.ndim - 1)
    keys = np.stack([start, added])
    words: Tensor
    if positions.dtype == torch.int32:  # wraps by itself, and shifts its sign in
        first, second = (key.reshape(shape) for key in upload(keys.astype(np.uint32).view(np.int32), positions.device))
        words = (positions >> 1) + first
        words = (words ^ ((words >> 16) & 0xFFFF)) * _FIRST
        words = ((words ^ ((words >> 15) & 0x1FFFF)) + second) * (_SECOND - (1 << 32))
        words = words ^ ((words >> 16) & 0xFFFF)
    else:
        first, second = (key.reshape(shape) for key in upload(keys.astype(np.int64), positions.device))
        words = ((positions >> 1) + first) & _MASK
        words = ((words ^ (words >> 16)) * _FIRST) & _MASK
        words = (((words ^ (words >> 15)) + second) * _SECOND) & _MASK
        words = words ^ (words >> 16)
    return (words >> ((positions & 1) << 4)) & 0xFFFF


@lru_cache(maxsize=1)
def normal_table() -> npt.NDArray[np.float32]:
    """Standard normal deviate of each 16-bit number: the mid-quantiles, scaled to unit variance.

    The distribution function is off by at most 2**-17; the largest value is 4.33.
    """
    uniform = (torch.arange(NUM_LEVELS, dtype=torch.float64, device="cpu") + 0.5) / NUM_LEVELS
    table = torch.special.ndtri(uniform).numpy()
    table = (table - table[::-1]) / 2
    return np.asarray(table / table.std(), dtype=np.float32)


def normals(seed: int, shape: tuple[int, ...], *, plane: int = 0) -> npt.NDArray[np.float32]:
    """Standard normal noise of a sample, one value for each number of ``shape`` (H, W, C)."""
    bits = pixel_bits(seed, int(np.prod(shape)), plane=plane)
    return np.take(normal_table(), bits, mode="clip").reshape(shape)


def normals_tensor(seeds: npt.NDArray[np.int64], positions: Tensor, *, plane: int = 0) -> Tensor:
    """The same noise on a device; ``positions`` as in ``pixel_bits_tensor``."""
    return look_up(device_normal_table(positions.device), pixel_bits_tensor(seeds, positions, plane=plane))


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` of a table (N,); an int32 index is used as it is."""
    return table[index] if index.dtype == torch.int64 else table.index_select(0, index.reshape(-1)).view(index.shape)


@lru_cache(maxsize=16)
def device_normal_table(device: torch.device) -> Tensor:
    """The normal table on a device, uploaded once."""
    return torch.from_numpy(normal_table()).to(device)


def image_noise(
    seeds: Sequence[int], shape: tuple[int, int, int], *, plane: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal noise of whole images, the same bits on every device and in every batch.

    Args:
        seeds: one for each image, at least 0.
        shape: channels, height and width of an image.
        plane: tells apart several fields of one seed.
        device: where to make it.

    Returns:
        (len(seeds), C, H, W) float32, each image a function of its seed, ``shape`` and ``plane`` alone.
    """
    positions = torch.arange(shape[0] * shape[1] * shape[2], device=device).view(1, *shape)
    return normals_tensor(np.asarray(seeds, dtype=np.int64), positions, plane=plane)


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copies a host array to ``device`` without waiting for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@lru_cache(maxsize=1024)
def _name_digest(name: str) -> int:
    return digest64("operation", name)


def _hash_key(seeds: npt.NDArray[np.uint64], plane: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Two 32-bit halves of the key of each seed."""
    keys = mix(mix(seeds + np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(plane))
    return keys & np.uint64(_MASK), keys >> np.uint64(32)
