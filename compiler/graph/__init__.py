"""The graph of a model: typed, immutable, printable, verified after every pass."""

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.printer import print_graph, print_node
from tilewright.compiler.graph.types import Array, FrozenMap, Shape, Value

__all__ = ["Array", "FrozenMap", "Graph", "GraphEditor", "Node", "Shape", "Value", "print_graph", "print_node"]
