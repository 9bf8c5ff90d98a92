"""From LLVM IR to PTX, and PTX to machine code with NVIDIA's assembler where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite
from llvmlite import binding

from tilewright.compiler.targets.gpu.emit import emit_kernels
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.tir.native import optimized_module
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.isa.errors import ToolchainError

#: Architectures that kernels are assembled for in tests.
ARCHITECTURES = ("sm_80", "sm_90a", "sm_100a")
_PTX_VERSION = {"sm_80": "+ptx78", "sm_90a": "+ptx80", "sm_100a": "+ptx86"}


def to_ptx(kernels: Sequence[Kernel], architecture: str = "sm_90a") -> str:
    """Compile kernels.

    Parameters
    ----------
    kernels : sequence of Kernel
    architecture : str
        As `sm_90a`; what `sm_80` lacks is left out for it.

    Raises
    ------
    CodegenError
        When a kernel has no machine code.
    """
    return compile_text(llvm_text(kernels, architecture), architecture)


def llvm_text(kernels: Sequence[Kernel], architecture: str) -> str:
    """Return LLVM IR for an architecture."""
    text = distinct_loops(emit_kernels(kernels))
    if int(re.sub(r"\D", "", architecture)) < 90:
        text = re.sub(r'call void asm sideeffect "griddepcontrol[^\n]*', "", text)
    return text


def distinct_loops(text: str) -> str:
    """Make the metadata of loops distinct, as llvmlite cannot."""
    return re.sub(r'(!\d+) = !{ !"tilewright.loop\.\d+"', r"\1 = distinct !{ \1", text)


def compile_text(text: str, architecture: str, cache: ObjectCache | None = None) -> str:
    """Compile LLVM IR to PTX, or take it from a cache."""

    def build() -> bytes:
        initialize()
        target = binding.Target.from_triple("nvptx64-nvidia-cuda")
        features = _PTX_VERSION.get(architecture, "+ptx80")
        machine = target.create_target_machine(cpu=architecture, features=features, opt=3)
        ptx: str = machine.emit_assembly(optimized_module(text, machine))
        return ptx.encode()

    if cache is None:
        return build().decode()
    versions = f"llvmlite {llvmlite.__version__} LLVM {binding.llvm_version_info}"
    return cache.get(ObjectCache.key(text, architecture, versions), build).decode()


@functools.cache
def initialize() -> None:
    """Make all of LLVM's targets known."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


def find_ptxas() -> str | None:
    """Find the assembler of the Python package `nvidia-cuda-nvcc`."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for program in sorted(Path(folder).glob("*/bin/ptxas")):
            return str(program)
    return None


def assemble(ptx: str, architecture: str, ptxas: str) -> str:
    """Assemble PTX and return what the assembler says of registers and spills.

    Raises
    ------
    ToolchainError
        With the assembler's first line when it refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernels.ptx"
        source.write_text(ptx)
        arguments = [ptxas, "-v", f"-arch={architecture}", "-o", str(Path(folder) / "kernels.cubin"), str(source)]
        result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ToolchainError(f"ptxas refuses a kernel for {architecture}: {result.stderr.strip()[:2000]}")
    return result.stderr
