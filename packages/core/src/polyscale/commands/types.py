"""Options that the commands of all applications share: one spelling, one help text."""

from pathlib import Path
from typing import Annotated, Literal

import typer

MODEL_HELP = "Folder of a run or model, hub id owner/name, or the name of a shipped model."
FILE_HELP = MODEL_HELP.replace("owner/name,", "owner/name, ONNX file,")

ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
ModelOption = Annotated[str, typer.Option("--model", "-m", help=FILE_HELP)]
# of applications that run no ONNX file
TorchModelOption = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP)]
ImageArguments = Annotated[
    list[str],
    typer.Argument(help="Images, folders, globs or file:// URLs; - reads an image or a list of names from stdin."),
]

RunOut = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run [default: runs/DATE-TIME].")]
Resume = Annotated[Path | None, typer.Option(help="Continue the run in this folder with its own settings.")]
ResultsOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for metrics.json, images.csv and report.html.")
]
PredictionsOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for the files that are written [default: predictions; with --json none]."),
]

ExportOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="ONNX file [default: model.onnx beside the weights, NAME.onnx of any other]."),
]

DataOption = Annotated[str | None, typer.Option("--data", "-d", help="Folder of a data set, or synthetic.")]
DataArgument = Annotated[str, typer.Argument(metavar="[PATH]", help="Folder of a data set, or synthetic.")]
Split = Annotated[str, typer.Option(help="train, val or test.")]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, fp16, or auto: bf16 where the device gains from it.")]
Runtime = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(help="What runs the model: torch, or onnxruntime without it; auto: torch where it is installed."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass.")]
Workers = Annotated[int, typer.Option(min=0, help="Threads that read ahead.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
JsonLines = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON line for each result; write only files that other options ask for."),
]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE|-", help="Write a CSV with a header; - to stdout.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after this many results.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search subfolders too.")]
SORT_HELP = "Order of the results; --limit keeps the first of them."  # where there are other keys: by which, what first
Sort = Annotated[Literal["none", "name"], typer.Option(help=SORT_HELP)]

# The options that `predict`, `eval` and `data` of every application share, and their defaults. Not among them: --csv of
# eval (--out writes it), and --sort, --limit and --recursive of eval and data, whose numbers are of the whole set.
SHARED: dict[str, dict[str, object]] = {
    "predict": {
        "--out": None,
        "--csv": None,
        "--json": False,
        "--sort": "none",
        "--limit": None,
        "--recursive": False,
        "--device": "auto",
        "--precision": "fp32",
        "--batch-size": 8,
        "--workers": 2,
    },
    "eval": {
        "--device": "auto",
        "--precision": "fp32",
        "--batch-size": 8,
        "--workers": 2,
        "--out": None,
        "--json": False,
    },
    "data": {"--json": False},
}
