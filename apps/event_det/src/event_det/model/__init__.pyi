from .detections import Detections as Detections
from .network import EventDetector as EventDetector
from .rvt import load_rvt as load_rvt
