"""Errors that a user can mend: shown as one message, without a traceback, with exit status 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave is wrong. The message says what, where, and what to do."""


class ConfigError(UserError):
    """The configuration is wrong; `problems` lists everything that is, one line each."""

    def __init__(self, problems: list[str] | str):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(UserError):
    """A data file or its content cannot be used."""


class Pruned(Exception):
    """A search has ended this run early: its first epochs promised too little."""


class SweepFailed(Exception):
    """Some jobs of a sweep did not finish. Which and why was said before this is raised."""
