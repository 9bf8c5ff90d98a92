"""Reads the window of an ONNX convolution or pooling node, with 1-D windows as 2-D."""

from __future__ import annotations

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Shape
from tilewright.compiler.passes.quantization import Unsuitable
from tilewright.compiler.qops import Window


def image_shape(graph: Graph, name: str) -> Shape:
    """The shape of a value as `(N, C, H, W)`; `(N, C, L)` gives `(N, C, 1, L)`."""
    shape = graph.values[name].shape
    if shape is None or len(shape) not in (3, 4):
        raise Unsuitable(f"its input has {'an unknown shape' if shape is None else f'{len(shape)} dimensions'}")
    return shape if len(shape) == 4 else (*shape[:2], 1, shape[2])


def as_image(editor: GraphEditor, name: str) -> str:
    """The value itself, or `[N,C,L]` reshaped to `[N,C,1,L]`."""
    graph = editor.graph
    wanted = image_shape(graph, name)
    if graph.shape(name) == wanted:
        return name
    return editor.emit("reshape", [name], (f"{name}/image", graph.dtype(name), wanted), {"shape": wanted})


def window_of(graph: Graph, node: Node, kernel: Shape) -> Window:
    """The window of an ONNX node with every pad explicit, those that `ceil_mode` adds included.

    Parameters
    ----------
    kernel
        The kernel's extents, one or two.
    """
    rank = len(kernel)
    strides = tuple(node.get("strides", (1,) * rank))
    dilations = tuple(node.get("dilations", (1,) * rank))
    image = graph.shape(node.inputs[0])[2:]
    result = graph.shape(node.output)[2:]
    begins, ends = [], []
    for axis in range(rank):
        begin, end = _pads(node, axis, image[axis], result[axis], kernel[axis], strides[axis], dilations[axis])
        begins.append(begin)
        ends.append(end)
    if rank == 1:
        kernel, strides, dilations = (1, *kernel), (1, *strides), (1, *dilations)
        begins, ends = [0, *begins], [0, *ends]
    return Window(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (begins[0], begins[1], ends[0], ends[1]),
        (dilations[0], dilations[1]),
    )


def declared_pads(graph: Graph, node: Node, kernel: Shape) -> tuple[int, int, int, int]:
    """The pads that the model states, (top, left, bottom, right), without what `ceil_mode` adds."""
    window = window_of(graph, node, kernel)
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return window.pads
    rank = len(kernel)
    pads = tuple(node.get("pads", (0,) * (2 * rank)))
    return (0, pads[0], 0, pads[1]) if rank == 1 else (pads[0], pads[1], pads[2], pads[3])


def _pads(node: Node, axis: int, extent: int, result: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    needed = (result - 1) * stride + (kernel - 1) * dilation + 1 - extent
    mode = node.get("auto_pad", "NOTSET")
    if mode == "SAME_UPPER":
        return max(needed, 0) // 2, max(needed, 0) - max(needed, 0) // 2
    if mode == "SAME_LOWER":
        return max(needed, 0) - max(needed, 0) // 2, max(needed, 0) // 2
    if mode == "VALID":
        return 0, max(needed, 0)
    pads = node.get("pads", ())
    begin = pads[axis] if pads else 0
    end = pads[axis + len(pads) // 2] if pads else 0
    if begin < 0 or end < 0:
        raise Unsuitable("it has negative pads")
    return begin, max(end, needed - begin)
