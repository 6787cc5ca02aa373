"""The settings that every training loop shares: the section `train` of an app's configuration."""

from typing import Literal

from pydantic import Field

from polyscale.settings import Needs, Settings


class TrainSettings(Settings):
    """How to train: length, optimizer, precision, checkpoints and logging."""

    epochs: int = Field(30, ge=1)
    """Passes over the training set, or multiples of steps_per_epoch."""
    steps_per_epoch: int | None = Field(None, ge=1)
    """Optimizer steps that make an epoch, to count a training in steps; none: one pass over the training set."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps, for a dry run."""
    batch_size: int = Field(8, ge=1)
    """Images per process and micro-batch."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches whose gradients are averaged into one optimizer step."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.05, ge=0)
    """Decoupled weight decay of matrices and kernels; norms and biases get none."""
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps over which the learning rate rises linearly."""
    min_lr: float = Field(0.01, ge=0, le=1)
    """Lowest learning rate as a share of the peak."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient; 0 switches clipping off."""
    ema: float = Field(0.998, ge=0, lt=1)
    """Decay of the moving average of the weights that is evaluated and saved; 0 switches it off."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; auto takes bf16 where the processor gains from it."""
    compile: bool = False
    """Compile the model with torch.compile (pays on a GPU; on a CPU measured to gain nothing)."""
    seed: int = Field(0, ge=0)
    """Seed of weights, order, augmentation and dropout."""
    deterministic: bool = False
    """Only deterministic kernels (bit-equal repeats on a GPU; a CPU is deterministic without it)."""
    workers: int = Field(0, ge=0)
    """Processes that load and augment images, at most one per core; 0 does it in the training process."""
    eval_every: int = Field(1, ge=1)
    """Epochs between two validations."""
    patience: int = Field(0, ge=0)
    """Stop after this many validations without a better result; 0 never stops early."""
    save_minutes: float = Field(5.0, gt=0)
    """Minutes between two checkpoints inside an epoch; one is also written after every epoch."""
    keep: int = Field(2, ge=1)
    """Newest checkpoints to keep."""
    log_every: int = Field(10, ge=1)
    """Optimizer steps between two lines of log.jsonl."""
    tracker: Literal["none", "tensorboard", "trackio", "wandb", "mlflow"] = "none"
    """Experiment tracker that gets the log as well; log.jsonl is always written."""


TRAIN_NEEDS = (
    Needs("with a falling train.schedule", lambda config: config.train.schedule != "constant", ("train.min_lr",)),
)
"""For the `needs` of a tree with the section train."""
