from .config import PRESETS as PRESETS
from .config import Config as Config
from .data.open import open_split as open_split
from .model.network import CamoSegmenter as CamoSegmenter
from .model.network import ModelLevelMoE as ModelLevelMoE
from .predict import Prediction as Prediction
from .predict import Predictor as Predictor

__version__: str
