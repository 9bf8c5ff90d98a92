"""Importing models: what is accepted, how dimensions are bound, what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.backend.test.loader import load_model_tests

from tests.compiler.checks import check_quantized, operators
from tests.compiler.quantized_models import ModelBuilder, Quantized
from tilewright.compiler.frontend import import_onnx
from tilewright.compiler.graph import Graph
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import integer_passes, load_integer_graph
from tilewright.compiler.reference import evaluate
from tilewright.isa.errors import InputError, ModelError


def relu_model(shape: list[int | str | None], opset: int = 17) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], "act")],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"out{i}" for i in range(len(shape))])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", range(10, 24))
def test_quantized_model_of_every_opset(opset: int, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng, opset)
    x, w = builder.activation((1, 3, 6, 6)), builder.weight((4, 3, 3, 3), axis=0 if opset >= 13 else None)
    y = builder.node("Relu", [builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)])])
    check_quantized(builder, builder.quantize(y), ["qconv2d"])


@pytest.mark.parametrize("opset", range(7, 24))
def test_float_model_of_every_opset(opset: int, rng: np.random.Generator) -> None:
    graph = load_integer_graph(relu_model([1, 5], opset))
    x = rng.normal(size=(1, 5)).astype(np.float32)
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y"], np.maximum(x, 0))


@pytest.mark.parametrize(
    ("shape", "dims", "expected"),
    [
        (["batch", 3], None, (1, 3)),
        ([None, 3], None, (1, 3)),
        ([0, 3], None, (1, 3)),
        (["batch", 3], {"batch": 4}, (4, 3)),
        (["batch", "width"], {"width": 9}, (1, 9)),
        (["n", "n"], {"n": 2}, (2, 2)),
    ],
)
def test_dimensions(shape: list[int | str | None], dims: dict[str, int] | None, expected: tuple[int, ...]) -> None:
    graph = import_onnx(relu_model(shape), dims=dims)
    assert graph.shape("x") == graph.shape("y") == expected


@pytest.mark.parametrize(
    ("shape", "dims", "message"),
    [
        (["batch", "width"], None, "relu: dimension 'width' of input 'x' is not fixed; give its value in `dims`"),
        ([1, None], None, "relu: dimension 1 of input 'x' is not fixed; give its value in `dims`"),
        (["batch", 3], {"bach": 2}, "relu: no input has a dimension named 'bach'; named dimensions: batch"),
        (["batch", 3], {"batch": 0}, "relu: dimension 'batch' must be at least 1, not 0"),
    ],
)
def test_dimensions_refused(shape: list[int | str | None], dims: dict[str, int] | None, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        import_onnx(relu_model(shape), dims=dims)
    assert str(caught.value) == message


def test_shapes_that_the_model_computes_are_folded() -> None:
    """The reshape of a PyTorch export: Shape, Gather, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("Relu", ["r"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    model = relu_model(["batch", 2, 3])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.int64), n) for n, a in constants.items())
    graph = load_integer_graph(model, dims={"batch": 5})
    assert [node.op for node in graph.nodes] == ["reshape", "onnx.Relu"]
    assert graph.shape("y") == (5, 6)


def test_unknown_operator_is_no_reason_to_refuse() -> None:
    model = relu_model([1, 3])
    model.graph.node[0].op_type, model.graph.node[0].domain = "Sparkle", "org.example"
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    graph = load_integer_graph(model)
    assert [node.op for node in graph.nodes] == ["org.example.Sparkle"]
    with pytest.raises(ModelError, match=r"onnx.reference cannot execute org.example.Sparkle \(node 'act'\)"):
        evaluate(graph, {"x": np.zeros((1, 3), np.float32)})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.onnx: no such model file"):
        import_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, world\n", b"\x00" * 100, b"PK\x03\x04 a zip, say"])
def test_not_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^model\.onnx: not an ONNX model, or truncated") as caught:
        import_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.7, 0.99])
def test_truncated(kept: float, tmp_path: Path, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 64)), builder.weight((64, 64))
    result = builder.quantize(builder.node("MatMul", [builder.dequantize(x), builder.dequantize(w)]))
    whole = builder.model([result.name]).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelError, match=r"^model\.onnx: ") as caught:
        import_onnx(path)
    assert "\n" not in str(caught.value)


def test_invalid_model() -> None:
    model = relu_model([1, 3])
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ModelError, match="^relu: invalid ONNX model: .*nowhere"):
        import_onnx(model)


@pytest.mark.parametrize(
    ("op", "weight", "group", "message"),
    [
        (
            "Conv",
            (8, 3, 3, 3),
            1,
            r"m: Conv of 'x' with shape \(1, 4, 6, 6\) cannot have weights of shape \(8, 3, 3, 3\) ",
        ),
        ("Conv", (9, 2, 3, 3), 2, "in 2 groups"),
        ("ConvTranspose", (3, 8, 3, 3), 1, "m: ConvTranspose of 'x'"),
    ],
)
def test_convolution_of_other_channels(op: str, weight: tuple[int, ...], group: int, message: str) -> None:
    w = numpy_helper.from_array(np.zeros(weight, np.float32), "w")
    node = helper.make_node(op, ["x", "w"], ["y"], group=group)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    model = helper.make_model(helper.make_graph([node], "m", [x], [y], [w]))
    with pytest.raises(ModelError, match=message):
        import_onnx(model)


def test_bias_of_another_shape() -> None:
    w, b = (numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in (("w", (4, 2, 3, 3)), ("b", (4, 1))))
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    model = helper.make_model(helper.make_graph([node], "m", [x], [y], [w, b]))
    with pytest.raises(ModelError, match=r"m: Conv of 'x' must have a bias of 4, not \(4, 1\)"):
        import_onnx(model)


def test_kernel_shape_that_is_not_the_weights() -> None:
    w = numpy_helper.from_array(np.zeros((4, 4, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 7])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 9, 9])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    model = helper.make_model(helper.make_graph([node], "m", [x], [y], [w]))
    with pytest.raises(ModelError, match=r"m: Conv of 'x' has kernel_shape \(3, 7\), but weights of \(3, 3\)"):
        import_onnx(model)


def test_element_type_that_onnx_lacks() -> None:
    model = relu_model([1, 3])
    model.graph.input[0].type.tensor_type.elem_type = 35
    with pytest.raises(ModelError, match=r"element type must be one of ONNX's, not number 35|invalid ONNX model"):
        import_onnx(model)


def conditional_model() -> ModelProto:
    """`if c: relu(x) + b, else: if c2: relu(x) - b, else b`, all read from around the branches."""
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3])

    def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph(list(nodes), "branch", [], [result])

    add, subtract = helper.make_node("Add", ["r", "b"], ["z"]), helper.make_node("Sub", ["r", "b"], ["z"])
    other = branch(helper.make_node("Identity", ["b"], ["z"]))
    inner = helper.make_node("If", ["c2"], ["z"], then_branch=branch(subtract), else_branch=other)
    model = relu_model([1, 3])
    model.graph.node[0].output[0] = "i"
    model.graph.node.append(helper.make_node("Dropout", ["i"], ["r"]))  # goes away: what reads it is renamed
    model.graph.node.append(
        helper.make_node("If", ["c"], ["y"], "choose", then_branch=branch(add), else_branch=branch(inner))
    )
    for name in ("c", "c2"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, []))
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 3), 2, np.float32), "b"))
    return model


@pytest.mark.parametrize(("c", "c2", "expected"), [(1, 0, [2, 7, 2]), (0, 1, [-2, 3, -2]), (0, 0, [2, 2, 2])])
def test_control_flow(c: int, c2: int, expected: list[int]) -> None:
    graph = load_integer_graph(conditional_model())
    assert [node.op for node in graph.nodes] == ["onnx.Relu", "onnx.If"]
    inputs = {"x": np.array([[-1, 5, 0]], np.float32), "c": np.array(bool(c)), "c2": np.array(bool(c2))}
    assert evaluate(graph, inputs)["y"].tolist() == [expected]


def test_sequence() -> None:
    model = relu_model([2, 3])
    model.graph.node[0].output[0] = "r"
    model.graph.node.append(helper.make_node("SplitToSequence", ["r"], ["s"], axis=0, keepdims=0))
    model.graph.node.append(helper.make_node("SequenceAt", ["s", "one"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "one"))
    model.graph.output.append(
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [3]),
    )
    outputs = evaluate(load_integer_graph(model), {"x": np.array([[1, -1, 2], [3, 4, -5]], np.float32)})
    assert outputs["y"].tolist() == [3, 4, 0]
    assert [part.tolist() for part in outputs["s"]] == [[1, 0, 2], [3, 4, 0]]


def test_strings() -> None:
    model = relu_model([2])
    model.graph.node[0].CopyFrom(helper.make_node("StringConcat", ["x", "tail"], ["y"]))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = TensorProto.STRING
    model.graph.initializer.append(numpy_helper.from_array(np.array(["!"], object), "tail"))
    model.opset_import[0].version = 20
    graph = load_integer_graph(model)
    for kind in ("object", "str"):
        assert evaluate(graph, {"x": np.array(["a", "bc"], kind)})["y"].tolist() == ["a!", "bc!"]
    with pytest.raises(InputError, match="input 'x' must be object, not float32"):
        evaluate(graph, {"x": np.zeros(2, np.float32)})


@pytest.mark.parametrize("indices", [np.array([1, 5]), np.array([[0, 1], [1, 2]])])
def test_sparse_initializer(indices: np.ndarray) -> None:
    model = relu_model([2, 3])
    model.graph.node[0].CopyFrom(helper.make_node("Add", ["x", "w"], ["y"]))
    values = numpy_helper.from_array(np.array([7, 8], np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "w.indices"), [2, 3])
    model.graph.sparse_initializer.append(sparse)
    outputs = evaluate(load_integer_graph(model), {"x": np.zeros((2, 3), np.float32)})
    assert outputs["y"].tolist() == [[0, 7, 0], [0, 0, 8]]


@pytest.mark.parametrize("shape", [(2, 5), (0, 5)])
def test_whole_shapes(shape: tuple[int, ...]) -> None:
    graph = import_onnx(relu_model(["batch", "width"]), shapes={"x": shape})
    assert graph.shape("y") == shape


def external_model(folder: Path, location: str) -> Path:
    """Save a model whose one initializer lies in the file `location`."""
    model = relu_model([1, 64])
    model.graph.node.insert(0, helper.make_node("Add", ["x", "w"], ["z"]))
    model.graph.node[1].input[0] = "z"
    tensor = numpy_helper.from_array(np.ones((1, 64), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    model.graph.initializer.append(tensor)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path, "weights.bin")
    with pytest.raises(ModelError, match=r"model\.onnx: external data file 'weights\.bin' of 'w' is missing"):
        import_onnx(path)
    (tmp_path / "weights.bin").write_bytes(np.full(64, 2, np.float32).tobytes())
    graph = import_onnx(path)
    assert evaluate(graph, {"x": np.ones((1, 64), np.float32)})["y"].tolist() == [[3.0] * 64]


def test_truncated_external_data(tmp_path: Path) -> None:
    path = external_model(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match=r"^model\.onnx: "):
        import_onnx(path)


@pytest.mark.parametrize("location", ["../outside.bin", "link.bin", "sub/../../outside.bin"])
def test_external_data_outside_the_folder(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(np.ones(64, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(ModelError, match=f"must lie in the model's folder, not at '{location}'"):
        import_onnx(external_model(folder, location))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing: the model needs float32[1,3]"),
        ({"x": np.zeros((1, 4), np.float32)}, "input 'x' must have shape (1, 3), not (1, 4)"),
        ({"x": np.zeros((1, 3))}, "input 'x' must be float32, not float64"),
        ({"x": np.zeros((1, 3), np.float32), "u": np.zeros(1)}, "the model has no input 'u'; it has 'x'"),
    ],
)
def test_wrong_inputs(inputs: dict[str, np.ndarray], message: str) -> None:
    graph = import_onnx(relu_model([1, 3]))
    with pytest.raises(InputError) as caught:
        evaluate(graph, inputs)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def node_models() -> list[tuple[str, ModelProto, list[np.ndarray], list[np.ndarray]]]:
    """Give ONNX's own node tests, those of quantized operators and every tenth of the others."""
    cases = load_model_tests(kind="node")
    quantized = [case for case in cases if "linear" in case.name]
    chosen = {case.name: case for case in (*quantized, *cases[::10]) if case.model is not None and case.data_sets}
    return [(name, case.model, *case.data_sets[0]) for name, case in chosen.items()]


def test_onnx_node_models(node_models: list[tuple[str, ModelProto, list[np.ndarray], list[np.ndarray]]]) -> None:
    """Every valid model is imported; tests/system/test_backend.py runs them."""
    for name, model, inputs, outputs in node_models:
        given = zip((info.name for info in model.graph.input), inputs, strict=False)
        shapes = {key: array.shape for key, array in given if isinstance(array, np.ndarray)}
        graph = run_passes(import_onnx(model, shapes=shapes), integer_passes())
        assert len(graph.outputs) == len(model.graph.output), name
        if "qlinear" in name:
            _check_outputs(graph, inputs, outputs)


def _check_outputs(graph: Graph, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    results = evaluate(graph, dict(zip(graph.inputs, map(np.asarray, inputs), strict=True)))
    for name, expected in zip(graph.outputs, outputs, strict=True):
        assert results[name].shape == expected.shape
        assert np.abs(results[name].astype(np.float64) - expected.astype(np.float64)).max() <= 1


def test_recognised_qoperator_has_no_float_nodes(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 8)), builder.weight((8, 4))
    assert w.array is not None
    names = [builder.constant(a) for a in (x.scale, x.zero, w.array, w.scale, w.zero, np.float32(0.1), np.int8(3))]
    y = builder.node("QLinearMatMul", [x.name, *names])
    assert operators(load_integer_graph(builder.model([y]))) == ["qmatmul"]


@pytest.mark.parametrize(
    ("op", "attribute", "value", "words"),
    [
        ("Pad", "mode", "mean", ("`mode` of Pad 'n'", "constant, reflect, edge, wrap", "'mean'")),
        ("MaxPool", "auto_pad", "SAME", ("`auto_pad` of MaxPool 'n'", "SAME_UPPER", "'SAME'")),
    ],
)
def test_a_word_that_the_operator_does_not_know(op: str, attribute: str, value: str, words: tuple[str, ...]) -> None:
    pads = numpy_helper.from_array(np.ones(8, np.int64), "pads")
    rest = {"kernel_shape": [2, 2]} if op == "MaxPool" else {}
    inputs = ["x", "pads"] if op == "Pad" else ["x"]
    node = helper.make_node(op, inputs, ["y"], "n", **{attribute: value}, **rest)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, f"{name}h", f"{name}w"]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], [pads])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ModelError) as caught:
        import_onnx(model, dims={"xh": 4, "xw": 4})
    for word in words:
        assert word in str(caught.value)


def test_what_is_far_from_zero_saturates() -> None:
    """Also behind the range of int32, where onnx.reference by itself overflows."""
    builder = ModelBuilder(np.random.default_rng(1))
    x = builder.activation((1, 4), "int8", 2.0, is_symmetric=True)
    large = builder.node("Mul", [builder.dequantize(x), builder.constant(np.float32(1e30))])
    model = builder.model(
        [
            builder.quantize(
                large, like=Quantized("", (), "uint8", np.array(np.float32(0.5)), np.array(7, np.uint8))
            ).name
        ]
    )
    given = {x.name: np.array([[-5, 0, 1, 127]], np.int8)}
    (found,) = evaluate(load_integer_graph(model), given).values()
    np.testing.assert_array_equal(found, [[0, 7, 255, 255]])


def test_the_mean_of_no_rows_is_the_hosts() -> None:
    builder = ModelBuilder(np.random.default_rng(1), opset=20)
    x = builder.activation((2, 3, 8))
    bounds = [builder.constant(np.array([v], np.int64)) for v in (3, 3, 1)]
    like = Quantized("", (), "int8", x.scale, x.zero)
    empty = builder.quantize(builder.node("Slice", [builder.dequantize(x), *bounds]), like=like)
    empty = Quantized(empty.name, (2, 0, 8), "int8", x.scale, x.zero)
    mean = builder.node(
        "ReduceMean", [builder.dequantize(empty), builder.constant(np.array([1], np.int64))], keepdims=1
    )
    graph = load_integer_graph(builder.model([builder.quantize(mean, like=like).name]))
    assert "onnx.ReduceMean" in {node.op for node in graph.nodes}


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
def test_a_dimension_that_a_scalar_lacks_is_the_hosts(op: str) -> None:
    """ONNX's shape inference, which knows the axes before they are computed only if they are constant, lets it pass."""
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 20]>
        agraph (int8 x) => (int8 y) <float scale = {{0.5}}, int8 zero = {{0}}, int64[1] one = {{1}}> {{
            f = DequantizeLinear (x, scale, zero)
            axes = Neg (one)
            r = {op} <keepdims = 1> (f, axes)
            y = QuantizeLinear (r, scale, zero)
        }}""")
    (node,) = (node for node in load_integer_graph(model).nodes if node.op == f"onnx.{op}")
    assert node.reason == "it names dimension -1 of 0"


def test_a_concatenation_of_several_types_is_the_hosts() -> None:
    """ONNX's shape inference takes the first operand's type and looks at no other."""
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 20]>
        agraph (int8[1,4] x, float[1,4] f) => (int8[1,8] y) { y = Concat <axis = 1> (x, f) }""")
    assert [node.op for node in load_integer_graph(model).nodes] == ["onnx.Concat"]


def test_a_reshape_to_another_size_is_the_hosts() -> None:
    """ONNX's shape inference takes dimensions that are 0 from the operand, and does not count elements."""
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 20]>
        agraph (int8[1,3,8] x) => (int8[1,3] y) <int64[2] shape = {0, 0}> { y = Reshape (x, shape) }""")
    assert [node.op for node in load_integer_graph(model).nodes] == ["onnx.Reshape"]


def test_an_output_declared_with_another_type() -> None:
    model = relu_model([1, 5])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    with pytest.raises(ModelError, match="output 'y' is of type float32, not int8 as it is declared"):
        import_onnx(model)
