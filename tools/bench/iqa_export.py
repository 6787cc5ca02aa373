"""Does an exported model say what the model says? `python tools/bench/iqa_export.py nano PHOTOS [--limit N]`.

Writes the model as ONNX, as `iqa export` does, and scores images of a folder with torch and with onnxruntime, each
brought to the network's size once: the largest difference of score and of spread, as a share of the model's range, and
the median time of both, one image at a time in one thread, interleaved.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from iqa.data import read_network_image
from iqa.export import export_onnx
from iqa.model.network import QualityNet
from polyscale.commands import keep_heap
from polyscale.data.listing import list_images
from polyscale.inference import session


def main() -> None:
    """Exports, compares and prints three lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a shipped name, a folder or a hub id")
    parser.add_argument("photos", type=Path, help="folder of images")
    parser.add_argument("--limit", type=int, default=100, help="images at most (default 100)")
    options = parser.parse_args()
    keep_heap()
    torch.set_num_threads(1)
    network = QualityNet.from_pretrained(options.model).eval()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        runner = session(export_onnx(network, Path(folder) / "model.onnx"), threads=1)
        seconds = time.perf_counter() - start
    differences, times, files = [], [], list_images(options.photos)[: options.limit]
    for file in files:
        image = (read_network_image(file, network.input_size).float() / 255)[None]
        marks = [time.perf_counter()]
        with torch.inference_mode():
            wanted = torch.cat(network.score_with_spread(image)).numpy()
        marks.append(time.perf_counter())
        got = np.concatenate(runner.run(["score", "spread"], {"image": image.numpy()}))
        marks.append(time.perf_counter())
        differences.append(np.abs(wanted - got) / (network.high - network.low))
        times.append(np.diff(marks))
    score, spread = np.max(differences, axis=0)
    torch_ms, onnx_ms = (1000 * median(column) for column in np.array(times).T)
    sys.stdout.write(
        f"{options.model}: exported and verified in {seconds:.0f} s\n"
        f"{len(files)} images: scores differ by at most {score:.1e} of the range, spreads by {spread:.1e}\n"
        f"an image: torch {torch_ms:.0f} ms, onnxruntime {onnx_ms:.0f} ms\n"
    )


if __name__ == "__main__":
    main()
