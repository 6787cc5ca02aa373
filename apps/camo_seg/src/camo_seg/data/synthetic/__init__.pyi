from .scenes import SyntheticSource as SyntheticSource
from .scenes import synthetic_sample as synthetic_sample
