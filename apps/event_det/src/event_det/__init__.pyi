from .build import load_model as load_model
from .config import PRESETS as PRESETS
from .config import Config as Config
from .data.open import open_split as open_split
from .formats.events import Events as Events
from .formats.recording import Recording as Recording
from .formats.table import FORMATS as FORMATS
from .formats.table import write_recording as write_recording
from .model.network import EventDetector as EventDetector
from .predict import Predictor as Predictor
from .representations.histogram import stacked_histogram as stacked_histogram
from .representations.time_surface import time_surface as time_surface
from .representations.voxel_grid import voxel_grid as voxel_grid

__version__: str
