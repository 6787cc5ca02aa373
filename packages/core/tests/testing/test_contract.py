"""The contract itself: a sound block passes every check, and each kind of fault is caught by the check meant for it."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyscale.testing.contract import ModuleContract


class Sound(nn.Module):
    """A conv, a norm, a dropout and a zero-initialised residual gate: what honest blocks are made of."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        self.channels = channels
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(0.1)
        self.gate = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.channels:
            raise ValueError(f"x must have {self.channels} channels, got {x.shape[1]}")
        return x + self.gate * self.drop(torch.tanh(self.norm(self.conv(x))))


class SoundContract(ModuleContract):
    identity = True
    sizes = ((6, 6), (5, 7))
    gradcheck_size = (2, 3)
    bad_arguments = ((lambda: Sound(0), "channels .* got 0"),)
    bad_inputs = ((lambda block: block(torch.zeros(1, 3, 4, 4)), "8 channels, got 3"),)

    def make(self) -> nn.Module:
        return Sound()

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Any:
        return (batch, self.channels, *size)


class TestSound(SoundContract):
    pass


class DeadParameter(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))


class BiasBeforeNorm(Sound):
    """A bias that BatchNorm takes away again: its gradient is zero but for rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)


class HiddenBuffer(Sound):
    """Keeps a running mean in train mode, outside of the state_dict, and uses it in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(x.detach().mean() + 1, 0.1)
        return super().forward(x) - (0 if self.training else self.mean)


class LeakingState(Sound):
    """The temporal attention of naive code: the previous call is mixed into this one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x) + self.state
        self.state = x.detach().mean((0, 2, 3))[:, None, None]
        return out


class KeepsFeatures(Sound):
    def forward(self, x: Tensor) -> Tensor:
        self.features = [super().forward(x)]
        return self.features[0]


class MixesBatch(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.conv(x).softmax(0)


class InPlace(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


class WrongBackward(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.5 * x.detach()


class GraphBreak(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if x.mean().item() > 0 else 1)


# torch 2.6 does not tell exporting from compiling
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class ConstantOnExport(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (1 if is_exporting() else 0)


class WrongSize(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., : x.shape[-1] // 2 * 2]


class DoubleUnderAutocast(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).double()


class MixedTypes(Sound):
    """Works on fp32 inputs, breaks on the bf16 features that a backbone gives under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return x.index_add(0, torch.arange(len(x)), super().forward(x).float())


class NotIdentity(Sound):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.gate, 0.1)


class AcceptsAnything(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate.mean() if x.shape[1] != 8 else super().forward(x)


CAUGHT = [
    (DeadParameter, "test_every_parameter_gets_a_gradient"),
    (BiasBeforeNorm, "test_every_parameter_gets_a_gradient"),
    (HiddenBuffer, "test_state_dict_round_trip"),
    (LeakingState, "test_training_hides_no_state"),
    (LeakingState, "test_eval_is_deterministic_and_keeps_nothing"),
    (KeepsFeatures, "test_training_hides_no_state"),
    (MixesBatch, "test_rows_are_independent"),
    (InPlace, "test_eval_is_deterministic_and_keeps_nothing"),
    (WrongBackward, "test_gradcheck"),
    (GraphBreak, "test_compile"),
    (ConstantOnExport, "test_export"),
    (WrongSize, "test_shapes"),
    (DoubleUnderAutocast, "test_bf16_autocast"),
    (MixedTypes, "test_bf16_autocast"),
    (NotIdentity, "test_identity_at_start"),
    (AcceptsAnything, "test_bad_arguments_and_inputs_are_value_errors"),
]


@pytest.mark.parametrize(("block", "check"), CAUGHT, ids=[f"{b.__name__}-{c}" for b, c in CAUGHT])
def test_fault_is_caught(block: type[nn.Module], check: str) -> None:
    contract = SoundContract()
    contract.make = block  # type: ignore[method-assign]
    with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError, ValueError)) as caught:
        getattr(contract, check)()
    assert not isinstance(caught.value, NotImplementedError)


def test_every_check_has_a_fault() -> None:
    checks = {name for name, _ in inspect.getmembers(ModuleContract, inspect.isfunction) if name.startswith("test_")}
    assert checks == {check for _, check in CAUGHT}


def test_a_contract_must_name_what_is_refused() -> None:
    contract = SoundContract()
    contract.bad_arguments, contract.bad_inputs = (), ()  # type: ignore[misc]
    with pytest.raises(AssertionError, match="say what the block refuses"):
        contract.test_bad_arguments_and_inputs_are_value_errors()
