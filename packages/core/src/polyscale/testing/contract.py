"""The contract that every block of polyscale keeps, as one test class to inherit (needs pytest).

The pattern is kornia's BaseTester; what differs: gradients, compile and export are compared by value, and state that
a block hides from its state_dict is looked for. A new block needs five lines:

    class TestPyramidPooling(ModuleContract):
        def make(self) -> nn.Module:
            return PyramidPooling(8, 12)

        def expected_shapes(self, batch, size):
            return (batch, 12, *size)

        bad_arguments = ((lambda: PyramidPooling(0, 12), "in_channels"),)

(Tuples, as ruff flags lists in class bodies.)
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

Shapes = Any  # a tuple of ints, or lists / dicts of such, nested like the output


class ModuleContract:
    """Inherit as `class TestX(ModuleContract)`; give `make`, `expected_shapes` and what the block refuses.

    Attributes a subclass may set:
        channels: channel count of the default `inputs`.
        sizes: (H, W) pairs; each is tried with batch 1 and 2, in train and eval mode.
        gradcheck_size: (H, W) of the float64 gradcheck; keep it tiny.
        identity: True where the output equals `identity_of(inputs)` (the first tensor) at construction.
        independent: False where the rows of a batch may depend on each other (a loss that averages the batch).
        differentiable_inputs: gradcheck takes only so many leading tensors of `inputs` (a loss: without targets).
        autocast_tolerance: bound of |bf16 - fp32| / |fp32| (Frobenius); None where bf16 may flip a decision.
        bad_arguments: (callable without argument that constructs, regex of the ValueError).
        bad_inputs: (callable that takes the fresh block, or nothing, and calls it; regex of the ValueError).
    """

    channels: ClassVar[int] = 8
    sizes: ClassVar[Sequence[tuple[int, int]]] = ((16, 16), (17, 23), (1, 1))
    gradcheck_size: ClassVar[tuple[int, int]] = (4, 5)
    identity: ClassVar[bool] = False
    independent: ClassVar[bool] = True
    differentiable_inputs: ClassVar[int | None] = None
    autocast_tolerance: ClassVar[float | None] = 0.1
    bad_arguments: ClassVar[Sequence[tuple[Callable[..., Any], str]]] = ()
    bad_inputs: ClassVar[Sequence[tuple[Callable[..., Any], str]]] = ()

    # what a subclass gives

    def make(self) -> nn.Module:
        """A new block with small channel counts."""
        raise NotImplementedError

    def make_tiny(self) -> nn.Module:
        """The block of the gradcheck; override where `make()` is too large for it."""
        return self.make()

    def inputs(self, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        """Positional arguments of forward; override for lists and further arguments."""
        return (torch.randn(batch, self.channels, *size, dtype=dtype),)

    def expected_shapes(self, batch: int, size: tuple[int, int]) -> Shapes:
        """Shape of the output: a tuple of ints, or a list or dict of such where the output is nested."""
        raise NotImplementedError

    def identity_of(self, inputs: tuple[Any, ...]) -> Tensor:
        """What the first output tensor equals at construction when `identity` is True."""
        return next(_leaves(inputs))

    # the contract

    def test_shapes(self) -> None:
        for size in self.sizes:
            for batch in (1, 2):
                for training in (True, False):
                    block = self._fresh().train(training)
                    got = _shapes(block(*self.inputs(batch, size)))
                    want = _nested(self.expected_shapes(batch, size))
                    assert got == want, f"size {size}, batch {batch}, training={training}: {got} is not {want}"

    def test_every_parameter_gets_a_gradient(self) -> None:
        # float64, so that a gradient that is zero by construction (a bias before a norm) is told from a small one;
        # moved off the initialisation, so that a zero-initialised gate hides nothing
        block = _perturbed(self._fresh()).double().train()
        alive: set[str] = set()
        for _ in range(3):
            block.zero_grad()
            inputs = _cast(self.inputs(2, self.sizes[0], torch.float64), torch.float64)
            _scalar(block(*_map(inputs, lambda x: x.requires_grad_(x.is_floating_point())))).backward()
            for name, parameter in block.named_parameters():
                if parameter.grad is not None:
                    assert parameter.grad.isfinite().all(), f"gradient of {name} is not finite"
                    if parameter.grad.abs().max() > 1e-9:
                        alive.add(name)
        dead = [name for name, p in block.named_parameters() if p.requires_grad and name not in alive]
        assert not dead, f"parameters without effect on the output: {dead}"

    def test_gradcheck(self) -> None:
        torch.manual_seed(0)
        block = _perturbed(self.make_tiny()).double().eval()
        inputs = _cast(self.inputs(2, self.gradcheck_size, torch.float64), torch.float64)
        leaves = [leaf for leaf in _leaves(inputs) if leaf.is_floating_point()][: self.differentiable_inputs]
        parameters = {name: p for name, p in block.named_parameters() if p.requires_grad}

        def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
            given = {id(leaf): tensor for leaf, tensor in zip(leaves, tensors, strict=False)}
            arguments = _map(inputs, lambda x: given.get(id(x), x))
            state = dict(zip(parameters, tensors[len(leaves) :], strict=True))
            out = torch.func.functional_call(block, state, arguments)
            return tuple(leaf for leaf in _leaves(out) if leaf.is_floating_point())

        variables = [leaf.clone().requires_grad_() for leaf in leaves] + list(parameters.values())
        assert torch.autograd.gradcheck(outputs, variables, fast_mode=True, nondet_tol=1e-12)

    def test_eval_is_deterministic_and_keeps_nothing(self) -> None:
        block = self._fresh().eval()
        first, other = self.inputs(2, self.sizes[0]), self.inputs(2, self.sizes[0])
        before = [leaf.clone() for leaf in _leaves(first)]
        out = block(*first)
        block(*other)
        _assert_same(block(*first), out, "the same input gave another output in eval mode")
        _assert_same(list(_leaves(first)), before, "the input was changed in place")

    def test_training_hides_no_state(self) -> None:
        block = self._fresh().eval()
        inputs, other = self.inputs(2, self.sizes[0]), self.inputs(2, self.sizes[0])
        kept = _attribute_tensors(block)
        block(*inputs)
        block.train()
        outs = []
        for arguments in (inputs, other, inputs):
            torch.manual_seed(1)  # same dropout
            outs.append(block(*arguments))
        _assert_same(outs[2], outs[0], "in train mode an earlier call changed the output of a later one")
        new = _attribute_tensors(block) - kept
        assert not new, f"tensors kept as plain attributes after forward: {sorted(name for name, _ in new)}"

    def test_rows_are_independent(self) -> None:
        if not self.independent:
            pytest.skip("rows of a batch may depend on each other here")
        block, batch = _perturbed(self._fresh()).eval(), 5
        inputs = self.inputs(batch, self.sizes[0])
        whole = [leaf for leaf in _leaves(block(*inputs)) if leaf.ndim and len(leaf) == batch]
        assert whole, "no output has the batch as its first dimension; set independent = False"
        row = _map(inputs, lambda x: x[3:4] if x.ndim and len(x) == batch else x)
        alone = [leaf for leaf in _leaves(block(*row)) if leaf.ndim and len(leaf) == 1]
        _assert_same(alone, [leaf[3:4] for leaf in whole], "a row depends on the rest of its batch", loose=True)

    def test_bf16_autocast(self) -> None:
        block = self._fresh().eval()
        inputs = self.inputs(2, self.sizes[0])
        reference = [leaf for leaf in _leaves(block(*inputs)) if leaf.is_floating_point()]
        # inside a network the inputs of a block are already bf16 while its parameters are fp32: try both
        for arguments in (inputs, _cast(inputs, torch.bfloat16)):
            block.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                out = block(*arguments)
            leaves = [leaf for leaf in _leaves(out) if leaf.is_floating_point()]
            for leaf, want in zip(leaves, reference, strict=True):
                assert leaf.dtype in (torch.bfloat16, torch.float32), f"output is {leaf.dtype}"
                assert leaf.isfinite().all(), "not finite under bf16 autocast"
                if self.autocast_tolerance is not None:
                    error = (leaf.float() - want).norm() / want.norm().clamp(min=1e-3)
                    assert error <= self.autocast_tolerance, f"bf16 autocast is off by {error:.3f}"
            if any(leaf.requires_grad for leaf in leaves):
                _scalar(out).backward()
            for name, parameter in block.named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), f"bf16 gradient of {name}"

    def test_compile(self) -> None:
        torch._dynamo.reset()
        block = _perturbed(self._fresh()).eval()
        inputs = self.inputs(2, self.sizes[0])
        compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
        outs, gradients = [], []
        for function in (block, compiled):
            block.zero_grad()
            torch.manual_seed(1)
            out = function(*inputs)
            if any(leaf.requires_grad for leaf in _leaves(out)):
                _scalar(out).backward()
            outs.append(out)
            gradients.append([p.grad.clone() for p in block.parameters() if p.grad is not None])
        _assert_same(outs[1], outs[0], "torch.compile gave another output", loose=True)
        _assert_same(gradients[1], gradients[0], "torch.compile gave another gradient", loose=True)

    def test_export(self) -> None:
        block = _perturbed(self._fresh()).eval()
        inputs = self.inputs(2, self.sizes[0])
        exported = torch.export.export(block, inputs, strict=False).module()
        _assert_same(exported(*inputs), block(*inputs), "torch.export gave another output", loose=True)

    def test_state_dict_round_trip(self) -> None:
        block = _perturbed(self._fresh()).train()
        block(*self.inputs(2, self.sizes[0]))  # what training changes must be in the state_dict too
        fresh = self._fresh(seed=1)
        fresh.load_state_dict(block.state_dict(), strict=True)
        inputs = self.inputs(2, self.sizes[0])
        _assert_same(fresh.eval()(*inputs), block.eval()(*inputs), "the state_dict does not hold the whole state")

    def test_identity_at_start(self) -> None:
        if not self.identity:
            pytest.skip("no identity at start promised")
        for training in (False, True):
            block = self._fresh().train(training)
            inputs = self.inputs(2, self.sizes[0])
            _assert_same(next(_leaves(block(*inputs))), self.identity_of(inputs), "not the identity", loose=True)

    def test_bad_arguments_and_inputs_are_value_errors(self) -> None:
        assert self.bad_arguments or self.bad_inputs, "say what the block refuses: bad_arguments or bad_inputs"
        for call, pattern in self.bad_arguments:
            with pytest.raises(ValueError, match=pattern):
                call()
        for call, pattern in self.bad_inputs:
            block = self._fresh()
            takes_block = len(inspect.signature(call).parameters) > 0
            with pytest.raises(ValueError, match=pattern):
                call(block) if takes_block else call()

    def _fresh(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.make()


def _leaves(value: Any) -> Iterator[Tensor]:
    """Tensors of nested lists, tuples and dicts, in order; other values are passed over."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(item, function) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(item, function) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(_map(item, function) for item in value)
    return value


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return _map(value, lambda x: x.to(dtype) if x.is_floating_point() else x)


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return {key: _shapes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shapes(item) for item in value]
    return None


def _nested(expected: Any) -> Any:
    """Expected shapes in the form of `_shapes`: tuples of ints are shapes, other sequences become lists."""
    if isinstance(expected, dict):
        return {key: _nested(item) for key, item in expected.items()}
    if isinstance(expected, tuple | torch.Size) and all(isinstance(item, int) for item in expected):
        return tuple(expected)
    return None if expected is None else [_nested(item) for item in expected]


def _perturbed(block: nn.Module) -> nn.Module:
    """Move every parameter a little off its initial value, so that zero-initialised parts take part."""
    with torch.no_grad():
        for parameter in block.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return block


def _scalar(out: Any) -> Tensor:
    """A random projection of all differentiable outputs: no output can cancel another."""
    terms = [(leaf * torch.randn_like(leaf)).sum().double() for leaf in _leaves(out) if leaf.requires_grad]
    assert terms, "no output depends on a parameter or input that requires a gradient"
    return torch.stack(terms).sum()


def _attribute_tensors(block: nn.Module) -> set[tuple[str, int]]:
    """(path, id) of tensors that modules hold outside of parameters and buffers."""
    found = set()
    for path, module in block.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found |= {(f"{path}.{name}".lstrip("."), id(leaf)) for leaf in _leaves(value)}
    return found


def _assert_same(got: Any, want: Any, message: str, loose: bool = False) -> None:
    got_leaves, want_leaves = list(_leaves(got)), list(_leaves(want))
    assert len(got_leaves) == len(want_leaves), f"{message}: {len(got_leaves)} tensors, not {len(want_leaves)}"
    for a, b in zip(got_leaves, want_leaves, strict=True):
        rtol, atol = 0.0, 0.0
        if loose:  # another order of summing leaves small elements off by a share of the large ones
            largest = b.detach().abs().max().item() if b.numel() else 0.0
            rtol, atol = 1e-4, 1e-5 * max(1.0, largest)
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True, msg=lambda text: f"{message}\n{text}")
