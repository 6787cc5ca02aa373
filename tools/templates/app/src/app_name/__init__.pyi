from .config import PRESETS as PRESETS
from .config import Config as Config
from .data.dataset import open_split as open_split
from .model.network import Segmenter as Segmenter
from .predict import Prediction as Prediction
from .predict import Predictor as Predictor

__version__: str
