"""Threads: a persistent pool whose members run one function together, chunk by chunk.

A launch is over when all its chunks are done, whoever did them: a thread that the system does not run delays nobody,
but for the chunks that it has begun. Each thread begins with a part of its own, the same in every launch, so that what
it wrote is near when it reads on, and helps the others then. What all wait for is a word that is written once in a
launch; how much is done is counted elsewhere, once for each part that a thread worked at. A thread that waits spins for
some ten microseconds and then sleeps in the kernel, so that nothing spins when there is nothing to do. Counters only
grow, by the same amount in every run: a thread that comes late finds the chunks of its run taken.

Linux likes to wake a thread on the processor of who wakes it, and may take longer than a whole run to tell the two
apart. So workers never have the processor that the caller is on, and the caller keeps to it until the run is over: who
sleeps until a launch is done would wake on a worker's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
import weakref
from typing import Any

import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from tilewright.compiler.tir.native import Host
from tilewright.isa.errors import ConfigError

#: Places in a job, in words of 8 bytes: those that several threads write are in lines of their own.
GO, GO_SLEEPERS = 0, 8
FUNCTION, MEMORY, CONSTANTS, TERMINALS, STOP = 16, 17, 18, 19, 20

#: Then for each launch, in a line each: chunks done, runs over, who sleeps until one is, and chunks taken of each part.
COUNTERS, LINE = 24, 8
DONE, OVER, SLEEPERS, TAKEN = 0, 8, 16, 24


def launch_words(count: int) -> int:
    """Return how many words a launch takes."""
    return TAKEN + LINE * count


_FUTEX_CALLS = {"x86_64": 202, "aarch64": 98}
_SET_AFFINITY_CALLS = {"x86_64": 203, "aarch64": 122}
_GET_AFFINITY_CALLS = {"x86_64": 204, "aarch64": 123}

#: Words of a set of processors: of more than 1,024 the kernel tells none, and nothing is bound.
_SET_WORDS = 16

_SPINS = 1000
_PAUSES = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.hint(i32 1)"}


def runtime_text() -> str:
    """Return LLVM IR of what waits for a word to grow, `@tw_wait`, and what wakes those who do.

    `@tw_wake` does when the word has grown, `@tw_over` when it has made it so.
    """
    machine = platform.machine()
    number, pause = _FUTEX_CALLS[machine], _PAUSES[machine]
    return f"""
declare i64 @syscall(i64, ...)
declare void {pause.replace(" 1", "")}

define internal void @tw_wait(ptr %word, i64 %least, ptr %sleepers) noinline nounwind {{
entry:
  br label %spin
spin:
  %turn = phi i64 [ 0, %entry ], [ %next, %again ]
  %now = load atomic i64, ptr %word acquire, align 8
  %reached = icmp sge i64 %now, %least
  br i1 %reached, label %done, label %again
again:
  call void {pause}
  %next = add i64 %turn, 1
  %goes_on = icmp slt i64 %next, {_SPINS}
  br i1 %goes_on, label %spin, label %sleep
sleep:
  %a = atomicrmw add ptr %sleepers, i64 1 seq_cst, align 8
  %before = load atomic i64, ptr %word seq_cst, align 8
  %late = icmp sge i64 %before, %least
  br i1 %late, label %awake, label %call
call:
  %low = trunc i64 %before to i32
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 128, i32 %low, ptr null)
  br label %awake
awake:
  %b = atomicrmw sub ptr %sleepers, i64 1 seq_cst, align 8
  %after = load atomic i64, ptr %word acquire, align 8
  %is_over = icmp sge i64 %after, %least
  br i1 %is_over, label %done, label %sleep
done:
  ret void
}}

define internal void @tw_wake(ptr %word, ptr %sleepers) nounwind {{
entry:
  %count = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ne i64 %count, 0
  br i1 %any, label %call, label %done
call:
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 129, i32 1000000)
  br label %done
done:
  ret void
}}

define internal void @tw_over(ptr %word, i64 %value, ptr %sleepers) nounwind {{
entry:
  store atomic i64 %value, ptr %word seq_cst, align 8
  call void @tw_wake(ptr %word, ptr %sleepers)
  ret void
}}
"""


def _pool_text() -> str:
    """Return LLVM IR of what workers do, `@work`, and of what lets them: `@go`, on the caller's processor."""
    machine = platform.machine()
    set_affinity, get_affinity = _SET_AFFINITY_CALLS[machine], _GET_AFFINITY_CALLS[machine]
    return f"""
define void @work(ptr %job, i64 %thread) {{
entry:
  %go = getelementptr i64, ptr %job, i64 {GO}
  %sleepers = getelementptr i64, ptr %job, i64 {GO_SLEEPERS}
  %stop.at = getelementptr i64, ptr %job, i64 {STOP}
  %function.at = getelementptr i64, ptr %job, i64 {FUNCTION}
  br label %next
next:
  %run = phi i64 [ 0, %entry ], [ %now, %call ]
  %least = add i64 %run, 1
  call void @tw_wait(ptr %go, i64 %least, ptr %sleepers)
  %now = load atomic i64, ptr %go acquire, align 8
  %stop = load i64, ptr %stop.at, align 8
  %ends = icmp ne i64 %stop, 0
  br i1 %ends, label %done, label %call
call:
  %function = load ptr, ptr %function.at, align 8
  %number = sub i64 %now, 1
  call void %function(ptr %job, i64 %number, i64 %thread)
  br label %next
done:
  ret void
}}

define void @go(ptr %job, i64 %processor) {{
entry:
  %before = alloca [{_SET_WORDS} x i64], align 8
  %one = alloca [{_SET_WORDS} x i64], align 8
  %go = getelementptr i64, ptr %job, i64 {GO}
  %sleepers = getelementptr i64, ptr %job, i64 {GO_SLEEPERS}
  %stop.at = getelementptr i64, ptr %job, i64 {STOP}
  %function.at = getelementptr i64, ptr %job, i64 {FUNCTION}
  %number = atomicrmw add ptr %go, i64 1 seq_cst, align 8
  call void @tw_wake(ptr %go, ptr %sleepers)
  %stop = load i64, ptr %stop.at, align 8
  %ends = icmp ne i64 %stop, 0
  br i1 %ends, label %done, label %run
run:
  %function = load ptr, ptr %function.at, align 8
  %bytes = call i64 (i64, ...) @syscall(i64 {get_affinity}, i32 0, i64 {8 * _SET_WORDS}, ptr %before)
  %is_known = icmp sgt i64 %bytes, 0
  br i1 %is_known, label %bound, label %free
bound:
  store [{_SET_WORDS} x i64] zeroinitializer, ptr %one, align 8
  %word = lshr i64 %processor, 6
  %word.at = getelementptr i64, ptr %one, i64 %word
  %place = and i64 %processor, 63
  %bit = shl i64 1, %place
  store i64 %bit, ptr %word.at, align 8
  %r = call i64 (i64, ...) @syscall(i64 {set_affinity}, i32 0, i64 %bytes, ptr %one)
  call void %function(ptr %job, i64 %number, i64 0)
  %s = call i64 (i64, ...) @syscall(i64 {set_affinity}, i32 0, i64 %bytes, ptr %before)
  ret void
free:
  call void %function(ptr %job, i64 %number, i64 0)
  ret void
done:
  ret void
}}
"""


def check(count: int) -> None:
    """Raise ConfigError unless there can be so many threads."""
    if count < 1:
        raise ConfigError(f"there must be at least 1 thread, not {count}")
    if platform.system() != "Linux" or platform.machine() not in _FUTEX_CALLS:
        raise ConfigError(f"threads need Linux on x86-64 or AArch64, not {platform.system()} {platform.machine()}")


class Pool:
    """Threads that wait for jobs; one job runs at a time.

    Parameters
    ----------
    count : int
        Threads, the caller's among them.
    launches : int
        Of the function that is run.
    code : llvmlite.binding.ExecutionEngine
        Has that function, `void share(job, run, thread)`. The pool keeps it: a thread that comes late to a run that is
        over looks at each launch yet.

    Raises
    ------
    ConfigError
        When the count is not positive, or this system is none on which threads can sleep.
    """

    def __init__(self, count: int, launches: int, code: Any) -> None:
        check(count)
        self.count = count
        raw = np.zeros(COUNTERS + launch_words(count) * launches + LINE, np.int64)
        self._job = raw[-raw.ctypes.data % 64 // 8 :]
        self._job[FUNCTION] = code.get_function_address("share")
        self._lock = threading.Lock()
        host = Host.this()
        machine = host.target_machine()
        own: Any = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        text = runtime_text() + _pool_text()
        own.add_object_file(binding.ObjectFileRef.from_data(machine.emit_object(binding.parse_assembly(text))))
        own.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        work, self._go = kind(own.get_function_address("work")), kind(own.get_function_address("go"))
        address = self._job.ctypes.data
        workers = [threading.Thread(target=work, args=(address, number), daemon=True) for number in range(1, count)]
        for worker in workers:
            worker.start()
        self._workers = [worker.native_id or 0 for worker in workers]
        self._processors = os.sched_getaffinity(0)
        self._processor_of_caller: Any = ctypes.CDLL(None).sched_getcpu
        self._avoided = -1
        # What workers run and sleep in must outlive them, also where a pool is dropped without being closed.
        self._end = weakref.finalize(self, _end, self._job, self._go, workers, (own, code))

    def run(self, memory: int, constants: int, terminals: int) -> None:
        """Let all threads run the function, and wait until everything is done.

        Parameters
        ----------
        memory, constants, terminals : int
            Addresses.
        """
        with self._lock:
            processor = max(self._processor_of_caller(), 0)
            self._avoid(processor)
            self._job[MEMORY : TERMINALS + 1] = memory, constants, terminals
            self._go(self._job.ctypes.data, processor)

    def _avoid(self, processor: int) -> None:
        """Let workers run anywhere but on a processor, if there is any other."""
        others = self._processors - {processor}
        if processor == self._avoided or not others:
            return
        self._avoided = processor
        for worker in self._workers:
            with contextlib.suppress(OSError):  # none of these is this process's any more: anywhere, then
                os.sched_setaffinity(worker, others)

    def close(self) -> None:
        """End the threads."""
        with self._lock:
            self._workers = []
            self._end()


def _end(job: NDArray[np.int64], go: Any, workers: list[threading.Thread], _code: Any) -> None:
    """End threads; until then there is the code that they run."""
    job[STOP] = 1
    go(job.ctypes.data, 0)
    for worker in workers:
        worker.join()
