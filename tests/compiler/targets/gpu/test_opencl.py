"""Networks as SPIR-V on an OpenCL runtime: each kernel has the interpreter's meaning there too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.targets.gpu.opencl_device import OpenClDevice, spirv_device
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.schedules import Plain

pytestmark = pytest.mark.slow

#: Intel's runtime for processors, where pip puts it; its own description of itself names another place.
_INTEL = Path(sys.prefix, "lib", "libintelocl.so")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenClDevice]:
    with pytest.MonkeyPatch.context() as patch:
        if _INTEL.is_file():
            vendors = tmp_path_factory.mktemp("vendors")
            (vendors / "intel.icd").write_text(f"{_INTEL}\n")
            patch.setenv("OCL_ICD_VENDORS", str(vendors))
        found = spirv_device()
        if found is None:
            pytest.skip("no OpenCL runtime that takes SPIR-V: pip install 'tilewright[opencl]' brings one for x86-64")
        yield OpenClDevice(found)


@pytest.mark.filterwarnings("ignore:Non-empty compiler output")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_reference(name: str, device: OpenClDevice, rng: np.random.Generator) -> None:
    program = lower(NETWORKS[name](rng), lambda gemm: Plain())
    inputs = {key: rng.integers(-128, 128, program.graph.shape(key)).astype(np.int8) for key in program.graph.inputs}
    outputs = program.run(inputs, device)
    for key, array in evaluate(program.graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], array)
