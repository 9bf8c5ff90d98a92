"""LLVM's SPIR-V writer, as a program: LLVM IR comes in, a SPIR-V module goes out.

The writer of LLVM 22 keeps what it knows of blocks, by their addresses in memory, from one module to the next. A second
module in a process may therefore give two things one id; `write_spirv` has a process for each.
"""

from __future__ import annotations

import subprocess
import sys

from llvmlite import binding

from tilewright.isa.errors import ToolchainError

_TIMEOUT_SECONDS = 300


def write_spirv(text: str, triple: str) -> bytes:
    """Write LLVM IR as a SPIR-V module.

    Raises
    ------
    ToolchainError
        With what LLVM says.
    """
    arguments = [sys.executable, "-m", __name__, triple]
    try:
        done = subprocess.run(
            arguments, input=text.encode(), capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"LLVM's SPIR-V writer has not finished after {_TIMEOUT_SECONDS} s") from None
    if done.returncode:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if "rror:" in line]
        raise ToolchainError(f"LLVM's SPIR-V writer failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout


def main(triple: str) -> int:
    """Read LLVM IR from standard input and write SPIR-V to standard output.

    The writer does nothing to loops: where it steps pointers through nested ones, results were wrong. Without the
    optimizer before it, its modules are not valid.
    """
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(opt=0)
    module = binding.parse_assembly(sys.stdin.read())
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # OpenCL has vectors of few lengths only
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    sys.stdout.buffer.write(machine.emit_object(module))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
