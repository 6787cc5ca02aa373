"""caption-det as a user meets it: what every application of polyscale promises, and what is its own."""

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caption_det.build import build_set, build_training_set
from caption_det.config import PRESETS, Config
from caption_det.data.synthetic import World
from caption_det.model import load
from polyscale.settings import resolve
from polyscale.testing.apps import AppContract, Trained
from polyscale.testing.command import call, one_line

SHAPE = (
    *("--model.backbone", "test_resnet", "--model.image_size", "64", "--model.width", "16", "--model.heads", "2"),
    *("--model.queries", "9", "--model.text_width", "16", "--model.text_layers", "1", "--model.max_tokens", "12"),
    *("--data.vocab_size", "280"),
)
SHORT = ("--train.batch_size", "4", "--train.epochs", "2", "--train.log_every", "1", "--train.ema", "0.5")
SMALL = (*SHAPE, *SHORT)


def write_world(folder: Path, counts: dict[str, int]) -> Path:
    """Write scenes as COCO's files: folders of PNG files next to captions_SPLIT.json and instances_SPLIT.json."""
    for split, count in counts.items():
        world = World(split, count, side=64)
        images, captions, boxes = [], [], []
        (folder / split).mkdir(parents=True)
        for i in range(count):
            image, record = world.read(i)
            Image.fromarray(image).save(folder / split / f"{record.name}.png")
            images.append({"id": i, "file_name": f"{record.name}.png", "width": 64, "height": 64})
            captions += [{"id": 10 * i + j, "image_id": i, "caption": c} for j, c in enumerate(record.captions)]
            for j, (box, label) in enumerate(zip(record.boxes, record.labels, strict=True)):
                x1, y1, x2, y2 = box.tolist()
                boxes.append({"id": 10 * i + j, "image_id": i, "category_id": 3 * int(label) + 1,
                              "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})  # fmt: skip
        categories = [{"id": 3 * i + 1, "name": name} for i, name in enumerate(world.categories)]
        for kind, notes in (("captions", captions), ("instances", boxes)):
            content = {"images": images, "annotations": notes, "categories": categories}
            (folder / f"{kind}_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


class TestCommands(AppContract):
    app = "caption-det"
    metric = "CIDEr"
    tiny = SMALL
    start = "--model.init"

    def make_data(self, folder: Path) -> Path:
        return write_world(folder, {"train": 12, "val": 4, "test": 6})

    def test_train_scores_captions_boxes_and_baselines(self, trained: Trained) -> None:
        metrics = json.loads((trained.out / "metrics.json").read_text(encoding="utf-8"))
        assert {"CIDEr", "BLEU4", "ROUGE_L", "CIDEr_shuffled", "distinct", "AP", "AP50"} <= metrics["model"].keys()
        grounding = {"whole image", "centred box", "largest box of model"}
        assert set(metrics["baselines"]) == {"most frequent", "nearest neighbour", *grounding}
        assert all(set(metrics["baselines"][name]) == {"images", "grounded"} for name in grounding)
        assert "largest box of model" in trained.result.stdout
        assert "captions are longer than 12 tokens: ends are cut" in trained.result.stderr
        assert metrics["baselines"]["most frequent"]["distinct"] == pytest.approx(1 / 6)
        assert metrics["baselines"]["nearest neighbour"]["CIDEr"] > 0
        with (trained.out / "images.csv").open(newline="", encoding="utf-8") as file:
            assert all("caption" in row for row in csv.DictReader(file))

    def test_predict_draws_boxes_and_gives_several_captions(self, trained: Trained, images: Path) -> None:
        result = self.predict(trained, images / "a.png", images / "b.png", "--out", "out", "--captions", "3")
        assert result.returncode == 0, result.stderr
        assert sorted(path.name for path in Path("out").iterdir()) == ["a_boxes.jpg", "b_boxes.jpg"]
        assert Image.open("out/a_boxes.jpg").size == Image.open(images / "a.png").size
        several = self.predict(trained, images / "a.png", "--captions", "3", "--json", "--threshold", "0.01")
        entry = json.loads(several.stdout)
        assert len(entry["captions"]) == 3
        assert entry["caption"] == entry["captions"][0]
        for found in entry["objects"]:
            assert set(found) == {"label", "score", "box"}
            assert found["label"] in World.categories
        one_line(self.predict(trained, images / "a.png", "--threshold", "1"), 2, "threshold")

    def test_options_that_nothing_would_read_are_refused(self, trained: Trained, images: Path) -> None:
        def refused(*words: str) -> str:
            result = self.predict(trained, images / "a.png", *words)
            one_line(result, 2, words[0])
            return result.stderr

        assert "a search for 2 captions needs 2 or more" in refused("--beams", "1", "--captions", "2")
        assert "not searched" in refused("--beams", "2", "--temperature", "1")
        assert "no words are drawn" in refused("--seed", "3")

    def test_a_hub_that_does_not_answer_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError("We couldn't connect\nto the hub")

        monkeypatch.setattr("caption_det.build.hub", nullcontext)
        monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
        few = ("--data.train_images", "8", "--data.eval_images", "2", "--model.text", "nowhere/gpt2")
        one_line(call(self.app, "train", *few), 1, "model.text nowhere/gpt2: cannot be loaded (We couldn't connect);")

    def test_words_are_drawn_by_the_seed(self, trained: Trained, images: Path) -> None:
        def drawn(seed: int) -> str:
            line = self.predict(trained, images / "a.png", "--temperature", "3", "--seed", seed, "--json").stdout
            return str(json.loads(line)["caption"])

        assert drawn(1) == drawn(1)
        assert len({drawn(seed) for seed in range(4)}) > 1

    def test_predictions_can_be_learnt(self, trained: Trained, data: Path, tmp_path: Path) -> None:
        lines = self.predict(trained, data / "train", "--json", "--threshold", "0.01").stdout
        (tmp_path / "own.jsonl").write_text(lines, encoding="utf-8")
        described = json.loads(call(self.app, "data", tmp_path / "own.jsonl", "--images", data, "--json").stdout)
        assert sum(row["images"] for row in described["splits"]) == 12

    def test_other_categories_are_refused_and_can_be_learnt(self, trained: Trained, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        rows = []
        for i in range(10):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
            rows.append({"file": f"{i}.png", "objects": [{"label": "cell", "box": [8, 8, 40, 50]}]})
        (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        one_line(call(self.app, "eval", trained.out, "--data", tmp_path / "own.jsonl"), 1, "cell", "--model.init")
        again = call(
            self.app, "train", "--data.path", tmp_path / "own.jsonl", "--model.init", trained.out,
            "--model.captioner", "none", "--train.epochs", "1", "--train.batch_size", "4", "--out", tmp_path / "own",
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        assert "AP" in again.stdout

    def test_a_model_that_is_trained_on_keeps_its_size_and_length(self, trained: Trained) -> None:
        config = resolve(Config, presets=PRESETS, default_preset="nano", overrides={"model.init": str(trained.out)})
        base = build_set(config, "val")
        assert (config.model.image_size, base[0]["image"].shape) == (128, (3, 64, 64))
        learnt = build_training_set(config, base, load(trained.out))
        assert (config.model.max_tokens, learnt.max_tokens) == (32, 12)

    def test_info_counts(self) -> None:
        rows = json.loads(call(self.app, "info", *SMALL[:10], "--json").stdout)
        assert [row["part"] for row in rows] == ["tower", "pyramid", "memory", "boxes", "words", "all"]
        assert sum(row["parameters_M"] for row in rows[:-1]) <= rows[-1]["parameters_M"]
        assert rows[-1]["multiply_adds_G"] > 0

    def test_parts_that_do_not_fit_are_one_line(self) -> None:
        both = ("--model.captioner", "none", "--model.detector", "none")
        one_line(call(self.app, "train", *both), 2, "model.captioner")
        one_line(call(self.app, "train", "--model.heads", "7"), 2, "model.heads", "width")


def test_the_head_of_the_words_can_be_added_and_left_out(tmp_path: Path) -> None:
    few = ("--train.max_steps", "1", "--data.train_images", "8", "--data.eval_images", "2")

    def train(out: str, *words: str) -> set[str]:
        run = call("caption-det", "train", *SHORT, *few, *words, "--out", tmp_path / out)
        assert run.returncode == 0, run.stderr
        return {name for name in load(tmp_path / out).state_dict() if name.startswith("words.")}

    assert not train("a", *SHAPE, "--loss.words", "0")
    assert train("b", "--loss.words", "1", "--model.init", str(tmp_path / "a")) == {"words.weight", "words.bias"}
    assert "words" in json.loads((tmp_path / "b/log.jsonl").read_text().splitlines()[0])
    assert not train("c", "--loss.words", "0", "--model.init", str(tmp_path / "b"))
