"""Typer application with one-line messages for user errors and tracebacks for bugs.

Exit codes: 0 done, 1 failure, 2 wrong usage (unknown option, key, type or range), 130 interrupted, 141 the reader of
stdout has gone, 143 terminated.
"""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Annotated, Any, ClassVar, NoReturn

import typer
from typer.core import TyperGroup

from polyscale.commands.heap import keep_heap
from polyscale.errors import UserError, printable
from polyscale.terminal import err_console

LESS_MEMORY = "try a smaller batch or image size, fewer scales or workers, or bf16 precision"
# what torch's allocators (accelerator, CPU) and its DataLoader say when memory is gone; all are RuntimeErrors
MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "killed by signal: Killed",
    "insufficient shared memory",
)
# the surroundings of the process, not a bug: no right to write, a full or read-only disk, a path that cannot be
SURROUNDINGS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG),
}

# what the extra "train" of an application brings beyond what prediction from an ONNX file needs
TRAINING = {"torch", "torchvision", "timm", "accelerate", "safetensors", "huggingface_hub", "scipy", "transformers"}


class _Commands(Mapping[str, Any]):
    """Commands by name; a module of `places` is imported when its command is asked for."""

    def __init__(self, made: Mapping[str, Any], places: Mapping[str, str]) -> None:
        self._made, self._places = dict(made), places

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            place = self._places[name]
            found, group = getattr(import_module(place), place.rpartition(".")[2]), typer.Typer()
            if isinstance(found, typer.Typer):
                group.add_typer(found, name=name)
            else:
                group.command(name=name)(found)
            self._made[name] = _as_written(typer.main.get_group(group).commands[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._places, *self._made)))

    def __len__(self) -> int:
        return len({*self._places, *self._made})


class _CommandGroup(TyperGroup):
    """Group of commands that ends with one line and an exit code, also under typer.testing.CliRunner."""

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        _as_written(self)
        self.commands: Any = _Commands(self.commands, self.places)

    def invoke(self, ctx: Any) -> None:
        try:
            super().invoke(ctx)  # its result is dropped, so that what main returns can only be an exit code
            sys.stdout.flush()  # here, where a reader that has gone is no surprise
        except BrokenPipeError:
            _forget_stdout()
            raise typer.Exit(141) from None  # as a process that SIGPIPE ended

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        extra["standalone_mode"] = False  # Typer would draw a box of several lines around an error
        try:
            code = super().main(*args, **extra)
        except UserError as error:
            _fail(_original(error), error.exit_code)
        except typer.TyperException as error:
            _fail(_usage(error), error.exit_code)
        except ModuleNotFoundError as error:
            advice = _not_installed(error, f"polyscale-{self.name}")
            if not advice:
                raise
            _fail(advice, 1)
        except typer.Abort:
            _fail("aborted", 1)
        except KeyboardInterrupt:
            code = 130
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _fail(_out_of_memory(error), 1)
        except OSError as error:
            if error.errno not in SURROUNDINGS:
                raise
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror), 1)
        sys.exit(code)


def application(
    name: str, help: str, commands: Mapping[str, str] | None = None, *, distribution: str | None = None
) -> typer.Typer:
    """Return an application to run with `run(app)`; `@app.command()` adds further commands.

    Args:
        name: the command ("camo-seg").
        help: shown by --help.
        commands: the module of each command, {"eval": "camo_seg.cli.evaluate"}, which has a function or typer.Typer of
            the module's own name. It is imported when the command or the whole help is asked for.
        distribution: the package whose version `--version` shows; "polyscale-" + name by default.
    """
    package = distribution or f"polyscale-{name}"
    app = typer.Typer(
        name=name,
        help=help,
        cls=type("Commands", (_CommandGroup,), {"places": commands or {}}),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    def show_version(asked: bool) -> None:
        if asked:
            from polyscale.version import version_of

            typer.echo(f"{name} {version_of(package)}")
            raise typer.Exit

    @app.callback()
    def version(
        version: Annotated[
            bool,
            typer.Option(
                "--version", metavar="", callback=show_version, is_eager=True, help="Show the version and exit."
            ),
        ] = False,
    ) -> None:
        pass

    return app


def run(app: typer.Typer) -> NoReturn:
    """Run a command as a process: keep the heap, run it, end with its exit code."""
    for name in ("stdout", "stderr"):  # None where the caller closed it (>&-)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    keep_heap()
    app()
    sys.exit(0)


def _as_written(command: Any) -> Any:
    """Make Typer show the help of a command as it is written: brackets are no markup, a paragraph's lines are one."""
    from rich.markup import escape

    paragraphs = cleandoc(command.help or "").split("\n\n")
    command.help = escape("\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    for inner in getattr(command, "commands", {}).values():
        _as_written(inner)
    return command


def _forget_stdout() -> None:
    """Send what is still buffered nowhere, or Python complains about it while it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: typer.TyperException) -> str:
    """Return Typer's message and where to read on; empty if the help was just printed."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if not message or context is None:
        return message
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{end} See {context.command_path} --help"


def _fail(message: str, code: int) -> NoReturn:
    if message:
        err_console.print("[bold red]error:[/]", end=" ", highlight=False)
        err_console.print(printable(message).strip(), markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _not_installed(error: ModuleNotFoundError, distribution: str) -> str:
    """Return what to do about a module that the application declares, and "" for any other: that is a bug."""
    module = (error.name or "").partition(".")[0]
    line = _requirement(distribution, module)
    if not line and module not in TRAINING:
        return ""
    missing = f"this command needs {module}, which is not installed"
    below = re.search(r"python_version < ['\"]3\.(\d+)", line)
    if below and sys.version_info >= (3, int(below[1])):
        return f"{missing}: there are no wheels of it for Python 3.{sys.version_info.minor} yet; use an older Python"
    extra = re.search(r"extra == ['\"]([\w-]+)", line)
    wanted = f"[{extra[1]}]" if extra else "[train]" if module in TRAINING else ""
    return f'{missing}: pip install "{distribution}{wanted}"'


def _requirement(distribution: str, module: str) -> str:
    """Return the line by which a distribution requires a module of the same name, "" where there is none."""
    from importlib import metadata

    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return ""
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0].replace("-", "_").lower(): line for line in lines}
    return names.get(module.lower(), "")


def _original(error: UserError) -> str:
    """Return the message; a worker of torch's DataLoader wraps its traceback around it."""
    text = str(error)
    return text.rpartition("UserError: ")[2].strip() if text.startswith("Caught UserError in ") else text


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error) for text in MEMORY_TEXTS)


def _out_of_memory(error: BaseException) -> str:
    asked = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    return f"out of memory{f' ({asked[1]} asked for)' if asked else ''}: {LESS_MEMORY}"
