"""Which schedule a kernel gets: by a plain model of time, or as measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tilewright.compiler.targets.cpu.batch_product import BatchProduct
from tilewright.compiler.targets.cpu.convolution import Convolution
from tilewright.compiler.targets.cpu.epilogue import Finish
from tilewright.compiler.targets.cpu.float_finish import FloatFinish
from tilewright.compiler.targets.cpu.float_windows import FloatDepthwise
from tilewright.compiler.targets.cpu.matrix_tiles import MOST_TILES, ROWS, parts
from tilewright.compiler.targets.cpu.schedule import PLAIN, Schedule
from tilewright.compiler.targets.cpu.windows import Depthwise, Sliding
from tilewright.compiler.targets.kernels.layout import Image

#: Kernels with something to choose.
Problem = Convolution | Depthwise | FloatDepthwise | BatchProduct

#: Gives the schedule of a problem.
Chooser = Callable[[Problem], Schedule]

_UNROLLED = PLAIN.unrolled  # where registers have room; twice as many where they have not
_MOST_UNROLLED = 16
_RESIDENT = 24 << 10  # bytes of pixels that stay in the first cache, vector of channels after vector
_ALL_RESIDENT = 128 << 10  # bytes of all weights that stay in the second cache
_ALL_RESIDENT_SHARED = 700 << 10  # the same, where it is worth more that threads read what they wrote
_MOST_COLUMNS = 8
_PIXELS = 7  # of a row, whose sums and weights stay in registers
_MOST_TILES = 12  # that are tried
_MOST_COST = 1.35  # of the least by the model


#: Tiles of pixels by vectors of channels, of one matrix tile of pixels or two.
_MATRIX_TILES = tuple(
    Schedule(rows, columns) for columns in range(1, MOST_TILES + 1) for rows in (*range(1, ROWS + 1), *range(18, 33, 2))
)


def key(problem: Problem) -> str:
    """Name a problem: what decides which schedule is fast."""
    if isinstance(problem, BatchProduct):
        shape = "x".join(map(str, (*problem.y.shape, problem.x.shape[-1])))
        zero = " zero" if problem.zero else ""
        return f"products {shape}{zero}{_tail(problem.finish, problem.residual)}"
    if isinstance(problem, Convolution):
        return f"convolution {_window(problem)}"
    return f"depthwise {_window(problem.sliding)}"


def _window(window: Sliding | Convolution) -> str:
    numbers = ("x".join(map(str, pair)) for pair in (window.kernel, window.strides, window.dilations))
    kernel, strides, dilations = numbers
    text = f"{_image(window.x)} to {_image(window.y)} kernel {kernel} strides {strides} dilations {dilations}"
    return text + _tail(window.finish, window.residual)


def _image(image: Image) -> str:
    border = "" if image.is_dense else " border " + "x".join(map(str, image.pads))
    return f"{image.dtype} {image.batch}x{image.height}x{image.width}x{image.pitch}{border}"


def _tail(finish: Finish | FloatFinish, residual: object) -> str:
    """Name what follows sums, as far as it takes time."""
    if isinstance(finish, Finish):
        parts = [finish.method, "table" if finish.has_table else ""]
    else:
        parts = ["gelu" if finish.activation.is_gelu else ""]
    return "".join(f" {part}" for part in (*parts, "residual" if residual else "") if part)


# ---- by a model ----------------------------------------------------------------------------------------------


def by_model(problem: Problem, is_shared: bool = False) -> Schedule:
    """Give the schedule that the model takes to be fastest.

    Parameters
    ----------
    problem : Problem
    is_shared : bool
        Whether several threads compute it: each takes rows then, which it will read again in the next layer.
    """
    match problem:
        case Convolution():
            return _completed(problem, min(_tiles(problem), key=lambda tile: _cost(problem, tile)), is_shared)
        case Depthwise(sliding):
            is_small = sliding.kernel[0] <= 3 and sliding.strides[0] <= 2
            rows = 2 if is_small and sliding.y.height % 2 == 0 else 1
            return Schedule(rows, is_row_major=_read_bytes(sliding, rows) > _RESIDENT)
        case FloatDepthwise(sliding):
            return Schedule(min(_PIXELS, sliding.y.width), is_row_major=_read_bytes(sliding, 1) > _RESIDENT)
    return _product(problem, 2 if problem.vectors % 2 == 0 else 1)


def _read_bytes(window: Sliding, rows: int) -> int:
    """Give the memory of the input's rows that so many rows of the result are made of."""
    read = (rows - 1) * window.strides[0] + (window.kernel[0] - 1) * window.dilations[0] + 1
    return read * window.x.row_pixels * window.x.pitch * window.x.dtype.bits // 8


def _tiles(problem: Convolution) -> Iterator[Schedule]:
    if problem.tile_words:
        yield from (tile for tile in _MATRIX_TILES if is_possible(problem, tile))
        return
    level = problem.finish.level
    for columns in range(1, min(problem.y.pitch // level.lanes, _MOST_COLUMNS) + 1):
        for rows in range(1, min(problem.width, level.accumulators // columns) + 1):
            yield Schedule(rows, columns)


def _fits_registers(problem: Convolution, tile: Schedule) -> bool:
    return (tile.rows + 1) * tile.columns + 1 <= problem.finish.level.registers


def _cost(problem: Convolution, tile: Schedule) -> tuple[float, int]:
    """Estimate the cycles that a step of all tiles of a row takes."""
    rows, columns = tile.rows, tile.columns
    if problem.tile_words:
        return _matrix_cost(problem, tile)
    times = -(-problem.width // rows) * -(-(problem.y.pitch // problem.finish.level.lanes) // columns)
    spilled = 0.0 if _fits_registers(problem, tile) else 3.0
    cycles = max(rows * columns, 6) + 0.1 * rows + 0.1 * columns + (rows if columns == 1 else 0) + spilled
    return times * cycles, -rows * columns


def _matrix_cost(problem: Convolution, tile: Schedule) -> tuple[float, int]:
    """Estimate the same with matrix tiles, of which a product takes a cycle for each row, and a load half of one."""
    rows, columns, count = tile.rows, tile.columns, parts(tile.rows)
    times = -(-problem.width // rows) * -(-(problem.y.pitch // problem.finish.level.lanes) // columns)
    loads = 0.5 * rows + 0.75 * problem.tile_words * columns
    return times * (max(rows * columns, loads) + 0.25 * loads + 2 * count), -rows * columns


def _completed(problem: Convolution, tile: Schedule, is_shared: bool = False) -> Schedule:
    """Add order and unrolling to a tile: all channels of a row where the weights of all stay in the cache."""
    tiled = replace(problem, schedule=tile)
    is_resident = tiled.blocks * tiled.block_bytes <= (_ALL_RESIDENT_SHARED if is_shared else _ALL_RESIDENT)
    unrolled = _UNROLLED if _fits_registers(problem, tile) else 2 * _UNROLLED
    return replace(tile, is_row_major=is_resident, unrolled=unrolled)


def _product(problem: BatchProduct, columns: int) -> Schedule:
    """Give the tile of so many vectors with the most rows that registers have room for."""
    level = problem.finish.level
    registers = min(level.accumulators, level.registers - columns - 1)
    return Schedule(min(max(1, registers // columns), problem.y.shape[-2]), columns)


# ---- by measurements -----------------------------------------------------------------------------------------


def by_table(table: Mapping[str, Schedule], is_shared: bool = False) -> Chooser:
    """Give schedules as they were measured, on one thread, and by the model where nothing was.

    Where several threads share a network, the order of a convolution is the model's all the same.
    """

    def choose(problem: Problem) -> Schedule:
        found = table.get(key(problem))
        if found is None or not is_possible(problem, found):
            return by_model(problem, is_shared)
        if not (is_shared and isinstance(problem, Convolution)):
            return found
        return replace(found, is_row_major=_completed(problem, found, is_shared).is_row_major)

    return choose


def is_possible(problem: Problem, schedule: Schedule) -> bool:
    """Whether a kernel can be built so."""
    rows, columns = schedule.rows, schedule.columns
    if min(rows, columns, schedule.unrolled) < 1 or schedule.unrolled > _MOST_UNROLLED:
        return False
    match problem:
        case Convolution() if problem.tile_words:
            count = parts(rows)
            fits = rows % count == 0 and count <= 2 and count * columns <= MOST_TILES
            return fits and rows <= problem.width and columns <= problem.y.pitch // problem.finish.level.lanes
        case Convolution():
            return (
                rows <= problem.width
                and columns <= problem.y.pitch // problem.finish.level.lanes
                and (rows * columns <= problem.finish.level.accumulators)
            )
        case Depthwise(sliding):
            return sliding.y.height % rows == 0 and rows <= _MOST_COLUMNS
        case FloatDepthwise(sliding):
            return rows <= min(sliding.y.width, problem.sliding.finish.level.accumulators)
    fits = rows * columns <= problem.finish.level.accumulators and rows <= problem.y.shape[-2]
    return fits and problem.vectors % columns == 0


def proposal(problem: Problem, tried: Mapping[Schedule, float]) -> Schedule | None:
    """Give the next schedule to measure, or None when there is none left.

    First what the model takes to be fast, in its order; then variants of what was fastest so far.

    Parameters
    ----------
    problem : Problem
    tried : mapping of Schedule to float
        What took how long, beside the model's choice, which takes 1.
    """
    known = {by_model(problem): 1.0, **tried}
    for option in _shortlist(problem):
        if option not in known:
            return option
    best = min(known, key=lambda option: known[option])
    return next((option for option in _variants(problem, best) if option not in known), None)


def _shortlist(problem: Problem) -> list[Schedule]:
    if isinstance(problem, BatchProduct):
        return [_product(problem, columns) for columns in (2, 1, 4, 3) if problem.vectors % columns == 0]
    if not isinstance(problem, Convolution):
        return [_turned(by_model(problem))]
    costs = {tile: _cost(problem, tile) for tile in _tiles(problem)}
    least = min(costs.values())[0]
    near = [tile for tile in sorted(costs, key=lambda tile: costs[tile]) if costs[tile][0] <= _MOST_COST * least]
    return [_completed(problem, tile) for tile in near[:_MOST_TILES]]


def _variants(problem: Problem, best: Schedule) -> list[Schedule]:
    """Give the possible schedules that differ from one in one way."""
    amounts = {best.rows // 2, best.rows - 1, best.rows + 1, best.rows * 2}
    found = [replace(best, rows=rows) for rows in sorted(amounts)]
    if isinstance(problem, (Convolution, BatchProduct)):
        found = [*(replace(best, unrolled=count) for count in (best.unrolled * 2, best.unrolled // 2)), *found]
    if not isinstance(problem, BatchProduct):
        found.insert(0, _turned(best))
    return [option for option in found if is_possible(problem, option)]


def _turned(schedule: Schedule) -> Schedule:
    return replace(schedule, is_row_major=not schedule.is_row_major)
