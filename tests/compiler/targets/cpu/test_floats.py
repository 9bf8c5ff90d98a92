"""Float models natively on every level, against onnxruntime and, kernel by kernel, the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, TypeProto, helper, numpy_helper

from tests.compiler.quantized_models import typed
from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.transformer_models import bert, sentences, vision
from tilewright.api import load
from tilewright.bench.cpu_models import encoder
from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.kernel import SPACES
from tilewright.compiler.targets.cpu.levels import LEVELS, Level, host_levels, level_of
from tilewright.compiler.targets.cpu.program import CpuProgram, InterpretedMachine
from tilewright.compiler.tir.verify import verify
from tilewright.cpu import compile_for_cpu, lower_model, operators_of

#: Of the root of the mean square.
FAR = 1e-4


def _program(model: ModelProto, level: Level) -> CpuProgram:
    return lower_model(operators_of(model), level)


def _check(model: ModelProto, program: CpuProgram, machine: Any, rng: np.random.Generator) -> None:
    graph = load(model)
    inputs = {name: rng.standard_normal(graph.shape(name)).astype(np.float32) for name in graph.inputs}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = program.run(inputs, machine)
    for name, expected in zip(graph.outputs, session.run(None, inputs), strict=True):
        assert outputs[name].shape == expected.shape and outputs[name].dtype == expected.dtype
        size = np.sqrt(np.mean(expected.astype(np.float64) ** 2))
        assert np.std(expected) > 1e-3, "every value is the same: the test shows nothing"
        assert np.max(np.abs(outputs[name] - expected)) <= FAR * size


def _assert_native(program: CpuProgram) -> None:
    host = [step.op for step in program.steps if isinstance(step, Node)]
    assert not host, f"{host} run on the host"


@dataclass
class _Net:
    """Collects nodes of a model with input `x`; `model` gives it."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def normal(self, *shape: int) -> str:
        array = self.rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def model(self, output: str, *shape: int) -> ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_value_info(output, TypeProto(tensor_type=TypeProto.Tensor(elem_type=0)))
        graph = helper.make_graph(self.nodes, "small", [x], [y], self.constants)
        return typed(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


def _convolution(rng: np.random.Generator) -> ModelProto:
    """Give a convolution of any size, stride, dilation, padding and number of groups."""
    net = _Net(rng)
    kernel, stride, dilation = (int(rng.choice(choices)) for choices in ([1, 2, 3, 5], [1, 2], [1, 1, 2]))
    channels = int(rng.choice([1, 3, 5, 16, 24]))
    groups = int(rng.choice([1, 1, channels, 2 if channels % 2 == 0 else 1]))
    outputs = groups * int(rng.choice([1, 3, 8])) if groups > 1 else int(rng.choice([1, 7, 32, 50]))
    pads = [int(n) for n in rng.integers(0, dilation * (kernel - 1) + 1, 4)]
    window = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": pads, "group": groups}
    y = net.node("Conv", "x", net.normal(outputs, channels // groups, kernel, kernel), net.normal(outputs), **window)
    y = net.node("Relu", y) if outputs > 1 and rng.integers(2) else y  # of one channel, nothing may be left
    extents = [int(n) for n in rng.integers(dilation * (kernel - 1) + 1, 20, 2)]
    return net.model(y, int(rng.integers(1, 3)), channels, *extents)


def _pools(rng: np.random.Generator) -> ModelProto:
    net = _Net(rng)
    y = net.node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 1])
    y = net.node("MaxPool", y, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 0, 1, 2])
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    return net.model(
        net.node("Softmax", net.node("Gemm", y, net.normal(11, 20), net.normal(11), transB=1)), 2, 20, 9, 8
    )


def _rows(rng: np.random.Generator) -> ModelProto:
    net = _Net(rng)
    y = net.node("LayerNormalization", "x", net.normal(40), net.normal(40), axis=-1)
    y = net.node("Gelu", net.node("Add", net.node("MatMul", y, net.normal(40, 72)), net.normal(72)))
    y = net.node("Add", net.node("MatMul", y, net.normal(72, 40)), "x")
    return net.model(net.node("Softmax", y, axis=-1), 2, 13, 40)


def _norm_behind_bound(rng: np.random.Generator) -> ModelProto:
    """Give a bound that makes more of what is behind the channels than zeros, and what reads it."""
    net = _Net(rng)
    for name, bound in (("low", 0.5), ("high", 2.0)):
        net.constants.append(numpy_helper.from_array(np.array(bound, np.float32), name))
    y = net.node("Clip", net.node("MatMul", "x", net.normal(24, 24)), "low", "high")
    y = net.node("LayerNormalization", y, net.normal(24), net.normal(24), axis=-1)
    return net.model(net.node("MatMul", y, net.normal(24, 10)), 5, 24)


_SMALL: dict[str, Callable[[np.random.Generator], ModelProto]] = {
    **MODELS, "pools_of_parts": _pools, "rows": _rows, "norm_behind_bound": _norm_behind_bound,
}  # fmt: skip


@pytest.mark.parametrize("level", host_levels(), ids=lambda level: level.name)
@pytest.mark.parametrize("name", _SMALL)
def test_models_agree_with_onnxruntime(name: str, level: Level, rng: np.random.Generator) -> None:
    model = _SMALL[name](rng)
    program = _program(model, level)
    _assert_native(program)
    _check(model, program, NativeMachine(), rng)


@pytest.mark.parametrize("level", host_levels(), ids=lambda level: level.name)
def test_random_convolutions_agree_with_onnxruntime(level: Level, rng: np.random.Generator) -> None:
    for _ in range(10):
        model = _convolution(rng)
        program = _program(model, level)
        _assert_native(program)
        _check(model, program, NativeMachine(), rng)


@pytest.mark.parametrize("level", host_levels(), ids=lambda level: level.name)
@pytest.mark.parametrize(("words", "width", "heads"), [(20, 64, 2), (33, 96, 3), (5, 64, 2)])
def test_encoders_agree_with_onnxruntime(
    words: int, width: int, heads: int, level: Level, rng: np.random.Generator
) -> None:
    model = encoder("small", 1, width, heads, 96, words)
    program = _program(model, level)
    _assert_native(program)
    assert any(launch.op == "fattention" for launch in program.launches)
    _check(model, program, NativeMachine(), rng)


@pytest.mark.parametrize("level", [LEVELS[0], LEVELS[-1]], ids=lambda level: level.name)
@pytest.mark.parametrize("name", [*(name for name in _SMALL if name != "image"), "encoder"])
def test_kernels_mean_the_same_to_the_interpreter(name: str, level: Level, rng: np.random.Generator) -> None:
    model = encoder("small", 1, 32, 2, 16, 5) if name == "encoder" else _SMALL[name](rng)
    program = _program(model, level)
    for launch in program.launches:
        verify(launch.kernel.function, SPACES)
    _check(model, program, InterpretedMachine(), rng)


def test_threads_agree_with_onnxruntime(rng: np.random.Generator) -> None:
    machine = NativeMachine(count=2)
    model = encoder("shared", 1, 128, 2, 256, 64)
    program = _program(model, level_of())
    for _ in range(5):
        _check(model, program, machine, rng)
    assert machine.compile(program.segments[0]).threads == 2
    machine.close()


def test_what_has_no_kernel_is_the_hosts(rng: np.random.Generator) -> None:
    net = _Net(rng)
    y = net.node("Sin", net.node("MatMul", "x", net.normal(8, 12)))
    model = net.model(net.node("MatMul", y, net.normal(12, 5)), 3, 8)
    program = _program(model, level_of())
    assert [step.op for step in program.steps if isinstance(step, Node)] == ["onnx.Sin"]
    assert len(program.segments) == 2
    _check(model, program, NativeMachine(), rng)


def test_constants_may_be_stored_as_integers(rng: np.random.Generator) -> None:
    net = _Net(rng)
    net.constants += [
        numpy_helper.from_array(rng.integers(-99, 99, 6).astype(np.int32), "b"),
        numpy_helper.from_array(np.array(0.02, np.float32), "s"),
    ]
    y = net.node("Conv", "x", net.normal(6, 3, 3, 3), net.node("DequantizeLinear", "b", "s"))
    model = net.model(net.node("Relu", y), 1, 3, 8, 8)
    program = _program(model, level_of())
    _assert_native(program)
    _check(model, program, NativeMachine(), rng)


def test_attention_of_narrow_heads_is_left_to_the_host(rng: np.random.Generator) -> None:
    """Heads that are no whole vectors have no kernel: then none of attention's parts may be joined."""
    model = encoder("narrow", 1, 32, 4, 32, 9)
    program = _program(model, LEVELS[0])
    assert any(isinstance(step, Node) for step in program.steps)
    if LEVELS[0] in host_levels():
        _check(model, program, NativeMachine(), rng)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_many_random_convolutions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = host_levels()
    model = _convolution(rng)
    program = _program(model, levels[seed % len(levels)])
    _assert_native(program)
    _check(model, program, NativeMachine(), rng)


@pytest.mark.parametrize("name", ["bert", "vision"])
def test_transformers_as_exporters_write_them(name: str, rng: np.random.Generator) -> None:
    model = bert(rng, 20, 64, 2) if name == "bert" else vision(rng, 16, 4, 64, 2, 1)
    program = _program(model, level_of())
    assert any(launch.op == "fattention" for launch in program.launches)
    _check(model, program, NativeMachine(), rng)


def test_masks_are_added_to_scores(rng: np.random.Generator) -> None:
    words = 19
    model = compile_for_cpu(sentences(rng, words, 64, 2))
    mask = (np.arange(words) < 11).astype(np.int64)[None]
    inputs = {"ids": rng.integers(0, 50, (1, words)) * mask, "mask": mask}
    run = model.run(inputs)
    assert not any(model.count_differences(inputs, run.outputs).values())
    assert [layer.place for layer in run.report.layers if layer.kind == "fattention"] == ["cpu", "cpu"]
    (masked,), (whole,) = (model.reference(given).values() for given in (inputs, {**inputs, "mask": mask | 1}))
    assert np.abs(masked - whole).max() > 0.01, "the mask changes nothing: the test shows nothing"
