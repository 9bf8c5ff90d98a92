"""Whether attributes that are one of a few words are: neither onnx.checker nor shape inference looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tilewright.compiler.graph.graph import Node
from tilewright.isa.errors import ModelError

_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")
_WINDOWS = ("Conv", "ConvInteger", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")

#: By operator and attribute.
_CHOICES: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{(f"onnx.{op}", "auto_pad"): _PADS for op in _WINDOWS},
    ("onnx.Pad", "mode"): ("constant", "reflect", "edge", "wrap"),
    ("onnx.DepthToSpace", "mode"): ("DCR", "CRD"),
    ("onnx.Gelu", "approximate"): ("none", "tanh"),
    ("onnx.Resize", "mode"): ("nearest", "linear", "cubic"),
    ("onnx.Resize", "coordinate_transformation_mode"): (
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn", "tf_crop_and_resize",
    ),
    ("onnx.Resize", "nearest_mode"): ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
}  # fmt: skip


def check_choices(nodes: Iterable[Node], name: str) -> None:
    """Refuse an attribute that is none of the words that its operator knows.

    Raises
    ------
    ModelError
        Naming operator, attribute, the words and what it is.
    """
    for node in nodes:
        for attribute, value in node.attributes.items():
            words = _CHOICES.get((node.op, attribute))
            if words is not None and value not in words:
                kind = node.op.partition(".")[2]
                known = ", ".join(filter(None, words))
                raise ModelError(
                    f"{name}: `{attribute}` of {kind} {node.origin[0]!r} must be one of {known}, not {value!r}"
                )
