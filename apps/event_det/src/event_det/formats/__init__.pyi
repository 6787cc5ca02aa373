from .checks import Tally as Tally
from .events import Events as Events
from .recording import Recording as Recording
from .summary import summarise as summarise
from .table import FORMATS as FORMATS
from .table import Format as Format
from .table import write_recording as write_recording
