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
    text, machine = _prepared(kernels, AMDGCN, processor, 3)
    assembly: str = machine.emit_assembly(optimized_module(text, machine))
    return assembly


def to_spirv(kernels: Sequence[Kernel]) -> bytes:
    """Compile kernels to a SPIR-V module for OpenCL, raising as `to_amdgcn` does.

    LLVM's writer does nothing to loops: where it steps pointers through nested ones, results were wrong.
    """
    text, machine = _prepared(kernels, SPIRV, "", 0)
    module = binding.parse_assembly(text)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # OpenCL has vectors of few lengths only
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    code: bytes = machine.emit_object(module)
    return code


def _prepared(kernels: Sequence[Kernel], dialect: Dialect, processor: str, level: int) -> tuple[str, Any]:
    initialize()
    try:
        target = binding.Target.from_triple(dialect.triple)
    except RuntimeError as error:
        raise ToolchainError(f"llvmlite's LLVM has no target {dialect.name}: {error}") from None
    machine = target.create_target_machine(cpu=processor, opt=level)
    return distinct_loops(emit_kernels(kernels, dialect)), machine
