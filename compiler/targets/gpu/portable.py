"""Kernels for GPUs other than NVIDIA's: assembly for AMD's, SPIR-V for OpenCL.

What has no instructions of NVIDIA's tensor cores can be emitted: networks that are lowered with the schedule `Plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import binding

from tilewright.compiler.targets.gpu.dialects import AMDGCN, SPIRV, Dialect
from tilewright.compiler.targets.gpu.emit import emit_kernels
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.ptx import distinct_loops, initialize
from tilewright.compiler.targets.gpu.spirv_writer import write_spirv
from tilewright.compiler.tir.native import optimized_module
from tilewright.isa.errors import ToolchainError


def to_amdgcn(kernels: Sequence[Kernel], processor: str = "gfx90a") -> str:
    """Compile kernels to assembly for AMD's GPUs.

    Raises
    ------
    CodegenError
        When a kernel uses an instruction of NVIDIA's GPUs.
    ToolchainError
        When llvmlite's LLVM has no such target.
    """
    machine = _machine(AMDGCN, processor)
    text = distinct_loops(emit_kernels(kernels, AMDGCN))
    assembly: str = machine.emit_assembly(optimized_module(text, machine))
    return assembly


def to_spirv(kernels: Sequence[Kernel]) -> bytes:
    """Compile kernels to a SPIR-V module for OpenCL, raising as `to_amdgcn` does."""
    return write_spirv(distinct_loops(emit_kernels(kernels, SPIRV)), SPIRV.triple)


def _machine(dialect: Dialect, processor: str) -> Any:
    initialize()
    try:
        target = binding.Target.from_triple(dialect.triple)
    except RuntimeError as error:
        raise ToolchainError(f"llvmlite's LLVM has no target {dialect.name}: {error}") from None
    return target.create_target_machine(cpu=processor, opt=3)
