"""A small training program for the tests: dropout, BatchNorm, EMA, accumulation, augmentation, workers, streams.

`tiny(out, ...)` runs it in a forked process, which needs no new import of torch. Its words are settings of the section
train as key=value, and these of its own: resume=1, die=STEP (SIGKILL in the middle of that step), term=STEP (SIGTERM
to its whole process group), validating=EPOCH (that SIGTERM during this epoch's validation), nan=STEP (the loss becomes
NaN), part=N (a part of the loss that appears in every N-th step), constant=VALUE (the loss is that), count=SAMPLES,
streams=1 (recurrent, on recordings; a second loader next to it), limit=BYTES (no file may become larger).
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch._dynamo  # an optimizer imports it, which takes seconds: once, before the forks
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import Dataset

from polyscale.errors import UserError
from polyscale.models.weights import Pretrained
from polyscale.training import Run, Streams, TrainSettings, param_groups

DEFAULTS = {"epochs": 3, "batch_size": 3, "accumulate": 2, "workers": 0, "ema": 0.9, "log_every": 1, "lr": 0.01}
LENGTHS = (5, 3, 7, 2, 6)


class Net(Pretrained):
    """Frozen at its start, with BatchNorm and dropout, and a head that is tied to another parameter."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1).requires_grad_(False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(width, width, 3), nn.Conv2d(width, 1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(self.stem(x)).mean((1, 2, 3))
        return out


class Recurrent(Net):
    """Goes on from a state, which begins anew where a recording does."""

    def forward(self, x: Tensor, state: Tensor | None = None, first: Tensor | None = None) -> Tensor:
        if state is not None and first is not None:
            x = x + 0.5 * torch.where(first, 0.0, state)[:, None, None, None]
        return super().forward(x)


class Noisy(Dataset):
    """Augments with torch's global generator, as torchvision's transforms do."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.full((1, 8, 8), index / self.count)
        return {"x": x + torch.randn(1, 8, 8), "y": torch.tensor(float(index % 2))}


class Ended(NamedTuple):
    """How the program ended."""

    returncode: int
    stderr: str


def tiny(out: Path, *words: str) -> Ended:
    """Run the program in a process, and process group, of its own."""
    return forked(main, out, words)


def forked(function: Callable[..., None], *arguments: Any) -> Ended:
    """Run `function` in a forked process; at most a minute."""
    errors = Path(tempfile.mkstemp()[1])
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(function, arguments, errors))
    process.start()
    process.join(60)
    code, text = process.exitcode, errors.read_text()
    errors.unlink()
    if code is None:
        os.killpg(process.pid or 0, signal.SIGKILL)
        raise TimeoutError(f"the program hangs: {text}")
    return Ended(code, text)


def _alone(function: Callable[..., None], arguments: tuple[Any, ...], errors: Path) -> None:
    os.setsid()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    with errors.open("w") as sys.stderr:
        try:
            function(*arguments)
        except UserError as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(error.exit_code) from None


def main(out: Path, words: tuple[str, ...]) -> None:
    given = dict(word.split("=") for word in words)
    at = {key: int(given.pop(key, -1)) for key in ("die", "term", "nan", "validating", "part")}
    resume, count, streams = int(given.pop("resume", 0)), int(given.pop("count", 23)), "streams" in given
    given.pop("streams", None)
    constant, limit = given.pop("constant", ""), given.pop("limit", "")
    run = Run(TrainSettings(**{**DEFAULTS, **given}), out, resume=bool(resume), record="tiny: true\n")
    net = Recurrent() if streams else Net()
    model, _ = run.prepare(net, param_groups(net, 0.1))
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if streams:
        loader, other = run.loader(Noisy(sum(LENGTHS)), order=Streams(LENGTHS)), run.loader(Noisy(7))
    else:
        loader = run.loader(Noisy(count))
    for epoch in run.epochs():
        batches = zip(run.steps(loader), run.steps(other), strict=False) if streams else run.steps(loader)
        for batch in batches:
            step = run.progress.step
            if step == at["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == at["term"]:
                os.killpg(0, signal.SIGTERM)
                time.sleep(0.2)  # a worker that obeys it is gone now
            if streams:
                batch, extra = batch
                output = model(batch["x"], run.memory.get("state"), batch["first"])
                run.memory = {"state": output.detach()}
                output = output + model(extra["x"]).mean()
            else:
                output = model(batch["x"])
            error = nn.functional.binary_cross_entropy_with_logits(output, batch["y"])
            if constant:
                error = 0 * error + float(constant)
            losses = {"loss": error * (float("nan") if step == at["nan"] else 1.0)}
            if at["part"] > 0 and step % at["part"] == 0:
                losses["part"] = torch.tensor(1.0)
            run.backward(losses)
        evaluate(run, interrupted=epoch == at["validating"])


@torch.no_grad()
def evaluate(run: Run, interrupted: bool) -> None:
    for image in range(3):
        torch.randn(1)  # an evaluation that draws random numbers
        if interrupted and image == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        run.check(image, 3)
    run.validate({"mean": float(run.eval_model(torch.ones(1, 1, 8, 8)).sum())}, best="mean")
