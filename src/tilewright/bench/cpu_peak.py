"""What a core can do: dot products of registers, as many at once as hide their latency."""

from __future__ import annotations

import ctypes
import time

from llvmlite import binding

from tilewright.compiler.tir.native import Host

#: By what is multiplied: the sums' type, the operands', the instruction, and its multiplications.
_KINDS = {
    "int8": ("<16 x i32>", "<64 x i8>", "@llvm.x86.avx512.vpdpbusd.512", 64),
    "fp32": ("<16 x float>", "<16 x float>", "@llvm.fma.v16f32", 16),
    "bf16": ("<16 x float>", "<32 x bfloat>", "@llvm.x86.avx512bf16.dpbf16ps.512", 32),
}
_FEATURES = {"int8": "avx512vnni", "fp32": "avx512f", "bf16": "avx512bf16"}
_SUMS = 24
_STEPS = 200_000
_SAMPLES = 9


def measured_peak(kind: str = "int8") -> float | None:
    """Measure a core's multiplications a second with AVX-512, of `int8`, `fp32` or `bf16`; None where it has none."""
    host = Host.this()
    if not dict(binding.get_host_cpu_features()).get(_FEATURES[kind]):
        return None
    machine = host.target_machine()
    module = binding.parse_assembly(_text(kind))
    module.verify()
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("peak"))
    memory = ctypes.create_string_buffer(64 * (_SUMS + 2))
    best = min(_seconds(run, memory) for _ in range(_SAMPLES))
    return float(_KINDS[kind][3]) * _SUMS * _STEPS / best


def _seconds(run: object, memory: ctypes.Array[ctypes.c_char]) -> float:
    assert callable(run)
    start = time.thread_time()
    run(ctypes.addressof(memory), _STEPS)
    return time.thread_time() - start


def _text(multiplied: str) -> str:
    kind, taken, name, _ = _KINDS[multiplied]
    if multiplied == "int8" and binding.llvm_version_info[0] < 22:
        taken = kind
    sums = range(_SUMS)
    phis = "\n".join(f"%a{i} = phi {kind} [ zeroinitializer, %entry ], [ %b{i}, %loop ]" for i in sums)
    is_fma = multiplied == "fp32"
    operands = "{kind} %x, {kind} %w, {kind} %a{i}" if is_fma else "{kind} %a{i}, {taken} %x, {taken} %w"
    dots = "\n".join(f"%b{i} = call {kind} {name}({operands.format(kind=kind, taken=taken, i=i)})" for i in sums)
    stores = "\n".join(
        f"%p{i} = getelementptr i8, ptr %memory, i64 {64 * (i + 2)}\nstore {kind} %b{i}, ptr %p{i}, align 1"
        for i in sums
    )
    return f"""
declare {kind} {name}({kind}, {taken}, {taken})
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
