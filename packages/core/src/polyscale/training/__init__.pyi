from .journal import read_journal as read_journal
from .options import TrainSettings as TrainSettings
from .run import Run as Run
from .schedule import lr_factor as lr_factor
from .schedule import param_groups as param_groups
from .state import NonFiniteLossError as NonFiniteLossError
