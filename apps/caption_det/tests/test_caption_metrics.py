"""CIDEr, BLEU and ROUGE-L against published values of coco-caption, and by hand; boxes by class."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_det.data.records import Record
from caption_det.evaluation.baselines import centred_box, largest_box, whole_image
from caption_det.evaluation.box_metrics import BY_CLASS, Boxes, average_precision
from caption_det.evaluation.caption_metrics import bleu, cider, rouge_l, tokenize
from caption_det.evaluation.evaluate import Answer, score_grounding
from caption_det.evaluation.grounding import grounded
from caption_det.evaluation.mentions import hallucinated

FLICKR8K = Path(__file__).parents[4] / "shared/data/caption/flickr8k/captions_test.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's dog doesn't run, it sleeps.", "a man 's dog does n't run it sleeps"),
        ('Two "T-shirts" (red) cost 3.50 -- cannot buy!', "two t-shirts red cost 3.50 can not buy"),
        ("  ", ""),
    ],
)
def test_words_are_cut_as_the_treebank_does(text: str, words: str) -> None:
    assert tokenize(text) == words.split()


def test_a_perfect_caption_gets_everything_and_another_nothing() -> None:
    references = [[["a", "red", "ball", "rolls"]], [["two", "cats", "sleep", "here"]]]
    captions = [known[0] for known in references]
    assert cider(captions, references) == pytest.approx([1000, 1000])
    assert rouge_l(captions, references) == pytest.approx([100, 100])
    assert bleu(captions, references) == pytest.approx([100] * 4, rel=1e-6)
    assert cider(captions[::-1], references) == pytest.approx([0, 0])
    assert rouge_l(captions[::-1], references) == pytest.approx([0, 0])
    assert bleu(captions[::-1], references)[0] == pytest.approx(0, abs=1e-3)


def test_rouge_is_the_longest_common_subsequence() -> None:
    # 2 of 3 words in order, 2 of 4 of the reference: P 2/3, R 1/2, beta 1.2
    value = rouge_l([["the", "dog", "runs"]], [[["the", "big", "dog", "sits"]]])[0]
    assert value == pytest.approx(100 * 2.44 * (2 / 3) * 0.5 / (0.5 + 1.44 * 2 / 3))


def test_no_words_get_nothing() -> None:
    assert cider([[]], [[["a"]]])[0] == rouge_l([[]], [[["a"]]])[0] == bleu([[]], [[["a"]]])[3] == 0


@pytest.mark.skipif(not FLICKR8K.exists(), reason="Flickr8k's captions are not here")
def test_the_first_caption_against_the_others_gets_the_official_numbers() -> None:
    """Java's tokenizer and pycocoevalcap 1.2 give B1 55.308, B4 16.556, ROUGE-L 46.964, CIDEr 66.350."""
    captions: dict[int, list[list[str]]] = {}
    for note in json.loads(FLICKR8K.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(note["image_id"], []).append(tokenize(note["caption"]))
    first, others = [c[0] for c in captions.values()], [c[1:] for c in captions.values()]
    assert len(first) == 1000
    scores = bleu(first, others)
    assert scores[0] == pytest.approx(55.308, abs=0.03)
    assert scores[3] == pytest.approx(16.556, abs=0.03)
    assert rouge_l(first, others).mean() == pytest.approx(46.964, abs=0.03)
    assert cider(first, others).mean() == pytest.approx(66.350, abs=0.05)


def test_hallucinations_are_mentions_without_an_object() -> None:
    categories = ["dog", "hot dog", "person"]
    captions = [tokenize("A man eats a hot dog."), tokenize("two dogs"), tokenize("the sky")]
    assert hallucinated(captions, [{2}, {0}, set()], categories) == pytest.approx(1 / 3)
    assert hallucinated(captions[2:], [{0}], categories) != hallucinated(captions[2:], [{0}], categories)  # NaN


@dataclass
class Two:
    """Two images of 100 x 50 pixels, with a dog and a cat."""

    categories = ("dog", "cat")
    names = ("a", "b")
    boxes = (np.array([[0, 0, 100, 50.0]]), np.array([[40, 20, 60, 30.0]]))

    def __len__(self) -> int:
        return 2

    def record(self, i: int) -> Record:
        return Record("", ("a dog",) if i == 0 else ("the cat", "a cat"), self.boxes[i], np.array([i]))

    def image_size(self, _: int) -> tuple[int, int]:
        return 50, 100


def test_the_baselines_of_phrases() -> None:
    two: Any = Two()

    def score(answers: list[Answer]) -> float:
        return score_grounding(answers, two).summary["grounded"]

    assert score([whole_image(2)] * 2) == pytest.approx(1 / 3)  # one phrase of three is of the image-filling dog
    middle = centred_box(two)
    np.testing.assert_allclose(middle.boxes, [[0.2, 0.2, 0.8, 0.8]] * 2)  # the mean of 1 x 1 and .2 x .2
    assert score([middle] * 2) == 0
    boxes = np.array([[0.4, 0.4, 0.6, 0.6], [0, 0, 0.1, 0.1], [0, 0, 1, 1]])
    found = Answer("a dog", boxes, np.array([0.5, 0.6, 0.1]), np.array([0, 0, 0]))
    largest = largest_box(found, 2)
    np.testing.assert_allclose(largest.boxes, [boxes[0]] * 2)  # the whole image is not shown: its score is too low
    assert score([largest] * 2) == pytest.approx(2 / 3)
    assert score([largest_box(Answer("", boxes[:0], boxes[:0, 0], np.zeros(0, int)), 2)] * 2) == 0


def test_a_phrase_is_grounded_by_the_best_box_of_its_class() -> None:
    truth = [Boxes(np.array([[0, 0, 10, 10], [50, 50, 90, 90.0]]), np.array([0, 1]))]
    good, far = [0, 0, 10, 8.0], [30, 30, 40, 40.0]
    captions = [[tokenize("A dog and a cat."), tokenize("the dog"), tokenize("a bird")]]  # no bird has a box

    def score(boxes: list[list[float]], labels: list[int], scores: list[float]) -> float:
        found = [Boxes(np.array(boxes).reshape(-1, 4), np.array(labels), np.array(scores))]
        return grounded(found, truth, captions, ["dog", "cat", "bird"])

    assert score([good, far], [0, 0], [0.9, 0.8]) == pytest.approx(2 / 3)  # two of the three phrases name the dog
    assert score([good, far], [0, 0], [0.8, 0.9]) == 0
    assert score([good, [52, 50, 90, 90.0]], [0, 1], [0.8, 0.1]) == 1
    assert score([good], [1], [0.8]) == score([], [], []) == 0
    assert np.isnan(grounded(truth, truth, [[tokenize("the sky")]], ["dog", "cat", "bird"]))


def test_average_precision_of_all_classes_is_the_mean_of_each() -> None:
    boxes = np.array([[0, 0, 20, 20], [40, 40, 60, 90], [5, 50, 30, 80]], np.float64)
    labels = np.array([0, 1, 1])
    truth = [Boxes(boxes, labels)] * 2
    right = Boxes(boxes, labels, np.array([0.9, 0.8, 0.7]))
    shifted = Boxes(boxes + np.array([[0], [3], [0]]) * [1, 0, 1, 0], labels, np.array([0.9, 0.8, 0.7]))
    overall, each = average_precision([right, shifted], truth, 3, [(100, 100)] * 2)
    assert each[0] == dict.fromkeys(BY_CLASS, pytest.approx(1))
    assert 0.5 < each[1]["AP"] < each[1]["AP50"] == pytest.approx(1)
    assert math.isnan(each[2]["AP"])
    for name in BY_CLASS:
        assert overall[name] == pytest.approx((each[0][name] + each[1][name]) / 2)
    region = [Boxes(boxes, np.array([0, 1, 2]), crowd=np.array([False, False, True]))] * 2
    assert math.isnan(average_precision([right] * 2, region, 3, [(100, 100)] * 2)[1][2]["AP"])
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    assert math.isnan(average_precision([nothing] * 2, region, 3, [(100, 100)] * 2)[1][2]["AP"])
    overall, each = average_precision([nothing] * 2, truth, 3, [(100, 100)] * 2)
    assert (overall["AP"], each[1]["AP50"]) == (0, 0)
    assert math.isnan(each[2]["AP"])
