"""`event-det bench`."""

from typing import Annotated

import typer

from event_det.cli.evaluate import MODEL_HELP
from polyscale.commands import note, print_json, table
from polyscale.commands.types import AsJson, Device, Precision


def bench(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = "nano",
    events: Annotated[int, typer.Option(min=1, help="Events in a window of 50 ms.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=2, help="Steps to time.")] = 100,
    device: Device = "auto",
    precision: Precision = "fp32",
    as_json: AsJson = False,
) -> None:
    """Time a step from events to boxes at batch 1, part by part: median and 95th percentile.

    Parts: histogram (events to a frame), backbone (with its copy to the device), pyramid (with attention), head, boxes
    (threshold, suppression and the copy back). Published tables leave the first and the last out.
    """
    from event_det.build import load_model
    from event_det.evaluation.latency import latency_rows, measure_latency
    from polyscale.inference.precision import resolve_device

    network = load_model(model).to(resolve_device(device)).eval()
    rows = latency_rows(measure_latency(network, events=events, repeats=repeats, precision=precision))
    if as_json:
        print_json(rows)
        return
    height, width = network.size
    table(rows, title=f"{model}, frames of {width}x{height}, {events:,} events a window", digits=2)
    step = rows[-1]["p50_ms"]
    note(f"{1000 / step:.0f} steps a second; windows of 50 ms come {50 / step:.1f} times slower")
