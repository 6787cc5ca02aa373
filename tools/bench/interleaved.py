"""Times two ways to the same result round by round in one process, so that a busy machine slows both alike.

Each round times both sides, the first to go alternating; the ratio is taken within the round. Reported are the median
times, the median ratio and the middle half of the ratios: a ratio is worth something when that span is narrow.
"""

import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Clock = Callable[[], float]
SAMPLE_SECONDS = 0.03  # a sample repeats the call until it takes about this long, so that the clock does not matter


@dataclass(frozen=True)
class Side:
    """A module or function and its positional arguments; gradients are taken for tensors that require them."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Pair:
    """Ours and the peer; `same` says that they compute the same values, which is then checked before timing."""

    ours: Side
    peer: Side
    same: bool = False


@dataclass(frozen=True)
class Timing:
    """Milliseconds (median, least, most) of both sides, and the ratio ours / peer (median, quartiles)."""

    ours: tuple[float, float, float]
    peer: tuple[float, float, float]
    ratio: tuple[float, float, float]


def compare(pair: Pair, rounds: int, clock: Clock = time.perf_counter) -> dict[str, Timing]:
    """Timings of the forward pass (eval, no gradients) and of forward + backward (train).

    `clock` gives seconds: time.process_time counts what this process computed, which other processes hardly move.
    """
    if pair.same:
        torch.testing.assert_close(
            list(_leaves(_forward(pair.ours)())), list(_leaves(_forward(pair.peer)())), rtol=1e-3, atol=1e-4
        )
    return {
        "forward": interleave(_forward(pair.ours), _forward(pair.peer), rounds, clock),
        "forward+backward": interleave(_backward(pair.ours), _backward(pair.peer), rounds, clock),
    }


def machine(kept_heap: bool) -> str:
    """One line that says what the numbers were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    heap = "kept heap (mallopt)" if kept_heap else "default allocator"
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, {heap}, float32"


def interleave(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, clock: Clock = time.perf_counter
) -> Timing:
    """Time two calls by turns."""
    calls = (ours, peer)
    repeats = [_repeats(call, clock) for call in calls]
    seconds: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.disable()
    for number in range(rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            seconds[side].append(_seconds(calls[side], repeats[side], clock))
    gc.enable()
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
    medians = [(1e3 * statistics.median(s), 1e3 * min(s), 1e3 * max(s)) for s in seconds]
    return Timing(medians[0], medians[1], (statistics.median(ratios), low, high))


def _repeats(call: Callable[[], object], clock: Clock) -> int:
    shortest = 1e-6 + _seconds(call, 1, clock)
    if shortest < 10 * SAMPLE_SECONDS:  # the first call may be slow, but not as slow as that
        shortest = 1e-6 + min(_seconds(call, 1, clock) for _ in range(2))
    return max(1, min(200, round(SAMPLE_SECONDS / shortest)))


def _seconds(call: Callable[[], object], repeats: int, clock: Clock) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def _forward(side: Side) -> Callable[[], Any]:
    def call() -> Any:
        if isinstance(side.run, nn.Module):
            side.run.eval()
        with torch.no_grad():
            return side.run(*side.arguments)

    return call


def _backward(side: Side) -> Callable[[], object]:
    parameters: list[Tensor] = []
    if isinstance(side.run, nn.Module):
        parameters = list(side.run.train().parameters())
    wanted = [leaf for leaf in (*_leaves(side.arguments), *parameters) if leaf.requires_grad]

    def outputs() -> list[Tensor]:
        return [leaf for leaf in _leaves(side.run(*side.arguments)) if leaf.requires_grad]

    gradients = [torch.randn_like(output) for output in outputs()]
    return lambda: torch.autograd.grad(outputs(), wanted, gradients, allow_unused=True)


def _leaves(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
