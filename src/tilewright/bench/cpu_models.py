"""Float networks by their structure, with seeded random weights, and their int8 forms for this computer's runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

#: The form of a network that is not quantized, and of one that is computed with products of bfloat16.
FLOAT, BF16 = "f32", "bf16"

_OPSET = 17
_SAMPLES = 4

#: (expansion, channels, repetitions, stride) of MobileNetV2's stages.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


@dataclass
class _Builder:
    """Collects the nodes of a model with input `x`."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{name}_node", **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, *shape: int, scale: float) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def convolution(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        depth = inputs // groups
        weight = self.normal(outputs, depth, kernel, kernel, scale=(2 / (depth * kernel**2)) ** 0.5)
        bias = self.normal(outputs, scale=0.05)
        return self.node(
            "Conv", x, weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
            group=groups,
        )  # fmt: skip

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.node("MatMul", x, self.normal(inputs, outputs, scale=inputs**-0.5))
        return self.node("Add", product, self.normal(outputs, scale=0.02))

    def classifier(self, x: str, channels: int) -> str:
        flat = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        weight, bias = self.normal(1000, channels, scale=0.04), self.constant(np.zeros(1000, np.float32))
        return self.node("Gemm", flat, weight, bias, transB=1)

    def model(self, name: str, output: str, shape: list[int], result: list[int]) -> ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, result)
        graph = helper.make_graph(self.nodes, name, [x], [y], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def resnet18() -> ModelProto:
    """Build ResNet-18 at 224."""
    net = _Builder(np.random.default_rng(18))
    y = net.node("Relu", net.convolution("x", 3, 64, 7, 2))
    y = net.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for outputs, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        z = net.node("Relu", net.convolution(y, channels, outputs, 3, stride))
        z = net.convolution(z, outputs, outputs, 3)
        shortcut = y if channels == outputs else net.convolution(y, channels, outputs, 1, stride)
        y, channels = net.node("Relu", net.node("Add", z, shortcut)), outputs
    return net.model("resnet18", net.classifier(y, 512), [1, 3, 224, 224], [1, 1000])


def mobilenet_v2() -> ModelProto:
    """Build MobileNetV2 at 224."""
    net = _Builder(np.random.default_rng(2))
    low, high = (net.constant(np.array(bound, np.float32)) for bound in (0, 6))

    def relu6(x: str) -> str:
        return net.node("Clip", x, low, high)

    y, channels = relu6(net.convolution("x", 3, 32, 3, 2)), 32
    for expansion, outputs, count, first in _STAGES:
        for number in range(count):
            stride, hidden, z = first if number == 0 else 1, channels * expansion, y
            if expansion != 1:
                z = relu6(net.convolution(z, channels, hidden, 1))
            z = relu6(net.convolution(z, hidden, hidden, 3, stride, hidden))
            z = net.convolution(z, hidden, outputs, 1)
            y = net.node("Add", y, z) if stride == 1 and channels == outputs else z
            channels = outputs
    y = relu6(net.convolution(y, 320, 1280, 1))
    return net.model("mobilenet_v2", net.classifier(y, 1280), [1, 3, 224, 224], [1, 1000])


def encoder(name: str, layers: int, width: int, heads: int, hidden: int, rows: int = 128) -> ModelProto:
    """Build layers of a transformer encoder, at 128 tokens."""
    net = _Builder(np.random.default_rng(width))
    apart = net.constant(np.array([1, rows, heads, width // heads], np.int64))
    joined = net.constant(np.array([1, rows, width], np.int64))
    ones, zeros = net.constant(np.ones(width, np.float32)), net.constant(np.zeros(width, np.float32))
    root, two, one, half = (net.constant(np.array(v, np.float32)) for v in ((width // heads) ** 0.5, 2**0.5, 1.0, 0.5))

    def split(x: str, order: list[int]) -> str:
        return net.node("Transpose", net.node("Reshape", net.linear(x, width, width), apart), perm=order)

    def norm(x: str) -> str:
        return net.node("LayerNormalization", x, ones, zeros, axis=-1, epsilon=1e-5)

    x = "x"
    for _ in range(layers):
        q, k, v = split(x, [0, 2, 1, 3]), split(x, [0, 2, 3, 1]), split(x, [0, 2, 1, 3])
        scores = net.node("Softmax", net.node("Div", net.node("MatMul", q, k), root), axis=-1)
        mixed = net.node("Transpose", net.node("MatMul", scores, v), perm=[0, 2, 1, 3])
        x = norm(net.node("Add", net.linear(net.node("Reshape", mixed, joined), width, width), x))
        y = net.linear(x, width, hidden)
        gate = net.node("Add", net.node("Erf", net.node("Div", y, two)), one)
        y = net.node("Mul", net.node("Mul", y, gate), half)
        x = norm(net.node("Add", net.linear(y, hidden, width), x))
    return net.model(name, x, [1, rows, width], [1, rows, width])


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Attributes
    ----------
    macs : int
    build : Callable, optional
        Gives the float model.
    file : str
        Or its name among the models beside the repository.
    is_transformer : bool
    """

    macs: int
    build: Callable[[], ModelProto] | None = None
    file: str = ""
    is_transformer: bool = False


_LAYER = 128 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 128**2 * 768
_SMALL_LAYER = 128 * (4 * 384**2 + 2 * 384 * 1536) + 2 * 128**2 * 384

NETWORKS = {
    "resnet18": Network(1814073344, resnet18),
    "mobilenet_v2": Network(300774272, mobilenet_v2),
    "resnet8": Network(12501632, None, "resnet8_fp32.onnx"),
    "dscnn_kws": Network(2656768, None, "dscnn_kws_fp32.onnx"),
    "minilm_l3": Network(3 * _SMALL_LAYER, lambda: encoder("minilm_l3", 3, 384, 12, 1536), "", True),
    "bert_layer": Network(_LAYER, lambda: encoder("bert_layer", 1, 768, 12, 3072), "", True),
}


def float_model(name: str, models: Path) -> ModelProto:
    """Return a network's float model.

    Raises
    ------
    FileNotFoundError
        When it is one of the models beside the repository, and is not there.
    """
    network = NETWORKS[name]
    return network.build() if network.build is not None else onnx.load(models / network.file)


def float_form(name: str, models: Path, folder: Path) -> dict[str, Path]:
    """Return the path of a network as it is, kept in a folder."""
    path = folder / f"{name}_fp32.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(float_model(name, models), path)
    return {FLOAT: path}


def quantized_models(name: str, models: Path, folder: Path) -> dict[str, Path]:
    """Return the paths of a network's int8 forms, made by onnxruntime's static quantizer and kept in a folder.

    `u8` has unsigned activations, `s8` signed ones around zero, both with weights per channel; of transformers, only
    the products are quantized in these, and `full` is what this project's quantizer makes: integers throughout.
    """
    network = NETWORKS[name]
    forms = ("u8", "s8", "full") if network.is_transformer else ("u8", "s8")
    paths = {form: folder / f"{name}_{form}.onnx" for form in forms}
    if all(path.exists() for path in paths.values()):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}_fp32.onnx"
    onnx.save(float_model(name, models), source)
    for form, path in paths.items():
        if form == "full":
            _quantize_fully(source, path)
        else:
            _quantize(source, path, form == "u8", network.is_transformer)
    return paths


def _samples(source: Path) -> list[dict[str, NDArray[np.float32]]]:
    graph, rng = onnx.load(source).graph, np.random.default_rng(4)
    known = {constant.name for constant in graph.initializer}
    shapes = {
        i.name: [d.dim_value or 1 for d in i.type.tensor_type.shape.dim] for i in graph.input if i.name not in known
    }
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(_SAMPLES)
    ]


def _quantize(source: Path, target: Path, is_unsigned: bool, products_only: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples: Iterator[dict[str, NDArray[np.float32]]] = iter(_samples(source))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.samples, None)

    prepared = source.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared))
    options = {} if is_unsigned else {"ActivationSymmetric": True}
    quantize_static(
        str(prepared), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8 if is_unsigned else QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"] if products_only else None, extra_options=options,
    )  # fmt: skip


def _quantize_fully(source: Path, target: Path) -> None:
    from tilewright.quantization import quantize

    quantize(onnx.load(source), _samples(source)).save(target)
