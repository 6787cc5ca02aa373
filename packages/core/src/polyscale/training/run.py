"""One training run: what every Accelerate loop of the house shares, so that an app's train.py shows only its story.

    run = Run(config.train, out, record=to_yaml(config))
    model, optimizer = run.prepare(model, param_groups(model, config.train.weight_decay))
    for epoch in run.epochs():                       # resumes where it stopped, saves after every epoch
        for batch in run.steps(train_set):           # order and augmentation = f(seed, epoch); accumulation
            run.backward(objective(model(batch["image"]), batch))   # clip, step, lr = f(step), EMA, log
        if run.validation_due:
            run.validate(evaluate(run.eval_model, val_set), best="wF")

What differs from the usual Accelerate loop: neither loader nor scheduler is prepared (a prepared loader resumes on
another permutation, a prepared scheduler steps once per process); checkpoints are replaced atomically; a killed and
resumed run ends bit-equal to an uninterrupted one.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedDataParallelKwargs,
    broadcast,
    broadcast_object_list,
    send_to_device,
    set_seed,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from polyscale.commands import note, progress
from polyscale.errors import UserError
from polyscale.inference.precision import resolve_precision
from polyscale.training import checkpoint
from polyscale.training.journal import Journal
from polyscale.training.loader import EpochBatches, Seeded
from polyscale.training.options import TrainSettings
from polyscale.training.schedule import lr_factor
from polyscale.training.state import NonFiniteLossError, Progress, Signals, averaged

_ACCELERATE_PRECISION = {None: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Run:
    """A run in the folder `out`: config.yaml, log.jsonl, checkpoints/step-N, best/ and last/ (saved models).

    `resume` goes on from the newest checkpoint in `out`; without it a folder that already holds a run is refused.
    `record` is the text of config.yaml. Build the model after the Run: it seeds the random numbers.
    """

    def __init__(self, config: TrainSettings, out: Path, *, resume: bool = False, record: str = "") -> None:
        self.config = config
        self.accelerator = self._accelerator(config, out)
        self.out = Path(broadcast_object_list([str(out)])[0])
        self.progress = Progress()
        self.signals = Signals()
        self.ema: torch.optim.swa_utils.AveragedModel | None = None
        self._resume, self._record = resume, record
        self._resume_from = self._look()
        self._loader: DataLoader[Any] | None = None
        self._batches: EpochBatches | None = None
        self._sums: dict[str, Tensor] = {}
        self._unchecked: tuple[int, Tensor] | None = None
        set_seed(config.seed, deterministic=config.deterministic)

    # Building

    @staticmethod
    def _accelerator(config: TrainSettings, out: Path) -> Accelerator:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = _ACCELERATE_PRECISION[resolve_precision(config.precision, device)]
        tracker = None if config.tracker == "none" else config.tracker
        if tracker and tracker not in map(str, get_available_trackers()):  # Accelerate only warns
            raise UserError(f"train.tracker: {tracker} is not installed (pip install {tracker})", exit_code=2)
        try:
            return Accelerator(mixed_precision=precision, log_with=tracker, project_dir=out)
        except ValueError as error:  # another precision is settled in this process
            reason = " ".join(str(error).split())
            raise UserError(f"train.precision: {config.precision} cannot be used: {reason}", exit_code=2) from error

    def _look(self) -> Path | None:
        """The checkpoint to go on from; refuses a folder that does not fit what is asked."""
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out}: is a file; a run needs a folder", exit_code=2)
        newest = checkpoint.newest(self.out / "checkpoints")
        used = newest is not None or (self.out / "log.jsonl").exists()
        if self._resume and not used:
            raise UserError(f"{self.out}: no run to resume (no checkpoint, no log.jsonl)")
        if used and not self._resume:
            raise UserError(f"{self.out}: already holds a run; go on with --resume {self.out} or choose another --out")
        self.accelerator.wait_for_everyone()  # nobody writes before all have looked
        return newest

    def _make_folder(self) -> None:
        """Only when data and model stand, so that what cannot start leaves nothing behind."""
        self.out.mkdir(parents=True, exist_ok=True)
        checkpoint.recover(self.out / "best")
        if self._record and not self._resume:
            (self.out / "config.yaml").write_text(self._record, encoding="utf-8")
        self.journal = Journal(self.out / "log.jsonl", self.progress.journal)

    def prepare(
        self, model: nn.Module, param_groups: list[dict[str, Any]], *, unused_parameters: bool = False
    ) -> tuple[nn.Module, Any]:
        """Model and optimizer on this process's device, wrapped for its kind of parallelism, at the resumed state.

        `unused_parameters`: some steps leave parameters without a gradient, which DDP must know.
        """
        config = self.config
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused_parameters)
        model = model.to(self.accelerator.device).to(memory_format=torch.channels_last)
        self.ema = averaged(model, config.ema) if config.ema else None
        if config.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(param_groups, lr=config.lr)
        else:
            optimizer = torch.optim.SGD(param_groups, lr=config.lr, momentum=0.9, nesterov=True)
        if config.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        states = [self.progress] if self.ema is None else [self.progress, self.ema]
        self.accelerator.register_for_checkpointing(*states)
        set_seed(config.seed + self.accelerator.process_index)  # dropout differs between processes
        if self._resume_from:
            self.accelerator.load_state(str(self._resume_from))
        if self.is_main:
            self._make_folder()
        if config.tracker != "none":
            self.accelerator.init_trackers("polyscale", config=config.model_dump())
        return self.model, self.optimizer

    # The loop

    def epochs(self) -> Iterator[int]:
        """Epoch numbers from where the run stands; after each one's body the run is saved."""
        self.signals.listen()
        self._session = time.monotonic() - self.progress.seconds
        self._saved_at = time.monotonic()
        if self._at_end:
            note(f"{self.out}: this run was trained to its end already")
        try:
            with progress("training") as self._bar:
                while not self._at_end:
                    yield self.progress.epoch
                    self.progress.epoch += 1
                    self.progress.batch = 0
                    self.save()
                    self._leave_if_asked()
            self._save_model("last")
        finally:
            self.signals.release()
            if self.config.tracker != "none":
                self.accelerator.end_training()

    def steps(self, dataset: Dataset[Any]) -> Iterator[Any]:
        """The current epoch's batches on the device, from where the run stands."""
        loader, batches = self._open(dataset)
        batches.epoch, batches.start = self.progress.epoch, self.progress.batch
        self.model.train()
        self._bar.restart(f"epoch {self.progress.epoch + 1}/{self.config.epochs}", total=batches.batches)
        self._bar.advance(self.progress.batch)
        for batch in loader:
            done = self.progress.batch + 1
            group = self.config.accumulate
            self._sync = done % group == 0 or done == batches.batches
            self._group = min(group, batches.batches - self.progress.batch // group * group)
            with contextlib.nullcontext() if self._sync else self.accelerator.no_sync(self.model):
                yield send_to_device(batch, self.accelerator.device, non_blocking=True)
            self.progress.batch = done
            self._bar.advance()
            if self._sync:
                self._save_if_due()
                if self._at_max_steps:
                    break
        self._agree_on_buffers()

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Gradient of losses["loss"]; at the end of an accumulation group the optimizer step and all that follows it.

        The other entries are logged. Raises NonFiniteLossError, at the latest one step late.
        """
        self.accelerator.backward(losses["loss"] / self._group)
        for name, value in losses.items():
            value = value.detach().float() / self._group
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        if self._sync:
            self._optimize(losses["loss"].detach())

    def _optimize(self, loss: Tensor) -> None:
        self._check_finite()
        config, step = self.config, self.progress.step
        factor = lr_factor(
            step, self.total_steps, round(config.warmup * self.total_steps), config.schedule, config.min_lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group.get("lr_scale", 1.0)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))
        self.progress.step += 1
        scaled = self.accelerator.mixed_precision == "fp16"  # there an infinite gradient only lowers the loss scale
        self._unchecked = (self.progress.step, loss if scaled else loss + norm)
        if self.progress.step % config.log_every == 0:
            self._log_training(factor * config.lr)

    def _check_finite(self) -> None:
        """Look at the last step's loss now that it is surely computed: no stall on a GPU."""
        if self._unchecked is None:
            return
        step, value = self._unchecked
        self._unchecked = None
        if not math.isfinite(value.item()):
            kept = checkpoint.newest(self.out / "checkpoints")
            advice = f"the last good checkpoint is {kept}" if kept else "no checkpoint had been written yet"
            raise NonFiniteLossError(
                f"loss or gradient is not finite at step {step} (epoch {self.progress.epoch}); {advice}; "
                "try a lower --train.lr or --train.precision fp32"
            )

    # Validation

    @property
    def validation_due(self) -> bool:
        """Whether this epoch ends with a validation: every eval_every-th, and always the last."""
        done = self.progress.epoch + 1
        return done % self.config.eval_every == 0 or done == self.config.epochs or self._at_max_steps

    @property
    def eval_model(self) -> nn.Module:
        """The model to evaluate and save, in eval mode: the averaged weights where EMA is on."""
        model = self.ema.module if self.ema is not None else self._bare_model
        return model.eval()

    def validate(self, metrics: Mapping[str, float], best: str, higher_is_better: bool = True) -> bool:
        """Log `metrics` (the same in every process); save best/ where metrics[best] improved; count patience."""
        self._check_finite()
        if best not in metrics:
            raise UserError(f"validation: no {best} to choose the epoch by (computed: {', '.join(metrics)})")
        progress, value = self.progress, float(metrics[best])
        rank = value if higher_is_better else -value
        before = None if progress.best is None else (progress.best if higher_is_better else -progress.best)
        improved = math.isfinite(value) and (before is None or rank > before)
        if improved:
            progress.best, progress.stale = value, 0
        else:
            progress.stale += 1
        if improved or progress.best is None:  # as long as no value is a number, the newest is as good as any
            progress.best_epoch = progress.epoch
            self._save_model("best")
        self._log({"kind": "validation", **{k: float(v) for k, v in metrics.items()}, "best": improved})
        mark = "  (best so far)" if improved else ""
        note(f"epoch {progress.epoch + 1}/{self.config.epochs}  {best} {value:.4f}{mark}")
        return improved

    # Saving and stopping

    def save(self) -> None:
        """Write a checkpoint of this step unless there is one; older ones go only after it stands."""
        self._check_finite()
        self.progress.seconds = time.monotonic() - self._session
        self.progress.journal = self.journal.length if self.is_main else 0
        root = self.out / "checkpoints"
        folder = checkpoint.step_folder(root, self.progress.step)
        exists = broadcast_object_list([folder.exists()])[0]
        if not exists:
            temporary = checkpoint.unfinished(folder, create=self.is_main)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(temporary))
            self.accelerator.wait_for_everyone()
            if self.is_main:
                checkpoint.put_in_place(temporary, folder)
                checkpoint.prune(root, self.config.keep)
        self._saved_at = time.monotonic()

    def _save_if_due(self) -> None:
        late = time.monotonic() - self._saved_at > 60 * self.config.save_minutes
        if self._any_process(late):
            self.save()
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self._any_process(self.signals.received != 0):
            self.save()
            note(f"stopped after step {self.progress.step}, saved; go on with --resume {self.out}")
            raise SystemExit(128 + (self.signals.received or 15))

    def _any_process(self, here: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return here
        return bool(self.accelerator.reduce(torch.tensor(float(here), device=self.accelerator.device)) > 0)

    def _agree_on_buffers(self) -> None:
        """Take rank 0's BatchNorm statistics, which every process has moved by its own batches, before evaluation."""
        if self.accelerator.num_processes > 1:
            averages = [] if self.ema is None else list(self.ema.module.buffers())
            for buffer in [*self._bare_model.buffers(), *averages]:
                buffer.copy_(broadcast(buffer))

    def _save_model(self, name: str) -> None:
        if self.is_main:
            checkpoint.write_whole(self.out / name, self.eval_model.save_pretrained)  # type: ignore[arg-type]
        self.accelerator.wait_for_everyone()

    # Small things

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return bool(self.accelerator.is_main_process)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; known once `steps` has seen the training set."""
        assert self._batches is not None, "total_steps is known after steps(train_set)"
        return math.ceil(self._batches.batches / self.config.accumulate) * self.config.epochs

    @property
    def _stopped_early(self) -> bool:
        return 0 < self.config.patience <= self.progress.stale

    @property
    def _at_end(self) -> bool:
        return self.progress.epoch >= self.config.epochs or self._at_max_steps or self._stopped_early

    @property
    def _at_max_steps(self) -> bool:
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    @property
    def _bare_model(self) -> nn.Module:
        bare: nn.Module = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return bare

    def _open(self, dataset: Dataset[Any]) -> tuple[DataLoader[Any], EpochBatches]:
        if self._loader is None or self._batches is None:
            config, accelerator = self.config, self.accelerator
            workers = min(config.workers, os.cpu_count() or 1)  # of more torch warns; the results are the same
            self._batches = EpochBatches(
                len(dataset),  # type: ignore[arg-type]
                config.batch_size,
                config.seed,
                accelerator.process_index,
                accelerator.num_processes,
            )
            self._loader = DataLoader(
                Seeded(dataset),
                batch_sampler=self._batches,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=getattr(dataset, "collate", None),
                pin_memory=accelerator.device.type == "cuda",
                generator=torch.Generator(),  # else opening an iterator draws from dropout's generator
            )
        return self._loader, self._batches

    def _log_training(self, lr: float) -> None:
        names = list(self._sums)
        means = torch.stack([self._sums[n] for n in names]) / self.config.log_every
        self._sums.clear()
        means = self.accelerator.reduce(means, reduction="mean")
        values = dict(zip(names, means.tolist(), strict=True))
        self._bar.advance(0, text=f"loss {values['loss']:.3f}")
        self._log({"kind": "training", "lr": lr, **values})

    def _log(self, record: dict[str, Any]) -> None:
        elapsed = time.monotonic() - self._session
        place = {"step": self.progress.step, "epoch": self.progress.epoch, "seconds": round(elapsed, 1)}
        if self.is_main:
            self.journal.write({**place, **record})
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
        if self.config.tracker != "none":
            self.accelerator.log(numbers, step=self.progress.step)
