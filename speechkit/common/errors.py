"""Errors that a user can cause and mend."""


class SpeechkitError(Exception):
    """Something in the input or the environment is wrong.

    The message is one line that names the file or value and the remedy; the
    command line prints it without a traceback and exits with 1.
    """


class UsageError(SpeechkitError):
    """An option, name or value that does not exist or does not fit; exit code 2."""
