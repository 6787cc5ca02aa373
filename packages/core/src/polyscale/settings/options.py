"""A settings tree as Typer options: `--section.key`, one help panel per section, plus --preset and --config.

Typer has no nested models, so the command gets a made-up signature with one option per value; an option that was not
given stays None and does not take part in the merge. Only public Typer API is used.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from polyscale.errors import UserError
from polyscale.settings.reading import choices, without_none
from polyscale.settings.runs import resume_config
from polyscale.settings.tree import NO_PRESETS, Preset, Settings, is_section, leaves, resolve
from polyscale.settings.writing import headline, range_text, type_text, value_text

Command = TypeVar("Command", bound=Callable[..., Any])
GENERAL = "Settings"
OFF = "no__"  # begins the parameter of an option that switches off


def configured(
    tree: type[Settings],
    presets: Mapping[str, Preset] = NO_PRESETS,
    default_preset: str | None = None,
    *,
    sections: Iterable[str] | None = None,
) -> Callable[[Command], Command]:
    """Decorate `def train(config: Tree, <typer parameters>)`: a command with an option per value of the tree.

    The function is called with the resolved, frozen tree (see `resolve` for the order of the layers) and its own
    parameters. Put it below `@app.command()`. One with the paths `resume` and `out` goes on with a run: given
    `--resume RUN` it gets the settings of that run and its folder as `out`; of the options only train.epochs may be
    given then.

    Args:
        tree: the class of the settings; one parameter of the function is annotated with it.
        presets: the named starting points.
        default_preset: one of their names.
        sections: sections ("model") and values ("loss.scale") that the command uses; only they become
            options. All by default.

    Raises:
        TypeError: no parameter is annotated with the tree.
        UserError: the default preset is wrong.
    """
    fields = [
        (key, field)
        for key, field in leaves(tree)
        if sections is None or not {key, key.partition(".")[0]}.isdisjoint(sections)
    ]
    shown = resolve(tree, presets=presets, default_preset=default_preset)

    def decorate(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())
        name = next((parameter.name for parameter in own if parameter.annotation is tree), None)
        if name is None:
            raise TypeError(f"{function.__name__} needs a parameter annotated with {tree.__name__}")
        keys = {key.replace(".", "__"): key for key, _ in fields}

        @functools.wraps(function)
        def command(*, preset: str | None = None, config: Path | None = None, **given: Any) -> Any:
            overrides = _overrides(keys, given)
            run = given.get("resume")
            if not isinstance(run, Path):
                settings = resolve(tree, preset, config, overrides, presets=presets, default_preset=default_preset)
            else:
                out = given["out"]
                others = {"preset": preset, "config": config, "out": None if out == run else out}
                options = overrides | {key: value for key, value in others.items() if value is not None}
                settings, given["out"] = resume_config(tree, run, options, presets=presets), run
            return function(**{name: settings}, **given)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [parameter for parameter in parameters if parameter.name != name]
        parameters += [_preset_option(presets, default_preset), _config_option()]
        panels = _panels(tree)
        for key, field in fields:
            parameters += _options(key, field, shown, panels[key.rpartition(".")[0]])
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command  # type: ignore[return-value]

    return decorate


def _overrides(keys: Mapping[str, str], given: dict[str, Any]) -> dict[str, Any]:
    """Take the tree's options out of the command's arguments, as {dotted key: value} of those that were given."""
    overrides = {key: given.pop(name) for name, key in keys.items()}
    for name, key in keys.items():
        if given.pop(OFF + name, None):
            if overrides[key]:
                raise UserError(f"{key}: both --{key} and --no-{key} were given", exit_code=2)
            overrides[key] = False
    return {key: value for key, value in overrides.items() if value is not None}


def _preset_option(presets: Mapping[str, Preset], default: str | None) -> inspect.Parameter:
    about = [f"{name}: {preset.about.strip().partition(chr(10))[0]}" for name, preset in presets.items()]
    text = "Named settings to start from." + (f" [default: {default}]" if default else "")
    text = "\n\n".join([text, *about])
    return _parameter("preset", str, text, GENERAL, "--preset", words=presets, hidden=not presets)


def _config_option() -> inspect.Parameter:
    text = "YAML file of settings; it may name its preset. Options on the command line win over it."
    return _parameter("config", Path, text, GENERAL, "--config", "-c")


def _options(key: str, field: FieldInfo, shown: Settings, panel: str) -> Iterator[inspect.Parameter]:
    """Yield the option of one value; a switch has a second one, --no-..., named in the first one's help."""
    kind, optional = without_none(field.annotation)
    switch = kind is bool and not optional
    default = value_text(functools.reduce(getattr, key.split("."), shown))
    name = key.replace(".", "__")
    facts = [
        "" if switch else type_text(field.annotation),
        range_text(field),
        f"default: {default}",
        f"off: --no-{key}" if switch and default == "true" else "",
    ]
    text = f"{field.description or key.rpartition('.')[2]} [{'; '.join(filter(None, facts))}]"
    words: tuple[object, ...] = ("true", "false") if kind is bool else choices(kind)
    words = () if switch else (*words, "none") if words and optional else words
    yield _parameter(name, bool if switch else str, text, panel, f"--{key}", words=words)
    if switch:
        yield _parameter(OFF + name, bool, f"Sets {key} to false.", panel, f"--no-{key}", hidden=True)


def _parameter(
    name: str, kind: type, text: str, panel: str, *names: str, words: Iterable[object] = (), hidden: bool = False
) -> inspect.Parameter:
    option = typer.Option(
        *names,
        metavar="",  # the type stands in the help text: a column of its own would cut off long names at 80 columns
        help=text,
        show_default=False,
        rich_help_panel=panel,
        autocompletion=_completion(words) if words else None,
        hidden=hidden,
    )
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _completion(words: Iterable[object]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [str(word) for word in words if str(word).startswith(incomplete)]

    return complete


def _panels(tree: type[Settings], prefix: str = "") -> dict[str, str]:
    """Return the title of each section's help panel, keyed by the section's dotted name."""
    panels = {"": GENERAL} if not prefix else {}
    for name, field in tree.model_fields.items():
        if is_section(field):
            section: type[Settings] = field.annotation  # type: ignore[assignment]
            about = headline(section)
            panels[prefix + name] = f"{prefix}{name}: {about}" if about else prefix + name
            panels |= _panels(section, f"{prefix}{name}.")
    return panels
