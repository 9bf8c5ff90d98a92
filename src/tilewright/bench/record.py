"""One measured figure, in the form in which all benchmarks speak."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.isa.config import Config


@dataclass(frozen=True)
class Record:
    """One figure of one case.

    Attributes
    ----------
    suite, case, config, metric : str
        What was measured; `config` is `-` where no accelerator takes part.
    value : float or None
        The figure; None when it cannot be measured here, and `reason` says why.
    unit : str
    better : str
        `lower` or `higher`.
    ideal : float, optional
        What no design of this size can beat.
    peer, peer_value : optional
        Somebody else's published or measured figure; the words of its source are in `peers.toml`.
    bound : str, optional
        What limits the figure.
    bound_percent : float, optional
        Of the cycles, layer by layer, those in which what bounds them is busy; the rest waits.
    precision : str, optional
        What a processor computes with.
    threads : int, optional
        Of a processor.
    reason : str, optional
    config_hash : str, optional
        Names the accelerator exactly; `config` is its array only.
    on : str, optional
        The simulator that measured it.
    latency_cycles, bytes_per_cycle : int, optional
        The memory with which it was measured.
    host : str, optional
        Kinds of the layers that the host computed, which took none of the cycles.
    wrong : int, optional
        Output values that differ from the integer reference: the case has failed.
    operations, least_bytes : int, optional
        What a GPU must do at least: multiplications and additions; bytes that enter and leave each layer once.
    checked : int, optional
        Values that were compared.
    """

    suite: str
    case: str
    config: str
    metric: str
    value: float | None
    unit: str
    better: str
    ideal: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    bound: str | None = None
    reason: str | None = None
    config_hash: str | None = None
    on: str | None = None
    latency_cycles: int | None = None
    bytes_per_cycle: int | None = None
    host: str | None = None
    wrong: int | None = None
    operations: int | None = None
    least_bytes: int | None = None
    checked: int | None = None
    bound_percent: float | None = None
    precision: str | None = None
    threads: int | None = None

    def as_data(self) -> dict[str, Any]:
        """Give the record for JSON: what is not known is left out, but `value` is always there."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "value"}


def array_of(config: Config) -> str:
    """Name a configuration by its array, `batch x block_in x block_out`."""
    return f"{config.gemm.batch}x{config.gemm.block_in}x{config.gemm.block_out}"
