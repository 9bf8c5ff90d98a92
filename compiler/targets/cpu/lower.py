"""From the integer graph to launches of kernels."""

from __future__ import annotations

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.lowering import CpuLowering
from tilewright.compiler.targets.cpu.operators import LOWERINGS, has_kernel
from tilewright.compiler.targets.cpu.program import CpuProgram, Segment
from tilewright.compiler.targets.cpu.schedules import Chooser, by_model
from tilewright.compiler.targets.segmented import cut


def lower(graph: Graph, level: Level, choose: Chooser = by_model) -> CpuProgram:
    """Compile an integer graph.

    Parameters
    ----------
    graph : Graph
    level : Level
        Whose instructions are used.
    choose : callable
        Gives the schedules of kernels.
    """

    def segment(nodes: tuple[Node, ...]) -> Segment:
        state = CpuLowering(graph, nodes, level, choose)
        return state.segment(lambda node: LOWERINGS[node.op](state, node))

    return CpuProgram(graph, cut(graph, lambda node: has_kernel(graph, node), segment))
