"""CIDEr, BLEU and ROUGE-L against published values of coco-caption, and by hand."""

import json
from pathlib import Path

import pytest

from caption_det.evaluation.caption_metrics import bleu, cider, rouge_l, tokenize
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
