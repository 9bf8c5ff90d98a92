"""What LLVM's targets for GPUs call the same things: kernels, numbers of threads and blocks, barriers, functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.instruction import Operands, word, word_pointer
from tilewright.compiler.targets.gpu.instructions import INSTRUCTIONS
from tilewright.compiler.targets.gpu.warp_instructions import EXP2
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value

#: Address spaces of memory that all blocks, and that the threads of one block see.
GLOBAL, SHARED = 1, 3

_FENCES = 3  # OpenCL's barrier orders local and global memory
_NOTHING = ("async_commit", "async_wait", "dependency_wait", "dependents_launch")


@dataclass(frozen=True)
class Dialect:
    """A target of LLVM's.

    Attributes
    ----------
    name, triple, convention : str
        Of the target, of modules, and of kernels.
    private : int
        Address space of a thread's own memory.
    thread, block : str
        What gives the number of a thread in its block, and of a block; `{}` is the axis.
    is_portable : bool
        Whether only instructions are emitted that every GPU has.
    """

    name: str
    triple: str
    convention: str
    private: int
    thread: str
    block: str
    is_portable: bool = True

    def number(self, builder: ll.IRBuilder, axis: str) -> Value:
        """Append what reads the number of the thread (`thread`) or of the block along an axis (`block.x`)."""
        kind, _, direction = axis.partition(".")
        direction = direction or "x"
        if self.name == "spirv64":
            function = _declared(builder, self.thread if kind == "thread" else self.block, I64, [I32])
            return builder.trunc(builder.call(function, [I32("xyz".index(direction))]), I32)
        name = (self.thread if kind == "thread" else self.block).format(direction)
        return builder.call(_declared(builder, name, I32, []), [])

    def finished(self, text: str, kernels: Sequence[tuple[str, int, int]]) -> str:
        """Write into a module what llvmlite cannot write.

        Parameters
        ----------
        text : str
            Of the module.
        kernels : sequence of (str, int, int)
            Names, threads of a block, and blocks that should fit one multiprocessor.
        """
        if self.private:
            text = re.sub(r"(= alloca [^\n]*)", rf"\1, addrspace({self.private})", text)
        for name, threads, blocks in kernels:
            bounds = {
                "nvptx64": f'"nvvm.maxntid"="{threads}" "nvvm.minctasm"="{blocks}"',
                "amdgcn": f'"amdgpu-flat-work-group-size"="{threads},{threads}"',
            }.get(self.name, "")
            text = re.sub(rf'(?m)^(define [^\n]*@"{re.escape(name)}"\([^\n]*)$', rf"\1 {bounds}".rstrip(), text)
        return text

    def call(self, kernel: str, name: str, builder: ll.IRBuilder, operands: Operands) -> None:
        """Append an instruction.

        Raises
        ------
        CodegenError
            When this target has none of that name.
        """
        if name not in INSTRUCTIONS:
            raise CodegenError(f"`{kernel}`: `{name}` is no instruction of a GPU")
        if not self.is_portable:
            INSTRUCTIONS[name].emit(builder, operands)
        elif name == "barrier":
            self._barrier(builder)
        elif name in _PORTABLE:
            _PORTABLE[name](builder, operands)
        elif name not in _NOTHING:
            raise CodegenError(f"`{kernel}`: `{name}` is an instruction of NVIDIA's GPUs; {self.name} has none like it")

    def _barrier(self, builder: ll.IRBuilder) -> None:
        if self.name == "spirv64":
            function = _declared(builder, "_Z7barrierj", ll.VoidType(), [I32])
            function.attributes.add("convergent")
            builder.call(function, [I32(_FENCES)])
            return
        builder.fence("acq_rel")
        function = _declared(builder, "llvm.amdgcn.s.barrier", ll.VoidType(), [])
        builder.call(function, [])


def _declared(builder: ll.IRBuilder, name: str, result: ll.Type, arguments: list[ll.Type]) -> Value:
    found = builder.module.globals.get(name)
    return found or ll.Function(builder.module, ll.FunctionType(result, arguments), name)


def _exp2(builder: ll.IRBuilder, operands: Operands) -> None:
    kind, place = ll.FloatType(), operands.pointers["d"]
    function = _declared(builder, "llvm.exp2.f32", kind, [kind])
    result = builder.call(function, [builder.bitcast(word(builder, place, 0), kind)])
    builder.store(builder.bitcast(result, I32), word_pointer(builder, place, 0))


_PORTABLE: Mapping[str, Callable[[ll.IRBuilder, Operands], None]] = {EXP2: _exp2}

NVPTX = Dialect(
    "nvptx64", "nvptx64-nvidia-cuda", "ptx_kernel", 0, "llvm.nvvm.read.ptx.sreg.tid.{}",
    "llvm.nvvm.read.ptx.sreg.ctaid.{}", False,
)  # fmt: skip
AMDGCN = Dialect(
    "amdgcn", "amdgcn-amd-amdhsa", "amdgpu_kernel", 5, "llvm.amdgcn.workitem.id.{}", "llvm.amdgcn.workgroup.id.{}"
)
SPIRV = Dialect("spirv64", "spirv64v1.2-unknown-unknown", "spir_kernel", 0, "_Z12get_local_idj", "_Z12get_group_idj")
