"""One frozen tree of settings: presets < YAML file < command-line options.

`Settings` describes the tree, `resolve` builds one from its layers, `resume_config` and `resolve_for` find that of a
run, `record` is what its folder keeps, `configured` turns a tree into Typer options, `to_yaml` and `schema` write it
down.
Nothing here imports torch, so `--help` is instant.
"""

from polyscale.settings.needs import Needs
from polyscale.settings.options import configured
from polyscale.settings.reading import read_yaml
from polyscale.settings.runs import (
    SPLIT_FILE,
    DiskPath,
    OptionalDiskPath,
    record,
    recorded_splits,
    resolve_for,
    resume_config,
    run_config,
)
from polyscale.settings.tree import Preset, Settings, resolve
from polyscale.settings.writing import schema, to_yaml

__all__ = [
    "SPLIT_FILE",
    "DiskPath",
    "Needs",
    "OptionalDiskPath",
    "Preset",
    "Settings",
    "configured",
    "read_yaml",
    "record",
    "recorded_splits",
    "resolve",
    "resolve_for",
    "resume_config",
    "run_config",
    "schema",
    "to_yaml",
]
