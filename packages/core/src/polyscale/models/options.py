"""Where a backbone's first weights come from, as a setting; nothing here imports torch."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Source = Literal["none", "hub", "package"]


def _named(value: Any) -> Any:
    """Return the source that a boolean meant in the settings files of before."""
    return {True: "hub", False: "none"}[value] if isinstance(value, bool) else value


WeightSource = Annotated[Source, BeforeValidator(_named)]
"""A `Source`; a file of settings may still say true (hub) or false (none)."""
