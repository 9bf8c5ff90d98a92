"""What a core can do: dot products of registers, as many at once as hide their latency."""

from __future__ import annotations

import ctypes
import time

from llvmlite import binding

from tilewright.compiler.tir.native import Host

_SUMS = 24
_STEPS = 200_000
_SAMPLES = 9


def measured_peak() -> float | None:
    """Measure a core's multiplications of bytes a second with AVX-512 VNNI; None where it has none."""
    host = Host.this()
    if not dict(binding.get_host_cpu_features()).get("avx512vnni"):
        return None
    machine = host.target_machine()
    module = binding.parse_assembly(_text())
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("peak"))
    memory = ctypes.create_string_buffer(64 * (_SUMS + 2))
    best = min(_seconds(run, memory) for _ in range(_SAMPLES))
    return 64.0 * _SUMS * _STEPS / best


def _seconds(run: object, memory: ctypes.Array[ctypes.c_char]) -> float:
    assert callable(run)
    start = time.thread_time()
    run(ctypes.addressof(memory), _STEPS)
    return time.thread_time() - start


def _text() -> str:
    ints, is_new = "<16 x i32>", binding.llvm_version_info[0] >= 22
    taken = "<64 x i8>" if is_new else ints
    name = "@llvm.x86.avx512.vpdpbusd.512"
    sums = range(_SUMS)
    phis = "\n".join(f"%a{i} = phi {ints} [ zeroinitializer, %entry ], [ %b{i}, %loop ]" for i in sums)
    dots = "\n".join(f"%b{i} = call {ints} {name}({ints} %a{i}, {taken} %x, {taken} %w)" for i in sums)
    stores = "\n".join(
        f"%p{i} = getelementptr i8, ptr %memory, i64 {64 * (i + 2)}\nstore {ints} %b{i}, ptr %p{i}, align 1"
        for i in sums
    )
    return f"""
declare {ints} {name}({ints}, {taken}, {taken})
define void @peak(ptr %memory, i64 %steps) {{
entry:
%x = load {taken}, ptr %memory, align 1
%at = getelementptr i8, ptr %memory, i64 64
%w = load {taken}, ptr %at, align 1
br label %loop
loop:
%n = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{dots}
%next = add i64 %n, 1
%more = icmp slt i64 %next, %steps
br i1 %more, label %loop, label %done
done:
{stores}
ret void
}}
"""
