"""Every code example of Neurenix's page, in its order, as PyTorch code; "adapted:" marks what had to change and why.

Adapted throughout: `import neurenix as nx` and neurenix.nn become torch and torch.nn (the original package never
imported), and `nx.Tensor(shape=...)` becomes torch.rand of a smaller side, so that the tests stay quick.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Conv2d, Linear, ReLU, Sequential
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset

import polyscale
from polyscale import FeatureFusion, MultiScaleModel, PyramidNetwork, UNet
from polyscale.models.weights import Pretrained


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def base_model() -> nn.Module:
    return Sequential(
        Conv2d(3, 64, kernel_size=3, padding=1),
        ReLU(),
        Conv2d(64, 64, kernel_size=3, padding=1),
        ReLU(),
    )


def test_multi_scale_model(base_model: nn.Module) -> None:
    model = MultiScaleModel(scales=[1.0, 0.5, 0.25], base_model=base_model, fusion_method="concat")

    input_tensor = torch.rand(1, 3, 56, 56)
    output = model(input_tensor)

    assert output.shape == (1, 3 * 64, 56, 56)
    assert torch.equal(output[:, :64], base_model(input_tensor))


def test_choosing_scales(base_model: nn.Module) -> None:
    # For fine-grained tasks (e.g., segmentation), use more scales
    fine_model = MultiScaleModel(scales=[1.0, 0.75, 0.5, 0.25], base_model=base_model, fusion_method="concat")

    # For coarse tasks (e.g., classification), fewer scales may suffice
    coarse_model = MultiScaleModel(scales=[1.0, 0.5], base_model=base_model, fusion_method="concat")

    x = torch.rand(1, 3, 32, 32)
    assert fine_model(x).shape == (1, 4 * 64, 32, 32)
    assert coarse_model(x).shape == (1, 2 * 64, 32, 32)


def test_feature_fusion() -> None:
    # For preserving all information, use concatenation
    concat_fusion = FeatureFusion(in_channels=[64, 128, 256], out_channels=512, fusion_method="concat")

    # For lightweight models, use summation
    sum_fusion = FeatureFusion(in_channels=[128, 128, 128], out_channels=128, fusion_method="sum")

    # For selective feature combination, use attention
    attention_fusion = FeatureFusion(in_channels=[64, 128, 256], out_channels=128, fusion_method="attention")

    features = [torch.rand(2, c, s, s) for c, s in ((64, 16), (128, 8), (256, 4))]
    assert concat_fusion(features).shape == (2, 512, 16, 16)
    assert attention_fusion(features).shape == (2, 128, 16, 16)
    assert sum_fusion([torch.rand(2, 128, s, s) for s in (16, 8, 4)]).shape == (2, 128, 16, 16)

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert size(sum_fusion) == 0  # as light as Neurenix promises
    assert size(concat_fusion) == (64 + 128 + 256) * 512 + 512


def test_memory_efficiency() -> None:
    # Create a memory-efficient pyramid network
    model = PyramidNetwork(
        in_channels=3,
        out_channels=1,
        num_levels=4,
        base_channels=32,  # Use smaller base channels for memory efficiency
    )
    input_tensor = torch.rand(1, 3, 32, 32)

    # Process input with gradient checkpointing for memory efficiency
    with polyscale.enable_gradient_checkpointing():
        output = model(input_tensor)

    assert output.shape == (1, 1, 32, 32)
    output.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_scale_selection(base_model: nn.Module) -> None:
    # For high-resolution images
    high_res_model = MultiScaleModel(scales=[1.0, 0.5, 0.25, 0.125], base_model=base_model, fusion_method="concat")

    # For low-resolution images
    low_res_model = MultiScaleModel(scales=[1.0, 0.75, 0.5], base_model=base_model, fusion_method="concat")

    assert high_res_model(torch.rand(1, 3, 48, 64)).shape == (1, 4 * 64, 48, 64)
    assert low_res_model(torch.rand(1, 3, 15, 17)).shape == (1, 3 * 64, 15, 17)


class Segmenter(Pretrained):
    """adapted: nx.save does not exist; what is saved by save_pretrained is a class of plain arguments."""

    def __init__(self, in_channels: int, out_channels: int, features: list[int]) -> None:
        super().__init__()
        self.net = UNet(in_channels=in_channels, out_channels=out_channels, features=features)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_image_segmentation_with_unet(tmp_path: Path) -> None:
    # Create a U-Net model for segmentation
    model = Segmenter(
        in_channels=3,
        out_channels=1,
        features=[8, 16, 32, 64],  # adapted: [64, 128, 256, 512] in Neurenix, for a quick test
    )

    # adapted: nn.BCELoss on raw outputs is wrong (and raises on torch); the network gives logits
    criterion = nn.BCEWithLogitsLoss()
    optimizer = Adam(model.parameters(), lr=0.01)  # adapted: 0.001 in Neurenix, with many more steps

    # Assume we have a DataLoader for segmentation data
    samples = torch.rand(16, 3, 16, 16)
    train_dataset = TensorDataset(samples, (samples.mean(1, keepdim=True) > 0.5).float())
    train_loader = DataLoader(train_dataset, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(0))

    # Training loop
    num_epochs = 10
    lines: list[str] = []
    losses: list[float] = []
    for epoch in range(num_epochs):
        for batch_idx, (images, masks) in enumerate(train_loader):
            # Forward pass
            outputs = model(images)
            loss = criterion(outputs, masks)

            # Backward pass and optimize
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            losses.append(loss.item())
            if batch_idx % 10 == 0:
                lines.append(f"Epoch {epoch + 1}/{num_epochs}, Batch {batch_idx}, Loss: {loss.item():.4f}")

    assert len(lines) == num_epochs
    assert losses[-1] < 0.6 * losses[0]
    with pytest.raises((RuntimeError, ValueError)):  # Neurenix's line, as it stands
        nn.BCELoss()(outputs * 5, masks)

    # Save the trained model
    model.save_pretrained(tmp_path / "unet_segmentation_model")
    loaded = Segmenter.from_pretrained(tmp_path / "unet_segmentation_model")
    assert torch.equal(loaded(samples), model.eval()(samples))


def feature_extraction() -> tuple[list[nn.Module], Callable[[Tensor], Tensor]]:
    # Create a pyramid network for feature extraction
    feature_extractor = PyramidNetwork(in_channels=3, out_channels=128, num_levels=4, base_channels=64)

    # Create a feature fusion module
    fusion = FeatureFusion(
        in_channels=[64, 128, 256, 512],  # Channels at each level of the pyramid
        out_channels=256,
        fusion_method="attention",
    )

    # Create a classifier
    classifier = Sequential(Linear(256, 128), ReLU(), Linear(128, 10))

    # Define a forward function for the full model
    def forward(x: Tensor) -> Tensor:
        # Extract features at multiple scales
        _ = feature_extractor(x)
        features = feature_extractor.get_features()

        # Fuse features from different scales
        fused_features = fusion(features)

        # Global average pooling
        pooled_features = torch.mean(fused_features, dim=[2, 3])

        # Classify
        return classifier(pooled_features)

    return [feature_extractor, fusion, classifier], forward


def test_multi_scale_feature_extraction() -> None:
    (feature_extractor, fusion, classifier), forward = feature_extraction()

    # Process an input image
    input_image = torch.rand(2, 3, 24, 24)
    output = forward(input_image)

    assert output.shape == (2, 10)
    output.sum().backward()  # through the features, although the output of the pyramid is not used
    for module in (feature_extractor.stages, fusion, classifier):
        assert all(p.grad is not None for p in module.parameters())

    # the form to use inside of a network, under DDP and torch.compile: no output needed, nothing remembered
    feature_extractor.eval()
    fused = fusion(feature_extractor.get_features(input_image))
    torch.testing.assert_close(classifier(fused.mean(dim=[2, 3])), forward(input_image))
