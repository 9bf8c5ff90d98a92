"""Runs ONNX's own backend test cases against us and, to tell our failures from its, against `onnx.reference`."""

from __future__ import annotations

import os
import random
import tempfile
import unittest
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test import BackendTest
from onnx.reference import ReferenceEvaluator

from tilewright.backend.interface import TilewrightBackend, TilewrightRep
from tilewright.isa.config import Config

_RUNNER_DEVICE = "_cpu"  # how the runner's names of its cases end; it knows no devices but CPU and CUDA

#: Kinds of cases, by the names that `--kind` has for them, and the runner's.
KINDS = {
    "node": "OnnxBackendNodeModelTest",
    "simple": "OnnxBackendSimpleModelTest",
    "pytorch-operator": "OnnxBackendPyTorchOperatorModelTest",
    "pytorch-converted": "OnnxBackendPyTorchConvertedModelTest",
    "real": "OnnxBackendRealModelTest",
}


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Attributes
    ----------
    kind, name : str
    outcome, reason : str
        `passed`, `failed` or `skipped`, and why it did not pass.
    reference, reference_reason : str
        The same of `onnx.reference` alone.
    device_layers, host_layers : int
        How many layers ran where.
    refusal : str
        Why the whole model was left to `onnx.reference`; empty when it was not.
    """

    kind: str
    name: str
    outcome: str
    reason: str
    reference: str
    reference_reason: str
    device_layers: int
    host_layers: int
    refusal: str

    def as_data(self) -> dict[str, Any]:
        """Give the result for JSON."""
        return asdict(self)


class _ReferenceRep(BackendRep):
    def __init__(self, model: ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(model)
        constants = {tensor.name for tensor in model.graph.initializer}
        self._names = [info.name for info in model.graph.input if info.name not in constants]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        results = self._evaluator.run(None, dict(zip(self._names, inputs, strict=False)))
        return tuple(results.values() if isinstance(results, dict) else results)


class _ReferenceBackend(Backend):
    """`onnx.reference` behind the interface that it is compared through."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> _ReferenceRep:
        return _ReferenceRep(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


def case_names(kinds: Sequence[str] = ("node",)) -> list[tuple[str, str]]:
    """Name all cases of some kinds, `(kind, name)`, in order."""
    return [(kind, name) for kind, cases in _suites(TilewrightBackend, kinds).items() for name in _names(cases)]


def sampled(names: Sequence[tuple[str, str]], count: int, seed: int) -> list[tuple[str, str]]:
    """Draw some of the cases, in their order."""
    drawn = random.Random(seed).sample(range(len(names)), min(count, len(names)))
    return [names[index] for index in sorted(drawn)]


def run_cases(
    names: Sequence[tuple[str, str]], progress: Callable[[str, int, int], None] = lambda what, done, total: None
) -> list[CaseResult]:
    """Run cases, each by us and by `onnx.reference`.

    Parameters
    ----------
    names : sequence of (str, str)
        Some of what `case_names` gives.
    progress : callable, optional
        Told the name of each case, how many are done and how many there are.
    """
    prepared: list[TilewrightRep] = []

    class Observed(TilewrightBackend):
        """Remembers what was prepared; the runner asks for `CPU`, which is the accelerator."""

        @classmethod
        def prepare(
            cls, model: ModelProto, device: str = "CPU", config: Config | str = "16x16", **kwargs: Any
        ) -> TilewrightRep:
            prepared.append(super().prepare(model, device, config, **kwargs))
            return prepared[-1]

        @classmethod
        def supports_device(cls, device: str) -> bool:
            return device == "CPU"

    kinds = list(dict.fromkeys(kind for kind, _ in names))
    ours, theirs = _suites(Observed, kinds), _suites(_ReferenceBackend, kinds)
    results = []
    with _own_model_folder(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for done, (kind, name) in enumerate(names):
            progress(name, done, len(names))
            prepared.clear()
            outcome = _outcome(ours[kind], name)
            places = [place for rep in prepared for _, place in rep.layers()]
            refusal = next((rep.refusal for rep in prepared), "")
            reference = _outcome(theirs[kind], name)
            results.append(
                CaseResult(kind, name, *outcome, *reference, places.count("device"), places.count("host"), refusal)
            )
    return results


def _suites(backend: type[Backend], kinds: Sequence[str]) -> dict[str, type[unittest.TestCase]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases are computed here, overflows included
        cases = BackendTest(backend, __name__).test_cases
    return {kind: cases[KINDS[kind]] for kind in kinds}


def _names(cases: type[unittest.TestCase]) -> list[str]:
    found = (name for name in dir(cases) if name.startswith("test_") and name.endswith(_RUNNER_DEVICE))
    return sorted(name.removesuffix(_RUNNER_DEVICE) for name in found)


def _outcome(cases: type[unittest.TestCase], name: str) -> tuple[str, str]:
    method = name + _RUNNER_DEVICE
    try:
        getattr(cases(method), method)()
    except unittest.SkipTest as skip:
        return "skipped", str(skip)
    except Exception as error:  # a case that fails may raise anything
        return "failed", _first_words(error)
    return "passed", ""


def _first_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


@contextmanager
def _own_model_folder() -> Iterator[None]:
    """Let the runner write the data of its models into a folder that goes away, instead of the user's home."""
    old = os.environ.get("ONNX_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ONNX_HOME"] = folder
        try:
            yield
        finally:
            if old is None:
                del os.environ["ONNX_HOME"]
            else:
                os.environ["ONNX_HOME"] = old
