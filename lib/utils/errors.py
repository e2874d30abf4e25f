"""Errors that the user can mend."""


class UserError(ValueError):
    """A wrong input: the message names the thing, the value seen and the way out.

    The command lines print the message alone and exit with status 2.
    """


class LoaderError(RuntimeError):
    """The loader hung, or one of its workers died; the message says which and why that may be.

    The command lines print the message alone and exit with status 1.
    """
