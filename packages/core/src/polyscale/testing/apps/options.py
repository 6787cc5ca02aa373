"""The contract of the options that `predict`, `eval` and `data` of all applications share."""

from collections.abc import Iterator
from typing import Any, get_args

from typer.main import get_command

from polyscale.commands import types
from polyscale.commands.types import SHARED
from polyscale.testing.apps.base import AppTests
from polyscale.testing.command import application

# the shared type of each option, whose help is that of all applications; --out and --json differ by command
TYPES = {
    "--csv": types.Csv,
    "--sort": types.Sort,
    "--limit": types.Limit,
    "--recursive": types.Recursive,
    "--device": types.Device,
    "--precision": types.Precision,
    "--batch-size": types.BatchSize,
    "--workers": types.Workers,
    "predict --out": types.PredictionsOut,
    "predict --json": types.JsonLines,
    "eval --out": types.ResultsOut,
    "eval --json": types.AsJson,
    "data --json": types.AsJson,
}


def shared_help(command: str, option: str) -> str:
    """Return the words of a shared option."""
    shared = TYPES.get(f"{command} {option}", TYPES.get(option))
    return str(get_args(shared)[1].help)


class OptionContract(AppTests):
    """Who knows the options of one application knows those of all."""

    def test_shared_options_have_the_same_words_and_defaults(self) -> None:
        wrong, own = [], {*self.lacking, *self.words}
        for command, options in SHARED.items():
            for place, given in self._commands(command):
                for option, default in options.items():
                    key = f"{command} {option}"
                    if option not in given or key in self.lacking:
                        if (option in given) == (key in self.lacking):
                            wrong.append(f"{place}: {option} {'is there' if option in given else 'is missing'}")
                        continue
                    wanted = self.words.get(key, shared_help(command, option))
                    words = str(given[option].help).replace("\\[", "[")  # a bracket that is no markup
                    if not words.startswith(wanted):
                        wrong.append(f"{place}: {option} says {words!r}, not {wanted!r}")
                    if given[option].default != default:
                        wrong.append(f"{place}: {option} is {given[option].default!r} by default")
        assert not wrong, "\n".join(wrong)
        known = {f"{command} {option}" for command, options in SHARED.items() for option in options}
        assert own <= known, own - known
        same = [key for key, words in self.words.items() if words == shared_help(*key.split())]
        assert not same, f"words that are the shared ones: {same}"

    def _commands(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the command `name`, or those of a group of this name, each with its options."""

        def leaves(place: str, command: Any) -> Iterator[tuple[str, dict[str, Any]]]:
            inner = getattr(command, "commands", None)
            if inner is None:
                yield place, {text: option for option in command.params for text in option.opts}
            for word, part in (inner or {}).items():
                yield from leaves(f"{place} {word}", part)

        root: Any = get_command(application(self.app))
        return leaves(name, root.commands[name])
