"""Machine code of this computer from functions of the tensor IR, callable from Python, kept on disk."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite
import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from tilewright.compiler.tir.defer_reductions import defer_reductions
from tilewright.compiler.tir.interpreter import ARRAY_TYPES, Array
from tilewright.compiler.tir.llvm import emit_module
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.compiler.tir.split_lane_loops import split_lane_loops
from tilewright.compiler.tir.verify import VerifyError
from tilewright.isa.ir import Buffer, Function

Table = NDArray[np.int64]


@dataclass(frozen=True)
class Host:
    """The processor that code is made for.

    Attributes
    ----------
    triple, cpu, features : str
        In LLVM's words.
    """

    triple: str
    cpu: str
    features: str

    @classmethod
    def this(cls) -> Host:
        """Return the processor that this runs on."""
        features = binding.get_host_cpu_features().flatten()
        return cls(binding.get_process_triple(), binding.get_host_cpu_name(), features)

    def target_machine(self) -> Any:
        """Return LLVM's target machine, optimising hard."""
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_triple(self.triple)
        return target.create_target_machine(self.cpu, self.features, opt=3, reloc="pic", codemodel="default", jit=True)


def prepare(function: Function) -> Function:
    """Return an equal function whose loops LLVM's vectorisers take to."""
    return defer_reductions(split_lane_loops(function))


def optimized_module(text: str, machine: Any) -> Any:
    """Parse LLVM IR and run the whole -O3 pipeline with both vectorisers on it."""
    module = binding.parse_assembly(text)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_interleaving = True
    options.loop_unrolling = True
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


class NativeModule:
    """Compiled functions; `compile_functions` builds it.

    Calls are reentrant; indices must be in range: the code checks nothing.
    """

    def __init__(self, functions: Sequence[Function], dispatcher: str | None, code: bytes, host: Host) -> None:
        self._functions = {function.name: function for function in functions}
        self._dispatched = functions[0].buffers if dispatcher else ()
        backing = binding.parse_assembly("")
        self._engine = binding.create_mcjit_compiler(backing, host.target_machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._calls = {name: self._callable(name, 1 + len(f.buffers)) for name, f in self._functions.items()}
        self._dispatch = self._dispatcher(dispatcher) if dispatcher else None

    def _callable(self, name: str, pointers: int) -> Any:
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers)
        return kind(self._engine.get_function_address(name))

    def _dispatcher(self, name: str) -> Any:
        arguments = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * len(self._dispatched)]
        return ctypes.CFUNCTYPE(None, *arguments)(self._engine.get_function_address(name))

    def call(self, name: str, scalars: Mapping[str, int | float], buffers: Mapping[str, Array]) -> None:
        """Run one function, changing `buffers` in place."""
        function = self._functions[name]
        row = np.zeros(max(1, len(function.scalars)), np.int64)
        for position, scalar in enumerate(function.scalars):
            place = row[position : position + 1].view(ARRAY_TYPES[scalar.type])
            place[0] = scalars[scalar.name]
        self._calls[name](row.ctypes.data, *_addresses(function.buffers, buffers))

    def run(self, table: Table, buffers: Mapping[str, Array]) -> None:
        """Run a table of calls: row by row, the first entry the function's position, then its scalars."""
        assert self._dispatch is not None, "compiled without a dispatcher"
        assert table.dtype == np.int64 and table.flags.c_contiguous
        rows, words = table.shape
        self._dispatch(table.ctypes.data, words, rows, *_addresses(self._dispatched, buffers))


def _addresses(buffers: Sequence[Buffer], arrays: Mapping[str, Array]) -> list[int]:
    addresses = []
    for buffer in buffers:
        array = arrays[buffer.name]
        fits = array.dtype == ARRAY_TYPES[buffer.dtype] and (not buffer.shape[0] or array.shape == buffer.shape)
        if not fits or not array.flags.c_contiguous:
            wanted = f"contiguous {buffer.dtype}{list(buffer.shape)}"
            raise VerifyError(f"buffer `{buffer.name}` must be {wanted}, not {array.dtype}{list(array.shape)}")
        addresses.append(array.ctypes.data)
    return addresses


def compile_functions(
    functions: Sequence[Function], dispatcher: str | None = None, cache: ObjectCache | None = None
) -> NativeModule:
    """Compile functions for this computer.

    Parameters
    ----------
    functions : sequence of Function
        Verified functions of different names.
    dispatcher : str, optional
        Name of a function that runs tables of calls; see `tilewright.compiler.tir.llvm.emit_module`.
    cache : ObjectCache, optional
        Where compiled code is kept; by default nowhere.
    """
    host = Host.this()
    text = emit_module([prepare(function) for function in functions], dispatcher)

    def build() -> bytes:
        machine = host.target_machine()
        code: bytes = machine.emit_object(optimized_module(text, machine))
        return code

    versions = f"llvmlite {llvmlite.__version__} LLVM {binding.llvm_version_info}"
    key = ObjectCache.key(text, host.triple, host.cpu, host.features, versions)
    code = cache.get(key, build) if cache is not None else build()
    return NativeModule(functions, dispatcher, code, host)
