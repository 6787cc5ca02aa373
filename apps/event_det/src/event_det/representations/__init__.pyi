from .histogram import stacked_histogram as stacked_histogram
from .time_surface import time_surface as time_surface
from .voxel_grid import voxel_grid as voxel_grid
