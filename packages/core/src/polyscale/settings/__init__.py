"""One frozen tree of settings: presets < YAML file < command-line options.

`Settings` describes the tree, `resolve` builds one from its layers, `begin_run` and `resolve_for` find that of a run,
`record` is what its folder keeps, `configured` turns a tree into Typer options, `to_yaml` and `schema` write it down.
Nothing here imports torch, so `--help` is instant.
"""

from polyscale.settings.options import configured
from polyscale.settings.reading import read_yaml
from polyscale.settings.runs import (
    SPLIT_FILE,
    DiskPath,
    OptionalDiskPath,
    begin_run,
    record,
    recorded_splits,
    resolve_for,
    run_config,
)
from polyscale.settings.tree import Preset, Settings, resolve
from polyscale.settings.writing import schema, to_yaml

__all__ = [
    "SPLIT_FILE",
    "DiskPath",
    "OptionalDiskPath",
    "Preset",
    "Settings",
    "begin_run",
    "configured",
    "read_yaml",
    "record",
    "recorded_splits",
    "resolve",
    "resolve_for",
    "run_config",
    "schema",
    "to_yaml",
]
