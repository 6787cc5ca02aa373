from .apps import AppContract as AppContract
from .contract import ModuleContract as ModuleContract
from .ranks import run_ranks as run_ranks
