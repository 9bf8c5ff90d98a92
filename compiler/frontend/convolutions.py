"""Whether convolutions have the channels and biases that their weights ask for: shape inference does not check it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.types import Shape, Value
from tilewright.isa.errors import ModelError

#: Operators by the axes of the weights for input and for output channels; axis 1 has those of one group.
_CHANNEL_AXES = {"onnx.Conv": (1, 0), "onnx.ConvInteger": (1, 0), "onnx.ConvTranspose": (0, 1)}


def check_convolutions(nodes: Iterable[Node], values: Mapping[str, Value], name: str) -> None:
    """Refuse a convolution of other channels than its weights have.

    Raises
    ------
    ModelError
        Naming the node's input, the shapes and the groups.
    """
    for node in nodes:
        axes = _CHANNEL_AXES.get(node.op)
        if axes is None:
            continue
        x, weight = (values[key].shape if key in values else None for key in node.inputs[:2])
        if x is None or weight is None:
            continue
        _check(node, x, weight, axes, name)
        kernel = tuple(node.get("kernel_shape", weight[2:]))
        if kernel != weight[2:]:
            what = f"{_kind(node)} of {node.inputs[0]!r}"
            raise ModelError(f"{name}: {what} has kernel_shape {kernel}, but weights of {weight[2:]}")
        bias = values.get(node.inputs[2]) if len(node.inputs) == 3 and node.op != "onnx.ConvInteger" else None
        outputs = weight[axes[1]] * (int(node.get("group", 1)) if axes[1] else 1)
        if bias is not None and bias.shape not in (None, (outputs,)):
            raise ModelError(
                f"{name}: {_kind(node)} of {node.inputs[0]!r} must have a bias of {outputs}, not {bias.shape}"
            )


def _check(node: Node, x: Shape, weight: Shape, axes: tuple[int, int], name: str) -> None:
    groups = int(node.get("group", 1))
    is_alike = len(x) == len(weight) > 2 and groups > 0
    if not is_alike or x[1] != weight[axes[0]] * (groups if axes[0] else 1) or weight[0] % groups:
        raise ModelError(
            f"{name}: {_kind(node)} of {node.inputs[0]!r} with shape {x} cannot have weights of shape {weight} "
            f"in {groups} groups"
        )


def _kind(node: Node) -> str:
    return node.op.partition(".")[2]
