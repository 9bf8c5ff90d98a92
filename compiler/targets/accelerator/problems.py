"""States a node's convolution in units of the machine, as the tile searches take it."""

from __future__ import annotations

from dataclasses import replace

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import operand, window
from tilewright.compiler.targets.accelerator.depthwise_tiling import DepthwiseProblem
from tilewright.compiler.targets.accelerator.folding import folded_window
from tilewright.compiler.targets.accelerator.layout import ChannelMap, ceil_div, channel_map
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.problem import Problem
from tilewright.isa.config import Config


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


def _reserved(source: Placed, target: Placed) -> int:
    return sum(placed.resident.grid.size for placed in (source, target) if placed.resident is not None)


def _has_border(placed: Placed) -> bool:
    return placed.resident is not None and placed.resident.grid.size != placed.layout.blocks * placed.layout.plane
