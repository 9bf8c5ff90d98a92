"""Packing and unpacking are inverses, and put every byte where machine.md says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.compiler.targets.accelerator.layer_driver import CONFIGS
from tilewright.compiler.targets.accelerator.layout import (
    channel_map,
    image_layout,
    matrix_layout,
    pack,
    pack_parameters,
    pack_weights,
    unpack,
)
from tilewright.isa.config import Config
from tilewright.isa.parameter_record import BIAS, MULTIPLIER, SHIFT

configurations = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def unpack_weights(data: NDArray[np.uint8], shape: tuple[int, ...], config: Config) -> NDArray[np.int8]:
    """Return ungrouped weights `[O, C, KH, KW]` from their entries; the inverse of `pack_weights`."""
    lanes, block_in, block_out = config.lanes, config.gemm.block_in, config.gemm.block_out
    outputs, depth, kh, kw = shape
    split = data.view(np.int8).reshape(-1, -(-depth // lanes), kh, kw, lanes // block_in, block_out, block_in)
    dense = split.transpose(0, 5, 1, 4, 6, 2, 3).reshape(-1, -(-depth // lanes) * lanes, kh, kw)
    return np.ascontiguousarray(dense[:outputs, :depth])


def unpack_parameters(data: NDArray[np.uint8], channels: int) -> tuple[NDArray[np.integer], ...]:
    """Return bias, multiplier and shift of each channel; the inverse of `pack_parameters`."""
    words = data.view("<u8")[:channels]
    bias, multiplier, shift = (words >> np.uint64(p.low) & np.uint64(p.mask) for p in (BIAS, MULTIPLIER, SHIFT))
    return bias.astype(np.uint32).view(np.int32), multiplier, shift


@configurations
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (3, 40, 2, 7), (2, 64, 1, 1)], ids=str)
def test_images(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    array = rng.integers(-128, 128, shape, np.int8)
    layout = image_layout(shape, config)
    data = pack(array, layout, config)
    assert data.size == layout.size_bytes(config)
    np.testing.assert_array_equal(unpack(data, layout, config), array)
    n, c, h, w = (int(rng.integers(0, extent)) for extent in shape)
    batch, lanes, atom = config.gemm.batch, config.lanes, config.atom
    row = ((n // batch * layout.blocks + c // lanes) * shape[2] + h) * shape[3] + w
    byte = row * config.row_bytes + ((c % lanes // atom) * batch + n % batch) * atom + c % atom
    assert data.view(np.int8)[byte] == array[n, c, h, w]


@configurations
@pytest.mark.parametrize("shape", [(1, 3), (9, 70), (2, 5, 33)], ids=str)
def test_matrices(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    array = rng.integers(-128, 128, shape, np.int8)
    layout = matrix_layout(shape, config)
    data = pack(array, layout, config)
    assert data.size == layout.size_bytes(config)
    np.testing.assert_array_equal(unpack(data, layout, config), array)


@configurations
def test_weights(config: Config, rng: np.random.Generator) -> None:
    shape = (37, 21, 3, 2)
    weight = rng.integers(-128, 128, shape, np.int8)
    channels = channel_map(shape[1], shape[0], 1, config)
    data = pack_weights(weight, 1, channels, config)
    np.testing.assert_array_equal(unpack_weights(data, shape, config), weight)
    o, c, y, x = (int(rng.integers(0, extent)) for extent in shape)
    block_in, block_out, lanes = config.gemm.block_in, config.gemm.block_out, config.lanes
    entry = (((o // block_out * channels.span + c // lanes) * 3 + y) * 2 + x) * (lanes // block_in)
    entry += c % lanes // block_in
    byte = entry * config.wgt_entry_bytes + (o % block_out) * block_in + c % block_in
    assert data.view(np.int8)[byte] == weight[o, c, y, x]


@configurations
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(40, 40, 40), (48, 20, 2), (30, 60, 10)])
def test_grouped_weights(config: Config, inputs: int, outputs: int, groups: int, rng: np.random.Generator) -> None:
    """Grouped weights, spread out, do the same as the groups one by one."""
    weight = rng.integers(-128, 128, (outputs, inputs // groups, 1, 1), np.int8)
    channels = channel_map(inputs, outputs, groups, config)
    padded = (outputs, channels.span * config.lanes, 1, 1)
    spread = unpack_weights(pack_weights(weight, groups, channels, config), padded, config)[:, :, 0, 0].astype(int)
    x = np.zeros(max(channels.starts[-1] + channels.span, 1) * config.lanes, int)
    x[:inputs] = rng.integers(-128, 128, inputs)
    for o in range(outputs):
        first = o // (outputs // groups) * (inputs // groups)
        expected = x[first : first + inputs // groups] @ weight[o, :, 0, 0].astype(int)
        start = channels.starts[o // config.lanes] * config.lanes
        assert x[start : start + spread.shape[1]] @ spread[o] == expected


@configurations
def test_parameters(config: Config, rng: np.random.Generator) -> None:
    bias = rng.integers(-(1 << 31), 1 << 31, 37).astype(np.int32)
    multiplier, shift = rng.integers(0, 1 << 24, 37, np.int32), rng.integers(0, 48, 37, np.int32)
    data = pack_parameters(bias, multiplier, shift, 37, config)
    for given, found in zip((bias, multiplier, shift), unpack_parameters(data, 37), strict=True):
        np.testing.assert_array_equal(found, given)


@configurations
@pytest.mark.parametrize("shape", [(1, 4), (1, 64, 3, 2)], ids=str)
def test_what_is_unpacked_keeps_its_values(config: Config, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    array = rng.integers(-128, 128, shape, np.int8)
    layout = matrix_layout(shape, config) if len(shape) == 2 else image_layout(shape, config)
    memory = pack(array, layout, config).copy()
    given = unpack(memory, layout, config)
    memory[:] = 0
    np.testing.assert_array_equal(given, array)
