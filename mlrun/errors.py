"""Errors that the user can correct: shown as one message, without a traceback, with exit status 2."""

from __future__ import annotations


class UserError(Exception):
    """An invalid command, setting or file. The message says what is wrong, where, and what to do."""


class ConfigError(UserError):
    """An invalid configuration.

    Args:
        problems: everything that is wrong with it, one line each; the key comes first.
    """

    def __init__(self, problems: list[str] | str):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(UserError):
    """A data file or its content cannot be used."""


class Pruned(Exception):
    """A search stopped this run early, because its first epochs compare badly with those of other runs."""


class SweepFailed(Exception):
    """Some jobs of a sweep did not finish. The sweep prints which and why before it raises this."""
