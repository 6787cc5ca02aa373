from .network import CamoSegmenter as CamoSegmenter
from .network import ModelLevelMoE as ModelLevelMoE
