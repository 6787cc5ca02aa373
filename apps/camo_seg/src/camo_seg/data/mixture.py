"""Several data sets as one: a YAML file names them and says how often training draws from each.

    birds:  {path: photos/birds, share: 0.5}
    mammals: {path: photos/all, share: 0.3, only: {kind: [cat, fox]}}
    scenes: {path: synthetic, share: 0.2, splits: [train]}

Paths are relative to the file. Samples are called after their set ("birds/img_1").
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from camo_seg.config import SET_FILES, MixtureMember
from camo_seg.data.dataset import Sample, Source
from camo_seg.data.formats.pairs import PairSource
from polyscale.data.listing import FolderPath
from polyscale.errors import UserError
from polyscale.settings import read_yaml, resolve
from polyscale.training.loader import Key, sample_seed


def is_mixture(path: FolderPath) -> bool:
    """Return whether a data set is named by a YAML file."""
    return Path(path).suffix.lower() in SET_FILES


def read_mixture(file: FolderPath) -> dict[str, MixtureMember]:
    """Read the sets that a YAML file names, with their paths made absolute.

    Raises:
        UserError: The file cannot be read, or a key or value in it is wrong; file, set and key are named.
    """
    file = Path(file).expanduser()
    members = {}
    for name, given in read_yaml(file).items():
        if not isinstance(name, str) or not isinstance(given, dict) or "/" in name:
            raise UserError(f"{file}: {name}: should be a name without / and a section with the key path", exit_code=2)
        try:
            member = resolve(MixtureMember, overrides=given)
        except UserError as error:
            raise UserError(f"{file}: {name}: {error}", exit_code=2) from error
        if member.path != "synthetic":
            member = member.model_copy(update={"path": str(file.parent.absolute() / Path(member.path).expanduser())})
        members[name] = member
    if not members:
        raise UserError(f"{file}: names no data set; each line is NAME: {{path: FOLDER, share: 0.5}}", exit_code=2)
    shared = [name for name, member in members.items() if "train" in member.splits and member.share is None]
    if shared and any(member.share is not None for member in members.values()):
        raise UserError(
            f"{file}: {shared[0]}: share is missing; give one to every training set or to none", exit_code=2
        )
    return members


class JoinedSource:
    """The samples of several sources, one source after another; names start with the name of their set."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.names = [f"{part}/{name}" for part, source in sources.items() for name in source.names]
        self._files = [source for source in sources.values() if isinstance(source, PairSource)]
        self._places = [(source, index) for source in sources.values() for index in range(len(source.names))]

    def check_masks(self) -> None:
        """Read every mask that is a file. Raises UserError naming the first that is none."""
        for source in self._files:
            source.check_masks()

    def read(self, index: int) -> Sample:
        """Read sample `index` at its original size."""
        source, place = self._places[index]
        return source.read(place)


class Shares:
    """An order in which every set gives its share of an epoch, whatever its size.

    An epoch has as many samples as all sets together. A set that gives more than it has is repeated, every time in
    another order; of one that gives less, another random part is taken each epoch.

    Args:
        counts: Samples of each set, one set after another.
        shares: How much of an epoch each set gives, relative to the others.
    """

    def __init__(self, counts: Sequence[int], shares: Sequence[float]) -> None:
        self.counts, self.shares = list(counts), np.asarray(shares, float) / sum(shares)
        self.count = sum(counts)

    def batches(self, batch_size: int, world: int) -> int:
        """Return the number of batches of one epoch."""
        return max(self.count // (batch_size * world), 1)

    def epoch(self, seed: Sequence[int], batch_size: int, rank: int, world: int) -> Iterator[list[Key]]:
        """Yield the batches of process `rank`."""
        generator = np.random.default_rng(list(seed))
        batches = self.batches(batch_size, world)
        total = batches * batch_size * world
        ends = np.rint(np.cumsum(self.shares) * total).astype(int)
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        drawn = []
        for start, count, wanted in zip(starts, self.counts, np.diff(ends, prepend=0), strict=True):
            rounds = [generator.permutation(count) for _ in range(-(-wanted // count))]
            drawn.append(start + np.concatenate([np.empty(0, int), *rounds])[:wanted])
        order = generator.permutation(np.concatenate(drawn)).reshape(batches, world, batch_size)
        for number, batch in enumerate(order[:, rank]):
            place = (number * world + rank) * batch_size  # a sample that comes twice is augmented in two ways
            yield [Key(int(sample), sample_seed(seed, place + i)) for i, sample in enumerate(batch)]
