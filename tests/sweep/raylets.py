"""A Ray cluster on the loopback interface, for tests."""

from __future__ import annotations

import importlib.util
import os
import socket
import uuid

import pytest

RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'mlrun[ray]'"
)
# Ray's nice 15 would starve the jobs beside other tests; a token is what its client needs
SETTINGS = {
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid.uuid4().hex,
}  # Ray reads the token once
MEMORY = 80 * 2**20  # bytes of an object store


class Cluster:
    """Raylets on this machine, with 2 CPUs and as many as `others` says."""

    def __init__(self, others=(2, 1)):
        os.environ |= SETTINGS
        from ray.cluster_utils import Cluster

        quick = {
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 3,
            "health_check_initial_delay_ms": 500,
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.client_port = free.getsockname()[1]
        head = {
            "num_cpus": 2,
            "include_dashboard": False,
            "ray_client_server_port": self.client_port,
            "_system_config": quick,
            "object_store_memory": MEMORY,
        }
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = []
        for count in others:
            self.add(num_cpus=count)

    def add(self, **resources):
        """One more machine."""
        self.nodes.append(self.cluster.add_node(include_dashboard=False, object_store_memory=MEMORY, **resources))

    @property
    def arguments(self):
        return ["hydra/launcher=ray", f"hydra.launcher.address={self.cluster.address}"]

    def kill_a_node(self):
        """SIGKILL for the raylet that was added last."""
        self.nodes.pop().all_processes["raylet"][0].process.kill()

    def close(self):
        self.cluster.shutdown()
        for name in SETTINGS:
            os.environ.pop(name, None)
