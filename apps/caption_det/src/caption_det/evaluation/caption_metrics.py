"""BLEU, ROUGE-L and CIDEr-D of captions without Java: the formulas of coco-caption (pycocoevalcap 1.2), its tokens too.

coco-caption cuts words with Stanford's PTBTokenizer in Java, where most published numbers come from; `tokenize` comes
so close that CIDEr on Flickr8k's test set is within .05 of it, which a test checks. All metrics are in per cent.

    N images, each with one caption and R references
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = list[str]
Ngrams = Counter[tuple[str, ...]]

ORDER = 4
SIGMA = 6.0  # of CIDEr-D's penalty for another length
BETA = 1.2  # weight of recall in ROUGE-L

_DROPPED = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"', "(", ")", "[", "]", "{", "}"}
_CLITICS = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))(?![\w])")
_JOINED = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b|\b(lem|gim)(me)\b")
_TOKEN = re.compile(
    r"n't|'(?:s|re|ve|ll|d|m)\b|(?:[a-z]\.){2,}|\d+(?:[.,:]\d+)+|[^\W_]+(?:[-'_][^\W_]+)*|\.\.\.|--+|[^\w\s]|_+"
)


def tokenize(text: str) -> Words:
    """Cut a caption into lower-case words as the Penn Treebank does, without punctuation."""
    text = text.lower().replace("\u2019", "'")
    text = _JOINED.sub(lambda m: " ".join(part for part in m.groups() if part), text)
    text = _CLITICS.sub(r" \1", text)
    return [token for token in _TOKEN.findall(text) if token not in _DROPPED]


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]], order: int = ORDER) -> list[float]:
    """BLEU-1 to BLEU-`order` of the whole set, with the closest reference's length."""
    right, guessed = np.zeros(order), np.zeros(order)
    length = wanted = 0
    for words, known in zip(captions, references, strict=True):
        length += len(words)
        wanted += min((abs(len(r) - len(words)), len(r)) for r in known)[1]
        for n in range(order):
            found = ngrams(words, n + 1)
            most: Ngrams = Counter()
            for reference in known:
                most |= ngrams(reference, n + 1)
            right[n] += sum((found & most).values())
            guessed[n] += max(len(words) - n, 0)
    if length == 0:
        return [0.0] * order
    penalty = math.exp(min(0.0, 1 - wanted / length))
    precision = (right + 1e-15) / (guessed + 1e-9)
    return [100 * penalty * float(np.prod(precision[: n + 1]) ** (1 / (n + 1))) for n in range(order)]


def rouge_l(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """ROUGE-L of each image: float64 [N]; best precision and best recall over the references."""
    return np.array([_rouge_l(words, known) for words, known in zip(captions, references, strict=True)])


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """CIDEr-D of each image: float64 [N]. Rare n-grams weigh more, as the references of these N images say.

    A subset of the images therefore has another CIDEr than the mean of its images here.
    """
    counted = [[_all_ngrams(reference) for reference in known] for known in references]
    images_with: Counter[tuple[str, ...]] = Counter()
    for known in counted:
        images_with.update({gram for reference in known for gram in reference})
    log_images = math.log(max(len(captions), 1))
    scores = np.zeros(len(captions))
    for i, (words, known) in enumerate(zip(captions, counted, strict=True)):
        own = _Weighted(_all_ngrams(words), images_with, log_images)
        if known:
            scores[i] = 10 * np.mean([own.similarity(_Weighted(r, images_with, log_images)) for r in known])
    return 100 * scores


def ngrams(words: Words, n: int) -> Ngrams:
    """The n-grams of one length with their counts."""
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def _all_ngrams(words: Words) -> Ngrams:
    return Counter(gram for n in range(ORDER) for gram in ngrams(words, n + 1).elements())


class _Weighted:
    """The tf-idf vectors of a caption, one for each length of n-grams, with their norms."""

    def __init__(self, grams: Ngrams, images_with: Counter[tuple[str, ...]], log_images: float) -> None:
        self.weights = [dict[tuple[str, ...], float]() for _ in range(ORDER)]
        for gram, count in grams.items():
            self.weights[len(gram) - 1][gram] = count * (log_images - math.log(max(1, images_with[gram])))
        self.norms = [math.sqrt(sum(w * w for w in part.values())) for part in self.weights]
        self.length = sum(count for gram, count in grams.items() if len(gram) == 2)  # as coco-caption counts

    def similarity(self, reference: "_Weighted") -> float:
        """Mean over the lengths of the clipped cosine, less for another length."""
        total = 0.0
        for own, theirs, a, b in zip(self.weights, reference.weights, self.norms, reference.norms, strict=True):
            shared = sum(min(w, theirs[gram]) * theirs[gram] for gram, w in own.items() if gram in theirs)
            total += shared / (a * b) if a and b else 0.0
        return total / ORDER * math.exp(-((self.length - reference.length) ** 2) / (2 * SIGMA**2))


def _rouge_l(words: Words, references: Sequence[Words]) -> float:
    common = [(_common_length(words, reference), len(reference)) for reference in references]
    precision = max((c / len(words) for c, _ in common), default=0.0) if words else 0.0
    recall = max((c / n for c, n in common if n), default=0.0)
    if not precision or not recall:
        return 0.0
    return 100 * (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            before, row[j] = row[j], (before + 1 if word == other else max(row[j], row[j - 1]))
    return row[-1]
