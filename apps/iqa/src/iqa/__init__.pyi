from .api import QualityMetric as QualityMetric
from .api import QualityScore as QualityScore
from .api import create_metric as create_metric
from .api import list_models as list_models
from .config import PRESETS as PRESETS
from .config import Config as Config
from .data.open import open_split as open_split
from .model.network import QualityNet as QualityNet
from .predict import Prediction as Prediction
from .predict import Predictor as Predictor

__version__: str
