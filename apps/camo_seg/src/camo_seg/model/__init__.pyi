from .network import CamoSegmenter as CamoSegmenter
