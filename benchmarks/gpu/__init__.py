"""Measurements on one GPU; see `__main__`."""

from __future__ import annotations
