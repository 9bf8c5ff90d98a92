"""From the integer graph to launches of kernels."""

from __future__ import annotations

from collections.abc import Callable

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu.integer_lowering import IntegerLowering
from tilewright.compiler.targets.gpu.operators import LOWERINGS, has_kernel
from tilewright.compiler.targets.gpu.program import GpuProgram, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, by_model


def lower(graph: Graph, choose: Chooser = by_model) -> GpuProgram:
    """Compile an integer graph.

    Parameters
    ----------
    graph : Graph
    choose : callable
        Gives the schedule of each convolution and matrix product.

    Raises
    ------
    CapacityError
        When a tensor takes 2 GB or more.
    """
    steps: list[Segment | Node] = []
    for is_device, nodes in parts(graph, lambda node: has_kernel(graph, node)):
        if is_device:
            state = IntegerLowering(graph, nodes, choose)
            steps.append(state.segment(lambda node, state=state: LOWERINGS[node.op](state, node)))  # type: ignore[misc]
        else:
            steps += nodes
    return GpuProgram(graph, tuple(steps))


def parts(graph: Graph, is_for_device: Callable[[Node], bool]) -> list[tuple[bool, tuple[Node, ...]]]:
    """Group the nodes by where they run, as few groups as their order allows."""
    known = {*graph.inputs, *graph.constants, ""}
    pending, parts, is_device = list(graph.nodes), [], False
    while pending:
        taken: list[Node] = []
        rest: list[Node] = []
        for node in pending:
            if is_for_device(node) == is_device and known.issuperset(node.inputs):
                taken.append(node)
                known.update(node.outputs)
            else:
                rest.append(node)
        if taken:
            parts.append((is_device, tuple(taken)))
        pending, is_device = rest, not is_device
    return parts
