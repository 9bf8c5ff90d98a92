"""Kernels become PTX that NVIDIA's assembler takes, for three generations, without spilling registers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.bench.float_networks import resnet18
from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.gpu.attention import Attention
from tilewright.compiler.targets.gpu.emit import emit_kernels
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.float_epilogue import FloatFinish
from tilewright.compiler.targets.gpu.gemm import Gemm
from tilewright.compiler.targets.gpu.gemm_direct import Splitting, direct_gemm
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling, tiled_gemm
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping, warpgroup_gemm
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.norms import layer_norm
from tilewright.compiler.targets.gpu.ptx import ARCHITECTURES, assemble, find_ptxas, to_ptx
from tilewright.compiler.targets.kernels.activation import Activation
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.tir.visit import walk_statements
from tilewright.gpu import compile_for_gpu
from tilewright.isa.ir import Call, DType


@pytest.fixture(scope="module")
def ptxas() -> str:
    found = find_ptxas()
    if found is None:
        pytest.skip("no ptxas: pip install nvidia-cuda-nvcc")
    return found


def _spills(log: str) -> int:
    return sum(int(count) for count in re.findall(r"(\d+) bytes spill", log))


def _gemm() -> Gemm:
    x = Image.of((8, 64, 14, 14), (1, 1, 1, 1))
    finish = Finish(Epilogue(3, Residual(0, 30000, 0, 20000, 16, 0), -100, 127))
    return Gemm(x, x, (3, 3), (1, 1), (1, 1), (1, 1), finish, x)


def _matrix() -> Gemm:
    x = Image.of((512, 512))
    return Gemm(x, x, (1, 1), (1, 1), (1, 1), (0, 0), Finish(Epilogue()))


def _half_gemm() -> Gemm:
    x = Image.of((8, 64, 14, 14), (1, 1, 1, 1), dtype=DType.F16)
    finish = FloatFinish(True, Activation(low=0.0))
    return Gemm(x, x, (3, 3), (1, 1), (1, 1), (1, 1), finish, x)


def _half_matrix() -> Gemm:
    x = Image.of((512, 512), dtype=DType.F16)
    return Gemm(x, x, (1, 1), (1, 1), (1, 1), (0, 0), FloatFinish(True, Activation(is_gelu=True)))


_KERNELS = {
    "tiled": lambda: tiled_gemm("tiled", _gemm(), Tiling((2, 2), (2, 8))),
    "direct": lambda: direct_gemm("direct", _gemm(), Splitting(3, (1, 4), 3)),
    "tiled_f16": lambda: tiled_gemm("tiled", _half_gemm(), Tiling((2, 2), (2, 8))),
    "direct_f16": lambda: direct_gemm("direct", _half_matrix(), Splitting(4, (1, 4), 4)),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", _KERNELS)
def test_gemm_is_assembled(name: str, architecture: str, ptxas: str) -> None:
    kernel: Kernel = _KERNELS[name]()
    ptx = to_ptx([kernel], architecture)
    assert "mma.sync.aligned.m16n8k" in ptx
    assert _spills(assemble(ptx, architecture, ptxas)) == 0


@pytest.mark.parametrize(
    "name", ["image_stride2", "depthwise", "max_pool", "average", "grouped", "table", "large_scale"]
)
def test_network_is_assembled(name: str, ptxas: str, rng: np.random.Generator) -> None:
    kernels = [launch.kernel for launch in lower(NETWORKS[name](rng)).launches]
    assert _spills(assemble(to_ptx(kernels, "sm_90a"), "sm_90a", ptxas)) == 0


def _half_rows() -> list[Kernel]:
    image = Image.of((2, 100, 3 * 128), dtype=DType.F16)
    target = Image.of((2, 100, 128), dtype=DType.F16)
    attention = Attention((image,) * 3, (0, 128, 256), target, 2, 100, 2, 64, 0.125)
    return [attention.kernel("attention"), layer_norm("norm", target, target, 1e-5)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_of_floats_are_assembled(architecture: str, ptxas: str) -> None:
    ptx = to_ptx(_half_rows(), architecture)
    assert "ldmatrix" in ptx and "ex2.approx" in ptx and "shfl.sync.bfly" in ptx
    assert _spills(assemble(ptx, architecture, ptxas)) == 0


@pytest.mark.parametrize("architecture", ["sm_80", "sm_100a"])
def test_float_network_is_assembled_without_wgmma(architecture: str, ptxas: str, rng: np.random.Generator) -> None:
    model = compile_for_gpu(resnet18(rng, 1, 32, 10))
    kernels = {launch.kernel.grid: launch.kernel for launch in model.program.launches}.values()
    ptx = to_ptx(list(kernels), architecture)
    assert "mma.sync.aligned.m16n8k16" in ptx and "wgmma" not in ptx
    assert _spills(assemble(ptx, architecture, ptxas)) == 0


_HOPPER = {
    "engine": lambda: warpgroup_gemm("engine", _matrix(), Grouping(2, 2, 128, 4)),
    "threads": lambda: warpgroup_gemm("threads", _gemm(), Grouping(2, 1, 64, 4)),
    "engine_f16": lambda: warpgroup_gemm("engine", _half_matrix(), Grouping(2, 2, 128, 4)),
    "threads_f16": lambda: warpgroup_gemm("threads", _half_gemm(), Grouping(2, 1, 64, 4)),
}


@pytest.mark.parametrize("name", _HOPPER)
def test_wgmma_is_assembled(name: str, ptxas: str) -> None:
    kernel: Kernel = _HOPPER[name]()
    ptx = to_ptx([kernel], "sm_90a")
    log = assemble(ptx, "sm_90a", ptxas)
    assert "wgmma.mma_async" in ptx
    assert _spills(log) == 0
    assert "serializ" not in log, "the assembler waits after every product"


@pytest.mark.parametrize(("name", "mask"), [("threads", 0x70), ("threads_f16", 0x38)])
def test_swizzled_places_exchange_pieces_of_16_bytes(name: str, mask: int) -> None:
    """A piece's number in its row is bits 4 to 6 of the byte's place, whatever an element's size."""
    masks = {int(n) for n in re.findall(r"= and i32 %\S+, (\d+)", emit_kernels([_HOPPER[name]()]))}
    assert masks & {0x70, 0x38, 0x1C} == {mask}


def test_optimizer_keeps_barriers_out_of_branches(ptxas: str) -> None:
    kernel = _HOPPER["engine"]()
    barriers = sum(isinstance(s, Call) and s.name == "barrier" for s in walk_statements(kernel.function))
    assert to_ptx([kernel], "sm_90a").count("bar.sync") == barriers == 2


def test_assembler_refuses_with_its_words(ptxas: str) -> None:
    from tilewright.isa.errors import ToolchainError

    with pytest.raises(ToolchainError, match="ptxas refuses a kernel for sm_80"):
        assemble(".version 8.0\n.target sm_80\nnonsense", "sm_80", ptxas)
