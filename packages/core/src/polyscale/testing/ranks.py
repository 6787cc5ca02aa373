"""Tests of several processes: one function in each of them, as `accelerate launch` would start it, without the wait."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch

TIMEOUT_S = 100  # seconds for a rank to end


def run_ranks(function: Callable[..., None], processes: int, *arguments: Any) -> Callable[[], None]:
    """Start `function(*arguments, rank)` in forked processes that are the ranks of one group on the CPU.

    Returns what waits for them. Forking needs no new import of torch, which would take half a minute for two; a forked
    process must not use the threads that its parent had, so each rank computes in one.

    Raises (from the waiting) RuntimeError where a rank failed or does not end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        context.Process(target=_as_rank, args=(function, arguments, rank, group), daemon=True)
        for rank in range(processes)
    ]
    for process in ranks:
        process.start()

    def wait() -> None:
        for process in ranks:
            process.join(timeout=TIMEOUT_S)
        codes = [process.exitcode for process in ranks]
        for process in ranks:
            process.kill()
        if any(codes) or None in codes:
            raise RuntimeError(f"the ranks ended with {codes}; None did not end in {TIMEOUT_S} s")

    return wait


def _as_rank(function: Callable[..., None], arguments: tuple[Any, ...], rank: int, group: dict[str, str]) -> None:
    from accelerate.state import AcceleratorState

    os.environ.update(group, RANK=str(rank), LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="true")
    os.environ["OMP_NUM_THREADS"] = "1"  # where it is not set Accelerate takes all cores' threads, which never answer
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # what the parent has left
    function(*arguments, rank)
