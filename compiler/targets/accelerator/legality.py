"""Says which nodes of a graph the accelerator can do, and why not the others."""

from __future__ import annotations

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.partition import why_host
from tilewright.compiler.qops import Epilogue, operand
from tilewright.isa.config import Config

ELEMENTWISE = ("qadd", "qmul", "qclamp", "qtable", "qrequantize")
#: What moves values, at no cost where the bytes stay the same.
MOVEMENT = ("reshape", "transpose", "split_heads", "merge_heads")
#: Operators on stacks of matrices.
STACKED = ("qbatchmatmul", "transpose")
#: Operators on rows of matrices, or of stacks of them.
ROWWISE = ("qsoftmax", "qnormalize")
_IMAGE_OPERATORS = ("qconv2d", "qmaxpool", "qavgpool", "qglobalavgpool")


def refusal(graph: Graph, node: Node, config: Config) -> str | None:
    """Return why a node cannot run on the accelerator, or None when it can.

    Whether movement keeps the bytes as they are, and so costs nothing, is not asked about here.
    """
    reason = why_host(graph, node)
    if reason:
        return reason
    if node.op in STACKED:
        return stack_refusal(graph, node, config)
    if node.op == "split_heads" and graph.shape(node.output)[-1] % config.lanes:
        return f"heads of {graph.shape(node.output)[-1]} channels are not a multiple of {config.lanes}"
    if not node.op.startswith("q"):
        return "rearranges the bytes of a tensor"
    if node.op in _IMAGE_OPERATORS and len(graph.shape(node.inputs[0])) != 4:
        return "not a tensor of rank 4"
    if not all(graph.shape(node.output)) or not graph.shape(node.output):
        return "a scalar or an empty tensor"
    if node.op in ("qpad", "qconcat", "qgather", "qinterleave"):
        return _move_refusal(graph, node, config)
    if node.op == "qmul" and not config.vector.multiply:
        return "the configuration's vector unit does not multiply (`vector.multiply`)"
    if node.op in ROWWISE:
        return _rows_refusal(graph, node, config) or _epilogue_refusal(graph, node, config)
    return _epilogue_refusal(graph, node, config) or _sum_refusal(graph, node, config)


def _rows_refusal(graph: Graph, node: Node, config: Config) -> str | None:
    if not config.vector.rows:
        return "the configuration has no operations along rows (`vector.rows`)"
    channels, parts = graph.shape(node.output)[-1], config.sub_out
    steps = -(-channels // config.gemm.block_out)
    if steps > parts and steps % parts:
        return f"{channels} channels end within a row of {config.lanes} lanes, block_out {config.gemm.block_out}"
    return None


def stack_refusal(graph: Graph, node: Node, config: Config) -> str | None:
    """Return why an operator on stacks of matrices cannot run on the accelerator, or None when it can."""
    shape = graph.shape(node.inputs[0])
    if node.op == "transpose" and not is_swap(tuple(node["perm"])):
        return "rearranges the bytes of a tensor"
    if config.gemm.batch != 1 or config.gemm.block_in != config.lanes:
        return "activations are weights only with `gemm.batch` = 1 and `gemm.block_in` of all lanes"
    if not all(graph.shape(node.output)) or len(shape) < 2:
        return "a scalar or an empty tensor"
    y = graph.shape(node.inputs[0 if node.op == "transpose" else 1])
    if y[-2] * config.row_bytes % min(config.bus_bytes, config.wgt_entry_bytes):
        return f"{y[-2]} rows of {config.row_bytes} bytes are not a multiple of the bus' {config.bus_bytes}"
    if node.op == "transpose":
        return None
    if y[:-2] != shape[:-2]:
        return "its operands broadcast"
    if shape[-1] % config.lanes and not _has_zeros_behind(graph, node.inputs[1]):
        return f"it sums over {shape[-1]} channels, not a multiple of {config.lanes}"
    return _epilogue_refusal(graph, node, config) or _shared_residual_refusal(graph, node)


def is_swap(perm: tuple[int, ...]) -> bool:
    """Tell whether a permutation exchanges the last two dimensions and leaves the others."""
    rank = len(perm)
    return rank >= 2 and perm == (*range(rank - 2), rank - 1, rank - 2)


def _has_zeros_behind(graph: Graph, name: str) -> bool:
    """Whether the channels that fill a value's last block are 0: packed by the host, or transposed by the array."""
    producer = graph.producer(name)
    while producer is not None and producer.op == "reshape":
        producer = graph.producer(producer.inputs[0])
    return producer is None or not producer.op.startswith("q")


def _shared_residual_refusal(graph: Graph, node: Node) -> str | None:
    name = operand(node, "residual")
    if not name or graph.shape(name) == graph.shape(node.output):
        return None
    if int(np.prod(graph.shape(name)[:-1])) != 1:
        return "a residual of several rows is broadcast"
    return None


def _move_refusal(graph: Graph, node: Node, config: Config) -> str | None:
    """Rows hold `lanes` channels of `batch` images (or rows of a matrix): what cuts rows is a matrix product."""
    shape = graph.shape(node.inputs[0])
    is_image, batch = len(shape) == 4, config.gemm.batch
    channels = 1 if is_image else len(shape) - 1
    if node.op == "qconcat":
        return _concat_refusal(graph, node, config, channels)
    if node.op == "qgather":
        cut = [node["axis"]]
    elif node.op == "qpad":
        pads = node["pads"]
        if min(pads) < 0:
            return "negative pads"
        cut = [axis for axis in range(len(shape)) if pads[axis] or pads[axis + len(shape)]]
        if channels in cut and len(cut) > 1:
            return "pads channels and other dimensions at once"
    else:
        cut = []
    whole = {0} if is_image else set(range(len(shape) - 1))
    if batch > 1 and whole.intersection(cut):
        return f"cuts a dimension of which `gemm.batch` = {batch} places lie in one row"
    return None


def _concat_refusal(graph: Graph, node: Node, config: Config, channels: int) -> str | None:
    axis, batch = node["axis"], config.gemm.batch
    extents = [graph.shape(name)[axis] for name in node.inputs[:-1]]
    if axis == channels:
        starts = [sum(extents[: i + 1]) for i in range(len(extents))]
        if any(start % config.lanes for start in starts) and not config.epilogue.residual:
            return "channels that do not fill rows are joined by the residual stage (`epilogue.residual`)"
        return None
    if batch == 1 or (channels == 1 and axis > 1):
        return None
    wrong = [extent for extent in extents if channels != 1 or extent % batch]
    return f"cuts a dimension of which `gemm.batch` = {batch} places lie in one row" if wrong else None


def _epilogue_refusal(graph: Graph, node: Node, config: Config) -> str | None:
    epilogue: Epilogue | None = node.get("epilogue")
    if epilogue is not None and epilogue.residual is not None:
        if not config.epilogue.residual:
            return "the configuration has no residual stage (`epilogue.residual`)"
        if max(epilogue.residual.multiplier_a, epilogue.residual.multiplier_b) >> config.epilogue.multiplier_bits:
            return f"a multiplier exceeds `epilogue.multiplier_bits` = {config.epilogue.multiplier_bits}"
    if operand(node, "table") and not config.epilogue.tables:
        return "the configuration has no lookup tables (`epilogue.tables`)"
    name = operand(node, "multiplier")
    if name and int(graph.constants[name].max(initial=0)) >> config.epilogue.multiplier_bits:
        return f"a multiplier exceeds `epilogue.multiplier_bits` = {config.epilogue.multiplier_bits}"
    if node.op == "qavgpool" and len(node["counts"]) > config.prm_depth // 2:
        return f"{len(node['counts'])} window sizes exceed half of `memory.prm_entries` = {config.prm_depth}"
    return None


def _sum_refusal(graph: Graph, node: Node, config: Config) -> str | None:
    """Narrow accumulators wrap where the integer reference does not."""
    if config.gemm.acc_bits == 32:
        return None
    bound = 128 * _terms(graph, node)
    name = operand(node, "bias")
    if name:
        bound += np.abs(graph.constants[name].astype(np.int64))
    if int(np.max(bound)) >= 1 << (config.gemm.acc_bits - 1):
        return f"sums may reach {int(np.max(bound))}, beyond `gemm.acc_bits` = {config.gemm.acc_bits}"
    return None


def _terms(graph: Graph, node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The sum of the weights' magnitudes, for each output channel."""
    weight = operand(node, "weight")
    if weight:
        magnitudes = np.abs(graph.constants[weight].astype(np.int64))
        axes = (1, 2, 3) if node.op == "qconv2d" else (0,)
        return np.asarray(magnitudes.sum(axis=axes))
    if node.op == "qglobalavgpool":
        return np.array([int(np.prod(graph.shape(node.inputs[0])[2:]))])
    if node.op == "qmul":
        return np.array([512])  # 255 * 255 / 128, and a little
    return np.array([int(np.prod(node.get("kernel", (1,))))])


def is_depthwise(graph: Graph, node: Node, config: Config) -> bool:
    """Tell whether a node is lowered to DEPTHWISE.

    Elsewhere a depthwise convolution is a block-diagonal matrix product: without the mode, with more outputs than
    channels, with dilation, or with strides beyond 2.
    """
    if node.op != "qconv2d" or not config.depthwise.enabled:
        return False
    channels, depth = graph.shape(operand(node, "weight"))[:2]
    is_plain = max(node["strides"]) <= 2 and max(node["dilations"]) == 1
    return is_plain and depth == 1 and channels == node["groups"]
