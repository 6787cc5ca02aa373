from .configuration import CaptionDetConfig as CaptionDetConfig
from .detections import Detections as Detections
from .detections import ScoredBoxes as ScoredBoxes
from .loading import load as load
from .modeling import CaptionDetModel as CaptionDetModel
from .modeling import CaptionDetOutput as CaptionDetOutput
from .seed import MultiScaleCLIPEncoder as MultiScaleCLIPEncoder
from .seed import ResnetGPT2Wrapper as ResnetGPT2Wrapper
