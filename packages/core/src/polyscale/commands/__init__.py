"""What every command line shares: one-line errors, exit codes, input lists, tables, CSV, progress, the heap.

Data goes to stdout, notes and progress to stderr. Nothing here imports torch, so `--help` is instant.
"""

from polyscale.commands.application import application, run
from polyscale.commands.heap import keep_heap
from polyscale.commands.inputs import gather_inputs
from polyscale.commands.output import check_folder, check_targets, csv_writer, print_json, table
from polyscale.terminal import console, err_console, note, progress

__all__ = [
    "application",
    "check_folder",
    "check_targets",
    "console",
    "csv_writer",
    "err_console",
    "gather_inputs",
    "keep_heap",
    "note",
    "print_json",
    "progress",
    "run",
    "table",
]
