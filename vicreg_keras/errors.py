"""Errors whose message is for the user."""


class InputError(ValueError):
    """A value, file, dataset or checkpoint that a user gave can't be used.

    The message is one sentence for each of: what was expected, what was received
    (`Received: name=value`) and what to do. The command line prints it without a
    traceback. Any other exception is a defect of the program and keeps its traceback.
    """


class NonFiniteLossError(InputError, FloatingPointError):
    """Training produced a loss that is NaN or infinite."""
