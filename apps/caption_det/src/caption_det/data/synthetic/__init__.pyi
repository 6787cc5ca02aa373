from .phrases import captions_of as captions_of
from .phrases import read_caption as read_caption
from .scenes import Group as Group
from .scenes import Scene as Scene
from .scenes import paint_scene as paint_scene
from .scenes import plan_scene as plan_scene
from .shapes import SHAPES as SHAPES
from .world import World as World
