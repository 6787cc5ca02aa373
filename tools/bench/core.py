"""Each core block next to the peer a user would take: `python tools/bench/core.py [--block NAME] [--rounds N]`.

Writes a Markdown table (or --json) of forward and forward + backward times, interleaved in one process, and names the
blocks slower than 1.1 times their peer. A new case is a function in core_maps.py, core_attention.py or core_losses.py
and its name at the end of that file.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict

import core_attention
import core_losses
import core_maps
import torch
from interleaved import Timing, compare, machine

from polyscale.commands import keep_heap

LIMIT = 1.1
CASES = {build.__name__: build for build in (*core_maps.CASES, *core_attention.CASES, *core_losses.CASES)}


def main() -> None:
    """Times the cases asked for and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", action="append", choices=sorted(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of both sides (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--cpu-time", action="store_true", help="processor instead of wall time; with --threads 1")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    kept_heap = keep_heap()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    results: dict[str, dict[str, Timing]] = {}
    for name in options.block or CASES:
        torch.manual_seed(0)
        results[name] = compare(CASES[name](), options.rounds, clock)
    setting = f"{machine(kept_heap)}, {'processor' if options.cpu_time else 'wall'} time, {options.rounds} rounds"
    sys.stdout.write(_json(results, setting) if options.json else _table(results, setting))


def _json(results: dict[str, dict[str, Timing]], setting: str) -> str:
    cases = {name: {step: asdict(timing) for step, timing in steps.items()} for name, steps in results.items()}
    return json.dumps({"setting": setting, "cases": cases}, indent=2) + "\n"


def _table(results: dict[str, dict[str, Timing]], setting: str) -> str:
    lines = [
        f"{setting}; median ms, ratio ours / peer (middle half of the rounds).",
        "",
        "| block | peer | forward, ours and peer | ratio | with backward | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, steps in results.items():
        cells = [name, CASES[name].__doc__ or ""]
        for timing in steps.values():
            cells += [f"{timing.ours[0]:.3g}, {timing.peer[0]:.3g}", "{:.2f} ({:.2f}..{:.2f})".format(*timing.ratio)]
        lines.append(f"| {' | '.join(cells)} |")
    slow = [f"{name} ({step})" for name, s in results.items() for step, t in s.items() if t.ratio[0] > LIMIT]
    return "\n".join([*lines, "", f"Slower than {LIMIT} times the peer: {', '.join(slow) or 'none'}."]) + "\n"


if __name__ == "__main__":
    main()
