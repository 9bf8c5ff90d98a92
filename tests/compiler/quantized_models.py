"""Builds small quantized ONNX models with random weights, in QDQ and in QOperator form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, TypeProto, helper, numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantized:
    """A quantized tensor: an activation when `array` is None, else a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Array
    zero: Array
    axis: int = 0
    array: Array | None = None


@dataclass
class ModelBuilder:
    """Collects nodes; `model` gives the ONNX model."""

    rng: np.random.Generator
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, Quantized] = field(default_factory=dict)
    count: int = 0

    def activation(
        self, shape: Sequence[int], dtype: str = "int8", scale: float | None = None, *, is_symmetric: bool = False
    ) -> Quantized:
        """Add a graph input with a random scale and, unless it is symmetric, zero point."""
        info = np.iinfo(dtype)
        factor = np.float32(self.rng.uniform(0.005, 0.1) if scale is None else scale)
        middle = (info.min + info.max + 1) // 2
        zero = np.array(middle if is_symmetric else self.rng.integers(info.min, info.max + 1), dtype)
        tensor = Quantized(self._fresh("x"), tuple(shape), dtype, np.array(factor), zero)
        self.inputs[tensor.name] = tensor
        return tensor

    def weight(
        self,
        shape: Sequence[int],
        axis: int | None = None,
        dtype: str = "int8",
        zero: int = 0,
        low: int | None = None,
        high: int | None = None,
    ) -> Quantized:
        """Add random constant integers, scaled along `axis` or as a whole."""
        info = np.iinfo(dtype)
        low, high = (info.min if low is None else low), (info.max if high is None else high)
        array = self.rng.integers(low, high + 1, shape).astype(dtype)
        extent = () if axis is None else (shape[axis],)
        scale = self.rng.uniform(0.001, 0.02, extent).astype(np.float32)
        name = self._fresh("w")
        return Quantized(name, tuple(shape), dtype, scale, np.full(extent, zero, dtype), axis or 0, array)

    def bias(self, x: Quantized, w: Quantized, channels: int) -> Quantized:
        """Add random int32 biases at the scale of the sums."""
        scale = (x.scale * w.scale).astype(np.float32)
        array = self.rng.integers(-20000, 20000, channels).astype(np.int32)
        return Quantized(self._fresh("b"), (channels,), "int32", scale, np.zeros(scale.shape, np.int32), 0, array)

    def constant(self, array: Any, hint: str = "c") -> str:
        """Add a constant and give its name."""
        name = self._fresh(hint)
        self.constants[name] = np.asarray(array)
        return name

    def dequantize(self, tensor: Quantized) -> str:
        """Add a DequantizeLinear and give its output."""
        if tensor.array is not None:
            self.constants[tensor.name] = tensor.array
        names = [tensor.name, self.constant(tensor.scale, "scale"), self.constant(tensor.zero, "zero")]
        attributes = {"axis": tensor.axis} if tensor.scale.ndim else {}
        return self.node("DequantizeLinear", names, **attributes)

    def node(self, op: str, inputs: Sequence[str], domain: str = "", output: str = "", **attributes: Any) -> str:
        """Add a node and give its output."""
        output = output or self._fresh(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [output], f"{op}_{output}", domain=domain, **attributes))
        return output

    def quantize(self, value: str, dtype: str = "int8", like: Quantized | None = None, name: str = "") -> Quantized:
        """Quantize a value: like another tensor, or to a range that most of its values for random inputs lie in."""
        result = like or self.range_of(value, dtype)
        names = [value, self.constant(result.scale, "scale"), self.constant(result.zero, "zero")]
        output = self.node("QuantizeLinear", names, output=name)
        return Quantized(output, (), result.dtype, result.scale, result.zero)

    def range_of(self, value: str, dtype: str = "int8") -> Quantized:
        """Find scale and zero point for a value; a few percent of it saturate."""
        sample = run(self.model([value]), self.random_inputs())[value]
        low, high = np.quantile(sample, [0.02, 0.98])
        if high - low < 1e-3:
            high = low + 1
        info = np.iinfo(dtype)
        scale = np.float32((high - low) / 255)
        zero = np.clip(np.rint(info.min - low / scale), info.min, info.max).astype(dtype)
        return Quantized("", (), dtype, np.array(scale), np.array(zero))

    def random_inputs(self) -> dict[str, Array]:
        """Give random integers for every input."""
        made = {}
        for name, tensor in self.inputs.items():
            info = np.iinfo(tensor.dtype)
            made[name] = self.rng.integers(info.min, info.max + 1, tensor.shape).astype(tensor.dtype)
        return made

    def model(self, outputs: Sequence[str]) -> ModelProto:
        """Give the model of the nodes so far."""
        graph = helper.make_graph(
            self.nodes,
            "random",
            [
                helper.make_tensor_value_info(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape)
                for t in self.inputs.values()
            ],
            [helper.make_value_info(name, TypeProto(tensor_type=TypeProto.Tensor(elem_type=0))) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return typed(helper.make_model(graph, opset_imports=imports, ir_version=8))

    def _fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}{self.count}"


def typed(model: ModelProto) -> ModelProto:
    """Give the outputs the element types that onnxruntime infers."""
    bare = ModelProto()
    bare.CopyFrom(model)
    for output in bare.graph.output:
        output.ClearField("type")
    found = {output.name: output for output in _session(bare).get_outputs()}
    kinds = {"tensor(int8)": TensorProto.INT8, "tensor(uint8)": TensorProto.UINT8, "tensor(float)": TensorProto.FLOAT}
    for output in model.graph.output:
        kind, shape = kinds[found[output.name].type], found[output.name].shape
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, shape))
    return model


def run(model: ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """Run a model in onnxruntime as it stands."""
    session = _session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
