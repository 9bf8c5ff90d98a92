"""From the integer graph to launches of kernels."""

from __future__ import annotations

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu.integer_lowering import IntegerLowering
from tilewright.compiler.targets.gpu.operators import LOWERINGS, has_kernel
from tilewright.compiler.targets.gpu.program import GpuProgram, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, by_model
from tilewright.compiler.targets.segmented import cut


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

    def segment(nodes: tuple[Node, ...]) -> Segment:
        state = IntegerLowering(graph, nodes, choose)
        return state.segment(lambda node: LOWERINGS[node.op](state, node))

    return GpuProgram(graph, cut(graph, lambda node: has_kernel(graph, node), segment))
