"""`Node` as an actor of Ray. Imported only where Ray is installed, by the driver and by the workers."""

from __future__ import annotations

from ray import method

from mlrun.sweep.executors.node import Node

REPORTS = "reports"  # calls of this group wait while others of the same actor go on


class NodeActor(Node):
    """The group belongs to the class: a call cannot choose it through Ray's client (`ray://`)."""

    reports = method(concurrency_group=REPORTS)(Node.reports)
