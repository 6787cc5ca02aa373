"""Every command line on the pages is one that its program accepts: subcommand, options and values, without running it.

A page shows a command in an indented or fenced line, with a remark three spaces or a # behind, or in a `span`;
`a|b` stands for either word, a lone capital N for a number, ... for anything. Settings may also stand alone in a span
(`--train.lr`, `--loss.main bce`): then one of the programs has to take them.
"""

import importlib
import inspect
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator

import pytest
import typer
from product import ROOT, application

from polyscale.settings import Settings, configured
from polyscale.settings.tree import leaves

SKIPPED = {".venv", "runs", "node_modules", "templates"}
PAGES = [page for page in sorted(ROOT.rglob("*.md")) if not SKIPPED & set(page.relative_to(ROOT).parts)]
MANIFESTS = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("apps/*/pyproject.toml"))]
PROGRAMS = {name: code.partition(".")[0] for m in MANIFESTS for name, code in m["project"]["scripts"].items()}
SETTING = re.compile(r"--(no-)?[a-z_]+\.[a-z_.]+")


def lines(text: str) -> Iterator[str]:
    """What a page gives to type, without prompt and remark."""
    fence = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    fenced = "\n".join(fence.findall(text))
    rest = fence.sub("", text)
    indented = re.findall(r"^ {4,}(\S.*)$", rest, re.MULTILINE)
    for line in (*fenced.splitlines(), *indented):
        yield re.split(r"\s{3,}|\s+# ", line.removeprefix("$ "))[0].rpartition("&& ")[2]
    for span in re.findall(r"`([^`]+)`", rest):
        yield " ".join(span.replace("\\|", "|").split())


def command(line: str) -> list[str]:
    """The line's words where it calls one of the programs, a script of ours or a setting alone, else none of them."""
    line = re.sub(r"^uv run (--group \w+ )?", "", line)
    module = re.fullmatch(r"(?:accelerate launch|python) .*-m (\w+) (.*)", line)
    if module:
        line = " ".join([*(name for name, package in PROGRAMS.items() if package == module[1]), module[2]])
    first = line.split(" ")[0]
    if (first in PROGRAMS and line != first) or SETTING.fullmatch(first) or re.match(r"python tools/", line):
        return [word for word in shlex.split(line) if word not in ("...", "…")]
    return []


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)}")
    for page in PAGES
    for words in dict.fromkeys(tuple(command(line)) for line in lines(page.read_text(encoding="utf-8")))
    if words
]


def take(program: str, words: list[str]) -> None:
    """Parses a command line as its program would; raises what the user would be shown."""
    found = typer.main.get_command(application(program))
    while words and (children := getattr(found, "commands", None)) and not words[0].startswith("-"):
        if words[0] not in children and (default := getattr(found, "default", None)):
            words = [default, *words]
        if words[0] not in children:
            raise typer.BadParameter(f"no command {words[0]} but {', '.join(children)}")
        found, words = children[words[0]], words[1:]
    try:
        given = found.make_context(program, words).params
    except typer.Exit:  # --help, --version
        return
    if "preset" in given:
        config = importlib.import_module(f"{PROGRAMS[program]}.config")
        resolve = configured(config.Config, config.PRESETS, "nano")(_returns(config.Config))
        options = {name: given.get(name) for name in inspect.signature(resolve).parameters}
        resolve(**options | {"config": None})  # the page's YAML file is not there


def _returns(tree: type[Settings]) -> Callable[..., Settings]:
    """Return a command without options of its own, which returns its settings."""

    def command(settings: Settings) -> Settings:
        return settings

    command.__annotations__["settings"] = tree
    return command


def refused(program: str, words: list[str]) -> str:
    """Why the program does not take the line, or nothing."""
    try:
        take(program, words)
    except Exception as error:
        return f"{program} {' '.join(words)}: {error}"
    return ""


@pytest.mark.parametrize("words", COMMANDS)
def test_command_is_taken(words: tuple[str, ...]) -> None:
    choices = [[re.sub(r"^N$", "1", choice) for choice in word.split("|")] for word in words]
    for first, *rest in itertools.product(*choices):
        if first == "python":
            script = (ROOT / rest[0]).read_text(encoding="utf-8")
            unknown = [word for word in rest if word.startswith("--") and f'"{word}"' not in script]
            assert not unknown, f"{rest[0]} has no {unknown}"
        elif first in PROGRAMS:
            assert not (reason := refused(first, rest)), reason
        elif rest:
            places: tuple[list[str], ...] = ([], ["--data.path", "FOLDER"])  # what only files or only drawn sets need
            reasons = [refused(program, ["train", first, *rest, *path]) for program in PROGRAMS for path in places]
            assert "" in reasons, reasons
        else:
            settings = [leaves(importlib.import_module(f"{p}.config").Config) for p in PROGRAMS.values()]
            assert first.removeprefix("--no-").removeprefix("--") in {key for key, _ in itertools.chain(*settings)}


def test_wrong_commands_are_noticed() -> None:
    for words in (["trian"], ["train", "--data.paht", "x"], ["train", "--train.lr", "much"], ["predict"]):
        assert refused("camo-seg", words)
    text = "Try `camo-seg\ntrain --train.lr 1\\|2`:\n\n    $ uv run camo-seg info --preset N   what it costs\n"
    assert [command(line) for line in lines(text)] == [
        ["camo-seg", "info", "--preset", "N"],
        ["camo-seg", "train", "--train.lr", "1|2"],
    ]
    assert command("accelerate launch --num_processes 2 -m camo_seg train --out a") == [
        "camo-seg",
        "train",
        "--out",
        "a",
    ]
