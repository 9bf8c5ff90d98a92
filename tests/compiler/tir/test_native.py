"""Machine code does what the reference interpreter does, on random functions; so do the simplified functions."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.tir.random_functions import INTEGERS, Generator
from tilewright.compiler.tir.arithmetic import integer_range
from tilewright.compiler.tir.interpreter import ARRAY_TYPES, Array, interpret
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.native import compile_functions, prepare
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.compiler.tir.printer import function_text
from tilewright.compiler.tir.simplify import simplify
from tilewright.compiler.tir.verify import VerifyError, verify
from tilewright.isa.ir import Allocate, Block, Buffer, Call, Const, DType, For, Function, Load, Store, Var

FUNCTIONS_PER_MODULE = 14


def random_array(buffer: Buffer, rng: np.random.Generator) -> Array:
    if buffer.dtype == DType.BOOL:
        return rng.integers(0, 2, buffer.shape).astype(np.bool_)
    if buffer.dtype == DType.BF16:
        return (rng.standard_normal(buffer.shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if buffer.dtype.is_float:
        return rng.standard_normal(buffer.shape).astype(ARRAY_TYPES[buffer.dtype])
    data = rng.integers(0, 256, (*buffer.shape, buffer.dtype.bits // 8), np.uint8)
    return data.view(ARRAY_TYPES[buffer.dtype])[..., 0].copy()


def random_scalars(rng: random.Random) -> dict[str, int]:
    values = {}
    for dtype in INTEGERS:
        held = integer_range(dtype)
        values[f"s_{dtype}"] = rng.choice((0, 1, held.start, held.stop - 1, rng.choice(held[: 1 << 62])))
    return values


def copies(buffers: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in buffers.items()}


def is_same(buffer: Buffer, one: Array, other: Array) -> bool:
    """Equal bits, but for the bits of NaN."""
    if buffer.dtype == DType.BF16:
        one, other = ((a.astype(np.uint32) << 16).view(np.float32) for a in (one, other))
    return np.array_equal(one, other, equal_nan=buffer.dtype.is_float)


@pytest.mark.parametrize("with_floats", [False, True], ids=["integers", "floats"])
@pytest.mark.parametrize("part", range(3))
def test_random_functions_agree(
    with_floats: bool, part: int, python_random: random.Random, rng: np.random.Generator
) -> None:
    functions = []
    for number in range(FUNCTIONS_PER_MODULE):
        drawn = Generator(python_random, with_floats).function()
        functions.append(verify(Function(f"f{number}", drawn.scalars, drawn.buffers, drawn.body)))
    module = compile_functions(functions)
    changed = 0
    for function in functions:
        scalars = random_scalars(python_random)
        before = {b.name: random_array(b, rng) for b in function.buffers}
        expected, simplified, compiled = copies(before), copies(before), copies(before)
        interpret(function, scalars, expected)
        simple = Function(function.name, function.scalars, function.buffers, simplify(function.body))
        interpret(verify(simple), scalars, simplified)
        module.call(function.name, scalars, compiled)
        for buffer in function.buffers:
            name = buffer.name
            assert is_same(buffer, simplified[name], expected[name]), f"{function.name}: simplified differs in {name}"
            assert is_same(buffer, compiled[name], expected[name]), f"{function.name}: compiled differs in {name}"
            changed += not np.array_equal(before[name], expected[name])
    assert changed > FUNCTIONS_PER_MODULE // 2


A = Buffer("a", DType.I8, (0, 16), "act")
W = Buffer("w", DType.I8, (0, 256), "wgt")
OUT = Buffer("out", DType.I32, (16,), "acc")


def dot_products(divided: bool) -> Function:
    """16 sums over n steps of 16 products; with `divided`, operand a lies in halves of 8."""
    x = Buffer("x", DType.I32, (16,))
    n, r, c, k = Var("n"), Var("r"), Var("c"), Var("k")
    a = Load(A, (r * 2 + k // 8, k % 8)) if divided else Load(A, (r, k))
    product = a.cast(DType.I32) * Load(W, (r, c * 16 + k)).cast(DType.I32)
    add = Store(x, (c,), Load(x, (c,)) + product)
    steps = For(r, n, For(c, Const(16), For(k, Const(16), add)))
    clear = For(c, Const(16), Store(x, (c,), c.cast(DType.I32)))
    copy = For(c, Const(16), Store(OUT, (c,), Load(x, (c,))))
    return verify(Function("dot", (n,), (A, W, OUT), Allocate(x, Block((clear, steps, copy)))))


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 9])
def test_deferred_sums_equal_numpy(divided: bool, steps: int, rng: np.random.Generator) -> None:
    a, w = rng.integers(-128, 128, (20, 16)).astype(np.int8), rng.integers(-128, 128, (10, 256)).astype(np.int8)
    out = np.zeros(16, np.int32)
    compile_functions([dot_products(divided)]).call("dot", {"n": steps}, {"a": a, "w": w, "out": out})
    operand = a[: 2 * steps, :8].reshape(steps, 16) if divided else a[:steps]
    expected = np.einsum("rk,rck->c", operand.astype(np.int32), w[:steps].reshape(steps, 16, 16).astype(np.int32))
    assert np.array_equal(out, expected + np.arange(16))


def sums_of_products(dtypes: tuple[DType, DType], lanes: int, stride: int) -> Function:
    """One sum over n steps of products of two arrays' bytes, of which the second's lie `stride` apart."""
    a, w = Buffer("a", dtypes[0], (0, lanes), "act"), Buffer("w", dtypes[1], (0, lanes * stride), "wgt")
    x, out = Buffer("x", DType.I32, (1,)), Buffer("out", DType.I32, (1,), "acc")
    n, r, k, first = Var("n"), Var("r"), Var("k"), (Const(0),)
    product = Load(a, (r, k)).cast(DType.I32) * Load(w, (r, k * stride)).cast(DType.I32)
    steps = For(r, n, For(k, Const(lanes), Store(x, first, Load(x, first) + product)))
    copy = Store(out, first, Load(x, first))
    clear = Store(x, first, Const(0, DType.I32))
    return verify(Function("dot", (n,), (a, w, out), Allocate(x, Block((clear, steps, copy)))))


@pytest.mark.parametrize(
    ("dtypes", "lanes", "stride", "are_paired"),
    [
        ((DType.I8, DType.I8), 2, 1, True), ((DType.I8, DType.I8), 16, 1, True), ((DType.I8, DType.I8), 64, 1, True),
        ((DType.I8, DType.I8), 6, 1, True), ((DType.I8, DType.I8), 5, 1, False), ((DType.I8, DType.I8), 16, 2, False),
        ((DType.U8, DType.I8), 16, 1, False), ((DType.I8, DType.U8), 16, 1, False),
    ],
)  # fmt: skip
def test_products_are_added_in_pairs(
    dtypes: tuple[DType, DType], lanes: int, stride: int, are_paired: bool, rng: np.random.Generator
) -> None:
    function, n = sums_of_products(dtypes, lanes, stride), 3
    assert ("// 2" in function_text(prepare(function))) == are_paired
    module = compile_functions([function])
    limits = [integer_range(dtype) for dtype in dtypes]
    ends = [np.full((n, lanes), limit.start, ARRAY_TYPES[d]) for limit, d in zip(limits, dtypes, strict=True)]
    drawn = [
        rng.integers(i.start, i.stop, (n, lanes)).astype(ARRAY_TYPES[d]) for i, d in zip(limits, dtypes, strict=True)
    ]
    for a, w in (ends, drawn):
        out = np.zeros(1, np.int32)
        spread = np.repeat(w, stride, axis=1)
        module.call("dot", {"n": n}, {"a": a, "w": spread, "out": out})
        assert out[0] == np.sum(a.astype(np.int64) * w.astype(np.int64))


def test_dispatcher_runs_a_table(rng: np.random.Generator) -> None:
    buffer, i, value = Buffer("b", DType.I64, (4,), "dram"), Var("i"), Var("value")
    store = Function("store", (i, value), (buffer,), Store(buffer, (i,), value))
    add = Function("add", (i, value), (buffer,), Store(buffer, (i,), Load(buffer, (i,)) + value))
    module = compile_functions([store, add], "run")
    b = rng.integers(0, 99, 4)
    table = np.array([[0, 2, 5, 0], [1, 2, 7, 0], [1, 2, -1, 0], [0, 0, 9, 0]], np.int64)
    expected = b.copy()
    expected[2], expected[0] = 11, 9
    module.run(table, {"b": b})
    assert b.tolist() == expected.tolist()


def test_wrong_array_is_refused() -> None:
    buffer = Buffer("b", DType.I32, (4,), "dram")
    module = compile_functions([Function("f", (), (buffer,), Store(buffer, (Const(0),), Const(1, DType.I32)))])
    with pytest.raises(VerifyError, match=r"buffer `b` must be contiguous i32\[4\], not int64\[4\]"):
        module.call("f", {}, {"b": np.zeros(4, np.int64)})


def test_foreign_instruction_is_refused() -> None:
    with pytest.raises(CodegenError, match="`GEMM` is an instruction of another target"):
        compile_functions([Function("f", (), (), Call("GEMM", ()))])


def test_cache_survives_damage(tmp_path: Path) -> None:
    buffer = Buffer("b", DType.I32, (4,), "dram")
    function = Function("f", (), (buffer,), Store(buffer, (Const(1),), Const(42, DType.I32)))
    cache = ObjectCache(tmp_path / "objects")

    def run() -> int:
        b = np.zeros(4, np.int32)
        compile_functions([function], cache=cache).call("f", {}, {"b": b})
        return int(b[1])

    assert run() == 42
    (entry,) = cache.directory.iterdir()
    whole = entry.read_bytes()
    for damaged in (whole[:-7], b"", whole[:20], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]):
        entry.write_bytes(damaged)
        assert run() == 42
        assert entry.read_bytes() == whole
    assert [p.name for p in cache.directory.iterdir()] == [entry.name]


def test_cache_is_used(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path)
    made = []

    def make() -> bytes:
        made.append(1)
        return b"code"

    assert cache.get("k" * 64, make) == cache.get("k" * 64, make) == b"code"
    assert len(made) == 1


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert ObjectCache(file / "below").get("key", lambda: b"code") == b"code"


def test_cache_with_concurrent_writers(tmp_path: Path) -> None:
    """Every reader sees a whole blob, one of those written, or none."""
    cache, blobs = ObjectCache(tmp_path), [bytes([i]) * 50_000 for i in range(4)]

    def work(blob: bytes) -> set[bytes | None]:
        seen = set()
        for _ in range(30):
            cache.write("key", blob)
            seen.add(cache.read("key"))
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = set().union(*pool.map(work, blobs))
    assert seen <= set(blobs) and seen
    assert len(list(tmp_path.iterdir())) == 1


def test_cache_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ObjectCache.default().directory == tmp_path / "tilewright" / "objects"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert ObjectCache.default().directory == Path.home() / ".cache" / "tilewright" / "objects"
