"""`iqa config`."""

from iqa.config import PRESETS, Config
from polyscale.commands.config import config_command

config = config_command(Config, PRESETS, "nano")
