"""Takes a row that is added to every row of a product, a mask of attention, into the product's epilogue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from tilewright.compiler import qops
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.base import until_stable


@dataclass(frozen=True)
class FuseMask:
    """Let a product of two activations add one row to all of its rows, when the sum is its only use.

    Before: `%a = qbatchmatmul(%x, %y)`, `%r = qgather(%row) {indices=[0, 0, ...]}`, `%z = qadd(%a, %r)`.
    After: `%z = qbatchmatmul(%x, %y, ..., %row)`.
    """

    name: str = "fuse-mask"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every such row fused."""
        return until_stable(graph, _fuse_once)


def _fuse_once(graph: Graph) -> Graph:
    for node in graph.nodes:
        if node.op != "qadd":
            continue
        for product, other in (node.inputs[:2], node.inputs[1::-1]):
            producer, row = graph.producer(product), _repeated(graph, other)
            if producer is None or row is None or not _can_add(graph, producer) or _depends(graph, row, product):
                continue
            stage = node["epilogue"].residual
            if product != node.inputs[0]:
                stage = replace(
                    stage, zero_a=stage.zero_b, multiplier_a=stage.multiplier_b, zero_b=stage.zero_a,
                    multiplier_b=stage.multiplier_a,
                )  # fmt: skip
            epilogue = replace(node["epilogue"], residual=stage, zero_out=producer["epilogue"].zero_out)
            editor = GraphEditor(graph)
            editor.replace(
                producer, inputs=(*producer.inputs[:-2], row, qops.operand(node, "table")), outputs=node.outputs,
                attributes={**producer.attributes, "epilogue": epilogue}, origin=(*producer.origin, *node.origin),
            )  # fmt: skip
            editor.remove(node)
            return editor.finish()
    return graph


def _can_add(graph: Graph, node: Node) -> bool:
    is_free = node.op == "qbatchmatmul" and not qops.operand(node, "residual") and not qops.operand(node, "table")
    return is_free and node["epilogue"].is_unclamped and graph.has_single_use(node.output)


def _repeated(graph: Graph, name: str) -> str | None:
    """The single row that a value repeats; None when it is something else."""
    node = graph.producer(name)
    while node is not None and node.op == "qgather" and set(node["indices"]) == {0}:
        if node["axis"] == len(graph.shape(node.output)) - 1:
            return None
        name = node.inputs[0]
        node = graph.producer(name)
    shape = graph.shape(name)
    return name if len(shape) >= 2 and prod(shape[:-1]) == 1 else None


def _depends(graph: Graph, name: str, on: str) -> bool:
    pending, seen = [name], {name}
    while pending:
        node = graph.producer(pending.pop())
        for source in node.inputs if node is not None else ():
            if source == on:
                return True
            if source and source not in seen:
                seen.add(source)
                pending.append(source)
    return False
