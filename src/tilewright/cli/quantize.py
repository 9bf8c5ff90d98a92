"""`tilewright quantize`: from a float model to an int8 one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tilewright.cli import completion
from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import json_option, quiet_option
from tilewright.cli.subject import model_argument
from tilewright.cli.terminal import Terminal, check_writable
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from tilewright.quantization import Quantized


@click.command(
    "quantize",
    cls=TilewrightCommand,
    short_help="Quantize a float model to int8, and say how close it stays.",
    examples=(
        "tilewright quantize model.onnx -o model_int8.onnx --calibrate images.npz",
        "tilewright quantize model.onnx -o model_int8.onnx --calibrate folder/ --samples 100 --activations uint8",
        "tilewright quantize model.onnx -o model_int8.onnx --calibrate data.npz --labels y --held-back 400",
    ),
)
@model_argument
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="Write the quantized model there.",
    shell_complete=completion.files,
)
@click.option(
    "--calibrate", "data", metavar="DATA.npz|FOLDER", required=True,
    help="Inputs by name, the first axis counting samples; or a folder of files with a sample each.",
    shell_complete=completion.files,
)  # fmt: skip
@click.option("--samples", type=click.IntRange(1), metavar="N", help="Calibrate with N samples.")
@click.option(
    "--held-back", type=click.IntRange(1), default=50, show_default=True, metavar="N",
    help="Compare outputs on at most N of the other samples.",
)  # fmt: skip
@click.option(
    "--activations", type=click.Choice(["int8", "uint8"]), default="int8", show_default=True, help="Their type."
)
@click.option("--per-tensor", is_flag=True, help="One scale for all weights of a layer, not one for each channel.")
@click.option(
    "--method", type=click.Choice(["auto", "rows", "minmax", "entropy", "percentile"]), default="auto",
    show_default=True, help="How ranges of activations are found.",
)  # fmt: skip
@click.option("--correct-biases", is_flag=True, help="Move biases until each layer's mean output is the float model's.")
@click.option("--labels", metavar="NAME", help="Array of right classes in the NPZ file: count accuracy.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="Extent of a named dimension; may be repeated.")
@click.option(
    "--fix", "fixed", multiple=True, metavar="NAME=VALUE",
    help="Fill an input with a value, for good (an attention mask with 1); may be repeated.",
)  # fmt: skip
@json_option
@quiet_option
def command(
    model: str, output: str, data: str, samples: int | None, held_back: int, activations: str, per_tensor: bool,
    method: str, correct_biases: bool, labels: str | None, dims: tuple[str, ...], fixed: tuple[str, ...],
    json_file: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Quantize MODEL, a float ONNX model, to int8 (QDQ), and say how close its outputs stay.

    Batch normalizations are folded and shapes fixed first; onnxruntime's static quantizer does the rest. Outputs
    are compared with the float model's on samples that were not calibrated with.
    """
    check_writable(output)
    check_writable(json_file)
    terminal = Terminal(quiet, json_file)
    from tilewright.quantization import quantize

    extents = dict(map(_extent, dims))
    right = None if labels is None else _labels(data, labels)
    with terminal.step("quantizing") as progress:
        quantized = quantize(
            model, data, samples=samples, held_back=held_back, activations=activations, per_channel=not per_tensor,
            method=method, correct_biases=correct_biases, labels=right, dims=extents,
            fixed=dict(map(_filling, fixed)), progress=progress,
        )  # fmt: skip
    quantized.save(output)
    terminal.write_json(_data(quantized, output, terminal.seconds))
    terminal.show(agreement_table(quantized))
    counts = f"calibrated with {quantized.calibrated} samples, compared on {quantized.compared}"
    terminal.show(f"{output}: {counts}, in {terminal.seconds['quantizing']:.1f} s")


def agreement_table(quantized: Quantized) -> Table:
    """List how close each form of the model stays to the float one."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "output", "cosine", "max difference", "of at most", "same top-1", "accuracy")
    for entry in quantized.agreements:
        table.add_row(
            entry.stage, escape(entry.output), f"{entry.cosine:.5f}", f"{entry.largest:.4g}", f"{entry.reach:.4g}",
            _percent(entry.top1), _percent(entry.accuracy),
        )  # fmt: skip
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _data(quantized: Quantized, output: str, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        "output": output,
        "calibrated": quantized.calibrated,
        "compared": quantized.compared,
        "seconds": dict(seconds),
        "agreements": [entry.as_data() for entry in quantized.agreements],
    }


def _filling(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise InputError(f"--fix takes NAME=VALUE with a number, not {text!r}") from None


def _extent(text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals or not value.isdigit():
        raise InputError(f"a dimension is written NAME=N, such as batch=1, not `{text}`")
    return name, int(value)


def _labels(path: str, name: str) -> NDArray[Any]:
    from tilewright.arrays import read_arrays

    arrays = read_arrays(path)
    if name not in arrays:
        raise InputError(f"`{path}` has no labels {name!r}; it has {', '.join(map(repr, arrays))}")
    return arrays[name]
