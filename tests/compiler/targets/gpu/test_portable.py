"""Networks without tensor cores become assembly for AMD's GPUs and SPIR-V, and mean the same."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.bench.float_networks import encoder_layer
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.gpu.dialects import SPIRV
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.portable import to_amdgcn, to_spirv
from tilewright.compiler.targets.gpu.program import GpuProgram, InterpretedDevice
from tilewright.compiler.targets.gpu.schedules import Plain
from tilewright.compiler.targets.gpu.spirv_writer import write_spirv
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.gpu import compile_for_gpu
from tilewright.isa.errors import ToolchainError

_MAGIC = 0x07230203
_ENTRY_POINT = 15


def _program(name: str, rng: np.random.Generator) -> GpuProgram:
    return lower(NETWORKS[name](rng), lambda gemm: Plain())


def _kernels(program: GpuProgram) -> list[Kernel]:
    return [launch.kernel for launch in program.launches]


@pytest.mark.parametrize("name", ["image_stride2", "residual", "matrix"])
def test_plain_networks_equal_the_reference(name: str, rng: np.random.Generator) -> None:
    program = _program(name, rng)
    inputs = {key: rng.integers(-128, 128, program.graph.shape(key)).astype(np.int8) for key in program.graph.inputs}
    outputs = program.run(inputs, InterpretedDevice())
    for key, array in evaluate(program.graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], array)


@pytest.mark.parametrize("name", ["residual", "depthwise", "average", "matrix"])
def test_amd_assembly_has_every_kernel(name: str, rng: np.random.Generator) -> None:
    kernels = _kernels(_program(name, rng))
    assembly = to_amdgcn(kernels)
    for kernel in kernels:
        assert f".amdhsa_kernel {kernel.name}" in assembly
    assert "global_load" in assembly and "scratch_store" not in assembly, "registers went to memory"
    assert ("s_barrier" in assembly) == (name == "average")


def _spirv_instructions(code: bytes) -> list[tuple[int, bytes]]:
    words = struct.unpack(f"<{len(code) // 4}I", code)
    found, place = [], 5
    while place < len(words):
        count = words[place] >> 16
        assert count
        found.append((words[place] & 0xFFFF, code[4 * place + 4 : 4 * (place + count)]))
        place += count
    assert place == len(words)
    return found


@pytest.mark.parametrize("name", ["residual", "depthwise", "average", "matrix"])
def test_spirv_has_an_entry_point_for_every_kernel(name: str, rng: np.random.Generator) -> None:
    kernels = _kernels(_program(name, rng))
    code = to_spirv(kernels)
    assert struct.unpack_from("<I", code) == (_MAGIC,)
    entries = [operands for opcode, operands in _spirv_instructions(code) if opcode == _ENTRY_POINT]
    names = {operands[8:].split(b"\0")[0].decode() for operands in entries}
    assert names == {kernel.name for kernel in kernels}


def test_spirv_is_the_same_whenever_it_is_written(rng: np.random.Generator) -> None:
    residual, matrix = (_kernels(_program(name, rng)) for name in ("residual", "matrix"))
    first = to_spirv(residual)
    to_spirv(matrix)
    assert to_spirv(residual) == first


def test_what_the_spirv_writer_says_is_told() -> None:
    with pytest.raises(ToolchainError, match=r"LLVM's SPIR-V writer failed: .*expected top-level entity"):
        write_spirv("nonsense", SPIRV.triple)


def test_tensor_cores_are_refused_by_name(rng: np.random.Generator) -> None:
    kernels = [launch.kernel for launch in compile_for_gpu(encoder_layer(rng, 1, 16, 64, 2)).program.launches]
    attention = next(kernel for kernel in kernels if "attention" in kernel.name)
    with pytest.raises(CodegenError, match=r"`.*attention`: `.*` is an instruction of NVIDIA's GPUs; amdgcn has none"):
        to_amdgcn([attention])
    with pytest.raises(CodegenError, match="spirv64 has none like it"):
        to_spirv([attention])
