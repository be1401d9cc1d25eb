"""What is said to a user.

Whoever finds a mistake of the user's raises one of these: the door prints its message, without a
traceback, and ends with exit code 2. Every other exception is a bug.
"""


class UserError(ValueError):
    """A mistake of the user's: the message says what, where, what was expected and what to do."""


class MissingError(UserError, FileNotFoundError):
    """A file, a folder or a build that should be there is not."""
