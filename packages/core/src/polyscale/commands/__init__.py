"""What every command line of the house shares: one-line errors, exit codes, input lists, tables, progress, the heap.

Data goes to stdout, notes and progress to stderr. Nothing here imports torch, so `--help` is instant.
"""

from polyscale.commands.application import application, run
from polyscale.commands.heap import keep_heap
from polyscale.commands.inputs import gather_inputs
from polyscale.commands.output import console, err_console, note, print_json, progress, table

__all__ = [
    "application",
    "console",
    "err_console",
    "gather_inputs",
    "keep_heap",
    "note",
    "print_json",
    "progress",
    "run",
    "table",
]
