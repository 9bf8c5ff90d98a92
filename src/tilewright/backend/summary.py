"""What became of ONNX's cases: the figures, and the page `docs/onnx_nodes.md`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from tilewright.backend.cases import CaseResult

#: Why cases fail that no host fallback on `onnx.reference` can pass, by patterns of their names.
KNOWN_REASONS = (
    (r"^test_bernoulli", "draws random numbers, and expects those of another generator"),
    (r"^test_image_decoder", "`onnx.reference` decodes images with Pillow, which Tilewright does not install"),
    (r"^test_range_.*_expanded$", "`onnx.reference` gives scan outputs of a Loop one dimension too many"),
    (r"^test_if_opt$", "`onnx.reference` puts the optional's sequence into one list too many"),
    (r"^test_loop16_seq_none$", "the result is right, but onnx's runner cannot compare scalars in a sequence"),
    (
        r"^test_scan_sum$",
        "Scan of opset 8 has a batch dimension, which neither ONNX's converter nor its reference knows",
    ),
)


@dataclass(frozen=True)
class Tally:
    """Counts over some cases.

    Attributes
    ----------
    total, passed, failed, skipped : int
    reference_passed : int
        Cases that `onnx.reference` passes.
    both_passed : int
        Of those, how many we pass.
    on_device : int
        Cases of which some layer ran on the accelerator.
    whole_on_reference : int
        Cases whose whole model was left to `onnx.reference`.
    """

    total: int
    passed: int
    failed: int
    skipped: int
    reference_passed: int
    both_passed: int
    on_device: int
    whole_on_reference: int

    @property
    def share(self) -> float:
        """How many of the cases that `onnx.reference` passes we pass, 0 to 1."""
        return self.both_passed / self.reference_passed if self.reference_passed else 1.0

    def text(self) -> str:
        """Say it in a line."""
        return (
            f"{self.total} cases: {self.passed} passed, {self.failed} failed, {self.skipped} skipped; "
            f"{self.both_passed} ({self.share:.1%}) of the {self.reference_passed} that onnx.reference passes; "
            f"{self.on_device} with layers on the accelerator, {self.whole_on_reference} left whole to onnx.reference"
        )


def tally(results: Sequence[CaseResult]) -> Tally:
    """Count."""
    outcomes = [result.outcome for result in results]
    known = [result for result in results if result.reference == "passed"]
    return Tally(
        total=len(results),
        passed=outcomes.count("passed"),
        failed=outcomes.count("failed"),
        skipped=outcomes.count("skipped"),
        reference_passed=len(known),
        both_passed=sum(result.outcome == "passed" for result in known),
        on_device=sum(result.device_layers > 0 for result in results),
        whole_on_reference=sum(bool(result.refusal) for result in results),
    )


def reason_of(result: CaseResult) -> str:
    """Say why a case did not pass: in our words where the reason is known, else in those of the error."""
    known = (reason for pattern, reason in KNOWN_REASONS if re.search(pattern, result.name))
    return next(known, result.reason)


def page(results: Sequence[CaseResult]) -> str:
    """Give the text of `docs/onnx_nodes.md`."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    lines = [
        "# ONNX's own test cases",
        "",
        "Written by `python -m tilewright.backend --kind all --doc docs/onnx_nodes.md`; do not edit.",
        f"The cases are those of onnx {onnx.__version__}, run by its own runner through `tilewright.backend` on the",
        "functional simulator of `16x16`. What the accelerator cannot compute runs on the host by `onnx.reference`;",
        "the reference column is that alone.",
        "",
        "Most cases are single floating-point operators, and quantized ones get scales and weights as inputs, not as",
        "constants, so that few have anything for the accelerator. The operators that it does have are tested against",
        "onnxruntime in `tests/compiler`.",
        "",
        "| kind | cases | passed | failed | skipped | `onnx.reference` passes | of those, we pass | on device |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in kinds:
        t = tally([result for result in results if result.kind == kind])
        lines.append(
            f"| {kind} | {t.total} | {t.passed} | {t.failed} | {t.skipped} | {t.reference_passed} "
            f"| {t.both_passed} ({t.share:.1%}) | {t.on_device} |"
        )
    lines += ["", "## Not passed", "", "| case | `onnx.reference` | reason |", "|---|---|---|"]
    lines += [
        f"| {_cell(result.name)} | {result.reference} | {_cell(reason_of(result))} |"
        for result in results
        if result.outcome != "passed"
    ]
    refused = [result for result in results if result.refusal]
    if refused:
        lines += ["", "## Left whole to `onnx.reference`", "", "| case | reason |", "|---|---|"]
        lines += [f"| {_cell(result.name)} | {_cell(result.refusal)} |" for result in refused]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
