# SPDX-License-Identifier: Apache-2.0
"""Ports of this machine for the servers that a measure starts."""
import socket
import sys
import time


def free_port():
    """One at which nobody listens, for a server that cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    """Until somebody listens there; ends the program after half a minute."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens at port {port}")
