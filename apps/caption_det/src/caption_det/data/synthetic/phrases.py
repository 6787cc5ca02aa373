"""Captions of the embedded world, and what a caption says: the grammar in both directions.

`captions_of` writes five true captions of a scene; `read_caption` reads any caption made of these words, so that each
statement of a model can be checked against the scene.
"""

import re
from dataclasses import dataclass

from caption_det.data.synthetic.scenes import COLOURS, GROUNDS, Group, Relation, Scene
from caption_det.data.synthetic.shapes import SHAPES

NUMBERS = {2: "two", 3: "three", 4: "four"}
PLURALS = {shape: {"cross": "crosses"}.get(shape, f"{shape}s") for shape in SHAPES}
OPPOSITE: dict[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
WORDING: dict[Relation, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
_NOUNS = {**{shape: shape for shape in SHAPES}, **{plural: shape for shape, plural in PLURALS.items()}}
_COUNTS = {"a": 1, "an": 1, "one": 1, **{word: number for number, word in NUMBERS.items()}}
_MENTION = re.compile(
    rf"\b({'|'.join(_COUNTS)}) (?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join(sorted(_NOUNS, key=len)[::-1])})\b"
)
_BETWEEN = {"to the left of": "left of", "to the right of": "right of", "above": "above", "below": "below"}
_GROUND = re.compile(rf"\b({'|'.join(GROUNDS)}) background\b")


@dataclass(frozen=True)
class Statements:
    """What a caption says.

    Attributes:
        mentions: (count, size or None, colour, shape), in order.
        relation: between the first mention and the second, None where none is stated.
        ground: the background it names, or None.
    """

    mentions: tuple[tuple[int, str | None, str, str], ...]
    relation: str | None
    ground: str | None


def captions_of(scene: Scene) -> list[str]:
    """Five true captions of a scene, different in words."""
    ground = f"on a {scene.ground} background"
    a = _phrase(scene.groups[0])
    short = _phrase(scene.groups[0], sized=False)
    if len(scene.groups) == 1:
        verb = "is" if scene.groups[0].count == 1 else "are"
        return [a, f"{a} {ground}", f"there {verb} {a}", f"an image of {short}", f"{short} {ground}"]
    b, other = _phrase(scene.groups[1]), _phrase(scene.groups[1], sized=False)
    if scene.relation is None:
        return [f"{a} and {b}", f"{b} and {a}", f"there are {a} and {b}", f"{a} and {b} {ground}",
                f"an image of {short} and {other}"]  # fmt: skip
    there, back = WORDING[scene.relation], WORDING[OPPOSITE[scene.relation]]
    return [
        f"{a} {there} {b}",
        f"{b} {back} {a}",
        f"{a} is {there} {b}",
        f"{short} and {other} {ground}",
        f"there is {a} {there} {b}",
    ]


def read_caption(caption: str) -> Statements:
    """Return what a caption says, in the words of `captions_of`; other words say nothing."""
    text = " ".join(caption.lower().replace(".", " ").split())
    found = list(_MENTION.finditer(text))
    mentions = tuple((_COUNTS[m[1]], m[2], m[3], _NOUNS[m[4]]) for m in found)
    relation = None
    if len(found) > 1:
        between = text[found[0].end() : found[1].start()]
        relation = next((meaning for words, meaning in _BETWEEN.items() if words in between), None)
    ground = _GROUND.search(text)
    return Statements(mentions, relation, ground[1] if ground else None)


def is_true(statements: Statements, scene: Scene) -> bool:
    """Whether every statement holds and every group of the scene is mentioned, once."""
    left = list(scene.groups)
    order = []
    for count, size, colour, shape in statements.mentions:
        match = next(
            (g for g in left if (g.count, g.colour, g.shape) == (count, colour, shape) and size in (None, g.size)), None
        )
        if match is None:
            return False
        left.remove(match)
        order.append(match)
    if left or (statements.ground is not None and statements.ground != scene.ground):
        return False
    if statements.relation is None:
        return True
    actual = scene.relation
    if actual is None:
        return False
    return statements.relation == (actual if order[0] is scene.groups[0] else OPPOSITE[actual])


def _phrase(group: Group, sized: bool = True) -> str:
    words = f"{group.size} {group.colour}" if sized else group.colour
    if group.count > 1:
        return f"{NUMBERS[group.count]} {words} {PLURALS[group.shape]}"
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article} {words} {group.shape}"
