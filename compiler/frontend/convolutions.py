"""Whether convolutions have the channels that their weights ask for, which ONNX's shape inference does not check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.types import Value
from tilewright.isa.errors import ModelError

#: Operators by the axis of the weights that stands for input channels, those of one group or all.
_CHANNEL_AXES = {"onnx.Conv": 1, "onnx.ConvInteger": 1, "onnx.ConvTranspose": 0}


def check_convolutions(nodes: Iterable[Node], values: Mapping[str, Value], name: str) -> None:
    """Refuse a convolution of other channels than its weights have.

    Raises
    ------
    ModelError
        Naming the node, both shapes and the groups.
    """
    for node in nodes:
        axis = _CHANNEL_AXES.get(node.op)
        if axis is None:
            continue
        x, weight = (values[key].shape if key in values else None for key in node.inputs[:2])
        if x is None or weight is None:
            continue
        groups = int(node.get("group", 1))
        channels = weight[axis] * (groups if axis else 1) if len(weight) > 2 else 0
        if len(x) != len(weight) or groups < 1 or x[1] != channels or weight[0] % groups:
            kind = node.op.partition(".")[2]
            raise ModelError(
                f"{name}: {kind} of {node.inputs[0]!r} with shape {x} cannot have weights of shape {weight} "
                f"in {groups} groups"
            )
