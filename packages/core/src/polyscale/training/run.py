"""One training run: what every Accelerate loop shares, so that an app's train.py shows only its story.

    run = Run(config.train, out, record=record(config))
    model, optimizer = run.prepare(model, param_groups(model, config.train.weight_decay))
    loader = run.loader(train_set)                       # shuffled, or order=Streams(lengths) for recurrent models
    for epoch in run.epochs():                           # resumes where it stopped
        for batch in run.steps(loader):                  # order and augmentation = f(seed, epoch); accumulation
            run.backward(objective(model(batch["image"]), batch))   # clip, step, lr = f(step), EMA, log
        if run.validation_due:
            run.validate(evaluate(run.eval_model, val_set, progress=run.check), best="wF")

What differs from the usual Accelerate loop: neither loader nor scheduler is prepared (a prepared loader resumes on
another permutation, a prepared scheduler steps once per process); checkpoints are safetensors and JSON that are
replaced atomically and verified; a killed and resumed run ends bit-equal to an uninterrupted one.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedDataParallelKwargs, send_to_device, set_seed
from torch import Tensor, nn
from torch.utils.data import Dataset

from polyscale.errors import UserError
from polyscale.terminal import note, progress
from polyscale.training.checkpoints import checkpoint
from polyscale.training.checkpoints.resume import read_state, write_state
from polyscale.training.checkpoints.snapshot import Frozen
from polyscale.training.folder import RunFolder, check_fit, describe_run
from polyscale.training.journal import Journal
from polyscale.training.launch import agree_on_buffers, create_accelerator, largest
from polyscale.training.loader import Loader, Order, Shuffled
from polyscale.training.meter import Meter
from polyscale.training.options import TrainSettings
from polyscale.training.state import Progress, Signals
from polyscale.training.update import NonFiniteLossError, Update


class Run:
    """A run in the folder `out`: config.yaml, log.jsonl, checkpoints/step-N, best/ and last/ (saved models).

    Build the model after the Run, which seeds the random numbers.

    Args:
        config: The section `train` of the settings.
        out: Folder of the run; None makes a new runs/DATE-TIME. Its final name is the attribute `out` after `prepare`.
        resume: Go on from the newest sound checkpoint in `out`; without it a folder that holds a run is refused.
        record: Text of config.yaml (`settings.record`).

    Raises:
        UserError: The folder, a checkpoint, a setting or the number of processes does not fit.
    """

    memory: dict[str, Any]
    """State that goes on from batch to batch (a recurrent network's), set by the app: a dict of tensors, also nested
    in dicts, lists and tuples. Every process has its own; a checkpoint keeps it."""

    def __init__(
        self, config: TrainSettings, out: Path | None = None, *, resume: bool = False, record: str = ""
    ) -> None:
        self.config = config
        self.accelerator = create_accelerator(config)
        self.folder = RunFolder(out, self.accelerator)
        self.progress, self.meter, self.signals = Progress(), Meter(), Signals()
        self.memory = {}
        self.loaders: list[Loader] = []
        self.about = describe_run(config, record, self.accelerator)
        self._resume, self._record = resume, record
        self._checkpoint, self._state = self.folder.open(resume)
        if self._checkpoint:
            check_fit(self._state, self.about, self.out)
            self.progress = Progress(**self._state["progress"])
        self._stepping = False
        set_seed(config.seed, deterministic=config.deterministic)

    # Building

    def prepare(
        self, model: nn.Module, param_groups: list[dict[str, Any]], *, unused_parameters: bool = False
    ) -> tuple[nn.Module, Any]:
        """Put model and optimizer on this process's device, wrapped for DDP where there are several, and resume them.

        Args:
            model: Has `save_pretrained(folder)`.
            param_groups: What `param_groups` returns.
            unused_parameters: Some steps leave parameters without a gradient, which DDP must know.

        Returns:
            The model to train, which is to be called once per micro-batch, and the optimizer.
        """
        config, accelerator = self.config, self.accelerator
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused_parameters)
        self.update = Update(accelerator, config, model, param_groups)
        self.frozen = Frozen(self.update.bare_model)
        set_seed(config.seed + accelerator.process_index)  # dropout differs between processes
        if self._checkpoint:
            read_state(self, self._checkpoint, self._state)
        self.folder.make(self._resume, self._record)
        if self.is_main:
            self.journal = Journal(self.out / "log.jsonl", self.progress.journal)
        if config.tracker != "none":
            accelerator.project_configuration.set_directories(str(self.out))
            accelerator.init_trackers("polyscale", config=config.model_dump())
        return self.update.model, self.update.optimizer

    def loader(
        self,
        dataset: Dataset[Any],
        *,
        order: Order | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        batch_size: int | None = None,
    ) -> Loader:
        """Make the loader of a data set for `steps`; a pass of the first one is an epoch of the run.

        Args:
            dataset: Map-style; augments with torch's global generator.
            order: `Shuffled` by default; `Streams` follows recordings.
            collate: Joins a list of samples to a batch; torch's default_collate by default.
            batch_size: Samples per process and micro-batch, train.batch_size by default.

        Raises:
            UserError: The data set or batch size is not that of the resumed run.
        """
        number, accelerator = len(self.loaders), self.accelerator
        loader = Loader(
            dataset,
            order or Shuffled(len(dataset)),  # type: ignore[arg-type]
            collate,
            batch_size or self.config.batch_size,
            seed=(self.config.seed, number) if number else (self.config.seed,),
            place=(accelerator.process_index, accelerator.num_processes),
            workers=self.config.workers,
            pin_memory=accelerator.device.type == "cuda",
        )
        if self._checkpoint:
            loader.load_state_dict(dict(enumerate(self._state["loaders"])).get(number, {}), self.out)
        self.loaders.append(loader)
        return loader

    # The loop

    def epochs(self) -> Iterator[int]:
        """Yield epoch numbers from where the run stands; the checkpoint of an epoch is written after its steps."""
        self.signals.listen()
        self._session = time.monotonic() - self.progress.seconds
        self._saved_at = time.monotonic()
        if self._at_end:
            note(f"{self.out}: this run was trained to its end already")
        try:
            with progress("training") as self._bar:
                while not self._at_end:
                    yield self.progress.epoch
                    if not self._at_max_steps or self.progress.batch == self._epoch_batches:
                        self.progress.epoch += 1
                        self.progress.batch = 0
                    self._save_if_due(at_end=self._at_end)
            self._save_model("last")
        finally:
            self.signals.release()
            for loader in self.loaders:
                loader.close()
            if self.config.tracker != "none":
                self.accelerator.end_training()

    def steps(self, loader: Loader) -> Iterator[Any]:
        """Yield the current epoch's batches on the device, from where the run stands.

        Two data sets: `zip(run.steps(first), run.steps(second))`; both yield equally many batches, and each goes on
        in its own data where it stopped. After the last batch BatchNorm's statistics are those of rank 0, the losses
        are logged and a checkpoint is written.
        """
        total, group = self._epoch_batches, self.config.accumulate
        device, taken = self.accelerator.device, loader.take(total - self.progress.batch)
        batches = (send_to_device(batch, device, non_blocking=True) for batch in taken)
        if self._stepping:  # the second of a zip: the first one counts
            yield from batches
            return
        self._stepping = True
        self.update.model.train()
        self._bar.restart(f"epoch {self.progress.epoch + 1}/{self.config.epochs}", total=total)
        self._bar.advance(self.progress.batch)
        try:
            for batch in batches:
                done = self.progress.batch + 1
                self._sync = done % group == 0 or done == total
                self._group = min(group, total - self.progress.batch // group * group)
                with contextlib.nullcontext() if self._sync else self.accelerator.no_sync(self.update.model):
                    yield batch
                self.progress.batch = done
                self._bar.advance()
                if self._sync and done < total:
                    self._save_if_due()
                    if self._at_max_steps:
                        break
        finally:
            self._stepping = False
        agree_on_buffers(self.accelerator, self.update)
        self._log_training()
        self.save()  # before the validation, which a signal or a kill may interrupt at any point

    def backward(self, losses: Mapping[str, Tensor], *, count: Tensor | float | None = None) -> None:
        """Add the gradient of losses["loss"]; at the end of an accumulation group do the optimizer step and log.

        Args:
            losses: Scalars; all are logged, each as the mean over what was seen of it.
            count: How many items (boxes, tokens, labelled frames) the loss is the mean of, 0 or more. The gradient is
                then the mean over the items of the whole step, of all its micro-batches and processes. None counts
                every micro-batch alike. Give it always or never.

        Raises:
            NonFiniteLossError: The loss is not finite; at the latest one step late.
        """
        if count is not None:
            count = torch.as_tensor(count, dtype=torch.float32, device=self.accelerator.device)
        self.update.add(losses["loss"], count, self._group)
        self.meter.add(losses, 1.0 if count is None else count)
        if self._sync:
            self._check_finite()
            self.update.step(self.progress.step, self.total_steps)
            self.progress.step += 1
            if self.progress.step % self.config.log_every == 0:
                self._log_training()

    def _check_finite(self) -> None:
        if not self.update.is_finite():
            kept = checkpoint.newest(self.folder.checkpoints)
            advice = f"the last good checkpoint is {kept}" if kept else "no checkpoint had been written yet"
            raise NonFiniteLossError(
                f"loss or gradient is not finite at step {self.progress.step} (epoch {self.progress.epoch}); {advice}; "
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
        ema = self.update.ema
        return (self.update.bare_model if ema is None else ema.module).eval()

    def check(self, *_: object) -> None:
        """Leave here if SIGTERM or SIGINT arrived: evaluation calls it between batches, as its `progress`.

        Nothing is lost: the checkpoint of this step was written before the validation, which is done again on resume.
        """
        if self.signals.received:
            note(f"stopped in the validation after step {self.progress.step}; go on with --resume {self.out}")
            raise SystemExit(128 + self.signals.received)

    def validate(self, metrics: Mapping[str, float], best: str, higher_is_better: bool = True) -> bool:
        """Log `metrics` (the same in every process); save best/ where metrics[best] improved; count patience.

        Returns:
            Whether it improved.
        """
        self._check_finite()
        if best not in metrics:
            raise UserError(f"validation: no {best} to choose the epoch by (computed: {', '.join(metrics)})")
        value = float(metrics[best])
        improved = self.progress.update_best(value, higher_is_better)
        if improved or self.progress.best is None:  # until the first finite result the latest epoch is kept
            self._save_model("best")
        self._log({"kind": "validation", **{k: float(v) for k, v in metrics.items()}, "best": improved})
        mark = "  (best so far)" if improved else ""
        note(f"epoch {self.progress.epoch + 1}/{self.config.epochs}  {best} {value:.4f}{mark}")
        return improved

    # Saving and stopping

    def save(self) -> None:
        """Write a checkpoint of this step.

        Raises:
            UserError: It cannot be written; the line says which one was kept.
        """
        self._check_finite()
        self.progress.seconds = time.monotonic() - self._session
        self.progress.journal = self.journal.length if self.is_main else 0
        self.folder.save(self.progress.step, lambda folder: write_state(self, folder), self.config.keep)
        self._saved_at = time.monotonic()

    def _save_if_due(self, at_end: bool = False) -> None:
        """Save if the last time is long ago or the run is to stop, and stop it then; all processes do the same."""
        late = time.monotonic() - self._saved_at > 60 * self.config.save_minutes
        due = largest(self.accelerator, 2.0 if self.signals.received else float(late or at_end))
        if due:
            self.save()
        if due == 2:
            note(f"stopped after step {self.progress.step}, saved; go on with --resume {self.out}")
            raise SystemExit(128 + (self.signals.received or 15))

    def _save_model(self, name: str) -> None:
        self.folder.save_model(name, self.eval_model.save_pretrained)  # type: ignore[arg-type]

    # Small things

    @property
    def out(self) -> Path:
        """The folder of the run."""
        return self.folder.path

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return bool(self.accelerator.is_main_process)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run; known once there is a loader, or where train.steps_per_epoch is set."""
        return math.ceil(self._epoch_batches / self.config.accumulate) * self.config.epochs

    @property
    def _epoch_batches(self) -> int:
        """Micro-batches of an epoch: train.steps_per_epoch, or one pass of the first loader."""
        if self.config.steps_per_epoch is not None:
            return self.config.steps_per_epoch * self.config.accumulate
        if not self.loaders:
            raise RuntimeError("the length of an epoch is known after run.loader(dataset)")
        return self.loaders[0].batches

    @property
    def _at_end(self) -> bool:
        stopped_early = 0 < self.config.patience <= self.progress.stale
        return self.progress.epoch >= self.config.epochs or self._at_max_steps or stopped_early

    @property
    def _at_max_steps(self) -> bool:
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    def _log_training(self) -> None:
        """Log the mean losses since the last time, if there are any."""
        means = self.meter.mean()
        if means:
            self._bar.advance(0, text=f"loss {means['loss']:.3f}")
            self._log({"kind": "training", "lr": self.update.lr, **means})

    def _log(self, record: dict[str, Any]) -> None:
        elapsed = time.monotonic() - self._session
        place = {"step": self.progress.step, "epoch": self.progress.epoch, "seconds": round(elapsed, 1)}
        if self.is_main:
            try:
                self.journal.write({**place, **record})
            except OSError as error:
                raise self.folder.explain(error) from error
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
        if self.config.tracker != "none":
            self.accelerator.log(numbers, step=self.progress.step)
