"""The graph: an immutable list of typed nodes in the order in which they can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from tilewright.compiler.graph.types import Array, FrozenMap, Shape, Value, read_only


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Parameters
    ----------
    op
        An operator of `compiler.qops` (`"qconv2d"`), or an ONNX operator with its domain: `"onnx.Softmax"`,
        `"com.microsoft.QAttention"`. Only ONNX operators have a dot in their name.
    inputs, outputs
        Names of values; an omitted optional input is `""`.
    attributes
        Immutable attribute values.
    origin
        Names of the ONNX nodes that this node stands for.
    reason
        For an ONNX operator: why it has no integer form, when a pass tried and refused.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=FrozenMap)
    origin: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.attributes, FrozenMap):
            object.__setattr__(self, "attributes", FrozenMap(self.attributes))

    @property
    def is_onnx(self) -> bool:
        """Whether this is an ONNX operator, executed on the host."""
        return "." in self.op

    @property
    def output(self) -> str:
        """The first output that is used."""
        return next(name for name in self.outputs if name)

    @property
    def name(self) -> str:
        """What the model calls it, or the value that it makes."""
        return self.origin[0] if self.origin else self.output

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute's value, or `default` when the node does not have it."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes over named values, constants included.

    Parameters
    ----------
    name
        The model's name.
    values
        Every value by name: inputs, constants and results.
    nodes
        In an order in which each node's inputs are computed before it.
    constants
        Read-only arrays of the values that are known.
    inputs, outputs
        Names of the values that a caller gives and gets.
    opsets
        Version of each ONNX domain that the `onnx` nodes are written in; the default domain is `""`.
    """

    name: str
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]

    def __post_init__(self) -> None:
        constants = {name: read_only(array) for name, array in self.constants.items()}
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "constants", MappingProxyType(constants))
        object.__setattr__(self, "opsets", MappingProxyType(dict(self.opsets)))

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that computes each value."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, once per node."""
        users: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    users[name].append(node)
        return {name: tuple(nodes) for name, nodes in users.items()}

    def producer(self, name: str) -> Node | None:
        """The node that computes `name`; None for inputs and constants."""
        return self.producers.get(name)

    def shape(self, name: str) -> Shape:
        """The shape of a value; ModelError when it is not known."""
        return self.values[name].known_shape

    def dtype(self, name: str) -> str:
        """The element type of a value."""
        return self.values[name].dtype

    def constant(self, name: str) -> Array | None:
        """The array of a constant; None for what is computed or given."""
        return self.constants.get(name)

    def has_single_use(self, name: str) -> bool:
        """Whether exactly one node, and no caller, reads the value."""
        return len(self.consumers[name]) == 1 and name not in self.outputs

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """Replace the nodes, and drop the values that no node defines any more."""
        kept = tuple(nodes)
        named = {*self.inputs, *self.constants, *(output for node in kept for output in node.outputs if output)}
        values = {name: value for name, value in self.values.items() if name in named}
        return replace(self, nodes=kept, values=values)
