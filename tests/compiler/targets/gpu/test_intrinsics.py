"""The instruction of tensor cores is found by tensorization and means what its nest means."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.targets.gpu.instructions import interpreted, mma_name
from tilewright.compiler.targets.gpu.intrinsics import mma_nest, tensorized
from tilewright.compiler.targets.kernels.nests import loop
from tilewright.compiler.tir.interpreter import interpret
from tilewright.compiler.tir.tensorize import TensorizeError
from tilewright.isa.ir import Buffer, Const, DType, Function, Stmt, Var

_WARP = Var("warp")
_ACC = Buffer("acc", DType.I32, (64, 8), "register")
_A = Buffer("a", DType.I8, (64, 64), "register")
_B = Buffer("b", DType.I8, (64, 32), "register")
_ROLES = {"d": "acc", "a": "a", "b": "b"}


def _nest(half: int = 16) -> Stmt:
    return mma_nest(_ACC, _A, _B, _WARP, (Const(4), Const(8), Const(24)), half)


def test_instruction_means_its_nest(rng: np.random.Generator) -> None:
    a, b = (rng.integers(-128, 128, (64, n)).astype(np.int8) for n in (64, 32))
    results = []
    for body in (_nest(), tensorized(_nest(), ("warp",), _ROLES)):
        acc = np.arange(512, dtype=np.int32).reshape(64, 8)
        function = Function("f", (), (_ACC, _A, _B), loop(_WARP, 2, body))
        interpret(function, {}, {"acc": acc, "a": a, "b": b}, interpreted())
        results.append(acc)
    np.testing.assert_array_equal(*results)
    assert results[0].std() > 1000


def test_call_names_its_places() -> None:
    found = tensorized(_nest(), ("warp",), _ROLES)
    operands = {key: value for key, value in found.operands if isinstance(value, Const)}
    assert found.name == mma_name(DType.I8)
    assert {key: value.value for key, value in operands.items()} == {
        "d_lane": 8, "a_lane": 64, "a_half": 16, "b_lane": 32,
    }  # fmt: skip


def test_another_nest_is_refused() -> None:
    wrong = mma_nest(_ACC, _A, Buffer("b", DType.I8, (64, 32), "shared"), _WARP, (Const(0),) * 3, 16)
    with pytest.raises(TensorizeError, match="is no instruction"):
        tensorized(wrong, ("warp",), _ROLES)
