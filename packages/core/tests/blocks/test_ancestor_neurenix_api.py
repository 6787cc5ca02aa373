"""Every class, argument, default and method of Neurenix's API reference exists under its documented name."""

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import polyscale
from polyscale import blocks

REQUIRED = inspect.Parameter.empty

# class -> (constructor arguments with defaults, methods with their arguments), as Neurenix documents them
NEURENIX: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
    "MultiScaleModel": (
        {"scales": [1.0, 0.5, 0.25], "base_model": None, "fusion_method": "concat"},
        {"forward": ["x"], "add_scale": ["scale"], "remove_scale": ["scale"]},
    ),
    "PyramidNetwork": (
        {"in_channels": REQUIRED, "out_channels": REQUIRED, "num_levels": 3, "base_channels": 64},
        {"forward": ["x"], "get_features": []},
    ),
    "UNet": (
        {"in_channels": REQUIRED, "out_channels": REQUIRED, "features": [64, 128, 256, 512]},
        {"forward": ["x"], "get_encoder_features": [], "get_decoder_features": []},
    ),
    "MultiScalePooling": ({"pool_sizes": [1, 2, 3, 6], "pool_type": "avg"}, {"forward": ["x"]}),
    "PyramidPooling": (
        {"in_channels": REQUIRED, "out_channels": REQUIRED, "pool_sizes": [1, 2, 3, 6]},
        {"forward": ["x"]},
    ),
    "SpatialPyramidPooling": ({"num_levels": 3, "pool_type": "max"}, {"forward": ["x"]}),
    "FeatureFusion": (
        {"in_channels": REQUIRED, "out_channels": REQUIRED, "fusion_method": "concat"},
        {"forward": ["features"]},
    ),
    "ScaleFusion": (
        {"scales": REQUIRED, "in_channels": REQUIRED, "out_channels": REQUIRED, "fusion_method": "concat"},
        {"forward": ["features"]},
    ),
    "AttentionFusion": ({"in_channels": REQUIRED, "out_channels": REQUIRED}, {"forward": ["features"]}),
    "MultiScaleTransform": (
        {"scales": [1.0, 0.5, 0.25], "mode": "bilinear"},
        {"forward": ["x"], "inverse": ["x", "original_size"]},
    ),
    "Rescale": ({"scale_factor": 0.5, "mode": "bilinear"}, {"forward": ["x"], "inverse": ["x"]}),
    "PyramidDownsample": ({"num_levels": 3, "mode": "bilinear"}, {"forward": ["x"], "get_level": ["level"]}),
}
CHOICES = {
    "fusion_method": ["concat", "sum", "attention"],
    "pool_type": ["avg", "max"],
    "mode": ["nearest", "bilinear", "bicubic"],
}


def fitting(name: str, **changes: Any) -> dict[str, Any]:
    """Arguments that construct `name`: small ones where Neurenix gives no default."""
    arguments, _ = NEURENIX[name]
    small = {"in_channels": [4, 4] if name in ("FeatureFusion", "AttentionFusion") else 4, "out_channels": 4}
    required = {key: small.get(key, [1.0, 0.5]) for key, default in arguments.items() if default is REQUIRED}
    if changes.get("fusion_method") == "attention" and name == "MultiScaleModel":
        changes["channels"] = 4
    return required | changes


@pytest.mark.parametrize("name", NEURENIX)
def test_class_is_public(name: str) -> None:
    assert getattr(polyscale, name) is getattr(blocks, name)
    assert name in polyscale.__all__


@pytest.mark.parametrize("name", NEURENIX)
def test_constructor_takes_the_documented_arguments_in_their_order(name: str) -> None:
    wanted, _ = NEURENIX[name]
    parameters = inspect.signature(getattr(polyscale, name)).parameters
    assert list(parameters)[: len(wanted)] == list(wanted)
    for argument, default in wanted.items():
        got = parameters[argument].default
        assert (list(got) if isinstance(got, tuple) else got) == default, argument
    extra = [p for key, p in parameters.items() if key not in wanted]
    assert all(p.default is not REQUIRED for p in extra), f"the documented call would fail: {extra}"


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name, (_, methods) in NEURENIX.items() for method in methods]
)
def test_method_takes_the_documented_arguments_and_needs_no_other(name: str, method: str) -> None:
    wanted = NEURENIX[name][1][method]
    _, *parameters = inspect.signature(getattr(getattr(polyscale, name), method)).parameters.values()
    assert [p.name for p in parameters][: len(wanted)] == wanted
    assert all(p.default is not REQUIRED for p in parameters[len(wanted) :])


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [(n, a, v) for n, (arguments, _) in NEURENIX.items() for a in arguments for v in CHOICES.get(a, [])],
)
def test_every_documented_choice_is_accepted_and_others_are_not(name: str, argument: str, value: str) -> None:
    block = getattr(polyscale, name)
    block(**fitting(name, **{argument: value}))
    with pytest.raises(ValueError, match=f"{argument} must be one of .*'{value}'.* got '{value}!'"):
        block(**fitting(name, **{argument: f"{value}!"}))


@pytest.mark.parametrize("name", NEURENIX)
def test_arguments_survive_a_config_file(name: str) -> None:
    defaults = {key: value for key, value in NEURENIX[name][0].items() if value is not REQUIRED}
    read = yaml.safe_load(yaml.safe_dump(defaults | fitting(name)))
    block, again = getattr(polyscale, name)(**fitting(name)), getattr(polyscale, name)(**read)
    again.load_state_dict(block.state_dict())


def test_the_table_is_complete() -> None:
    """Against the page itself, where it is next to the checkout."""
    checkout = Path(__file__).parents[4]
    data = Path(os.environ.get("POLYSCALE_SHARED", checkout.parent / "shared" / "data"))
    page = data.parent / "seeds" / "core_multi_scale_api.md"
    if not page.exists():
        pytest.skip("the page of Neurenix is not next to this checkout")
    text = page.read_text(encoding="utf-8")
    found = {}
    for section in text.split("```python\nneurenix.multiscale.")[1:]:
        name, arguments = re.match(r"(\w+)\((.*?)\n\)", section, re.DOTALL).groups()
        methods = re.findall(r"^- `(\w+)\((.*?)\)`:", section.split("**Methods:**")[1].split("```")[0], re.MULTILINE)
        found[name] = (
            re.findall(r"^ +(\w+):", arguments, re.MULTILINE),
            {m: re.findall(r"\w+", a) for m, a in methods},
        )
    assert found == {name: (list(arguments), methods) for name, (arguments, methods) in NEURENIX.items()}
    assert "enable_gradient_checkpointing" in text
    assert callable(polyscale.enable_gradient_checkpointing)
