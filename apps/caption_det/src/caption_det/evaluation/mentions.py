"""Which categories a caption mentions, and how many of them are not in the image: hallucination after CHAIR.

CHAIR (Rohrbach et al. 2018) has lists of synonyms for COCO's categories; here a category is mentioned by its name, the
plural, and the synonyms below for people, vehicles and animals.
"""

from collections.abc import Sequence

from caption_det.evaluation.caption_metrics import Words

SYNONYMS = {
    "person": "man men woman women boy boys girl girls child children kid kids people player players lady guy baby",
    "people": "man men woman women boy boys girl girls child children kid kids person player players lady guy baby",
    "bicycle": "bike bikes",
    "motorcycle": "motorbike motorbikes",
    "airplane": "plane planes aeroplane jet",
    "tv": "television monitor",
    "couch": "sofa sofas",
    "cell phone": "phone phones cellphone",
    "animals": "dog dogs cat cats horse horses bird birds cow cows sheep animal puppy",
    "vehicles": "car cars bike bikes bicycle bicycles truck boat motorcycle bus vehicle train",
}


class MentionFinder:
    """Finds the categories that captions mention."""

    def __init__(self, categories: Sequence[str]) -> None:
        self._phrases: dict[tuple[str, ...], int] = {}
        for number, name in enumerate(categories):
            words = tuple(name.lower().split())
            plural = (*words[:-1], words[-1] + ("es" if words[-1].endswith(("s", "sh", "ch", "x")) else "s"))
            for phrase in (words, plural, *((word,) for word in SYNONYMS.get(name.lower(), "").split())):
                self._phrases.setdefault(phrase, number)
        self._longest = max(map(len, self._phrases), default=1)

    def find(self, words: Words) -> set[int]:
        """Return the numbers of the categories that a caption mentions."""
        found: set[int] = set()
        place = 0
        while place < len(words):
            for length in range(self._longest, 0, -1):  # "hot dog" is no dog
                number = self._phrases.get(tuple(words[place : place + length]))
                if number is not None:
                    found.add(number)
                    place += length - 1
                    break
            place += 1
        return found


def hallucinated(captions: Sequence[Words], present: Sequence[set[int]], categories: Sequence[str]) -> float:
    """Share of the mentioned categories that the image does not have, in [0, 1]; NaN where none is mentioned."""
    finder = MentionFinder(categories)
    mentioned = absent = 0
    for words, there in zip(captions, present, strict=True):
        found = finder.find(words)
        mentioned, absent = mentioned + len(found), absent + len(found - there)
    return absent / mentioned if mentioned else float("nan")
