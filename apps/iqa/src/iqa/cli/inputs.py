"""What a user may call an image on the command line, beside what polyscale.commands knows: file:// URLs."""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit
from urllib.request import url2pathname

from polyscale.commands.inputs import standard_input
from polyscale.errors import UserError


def local_paths(inputs: Iterable[str]) -> Iterator[str]:
    """Each input as a path; "-" stands for the lines of standard input, file:///a%20b.jpg for /a b.jpg.

    Raises UserError naming a URL that is not of a local file.
    """
    for text in inputs:
        if text == "-":
            yield from map(_local, standard_input())
        else:
            yield _local(text)


def _local(text: str) -> str:
    scheme = text.partition(":")[0].lower()
    if "://" not in text and scheme != "file":
        return text
    url = urlsplit(text)
    if scheme != "file" or url.netloc not in ("", "localhost"):
        raise UserError(f"{text}: only local files are read (paths, file:///...); download it first", exit_code=2)
    return url2pathname(url.path)
