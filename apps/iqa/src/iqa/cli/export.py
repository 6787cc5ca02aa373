"""`iqa export`."""

from polyscale.commands import note
from polyscale.commands.types import ExportOut, ModelArgument


def export(model: ModelArgument, out: ExportOut = None) -> None:
    """Write a model as ONNX, which predicts without torch: image [N, 3, H, W] in [0, 1] -> score [N], spread [N].

    The file is compared with the model and only kept where they agree. Any N; H and W from 32, at most the model's
    image_size squared in all: larger images are first shrunk to that, as iqa predict does it.
    """
    from iqa.export import export_onnx
    from iqa.model import QualityNet
    from iqa.predict import ScoreRange
    from polyscale.commands.output import check_targets
    from polyscale.inference.network import export_target
    from polyscale.models import find

    folder = find(model, shipped=QualityNet.shipped)
    file = export_target(model, folder, out)
    check_targets([file])
    network = QualityNet.from_pretrained(folder)
    swin = str(network.arguments.get("backbone", "")).startswith("swin")
    time = "a Swin backbone may take longer than half an hour" if swin else "a minute or more"
    note(f"writing {file}, and comparing it with the model: {time}")
    export_onnx(network, file, source=folder)
    note(f"made {file} ({file.stat().st_size / 2**20:.1f} MB): iqa predict IMAGES --model {file}")
    note(f"scores {ScoreRange(network.low, network.high).describe()}")
