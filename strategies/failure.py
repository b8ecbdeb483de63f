"""The one way in which a run fails."""


class RunFailedError(RuntimeError):
    """The federation cannot go on: one line with the reason."""
