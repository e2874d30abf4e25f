"""Errors that the user can mend, and signals."""


class UserError(ValueError):
    """A wrong input: the message names the thing, the value seen and the way out.

    The command lines print the message alone and exit with status 2.
    """


class LoaderError(RuntimeError):
    """The loader hung, or one of its workers died; the message says which and why that may be.

    The command lines print the message alone and exit with status 1.
    """


class StoppedAtOnce(KeyboardInterrupt):
    """A signal that ends the program where it is: before a training's first step, or a second one later.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number
