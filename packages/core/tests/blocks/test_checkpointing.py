"""Gradient checkpointing: the same outputs and gradients, and fewer tensors kept."""

import copy

import pytest
import torch
from torch import nn

from polyscale.blocks.checkpointing import enable_gradient_checkpointing, run_checkpointed
from polyscale.blocks.pyramids.network import PyramidNetwork
from polyscale.blocks.pyramids.unet import UNet
from polyscale.blocks.scales.model import MultiScaleModel


def dropout_base() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))


MODELS = {
    "pyramid": lambda: PyramidNetwork(3, 2, 3, 4),
    "unet": lambda: UNet(3, 2, [4, 6, 8]),
    "multiscale": lambda: MultiScaleModel([1.0, 0.5, 1.5], dropout_base(), "attention"),
    "nested": lambda: MultiScaleModel([1.0, 0.5], UNet(3, 4, [4, 6]), "concat"),
}


def step(model: nn.Module, x: torch.Tensor, enabled: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and input gradient of one training step; the backward pass runs outside of the context."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    with enable_gradient_checkpointing(enabled):
        out = model(x)
    out.square().sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad


@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_are_bitwise_equal(name: str) -> None:
    torch.manual_seed(0)
    plain = MODELS[name]().train()
    saving = copy.deepcopy(plain)
    x = torch.randn(2, 3, 17, 23)
    for _ in range(2):
        want, got = step(plain, x, enabled=False), step(saving, x, enabled=True)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])
    for (key, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), key
    for (key, p), q in zip(plain.named_buffers(), saving.buffers(), strict=True):
        if key.endswith("num_batches_tracked"):
            assert q == 2 * p, key  # as documented: batch norm sees each batch twice


@pytest.mark.parametrize("name", MODELS)
def test_fewer_values_are_kept_for_the_backward_pass(name: str) -> None:
    torch.manual_seed(0)
    model, x = MODELS[name]().train(), torch.randn(2, 3, 32, 32)

    def kept(enabled: bool) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), enable_gradient_checkpointing(enabled):
            out = model(x)
        assert out.requires_grad
        return sum(sizes.values())

    assert kept(True) < 0.7 * kept(False)


def test_an_image_without_gradient_is_no_trap() -> None:
    model = UNet(3, 1, [4, 6])
    with enable_gradient_checkpointing():
        out = model(torch.randn(1, 3, 8, 8))
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_it_ends_with_the_context_and_can_be_switched_off_within() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x.sin()

    x = torch.ones(1, requires_grad=True)

    def runs(call: nn.Module) -> int:
        run_checkpointed(call, x).backward()
        return call.calls

    with enable_gradient_checkpointing():
        assert runs(Counting()) == 2
        with enable_gradient_checkpointing(False):
            assert runs(Counting()) == 1
        assert runs(Counting()) == 2
    assert runs(Counting()) == 1
    stage = Counting()
    with enable_gradient_checkpointing(), torch.no_grad():
        run_checkpointed(stage, x)
    with pytest.raises(RuntimeError, match="inside"), enable_gradient_checkpointing():
        raise RuntimeError("inside")
    assert runs(Counting()) == 1


def test_it_compiles_without_graph_break() -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    plain = UNet(3, 2, [4, 6]).train()
    compiled = copy.deepcopy(plain)
    x = torch.randn(2, 3, 16, 16)
    want = step(plain, x, enabled=False)
    got = step(torch.compile(compiled, fullgraph=True, backend="aot_eager"), x, enabled=True)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_second_backward_pass_recomputes_again() -> None:
    stage = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    x = torch.randn(2, 2, 6, 6, requires_grad=True)
    with enable_gradient_checkpointing():
        loss = run_checkpointed(stage, x).square().sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)
    second = torch.autograd.grad(loss, x)
    assert torch.equal(first[0], second[0])
