"""A small training program for test_training.py: dropout, BatchNorm, EMA, accumulation, augmentation, workers.

Arguments: OUT, then KEY=VALUE settings of the section train, and these of its own: resume=1, die=STEP (SIGKILL in the
middle of that step), term=STEP (SIGTERM to itself), nan=STEP (the loss becomes NaN), count=SAMPLES.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from polyscale.models.weights import Pretrained
from polyscale.training import Run, TrainSettings, param_groups


class Net(Pretrained):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(width, 1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x).mean((1, 2, 3))
        return out


class Noisy(Dataset):
    """Augments with torch's global generator, as torchvision's transforms do."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.full((1, 8, 8), index / self.count)
        return {"x": x + torch.randn(1, 8, 8), "y": torch.tensor(float(index % 2))}


def main() -> None:
    out, given = Path(sys.argv[1]), dict(a.split("=") for a in sys.argv[2:])
    at = {key: int(given.pop(key, -1)) for key in ("die", "term", "nan")}
    resume, count = bool(given.pop("resume", "")), int(given.pop("count", 23))
    defaults = {"epochs": 3, "batch_size": 3, "accumulate": 2, "workers": 2, "ema": 0.9, "log_every": 1, "lr": 0.01}
    torch.set_num_threads(1)
    run = Run(TrainSettings(**{**defaults, **given}), out, resume=resume, record="tiny: true\n")
    net = Net()
    model, _ = run.prepare(net, param_groups(net, 0.1))
    for _ in run.epochs():
        for batch in run.steps(Noisy(count)):
            if run.progress.step == at["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            if run.progress.step == at["term"]:
                os.kill(os.getpid(), signal.SIGTERM)
            error = nn.functional.binary_cross_entropy_with_logits(model(batch["x"]), batch["y"])
            run.backward({"loss": error * (float("nan") if run.progress.step == at["nan"] else 1.0)})
        with torch.no_grad():
            run.validate({"mean": float(run.eval_model(torch.ones(1, 1, 8, 8)).sum())}, best="mean")


if __name__ == "__main__":
    main()
