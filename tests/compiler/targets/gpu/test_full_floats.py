"""Float models in fp32: kernels through the interpreter against the model's own arithmetic, and the assembler."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright import api
from tilewright.bench.float_networks import encoder_layer, resnet18
from tilewright.compiler.targets.gpu.attention_rows import RowAttention, choose_parts
from tilewright.compiler.targets.gpu.float_epilogue import FloatFinish
from tilewright.compiler.targets.gpu.gemm import Gemm
from tilewright.compiler.targets.gpu.gemm_blocked import Blocking, blocked_gemm
from tilewright.compiler.targets.gpu.kernel import SPACES, Kernel
from tilewright.compiler.targets.gpu.norms import layer_norm
from tilewright.compiler.targets.gpu.program import InterpretedDevice, Segment
from tilewright.compiler.targets.gpu.ptx import ARCHITECTURES, assemble, find_ptxas, to_ptx
from tilewright.compiler.targets.gpu.schedules import as_data, by_model, from_data, key
from tilewright.compiler.targets.kernels.activation import Activation, real
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.tir.interpreter import evaluate
from tilewright.compiler.tir.verify import verify
from tilewright.gpu import GpuModel, compile_for_gpu, lowering_of
from tilewright.isa.errors import ConfigError
from tilewright.isa.ir import DType


def _check(model: GpuModel, rng: np.random.Generator) -> None:
    for launch in model.program.launches:
        verify(launch.kernel.function, SPACES)
    assert all(isinstance(step, Segment) for step in model.program.steps)
    inputs = {
        name: rng.normal(size=model.source.shape(name)).astype(model.source.dtype(name)) for name in model.source.inputs
    }
    outputs = model.program.run(inputs, InterpretedDevice())
    assert not any(model.count_differences(inputs, outputs).values())
    for name, expected in model.reference(inputs).items():
        assert outputs[name].dtype == expected.dtype
        assert np.std(expected) > 0.01


#: A tile of one part, and one whose parts share the depth; neither divides the rows.
_BLOCKINGS = {
    "whole": Blocking((2, 4), (4, 4), 1, 3),
    "shared": Blocking((4, 2), (2, 8), 2, 2),
}


@pytest.mark.parametrize("name", ["residual", "stride2", "image"])
@pytest.mark.parametrize("blocking", _BLOCKINGS.values(), ids=_BLOCKINGS)
def test_convolutions_agree_with_onnx(name: str, blocking: Blocking, rng: np.random.Generator) -> None:
    _check(lowering_of(MODELS[name](rng), precision="fp32")(lambda gemm: blocking), rng)


@pytest.mark.parametrize("name", ["depthwise", "pools"])
def test_other_operators_agree_with_onnx(name: str, rng: np.random.Generator) -> None:
    _check(compile_for_gpu(MODELS[name](rng), precision="fp32"), rng)


@pytest.mark.slow
@pytest.mark.parametrize("words", [16, 37])
def test_encoder_layer_agrees_with_onnx(words: int, rng: np.random.Generator) -> None:
    model = lowering_of(encoder_layer(rng, 1, words, 64, 2, is_half=False), precision="fp32")(
        lambda gemm: _BLOCKINGS["whole"]
    )
    kinds = [launch.op for launch in model.program.launches if launch.op != "copy"]
    assert kinds == ["fmatmul", "fattention", "fmatmul", "fnorm", "fmatmul", "fmatmul", "fnorm"]
    _check(model, rng)


@pytest.mark.parametrize("x", [-100.0, -5.4, -1.3, -0.01, 0.0, 0.7, 3.9, 50.0])
def test_gelu(x: float) -> None:
    expected = 0.5 * x * (1 + erf(x / 2**0.5))
    assert evaluate(Activation(is_gelu=True).value(real(x), is_exact=True)) == pytest.approx(
        expected, rel=1e-6, abs=2e-6
    )


def test_model_chooses_small_tiles_for_few_rows(rng: np.random.Generator) -> None:
    problems: dict[int, Gemm] = {}
    for batch in (1, 64):
        lowering_of(resnet18(rng, batch), precision="fp32")(
            lambda gemm: problems.setdefault(gemm.rows, gemm) and by_model(gemm)
        )
    chosen = {rows: by_model(gemm) for rows, gemm in problems.items()}
    assert all(isinstance(option, Blocking) for option in chosen.values())
    few, many = (chosen[rows] for rows in (49, 64 * 56 * 56))
    assert few.rows * few.columns < many.rows * many.columns
    assert from_data(as_data({"one": few})) == {"one": few}
    assert key(problems[49]).endswith("f")


def test_precision_is_checked(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="a precision is fp16 or fp32, not `fp8`"):
        compile_for_gpu(MODELS["pools"](rng), precision="fp8")
    with pytest.raises(ConfigError, match="`small` is quantized: a precision, here fp32, is for models in floats"):
        compile_for_gpu(NETWORKS["conv1x1"](rng), precision="fp32")
    with pytest.raises(
        ConfigError, match="a precision, here `fp32`, is for a GPU or a CPU: the target is `accelerator`"
    ):
        api.compile(MODELS["pools"](rng), precision="fp32")  # type: ignore[call-overload]


def _kernels() -> list[Kernel]:
    x = Image.of((8, 64, 14, 14), (1, 1, 1, 1), dtype=DType.F32)
    finish = FloatFinish(True, Activation(is_gelu=True), is_exact=True)
    gemm = Gemm(x, x, (3, 3), (1, 1), (1, 1), (1, 1), finish, x)
    rows = Image.of((2, 100, 3 * 128), dtype=DType.F32)
    target = Image.of((2, 100, 128), dtype=DType.F32)
    attention = RowAttention((rows,) * 3, (0, 128, 256), target, 2, 100, 2, 64, 0.125, None, choose_parts(2, 2, 100))
    return [
        blocked_gemm("large", gemm, Blocking((16, 16), (8, 8))),
        blocked_gemm("shared", gemm, Blocking((4, 4), (4, 4), 16, 2)),
        attention.kernel("attention"),
        layer_norm("norm", target, target, 1e-5),
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_are_assembled_without_spills(architecture: str) -> None:
    ptxas = find_ptxas()
    if ptxas is None:
        pytest.skip("no ptxas: pip install nvidia-cuda-nvcc")
    ptx = to_ptx(_kernels(), architecture)
    assert ptx.count("fma.rn.f32") > 1000 and "tf32" not in ptx and "mma" not in ptx
    log = assemble(ptx, architecture, ptxas)
    assert log.count(" 0 bytes spill stores, 0 bytes spill loads") == 4
