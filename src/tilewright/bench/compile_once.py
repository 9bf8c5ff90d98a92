"""Compiles one case and prints what that took: `python -m tilewright.bench.compile_once CASE < config.toml`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from tilewright import api
from tilewright.bench.workloads import WORKLOADS
from tilewright.demo import default_model
from tilewright.isa.config import Config


def main() -> None:
    """Print seconds, seconds of processor time, and the most memory of this process in MiB."""
    case, config = sys.argv[1], Config.from_toml(sys.stdin.read())
    source = WORKLOADS[case].source
    assert source is not None
    model = default_model() if case == "resnet8" else source(config, Path())
    start, start_of_work = time.perf_counter(), time.process_time()
    api.compile(model, config)
    seconds, worked = time.perf_counter() - start, time.process_time() - start_of_work
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"time": seconds, "cpu_time": worked, "peak_memory": memory}))


if __name__ == "__main__":
    main()
