"""A settings tree as Typer options: `--section.key`, one help panel per section, plus --preset and --config.

Typer has no nested models, so the command gets a made-up signature with one option per value; an option that was not
given stays None and does not take part in the merge. Only public Typer API is used.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from polyscale.settings.reading import choices, without_none
from polyscale.settings.tree import NO_PRESETS, Preset, Settings, is_section, leaves, resolve
from polyscale.settings.writing import headline, range_text, type_text, value_text

Command = TypeVar("Command", bound=Callable[..., Any])
GENERAL = "Settings"


def configured(
    tree: type[Settings], presets: Mapping[str, Preset] = NO_PRESETS, default_preset: str | None = None
) -> Callable[[Command], Command]:
    """Decorator: `def train(config: Tree, <typer parameters>)` becomes a command with an option per value of the tree.

    The function is called with the resolved, frozen tree (see `resolve` for the order of the layers) and its own
    parameters. Put it below `@app.command()`. Raises TypeError where no parameter is annotated with the tree, and
    UserError where the default preset is wrong.
    """
    shown = resolve(tree, presets=presets, default_preset=default_preset)

    def decorate(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())
        name = next((parameter.name for parameter in own if parameter.annotation is tree), None)
        if name is None:
            raise TypeError(f"{function.__name__} needs a parameter annotated with {tree.__name__}")
        keys = {key.replace(".", "__"): key for key, _ in leaves(tree)}

        @functools.wraps(function)
        def command(*, preset: str | None = None, config: Path | None = None, **given: Any) -> Any:
            overrides = {key: given.pop(option) for option, key in keys.items()}
            overrides = {key: value for key, value in overrides.items() if value is not None}
            settings = resolve(tree, preset, config, overrides, presets=presets, default_preset=default_preset)
            return function(**{name: settings}, **given)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        parameters = [parameter for parameter in parameters if parameter.name != name]
        parameters += [_preset_option(presets, default_preset), _config_option()]
        panels = _panels(tree)
        parameters += [_option(key, field, shown, panels) for key, field in leaves(tree)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command  # type: ignore[return-value]

    return decorate


def _preset_option(presets: Mapping[str, Preset], default: str | None) -> inspect.Parameter:
    about = [f"{name}: {preset.about.strip().partition(chr(10))[0]}" for name, preset in presets.items()]
    text = "Named settings to start from." + (f" [default: {default}]" if default else "")
    option = typer.Option(
        "--preset",
        metavar=f"<{'|'.join(presets) or 'name'}>",
        help=escape("\n\n".join([text, *about])),
        autocompletion=_completion(presets),
        show_default=False,
        rich_help_panel=GENERAL,
        hidden=not presets,
    )
    return _parameter("preset", str, option)


def _config_option() -> inspect.Parameter:
    text = "YAML file of settings; it may name its preset. Options on the command line win over it."
    option = typer.Option("--config", "-c", metavar="<file.yaml>", help=text, rich_help_panel=GENERAL)
    return _parameter("config", Path, option)


def _option(key: str, field: FieldInfo, shown: Settings, panels: Mapping[str, str]) -> inspect.Parameter:
    kind, optional = without_none(field.annotation)
    default = functools.reduce(getattr, key.split("."), shown)
    facts = "; ".join(filter(None, [range_text(field), f"default: {value_text(default)}"]))
    section, _, name = key.rpartition(".")
    flag = kind is bool and not optional
    words: tuple[object, ...] = ("true", "false") if kind is bool else choices(kind)
    option = typer.Option(
        f"--{key}/--no-{key}" if flag else f"--{key}",
        metavar="" if flag else f"<{type_text(field.annotation)}>",
        help=escape(f"{field.description or name} [{facts}]"),
        autocompletion=_completion([*words, "none"] if optional else words) if words and not flag else None,
        show_default=False,
        rich_help_panel=panels[section],
    )
    return _parameter(key.replace(".", "__"), bool if flag else str, option)


def _parameter(name: str, kind: type, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _completion(words: Any) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [str(word) for word in words if str(word).startswith(incomplete)]

    return complete


def _panels(tree: type[Settings], prefix: str = "") -> dict[str, str]:
    """The title of each section's help panel, keyed by the section's dotted name."""
    panels = {"": GENERAL} if not prefix else {}
    for name, field in tree.model_fields.items():
        if is_section(field):
            section: type[Settings] = field.annotation  # type: ignore[assignment]
            about = headline(section)
            panels[prefix + name] = f"{prefix}{name}: {about}" if about else prefix + name
            panels |= _panels(section, f"{prefix}{name}.")
    return panels
