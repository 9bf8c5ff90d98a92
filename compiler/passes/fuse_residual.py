"""Takes a sum into the epilogue of the convolution or product before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable
from tilewright.compiler.qops import Residual

_HOSTS = ("qconv2d", "qmatmul")


@dataclass(frozen=True)
class FuseResidual:
    """Let the later of a sum's operands add the other one, when the sum is its only use.

    Before: `%a = qconv2d(%x, ...)`, `%y = qadd(%a, %b)`. After: `%y = qconv2d(%x, ..., %b)`.
    The result is the same bit for bit: the convolution is requantized to int8 before the sum in both.
    """

    name: str = "fuse-residual"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every sum fused that can be."""
        return until_stable(graph, _fuse_once)


def _fuse_once(graph: Graph) -> Graph:
    position = {node.output: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op != "qadd" or node.inputs[0] == node.inputs[1]:
            continue
        # The operand computed last comes first: only it certainly does not feed the other one.
        operands = sorted(node.inputs[:2], key=lambda name: position.get(name, -1), reverse=True)
        producer = graph.producer(operands[0])
        if producer is not None and _can_add(graph, producer):
            return _fused(graph, producer, node)
    return graph


def _can_add(graph: Graph, node: Node) -> bool:
    is_free = node.op in _HOSTS and not qops.operand(node, "residual") and not qops.operand(node, "table")
    return is_free and node["epilogue"].is_unclamped and graph.has_single_use(node.output)


def _fused(graph: Graph, producer: Node, add: Node) -> Graph:
    editor = GraphEditor(graph)
    is_first = add.inputs[0] == producer.output
    other = add.inputs[1] if is_first else add.inputs[0]
    stage = add["epilogue"].residual if is_first else _swapped(add["epilogue"].residual)
    epilogue = replace(
        producer["epilogue"],
        residual=stage,
        clamp_low=add["epilogue"].clamp_low,
        clamp_high=add["epilogue"].clamp_high,
    )
    inputs = (*producer.inputs[:-2], other, qops.operand(add, "table"))
    editor.replace(
        producer,
        inputs=inputs,
        outputs=add.outputs,
        attributes={**producer.attributes, "epilogue": epilogue},
        origin=(*producer.origin, *add.origin),
    )
    editor.remove(add)
    return editor.finish()


def _swapped(stage: Residual) -> Residual:
    return replace(
        stage,
        zero_a=stage.zero_b,
        multiplier_a=stage.multiplier_b,
        zero_b=stage.zero_a,
        multiplier_b=stage.multiplier_a,
    )
