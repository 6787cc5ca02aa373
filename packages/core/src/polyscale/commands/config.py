"""The `config` command: the settings that a training would use, as a commented YAML file or as a JSON schema."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from polyscale.settings import Preset, Settings, configured, schema, to_yaml


def config_command(
    tree: type[Settings], presets: Mapping[str, Preset], default_preset: str | None = None
) -> Callable[..., None]:
    """Return the command `config` of an application.

    Args:
        tree: the class of its settings.
        presets: its named starting points.
        default_preset: one of their names.
    """

    def config(
        config: Any,
        as_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a settings file.")] = False,
    ) -> None:
        """Print the settings as a commented YAML file that train --config reads; options and --preset apply."""
        text = json.dumps(schema(tree), indent=2) + "\n" if as_schema else to_yaml(config, commented=True)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))

    config.__annotations__["config"] = tree
    return configured(tree, presets, default_preset)(config)
