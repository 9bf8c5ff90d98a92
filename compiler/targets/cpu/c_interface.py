"""What goes with an object file: a C header, an example that calls it, and a Makefile."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod

import numpy as np

from tilewright.compiler.targets.cpu.aot import ObjectFile
from tilewright.compiler.targets.cpu.native_segment import ALIGNMENT
from tilewright.compiler.targets.cpu.program import Terminal
from tilewright.isa.errors import ModelError

_C_TYPES = {
    "float32": "float", "float64": "double", "bool": "uint8_t", "int8": "int8_t", "uint8": "uint8_t",
    "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t", "uint32": "uint32_t", "int64": "int64_t",
    "uint64": "uint64_t",
}  # fmt: skip
_KEYWORDS = (
    " alignas alignof asm auto bool break case catch char class const constexpr continue default delete do double else "
    "enum explicit export extern false float for friend goto if inline int long mutable namespace new not operator or "
    "private protected public register restrict return short signed sizeof static struct switch template this throw "
    "true try typedef union unsigned using virtual void volatile while xor and "
)
_COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "riscv64": "riscv64-linux-gnu-gcc"}


def identifier(text: str) -> str:
    """Make a name an identifier of C."""
    found = re.sub(r"\W", "_", text, flags=re.ASCII) or "_"
    return f"m{found}" if found[0].isdigit() else found + "_" * (f" {found} " in _KEYWORDS)


def identifiers(names: Iterable[str]) -> list[str]:
    """Make names identifiers that differ, whatever the case of their letters."""
    found: list[str] = []
    taken = {"MEMORY"}
    for name in names:
        base = unique = identifier(name)
        number = 2
        while unique.upper() in taken:
            unique, number = f"{base}_{number}", number + 1
        taken.add(unique.upper())
        found.append(unique)
    return found


def interface_files(found: ObjectFile, version: str) -> dict[str, str]:
    """Return the texts of all files that go with an object file, by name.

    Parameters
    ----------
    found : ObjectFile
    version : str
        Of this compiler, for the header.
    """
    files = {f"{found.name}.h": _header(found, version)}
    if found.processor.family == "wasm32":
        return {**files, "example.py": _wasm_example(found), "Makefile": _wasm_makefile(found)}
    return {**files, "example.c": _example(found), "Makefile": _makefile(found)}


def _names(found: ObjectFile) -> list[tuple[Terminal, str, bool]]:
    """Name the arguments, and say which are outputs."""
    ends = [(t, False) for t in found.inputs] + [(t, True) for t in found.outputs]
    return [(t, own, is_out) for (t, is_out), own in zip(ends, identifiers(t.value for t, _ in ends), strict=True)]


def _c_type(terminal: Terminal) -> str:
    found = _C_TYPES.get(terminal.dtype)
    if found is None:
        raise ModelError(f"`{terminal.value}` is {terminal.dtype}, for which C has no type")
    return found


def _header(found: ObjectFile, version: str) -> str:
    name, big = found.name, found.name.upper()
    counts = "".join(
        f"#define {big}_{own.upper()}_COUNT {prod(t.shape)} /* {_c_type(t)} {list(t.shape)} */\n"
        for t, own, _ in _names(found)
    )
    formals = "".join(f", {'' if is_out else 'const '}{_c_type(t)} *{own}" for t, own, is_out in _names(found))
    return f"""\
/* {name}: made by Tilewright {version} for {found.processor.triple}, level {found.processor.level.name}. */
#ifndef {big}_H
#define {big}_H

#include <stdint.h>

/* Bytes of working memory, and what its address must be a multiple of. */
#define {big}_MEMORY_BYTES {found.memory_bytes}
#define {big}_MEMORY_ALIGNMENT {ALIGNMENT}

/* Bytes of weights and other constants; they are in {name}.o. */
#define {big}_CONSTANT_BYTES {found.constant_bytes}

/* Elements of inputs and outputs, which are whole arrays, the last dimension side by side. */
{counts}
#ifdef __cplusplus
extern "C" {{
#endif

/* Prepare memory. Once is enough for any number of runs. */
void {name}_prepare(void *memory);

/* Compute the outputs. Runs may overlap in time if each has memory of its own. */
void {name}_run(void *memory{formals});

#ifdef __cplusplus
}}
#endif

#endif
"""


def _example(found: ObjectFile) -> str:
    name, big, names = found.name, found.name.upper(), _names(found)
    arrays = "".join(f"static {_c_type(t)} {own}_array[{big}_{own.upper()}_COUNT];\n" for t, own, _ in names)
    usage = " ".join(own.upper() for _, own, _ in names)
    steps: dict[bool, list[str]] = {False: [], True: []}
    for number, (_, own, is_output) in enumerate(names, 1):
        what = f'"{"wb" if is_output else "rb"}", {own}_array, sizeof {own}_array'
        steps[is_output].append(f"    transfer(argv[{number}], {what});\n")
    actuals = "".join(f", {own}_array" for _, own, _ in names)
    return f"""\
/* Runs {name} once: arrays are files of their bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "{name}.h"

static _Alignas({big}_MEMORY_ALIGNMENT) unsigned char memory[{big}_MEMORY_BYTES];
{arrays}
static void transfer(const char *path, const char *mode, void *array, size_t bytes) {{
    FILE *file = fopen(path, mode);
    size_t done = !file ? 0 : mode[0] == 'r' ? fread(array, 1, bytes, file) : fwrite(array, 1, bytes, file);
    if (!file || done != bytes || fclose(file)) {{
        fprintf(stderr, "%s: %zu bytes instead of %zu\\n", path, done, bytes);
        exit(1);
    }}
}}

int main(int argc, char **argv) {{
    if (argc != {len(names) + 1}) {{
        fprintf(stderr, "usage: %s {usage}\\n", argv[0]);
        return 2;
    }}
{"".join(steps[False])}    {name}_prepare(memory);
    {name}_run(memory{actuals});
{"".join(steps[True])}    return 0;
}}
"""


def _makefile(found: ObjectFile) -> str:
    name = found.name
    return f"""\
CC = {_COMPILERS.get(found.processor.family, "cc")}
CFLAGS = -std=c11 -O2 -Wall -Wextra

example: example.c {name}.h {name}.o
	$(CC) $(CFLAGS) -o $@ example.c {name}.o $(LDFLAGS) -lm

lib{name}.a: {name}.o
	$(AR) rcs $@ $^

lib{name}.so: {name}.o
	$(CC) -shared -o $@ $^ $(LDFLAGS) -lm

clean:
	rm -f example lib{name}.a lib{name}.so

.PHONY: clean
"""


def _wasm_makefile(found: ObjectFile) -> str:
    name = found.name
    exports = " ".join(f"--export={symbol}" for symbol in (f"{name}_prepare", f"{name}_run", "__heap_base"))
    return f"""\
LD = wasm-ld

{name}.wasm: {name}.o
	$(LD) --no-entry {exports} -o $@ $^

clean:
	rm -f {name}.wasm

.PHONY: clean
"""


def _wasm_example(found: ObjectFile) -> str:
    name, names = found.name, _names(found)
    sizes = "".join(f'    ("{own}", {_bytes(t)}, {is_output}),\n' for t, own, is_output in names)
    return f'''\
"""Runs {name}.wasm once (pip install wasmtime): arrays are files of their bytes, in the order of `ARRAYS`."""

import sys
from pathlib import Path

import wasmtime

MEMORY_BYTES, ALIGNMENT = {found.memory_bytes}, {ALIGNMENT}
ARRAYS = (  # name, bytes, whether it is an output
{sizes})
PAGE = 65536

paths = [Path(argument) for argument in sys.argv[1:]]
if len(paths) != len(ARRAYS):
    sys.exit("usage: python example.py " + " ".join(name.upper() for name, _, _ in ARRAYS))
store = wasmtime.Store()
module = wasmtime.Module.from_file(store.engine, str(Path(__file__).with_name("{name}.wasm")))
exports = wasmtime.Instance(store, module, []).exports(store)
memory, places = exports["memory"], []
end = exports["__heap_base"].value(store)
for size in (MEMORY_BYTES, *(size for _, size, _ in ARRAYS)):
    end += -end % ALIGNMENT
    places.append(end)
    end += size
memory.grow(store, max(0, -(-end // PAGE) - memory.size(store)))
for path, place, (name, size, is_output) in zip(paths, places[1:], ARRAYS):
    if not is_output:
        data = path.read_bytes()
        if len(data) != size:
            sys.exit(f"{{path}}: {{len(data)}} bytes instead of {{size}}")
        memory.write(store, data, place)
exports["{name}_prepare"](store, places[0])
exports["{name}_run"](store, *places)
for path, place, (_, size, is_output) in zip(paths, places[1:], ARRAYS):
    if is_output:
        path.write_bytes(memory.read(store, place, place + size))
'''


def _bytes(terminal: Terminal) -> int:
    return prod(terminal.shape) * np.dtype(terminal.dtype).itemsize
