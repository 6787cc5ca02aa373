from .camera import CameraModel as CameraModel
from .camera import EventCamera as EventCamera
from .filming import Film as Film
from .filming import film as film
from .scenes import CLASSES as CLASSES
from .scenes import Scene as Scene
from .scenes import make_scene as make_scene
from .videos import film_frames as film_frames
