"""From the integer graph to launches of kernels."""

from __future__ import annotations

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.lowering import Lowering
from tilewright.compiler.targets.cpu.operators import LOWERINGS, has_kernel
from tilewright.compiler.targets.cpu.program import CpuProgram, Segment


def lower(graph: Graph, level: Level) -> CpuProgram:
    """Compile an integer graph.

    Parameters
    ----------
    graph : Graph
    level : Level
        Whose instructions are used.
    """
    steps: list[Segment | Node] = []
    for is_native, nodes in _parts(graph):
        if is_native:
            steps.append(Lowering(graph, nodes, level).segment(LOWERINGS))
        else:
            steps += nodes
    return CpuProgram(graph, tuple(steps))


def _parts(graph: Graph) -> list[tuple[bool, tuple[Node, ...]]]:
    """Group the nodes by where they run, as few groups as their order allows."""
    known = {*graph.inputs, *graph.constants, ""}
    pending, parts, is_native = list(graph.nodes), [], False
    while pending:
        taken: list[Node] = []
        rest: list[Node] = []
        for node in pending:
            if has_kernel(graph, node) == is_native and known.issuperset(node.inputs):
                taken.append(node)
                known.update(node.outputs)
            else:
                rest.append(node)
        if taken:
            parts.append((is_native, tuple(taken)))
        pending, is_native = rest, not is_native
    return parts
