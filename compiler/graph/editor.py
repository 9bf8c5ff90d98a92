"""Builds a changed copy of a graph: what passes use to add, replace and redirect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array, FrozenMap, Shape, Value


class GraphEditor:
    """Collects changes to a graph; `finish` gives the changed graph, sorted and without dead nodes.

    Nodes may be added in any order. Values keep their names unless a pass gives them new ones, and the
    graph's inputs and outputs always keep theirs.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._nodes: list[Node] = list(graph.nodes)
        self._values: dict[str, Value] = dict(graph.values)
        self._constants: dict[str, Array] = dict(graph.constants)
        self._aliases: dict[str, str] = {}
        self._renames: dict[str, str] = {}
        self._removed: set[int] = set()

    def value(self, hint: str, dtype: str, shape: Shape | None) -> str:
        """Declare a new value named `hint`, or `hint` with a number when that is taken."""
        name = self._fresh(hint)
        self._values[name] = Value(name, dtype, shape)
        return name

    def constant(self, hint: str, array: Array) -> str:
        """Add a constant and return its name."""
        array = np.asarray(array)
        name = self.value(hint, array.dtype.name, tuple(array.shape))
        self._constants[name] = array
        return name

    def shape(self, name: str) -> Shape:
        """The shape of a value, of the graph or new; ModelError when it is not known."""
        return self._values[name].known_shape

    def array(self, name: str) -> Array | None:
        """The array of a constant, of the graph or new; None for anything else."""
        return self._constants.get(name)

    def node(
        self,
        op: str,
        inputs: Iterable[str],
        outputs: Iterable[str],
        attributes: Mapping[str, Any] | None = None,
        origin: Iterable[str] = (),
        reason: str = "",
    ) -> Node:
        """Add a node whose outputs are declared, or are outputs of removed nodes."""
        names = tuple(dict.fromkeys(origin))
        node = Node(op, tuple(inputs), tuple(outputs), FrozenMap(attributes), names, reason)
        self._nodes.append(node)
        return node

    def emit(
        self,
        op: str,
        inputs: Iterable[str],
        result: tuple[str, str, Shape | None],
        attributes: Mapping[str, Any] | None = None,
        origin: Iterable[str] = (),
    ) -> str:
        """Add a node with one new output, `(name hint, dtype, shape)`, and return the output's name."""
        output = self.value(*result)
        self.node(op, inputs, (output,), attributes, origin)
        return output

    def remove(self, node: Node) -> None:
        """Remove a node; its outputs must be given by another node, redirected or unused."""
        self._removed.add(id(node))

    def replace(self, node: Node, **changes: Any) -> Node:
        """Put a changed copy in a node's place."""
        changed = replace(node, **changes)
        self.remove(node)
        self._nodes.append(changed)
        return changed

    def redirect(self, old: str, new: str) -> None:
        """Let every use of `old`, whose node is removed, read `new`, which holds the same.

        A value that this editor has made takes over the name `old`.
        """
        self._aliases[old] = new
        is_made_here = new not in self.graph.values
        if is_made_here and new not in self._renames and old not in self.graph.inputs:
            self._renames[new] = old

    def finish(self) -> Graph:
        """Apply the redirections, drop what is dead and sort."""
        nodes = [node for node in self._nodes if id(node) not in self._removed]
        nodes = [self._resolved(node) for node in nodes]
        for new, old in self._renames.items():
            self._values[old] = replace(self._values[new], name=old)
            if new in self._constants:
                self._constants[old] = self._constants[new]
        nodes = self._keep_output_names(nodes)
        nodes = _sorted_live(nodes, self.graph.outputs)
        used = {name for node in nodes for name in (*node.inputs, *node.outputs)}
        used |= {*self.graph.inputs, *self.graph.outputs}
        return replace(
            self.graph,
            nodes=tuple(nodes),
            values={name: value for name, value in self._values.items() if name in used},
            constants={name: array for name, array in self._constants.items() if name in used},
        )

    def _resolved(self, node: Node) -> Node:
        inputs = tuple(map(self._resolve, node.inputs))
        return replace(node, inputs=inputs, outputs=tuple(self._renames.get(name, name) for name in node.outputs))

    def _fresh(self, hint: str) -> str:
        name, number = hint, 1
        while name in self._values:
            name, number = f"{hint}.{number}", number + 1
        return name

    def _resolve(self, name: str) -> str:
        while name in self._aliases:
            name = self._aliases[name]
        return self._renames.get(name, name)

    def _keep_output_names(self, nodes: list[Node]) -> list[Node]:
        """Give redirected graph outputs their names back: rename the new value, or copy it."""
        renames: dict[str, str] = {}
        copies: list[Node] = []
        producers = {output: node for node in nodes for output in node.outputs}
        for output in self.graph.outputs:
            source = self._resolve(output)
            if source == output:
                continue
            is_free = source in producers and source not in renames and source not in self.graph.outputs
            if is_free:
                renames[source] = output
            else:
                origin = producers[source].origin if source in producers else ()
                copies.append(Node("onnx.Identity", (source,), (output,), origin=origin))
        dropped = {*renames.values(), *(node.output for node in copies)}
        nodes = [node for node in nodes if not dropped.intersection(node.outputs)]
        for source, output in renames.items():
            self._values[output] = replace(self._values[source], name=output)
        return [_renamed(node, renames) for node in (*nodes, *copies)]


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    inputs = tuple(names.get(name, name) for name in node.inputs)
    outputs = tuple(names.get(name, name) for name in node.outputs)
    if (inputs, outputs) == (node.inputs, node.outputs):
        return node
    return replace(node, inputs=inputs, outputs=outputs)


def _sorted_live(nodes: list[Node], outputs: Iterable[str]) -> list[Node]:
    """Sort the nodes that the outputs need, depth first, in the order of their uses."""
    position = {id(node): index for index, node in enumerate(nodes)}
    producers = {output: node for node in nodes for output in node.outputs if output}
    order: list[Node] = []
    done: set[int] = set()
    open_nodes: set[int] = set()
    roots = [producers[name] for name in outputs if name in producers]
    stack = [(node, False) for node in reversed(roots)]
    while stack:
        node, is_expanded = stack.pop()
        if is_expanded:
            open_nodes.discard(id(node))
            done.add(id(node))
            order.append(node)
            continue
        if id(node) in done:
            continue
        if id(node) in open_nodes:
            raise ValueError(f"the graph has a cycle through {node.op} -> {node.output}")
        open_nodes.add(id(node))
        stack.append((node, True))
        sources = [producers[name] for name in node.inputs if name in producers]
        pending = sorted({id(s): s for s in sources}.values(), key=lambda s: position[id(s)], reverse=True)
        stack.extend((source, False) for source in pending if id(source) not in done)
    return order
