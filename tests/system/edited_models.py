"""Changes of small valid ONNX models, drawn by hypothesis, and what may be asked of whatever comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from tests.compiler.graph_fuzzer import GraphFuzzer
from tests.compiler.operator_cases import kind
from tests.compiler.quantized_models import ModelBuilder
from tilewright.bench.convolutions import convolution_model
from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape

#: A change; it draws what it needs.
Edit = Callable[[st.DataObject, ModelProto], None]

FUZZED = 10  # seeds of random graphs that are changed, beside a convolution and a network in floating point
_SMALL = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, -1, -2, 63, 1 << 31, 1 << 40])
_REALS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 0.003, 250.0, float("nan"), float("inf"), -float("inf")])
_TYPES = (
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT,
    TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.STRING, TensorProto.INT4, 99,
)  # fmt: skip
_OPERATORS = (
    "Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Softmax", "MatMul", "Conv", "MaxPool", "AveragePool", "Flatten",
    "Transpose", "Reshape", "Concat", "Slice", "Identity", "Neg", "Sqrt", "Cast", "ReduceMean", "ReduceMax", "Gather",
    "QuantizeLinear", "DequantizeLinear", "GlobalAveragePool", "Clip", "Squeeze", "Unsqueeze", "Split", "Nothing",
)  # fmt: skip


@cache
def base(number: int) -> bytes:
    """Return a valid model: a quantized convolution, a network in floating point, or a random graph."""
    if number == 0:
        return convolution_model(ConvolutionShape("small", 6, 4, 8, 3, 1, 1)).SerializeToString()
    if number == 1:
        return _float_network().SerializeToString()
    return GraphFuzzer(number).model().SerializeToString()


def _float_network() -> ModelProto:
    b = ModelBuilder(np.random.default_rng(1))
    x = b.dequantize(b.activation((1, 3, 6, 6), kind(b)))
    weight = b.constant(b.rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    y = b.node("Relu", [b.node("Conv", [x, weight], pads=[1, 1, 1, 1], strides=[2, 1])])
    y = b.node("Concat", [y, b.node("MaxPool", [y], kernel_shape=[3, 3], pads=[1, 1, 1, 1])], axis=1)
    y = b.node("Reshape", [b.node("Transpose", [y], perm=[0, 2, 3, 1]), b.constant(np.array([1, -1, 8], np.int64))])
    parts = [b.constant(np.array(v, np.int64)) for v in ([0], [12], [1])]
    y = b.node("LayerNormalization", [b.node("Slice", [y, *parts]), b.constant(np.ones(8, np.float32))], axis=-1)
    y = b.node("Gemm", [b.node("Flatten", [y]), b.constant(b.rng.normal(size=(96, 5)).astype(np.float32))])
    return b.model([b.node("Softmax", [y], axis=-1)])


@st.composite
def edited_models(draw: st.DrawFn) -> ModelProto:
    """Give a valid model after one to three changes."""
    model = ModelProto.FromString(base(draw(st.integers(0, FUZZED + 1))))
    data = draw(st.data())
    for edit in draw(st.lists(st.sampled_from(EDITS), min_size=1, max_size=3)):
        edit(data, model)
    return model


def inputs_of(model: ModelProto, shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Any]:
    """Return random arrays of what a model asks for."""
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    made = {}
    for value in model.graph.input:
        if value.name in constants or value.name not in shapes:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        numbers = rng.integers(-128, 128, shapes[value.name])
        made[value.name] = (numbers / 37).astype(dtype) if dtype.kind == "f" else numbers.astype(dtype)
    return made


def _node(data: st.DataObject, graph: GraphProto) -> NodeProto:
    return graph.node[data.draw(st.integers(0, len(graph.node) - 1))] if graph.node else NodeProto()


def _names(graph: GraphProto) -> list[str]:
    made = {name for node in graph.node for name in node.output if name}
    return [*sorted(made | {v.name for v in (*graph.input, *graph.initializer)}), "", "nowhere"]


def _change_attribute(data: st.DataObject, model: ModelProto) -> None:
    """Set an attribute that the operator has, mostly to something of its type."""
    node = _node(data, model.graph)
    try:
        known = onnx.defs.get_schema(node.op_type, 17).attributes
    except onnx.defs.SchemaError:
        known = {}
    name = data.draw(st.sampled_from([*known, "nothing"]))
    kept = [a for a in node.attribute if a.name != name]
    before = next((a for a in node.attribute if a.name == name), None)
    del node.attribute[:]
    node.attribute.extend(kept)
    values = _values_of(known[name].type, before) if name in known else st.integers(0, 3)
    value = data.draw(st.one_of(values, st.none()))
    if value is not None and value != []:
        node.attribute.append(helper.make_attribute(name, value))


def _values_of(type_: Any, before: AttributeProto | None) -> st.SearchStrategy[Any]:
    if type_ == onnx.defs.OpSchema.AttrType.INTS:
        size = len(before.ints) if before else 2
        return st.one_of(st.lists(st.integers(0, 3), min_size=size, max_size=size), st.lists(_SMALL, max_size=6))
    return {
        onnx.defs.OpSchema.AttrType.INT: st.one_of(st.integers(-1, 3), _SMALL),
        onnx.defs.OpSchema.AttrType.FLOAT: _REALS,
        onnx.defs.OpSchema.AttrType.STRING: st.sampled_from(
            ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "nearest", "floor", "asymmetric", "tanh", ""]
        ),
    }.get(type_, st.one_of(_SMALL, _REALS))


def _change_operator(data: st.DataObject, model: ModelProto) -> None:
    _node(data, model.graph).op_type = data.draw(st.sampled_from(_OPERATORS))


def _rewire(data: st.DataObject, model: ModelProto) -> None:
    node, names = _node(data, model.graph), _names(model.graph)
    ends = node.input if data.draw(st.integers(0, 3)) else node.output
    if ends:
        ends[data.draw(st.integers(0, len(ends) - 1))] = data.draw(st.sampled_from(names))


def _change_numbers(data: st.DataObject, model: ModelProto) -> None:
    """Put a special number into a constant, or into all of it."""
    tensor, array = _constant(data, model.graph)
    if array.size == 0 or array.dtype.kind not in "iuf":
        return
    array = array.copy()
    place = data.draw(st.sampled_from([slice(None), slice(0, 1)]))
    if array.dtype.kind == "f":
        array.reshape(-1)[place] = data.draw(_REALS)
    else:
        info = np.iinfo(array.dtype)
        array.reshape(-1)[place] = np.clip(data.draw(st.one_of(_SMALL, st.just(info.min))), info.min, info.max)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _change_constant(data: st.DataObject, model: ModelProto) -> None:
    """Turn, cut, repeat, flatten or convert a constant; its data stay whole."""
    tensor, array = _constant(data, model.graph)
    if array.dtype.kind not in "iuf":
        return
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array.T,
        lambda: array[..., :1],
        lambda: array[:1],
        lambda: np.concatenate([array.reshape(-1)] * 2),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.reshape(-1)[:0],
        lambda: array.astype(data.draw(st.sampled_from(["i1", "u1", "i2", "i4", "i8", "f2", "f4", "f8"]))),
    )
    change = data.draw(st.sampled_from(changes))
    if array.ndim:
        with np.errstate(all="ignore"):
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change()), tensor.name))


def _constant(data: st.DataObject, graph: GraphProto) -> tuple[TensorProto, np.ndarray]:
    if not graph.initializer:
        return TensorProto(), np.zeros(0)
    tensor = graph.initializer[data.draw(st.integers(0, len(graph.initializer) - 1))]
    try:
        return tensor, numpy_helper.to_array(tensor)
    except Exception:  # an edit before this one left no array
        return tensor, np.zeros(0)


def _change_declaration(data: st.DataObject, model: ModelProto) -> None:
    """Change the type, an extent or the rank of an input, an output or a constant."""
    graph = model.graph
    if graph.initializer and data.draw(st.integers(0, 4)) == 0:
        tensor, _ = _constant(data, graph)
        if data.draw(st.booleans()):
            tensor.data_type = data.draw(st.sampled_from(_TYPES))
        else:
            tensor.dims[:] = data.draw(st.lists(_SMALL, max_size=5))
        return
    values = [*graph.input, *graph.output]
    if not values:
        return
    declared = values[data.draw(st.integers(0, len(values) - 1))].type.tensor_type
    match data.draw(st.integers(0, 3)):
        case 0:
            declared.elem_type = data.draw(st.sampled_from(_TYPES))
        case 1:
            declared.shape.dim.add().dim_value = data.draw(_SMALL)
        case 2:
            declared.ClearField("shape")
        case _ if declared.shape.dim:
            dim = declared.shape.dim[data.draw(st.integers(0, len(declared.shape.dim) - 1))]
            if data.draw(st.booleans()):
                dim.dim_param = data.draw(st.sampled_from(["N", "", "batch"]))
            else:
                dim.dim_value = data.draw(_SMALL)


def _change_order(data: st.DataObject, model: ModelProto) -> None:
    """Leave a node out, repeat it, or move it."""
    nodes = list(model.graph.node)
    if not nodes:
        return
    place = data.draw(st.integers(0, len(nodes) - 1))
    taken = nodes.pop(place)
    match data.draw(st.integers(0, 2)):
        case 0:
            nodes[place:place] = [taken, taken]
        case 1:
            nodes.insert(data.draw(st.integers(0, len(nodes))), taken)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _insert(data: st.DataObject, model: ModelProto) -> None:
    """Put an operator of one operand between a value and its first reader."""
    graph = model.graph
    readers = [(i, node) for i, node in enumerate(graph.node) if node.input and node.input[0]]
    if not readers:
        return
    place, reader = readers[data.draw(st.integers(0, len(readers) - 1))]
    op = data.draw(st.sampled_from(["Identity", "Relu", "Neg", "Abs", "Transpose", "Cast", "Flatten", "Shape"]))
    attributes = {"to": data.draw(st.sampled_from(_TYPES[:-1]))} if op == "Cast" else {}
    name = f"inserted{len(graph.node)}"
    made = helper.make_node(op, [reader.input[0]], [name], name, **attributes)
    reader.input[0] = name
    nodes = [*graph.node[:place], made, *graph.node[place:]]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _change_outputs(data: st.DataObject, model: ModelProto) -> None:
    """Make any value an output, mostly one of its own type."""
    graph = model.graph
    try:
        typed = shape_inference.infer_shapes(model).graph
    except Exception:  # an edit before this one left no model
        typed = graph
    known = {value.name: value for value in (*typed.value_info, *typed.output, *typed.input)}
    name = data.draw(st.sampled_from(_names(graph)))
    if name in known and data.draw(st.integers(0, 4)):
        graph.output.append(known[name])
    else:
        graph.output.append(helper.make_tensor_value_info(name, data.draw(st.sampled_from(_TYPES[:8])), [1]))


def _change_versions(data: st.DataObject, model: ModelProto) -> None:
    if data.draw(st.booleans()):
        model.opset_import[0].version = data.draw(st.sampled_from([0, 1, 7, 11, 12, 13, 18, 21, 24, 99]))
    else:
        model.ir_version = data.draw(st.sampled_from([0, 3, 7, 10, 99]))


EDITS: tuple[Edit, ...] = (
    _change_attribute, _change_operator, _rewire, _change_numbers, _change_constant, _change_declaration,
    _change_order, _insert, _change_outputs, _change_versions,
)  # fmt: skip
