"""The passes from an imported model to integer operators, in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from tilewright.compiler.frontend.onnx_import import import_onnx
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.base import Pass, run_passes
from tilewright.compiler.passes.cancel_transposes import CancelTransposes
from tilewright.compiler.passes.flatten_into_conv import FlattenIntoConv
from tilewright.compiler.passes.fold_batchnorm import FoldBatchNorm
from tilewright.compiler.passes.fold_constants import FoldConstants
from tilewright.compiler.passes.fuse_clamp import FuseClamp
from tilewright.compiler.passes.fuse_mask import FuseMask
from tilewright.compiler.passes.fuse_pad import FusePad
from tilewright.compiler.passes.fuse_residual import FuseResidual
from tilewright.compiler.passes.fuse_table import FuseTable
from tilewright.compiler.passes.integer_products import IntegerProducts
from tilewright.compiler.passes.move_quantization import MoveQuantization
from tilewright.compiler.passes.normalise_int8 import NormaliseInt8
from tilewright.compiler.passes.recognise_add import RecogniseAdd
from tilewright.compiler.passes.recognise_arithmetic import RecogniseArithmetic
from tilewright.compiler.passes.recognise_batch_matmul import RecogniseBatchMatMul
from tilewright.compiler.passes.recognise_concat import RecogniseConcat
from tilewright.compiler.passes.recognise_conv import RecogniseConv
from tilewright.compiler.passes.recognise_conv_transpose import RecogniseConvTranspose
from tilewright.compiler.passes.recognise_heads import RecogniseHeads
from tilewright.compiler.passes.recognise_matmul import RecogniseMatMul
from tilewright.compiler.passes.recognise_maxpool import RecogniseMaxPool
from tilewright.compiler.passes.recognise_moves import RecogniseMoves
from tilewright.compiler.passes.recognise_pad import RecognisePad
from tilewright.compiler.passes.recognise_pool import RecognisePool
from tilewright.compiler.passes.recognise_reduce import MaxOfDimensions, RecogniseReduce
from tilewright.compiler.passes.recognise_requantize import RecogniseRequantize
from tilewright.compiler.passes.recognise_resize import RecogniseResize
from tilewright.compiler.passes.recognise_row_mean import RecogniseRowMean
from tilewright.compiler.passes.recognise_rows import RecogniseRows
from tilewright.compiler.passes.recognise_shuffle import RecogniseShuffle
from tilewright.compiler.passes.recognise_table import RecogniseTable
from tilewright.compiler.passes.remove_identities import RemoveIdentities
from tilewright.compiler.passes.transpose_into_weights import TransposeIntoWeights
from tilewright.compiler.passes.unify_movement import UnifyMovement


def canonical_passes() -> tuple[Pass, ...]:
    """Passes that bring ONNX's many forms to few, still in floating point."""
    return (
        FoldConstants(),
        RemoveIdentities(),
        UnifyMovement(),
        FoldBatchNorm(),
        IntegerProducts(),
        MaxOfDimensions(),
        NormaliseInt8(),
        CancelTransposes(),
        MoveQuantization(),
        UnifyMovement(),
        FoldConstants(),
    )


def recognising_passes(multiplier_bits: int = 16) -> tuple[Pass, ...]:
    """Passes that turn quantized operators into integer operators."""
    return (
        RecogniseConv(multiplier_bits),
        RecogniseConvTranspose(multiplier_bits),
        RecogniseMatMul(multiplier_bits),
        RecogniseBatchMatMul(multiplier_bits),
        RecogniseRows(multiplier_bits),
        RecogniseAdd(multiplier_bits),
        RecogniseReduce(multiplier_bits),
        RecogniseRowMean(multiplier_bits),
        RecogniseArithmetic(multiplier_bits),
        RecognisePool(multiplier_bits),
        RecogniseMaxPool(),
        RecognisePad(multiplier_bits),
        RecogniseMoves(),
        RecogniseResize(multiplier_bits),
        RecogniseConcat(multiplier_bits),
        RecogniseRequantize(multiplier_bits),
        RecogniseTable(),
        UnifyMovement(),
        RecogniseShuffle(),
        RecogniseHeads(),
    )


def fusing_passes() -> tuple[Pass, ...]:
    """Passes that join integer operators without changing a bit of any result that remains."""
    return (
        TransposeIntoWeights(),
        FlattenIntoConv(),
        UnifyMovement(),
        FusePad(),
        FuseClamp(),
        FuseMask(),
        FuseResidual(),
        FuseClamp(),
        FuseTable(),
    )


def integer_passes(multiplier_bits: int = 16) -> tuple[Pass, ...]:
    """All passes, from an imported graph to one that targets consume."""
    return (*canonical_passes(), *recognising_passes(multiplier_bits), *fusing_passes())


def load_integer_graph(
    source: str | Path | ModelProto, *, dims: Mapping[str, int] | None = None, multiplier_bits: int = 16
) -> Graph:
    """Import a model and bring it to integer operators.

    Parameters
    ----------
    source, dims
        As for `import_onnx`.
    multiplier_bits
        Width of the requantization multipliers of the target.
    """
    return run_passes(import_onnx(source, dims=dims), integer_passes(multiplier_bits))
