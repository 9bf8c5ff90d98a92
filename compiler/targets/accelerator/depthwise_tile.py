"""The tile that DEPTHWISE computes, and how its weights lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from tilewright.compiler.targets.accelerator.layout import Array, Bytes, ceil_div
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid, Output, Pair
from tilewright.isa.config import Config
from tilewright.isa.ir import Buffer, Const, DType, Function, Load, Store, Var, loops


@dataclass(frozen=True)
class DepthwiseTile:
    """A depthwise convolution's tile: buffers `x`, `w`, `p`, `y` and those of `finish`.

    Attributes
    ----------
    x, y : Grid
        Extents of the resident tensors (their pitch). Without epilogue `y` is in `acc`.
    out_blocks, rows, columns : int
        Output extents; blocks of `block_out` channels.
    kernel : pair of int
        At most the window of the configuration.
    stride : pair of int
        1 or 2 each.
    weight_pitch : int
        Entries between the weights of successive blocks.
    finish : Finish
    """

    x: Grid
    y: Grid
    out_blocks: int
    rows: int
    columns: int
    kernel: Pair
    stride: Pair = (1, 1)
    weight_pitch: int = 1
    finish: Finish = field(default_factory=Finish)

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        out = Output(config, self.y, self.out_blocks, self.rows, self.columns, self.finish)
        kh, kw = Var("kh"), Var("kw")
        x = self.x.in_act("x", config)
        row, column = out.row * self.stride[0] + kh, out.column * self.stride[1] + kw
        a = Load(x, (out.block, row, column, *out.channel))
        shape = (self.out_blocks, self.weight_pitch, config.gemm.block_out, config.gemm.block_in)
        w = Buffer("w", DType.I8, shape, "wgt")
        window_row = kh + (config.window_rows - self.kernel[0])
        element = window_row * config.window_columns + kw + (config.window_columns - self.kernel[1])
        weight = Load(w, (out.index, Const(0), out.lane_c, element))
        value = Load(out.sums, out.lane) + a.cast(DType.I32) * weight.cast(DType.I32)
        step = loops([(kh, self.kernel[0]), (kw, self.kernel[1]), *out.lanes], Store(out.sums, out.lane, value))
        return out.function("depthwise", (x, w), Const(0, DType.I32), step)


@dataclass(frozen=True)
class Window:
    """A part of a kernel that one instruction does: first row and column, extents."""

    row: int
    column: int
    rows: int
    columns: int


def windows(kernel: Pair, config: Config) -> list[Window]:
    """Cut a kernel into windows that the array holds, the largest first."""
    height, width = config.window_rows, config.window_columns
    return [
        Window(row, column, min(height, kernel[0] - row), min(width, kernel[1] - column))
        for row, column in product(range(0, kernel[0], height), range(0, kernel[1], width))
    ]


def pack_depthwise_weights(weight: Array, config: Config) -> Bytes:
    """Return the weight entries of a depthwise convolution.

    Parameters
    ----------
    weight
        `[C, 1, KH, KW]` int8.

    Returns
    -------
    Bytes
        `[block][window][block_out][block_in]`, blocks of `block_out` channels up to whole rows of lanes; a window's
        weights stand in the last rows and columns.
    """
    channels, _, kh, kw = weight.shape
    block_in, block_out = config.gemm.block_in, config.gemm.block_out
    parts = windows((kh, kw), config)
    height, width = config.window_rows, config.window_columns
    padded = ceil_div(channels, config.lanes) * config.lanes
    entries = np.zeros((padded, len(parts), block_in), np.int8)
    for index, part in enumerate(parts):
        window = np.zeros((channels, height, width), np.int8)
        taps = weight[:, 0, part.row : part.row + part.rows, part.column : part.column + part.columns]
        window[:, height - part.rows :, width - part.columns :] = taps
        entries[:channels, index, : height * width] = window.reshape(channels, -1)
    split = entries.reshape(padded // block_out, block_out, len(parts), block_in)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3)).reshape(-1).view(np.uint8)


__all__ = ["DepthwiseTile", "Window", "pack_depthwise_weights", "windows"]
