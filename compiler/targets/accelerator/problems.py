"""States a node's convolution in units of the machine, as the tile searches take it."""

from __future__ import annotations

from dataclasses import replace

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import mac_count, operand, window
from tilewright.compiler.targets.accelerator.depthwise_tile import windows
from tilewright.compiler.targets.accelerator.depthwise_tiling import DepthwiseProblem
from tilewright.compiler.targets.accelerator.folding import folded_window
from tilewright.compiler.targets.accelerator.layout import ChannelMap, ceil_div, channel_map
from tilewright.compiler.targets.accelerator.legality import is_depthwise
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.problem import Problem
from tilewright.isa.config import Config

#: Some of a tensor's channel blocks: the first, and how many.
Blocks = tuple[int, int]


def convolution_problem(
    graph: Graph, node: Node, config: Config, source: Placed, target: Placed
) -> tuple[Problem, ChannelMap]:
    """Return the problem of a convolution or matrix product, and the blocks that it reads."""
    shape = graph.shape(operand(node, "weight"))
    outputs, groups = (shape[1], 1) if node.op == "qmatmul" else (shape[0], node["groups"])
    inputs = source.layout.shape[-1] if source.layout.is_matrix else source.layout.shape[1]
    channels = channel_map(inputs, outputs, groups, config)
    lines, result = source.layout, target.layout
    problem = Problem(
        result.groups, lines.height, lines.width, result.height, result.width, channels.span,
        channels.step or 0, len(channels.starts), ceil_div(outputs, config.gemm.block_out),
        has_residual=node["epilogue"].residual is not None, keeps_input=source.resident is not None,
        keeps_output=target.resident is not None, is_stored=target.is_stored, reserved_rows=_reserved(source, target),
    )  # fmt: skip
    if node.op == "qmatmul":
        return replace(problem, step=0), channels
    w = folded_window(window(graph, node), lines)
    problem = replace(problem, kernel=w.kernel, strides=w.strides, dilations=w.dilations, pads=w.pads[:2])
    return (problem if _has_border(source) or _has_border(target) else problem.flattened()), channels


def depthwise_problem(graph: Graph, node: Node, config: Config, source: Placed, target: Placed) -> DepthwiseProblem:
    """Return the problem of a depthwise convolution."""
    w, lines, result = window(graph, node), source.layout, target.layout
    return DepthwiseProblem(
        result.groups, result.blocks, ceil_div(result.shape[1], config.gemm.block_out), lines.height, lines.width,
        result.height, result.width, w.kernel, w.strides, w.pads[:2], node["epilogue"].residual is not None,
        source.resident is not None, target.resident is not None, target.is_stored, _reserved(source, target),
    )  # fmt: skip


def ideal_cycles(graph: Graph, node: Node, config: Config) -> int:
    """Return the cycles that the array needs for a node when it never waits.

    Every multiplier is busy in each of them; of a depthwise convolution, every cycle feeds a pixel.
    """
    if not is_depthwise(graph, node, config):
        return ceil_div(mac_count(graph, node), config.macs_per_cycle)
    images, channels, height, width = graph.shape(node.output)
    w = window(graph, node)
    pixels = sum(
        ((height - 1) * w.strides[0] + part.rows) * ((width - 1) * w.strides[1] + part.columns)
        for part in windows(w.kernel, config)
    )
    return ceil_div(images, config.gemm.batch) * ceil_div(channels, config.gemm.block_out) * pixels


def part_of(problem: Problem, blocks: Blocks | None, config: Config) -> Problem:
    """Return the part of a problem that computes some of its output blocks."""
    if blocks is None:
        return problem
    sub_out = config.sub_out
    co_count = min(blocks[1] * sub_out, problem.co_count - blocks[0] * sub_out)
    return replace(problem, out_blocks=blocks[1], co_count=co_count)


def _reserved(source: Placed, target: Placed) -> int:
    residents = [placed.resident.grid.size for placed in (source, target) if placed.resident is not None]
    return sum(residents) + source.spare_rows + target.spare_rows


def _has_border(placed: Placed) -> bool:
    resident = placed.resident
    return resident is not None and resident.grid.size != resident.grid.blocks * placed.layout.plane
