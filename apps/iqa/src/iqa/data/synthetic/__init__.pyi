from .labels import SyntheticSource as SyntheticSource
