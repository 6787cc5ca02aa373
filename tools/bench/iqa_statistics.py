"""Do hand-made statistics add to ImageNet features? `python tools/bench/iqa_statistics.py BIQ2021 WORK [--count 3000]`.

WORK holds the features of tools/recipes/iqa_probe.py. The hyper-network without positions reads the means of the frozen
backbone's stages, alone and beside the 632 numbers of SceneStatistics, which are computed here and kept in WORK. Three
seeds; SRCC on the validation photographs at the last of 24 epochs; the test split is not read.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from iqa.build import build_set
from iqa.config import PRESETS, Config
from iqa.evaluation.statistics.spatial import SceneStatistics
from iqa.model.hypernet import target_forward
from iqa.model.pooled import PooledHyperNet
from polyscale.commands import note
from polyscale.settings import SPLIT_FILE, resolve

EPOCHS, BATCH, LR = 24, 64, 1e-3


def main() -> None:
    """Prints one row a reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the clone of BIQ2021")
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=3000, help="training photographs; all of validation that is there")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = resolve(Config, presets=PRESETS, default_preset="photo", overrides={"data.path": options.data})
    recorded = options.work / SPLIT_FILE
    sets = [build_set(config.data, split, config.model.image_size, recorded=recorded) for split in ("train", "val")]
    truth = np.concatenate([split.scores for split in sets]).astype(np.float32)
    means = np.load(options.work / "photos.npy")
    there, first = np.flatnonzero(~np.isnan(means).any(1)), len(sets[0])
    fit, val = there[there < first][: options.count], there[there >= first]
    rows = np.concatenate([fit, val])
    measured = statistics_of(sets, rows, options.work / "statistics.npy")
    for name, inputs in (("means", means[rows]), ("means and statistics", np.concatenate([means[rows], measured], 1))):
        reached = [learn(torch.from_numpy(inputs), truth[rows], len(fit), seed) for seed in range(options.seeds)]
        shown = ", ".join(f"{value:.4f}" for value in reached)
        sys.stdout.write(f"| {name} | {len(fit)} / {len(val)} | {np.mean(reached):.4f} | {shown} |\n")


@torch.inference_mode()
def statistics_of(sets: list[Any], rows: NDArray[np.intp], path: Path) -> NDArray[np.float32]:
    """Compute or read SceneStatistics of photographs [N, K]; what is there is kept."""
    layer, first = SceneStatistics(), len(sets[0])
    if not path.exists():
        np.save(path, np.full((first + len(sets[1]), layer.channels), np.nan, np.float32))
    kept = np.load(path, mmap_mode="r+")
    for done, index in enumerate(rows):
        if np.isnan(kept[index]).any():
            part = int(index >= first)
            image = sets[part].image(int(index) - part * first)
            kept[index] = layer(image[None].float() / 255)[0].numpy()
        if done % 200 == 0:
            note(f"statistics of {done} of {len(rows)}")
    return np.array(kept[rows])


def learn(inputs: Tensor, truth: NDArray[np.float32], count: int, seed: int) -> float:
    """Train on the first `count` rows and return SRCC on the others."""
    torch.manual_seed(seed)
    head, targets = PooledHyperNet(inputs.shape[1], dropout=0.4), torch.from_numpy(truth)
    optimizer = torch.optim.AdamW(head.parameters(), LR, weight_decay=0.05)
    steps = EPOCHS * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)

    def score(rows: Tensor) -> Tensor:
        _, vector, layers = head([rows[..., None, None]])
        return target_forward(vector, layers, 0.4, head.training, F.gelu)

    for _ in range(EPOCHS):
        for chosen in torch.randperm(count)[: count // BATCH * BATCH].split(BATCH):
            loss = (score(inputs[chosen]) - targets[chosen]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    head.eval()
    with torch.no_grad():
        return float(spearmanr(score(inputs[count:]), truth[count:]).statistic)


if __name__ == "__main__":
    main()
