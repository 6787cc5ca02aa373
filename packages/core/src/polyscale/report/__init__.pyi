from .drawing import draw_boxes as draw_boxes
from .drawing import heatmap as heatmap
from .drawing import overlay as overlay
from .drawing import panel as panel
from .page import Report as Report
