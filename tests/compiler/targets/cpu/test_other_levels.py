"""Levels that this processor may lack: their kernels mean the same, and become the instructions that they are for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from llvmlite import binding
from onnx import ModelProto

from tests.compiler.quantized_models import typed
from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.api import load
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.cpu.kernel import SPACES
from tilewright.compiler.targets.cpu.levels import LEVELS, Level
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.matrix_tiles import configuration
from tilewright.compiler.targets.cpu.native_segment import Constants
from tilewright.compiler.targets.cpu.processors import Processor
from tilewright.compiler.targets.cpu.program import CpuProgram, InterpretedMachine
from tilewright.compiler.targets.cpu.segment_code import emit_segment, optimized
from tilewright.compiler.tir.verify import verify
from tilewright.cpu import lower_model, operators_of
from tilewright.isa.ir import DType

BY_NAME = {level.name: level for level in LEVELS}
AMX = BY_NAME["amx_int8"]
AMX_BF16 = replace(AMX, has_bf16=True, tiles=(DType.U8, DType.BF16))


def _assembly(program: CpuProgram, processor: str) -> str:
    """Give the assembly of a program for an x86-64 processor by its name in LLVM's words."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(processor, "", opt=3, reloc="pic")
    (segment,) = program.segments
    text = emit_segment(segment, Constants.of(segment.constants).offsets)
    assembly: str = machine.emit_assembly(optimized(text, machine))
    return assembly


def _check(graph: Graph, level: Level, rng: np.random.Generator) -> CpuProgram:
    program = lower(graph, level)
    for kernel in program.segments[0].kernels:
        verify(kernel.function, SPACES)
    inputs = {key: rng.integers(-128, 128, graph.shape(key)).astype(np.int8) for key in graph.inputs}
    outputs = program.run(inputs, InterpretedMachine())
    for key, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], array)
        assert np.unique(array).size > 1, "every value is the same: the test shows nothing"
    return program


def _wide(rng: np.random.Generator) -> Graph:
    """Give convolutions of rows of one matrix tile and of two, of one part of the channels and of some."""
    net = NetworkBuilder("wide", (1, 16, 5, 20), rng)
    return net.graph(net.convolution(net.convolution("x", 64, 3), 80, 1))


@pytest.mark.parametrize("name", ["image_7x7", "conv3x3_stride2", "residual", "table", "depthwise"])
def test_matrix_tiles_mean_the_same(name: str, rng: np.random.Generator) -> None:
    _check(NETWORKS[name](rng), AMX, rng)


def test_matrix_tiles_are_the_processors(rng: np.random.Generator) -> None:
    program = _check(_wide(rng), AMX, rng)
    assembly = _assembly(program, "sapphirerapids")
    loads, products = (assembly.count(f"\t{name}\t") for name in ("tileloadd", "tdpbusd"))
    assert products > 0 and loads > products and "vpdpbusd" not in assembly
    assert assembly.count("\tldtilecfg\t") == assembly.count("tilerelease") == 2, "once for each kernel"


def test_sums_of_few_words_have_no_matrix_tiles(rng: np.random.Generator) -> None:
    net = NetworkBuilder("short", (1, 16, 6, 6), rng)
    program = _check(net.graph(net.convolution("x", 32, 1)), AMX, rng)
    assert "tdpbusd" not in _assembly(program, "sapphirerapids")


def test_matrix_tiles_of_bfloat16(rng: np.random.Generator) -> None:
    model: ModelProto = typed(MODELS["residual"](rng))
    inputs = {"x": rng.standard_normal(load(model).shape("x")).astype(np.float32)}
    graph = operators_of(model)
    program = lower_model(graph, AMX_BF16)
    plain = lower_model(graph, replace(BY_NAME["avx512_vnni"], has_bf16=True))
    found, expected = (one.run(inputs, InterpretedMachine()) for one in (program, plain))
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, atol=0.02 * np.abs(array).max())
    assembly = _assembly(program, "sapphirerapids")
    assert "\ttdpbf16ps\t" in assembly and "\tvdpbf16ps\t" not in assembly
    assert "\tvdpbf16ps\t" in _assembly(plain, "sapphirerapids")


def test_configuration_of_tiles_is_that_of_the_manual() -> None:
    data = configuration(14, 12)
    assert len(data) == 64 and data[0] == 1 and not any(data[1:16])
    assert [int.from_bytes(data[16 + 2 * n : 18 + 2 * n], "little") for n in range(8)] == [64] * 4 + [48] * 2 + [64] * 2
    assert list(data[48:56]) == [14] * 6 + [12] * 2 and not any(data[32:48]) and not any(data[56:])


def test_dot_products_of_256_bits(rng: np.random.Generator) -> None:
    program = _check(NETWORKS["residual"](rng), BY_NAME["avx_vnni"], rng)
    assembly = _assembly(program, "alderlake")
    assert "vpdpbusd\t" in assembly and "%ymm" in assembly and "%zmm" not in assembly and "vpmaddwd" not in assembly


def test_libraries_for_this_computer_need_no_permission() -> None:
    assert not Processor.of().level.tiles
