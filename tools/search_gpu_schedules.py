"""Times the schedules of a network's convolutions and matrix products on the GPU here, and keeps the fastest.

    python tools/search_gpu_schedules.py compiler/targets/gpu/schedules_h200.json model.onnx

The file is read first: only problems that it does not know are searched, and what is found is added. Without models,
the networks of `tilewright bench gpu` are searched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tilewright.compiler.targets.gpu.device import GpuDevice
from tilewright.compiler.targets.gpu.schedules import Chooser, as_data, from_data
from tilewright.compiler.targets.gpu.search import Timing, problems, search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schedules", type=Path, help="JSON file of schedules, read and written")
    parser.add_argument("models", nargs="*", help="ONNX files")
    parser.add_argument("--most", type=int, default=4, help="candidates of each kind, by the model of time")
    arguments = parser.parse_args()
    known = from_data(json.loads(arguments.schedules.read_text())) if arguments.schedules.is_file() else {}
    found = {name: gemm for name, gemm in problems(_networks(arguments.models)).items() if name not in known}
    print(f"{len(found)} problems, {len(known)} known")
    if found:
        known |= search(found, GpuDevice(), arguments.most, _report)
    lines = [f"{json.dumps(name)}: {json.dumps(option)}" for name, option in as_data(known).items()]
    arguments.schedules.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _networks(models: list[str]) -> list[Callable[[Chooser], object]]:
    """Give what lowers each network."""
    from tilewright.bench.gpu import FLOAT_NETWORKS, NETWORKS
    from tilewright.bench.gpu_networks import float_model, network_graph
    from tilewright.gpu import lowering_of

    if models:
        return [lowering_of(model) for model in models]
    integers = [lowering_of(network_graph(*network)) for network in NETWORKS.values()]
    floats = [lowering_of(float_model(*network), precision=network[2]) for network in FLOAT_NETWORKS.values()]
    return [*integers, *floats]


def _report(name: str, timings: list[Timing]) -> None:
    shown = (f"{t.option} {t.milliseconds * 1e3:.1f} us{' WRONG' if t.differences else ''}" for t in timings[:3])
    print(f"{name}: {'; '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
