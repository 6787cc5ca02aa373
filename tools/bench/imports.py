"""What importing polyscale costs next to torch: `python tools/bench/imports.py [--rounds N]`.

Each import is a fresh Python process; a round runs all, in turning order, after one round that fills the caches.
Processor time, which other work hardly moves; the median, and the ratio to `import torch` (middle half of the rounds).
"""

import argparse
import resource
import statistics
import subprocess
import sys

EVERYTHING = "import polyscale; [getattr(polyscale, n) for n in polyscale.blocks.__all__ + polyscale.losses.__all__]"
IMPORTS = {"torch": "import torch", "polyscale": "import polyscale", "polyscale, every block and loss": EVERYTHING}


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7, at least 2)")
    rounds = max(2, parser.parse_args().rounds)
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name in list(IMPORTS)[:: 1 if number % 2 else -1]:
            measured = _seconds(IMPORTS[name])
            if number:
                seconds[name].append(measured)
    sys.stdout.write("| import | seconds | ratio to torch |\n|---|---|---|\n")
    for name, spent in seconds.items():
        low, middle, high = statistics.quantiles((a / b for a, b in zip(spent, seconds["torch"], strict=True)), n=4)
        sys.stdout.write(f"| {name} | {statistics.median(spent):.2f} | {middle:.2f} ({low:.2f}..{high:.2f}) |\n")


def _seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
