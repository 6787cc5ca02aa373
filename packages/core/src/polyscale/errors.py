"""The one exception that a command line shows as a single line instead of a traceback."""


class UserError(ValueError):
    """Something the user can put right: a bad file, folder, key or value.

    The message is one line that names the file or key and says what is accepted. `exit_code` is what the
    process ends with: 1 for a failure, 2 for wrong usage (unknown key, type or range).
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
