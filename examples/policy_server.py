"""Serve a policy of your own, from an environment of its own, to studies anywhere: openpi's protocol.

python examples/policy_server.py --port 8000

A study plays it with {kind: server, protocol: openpi, url: "ws://127.0.0.1:8000", mapping: simedit}.
"""

import numpy as np
import tyro

from simedit.errors import run_cli
from simedit.policies.wire.serve import PolicyServer


class Reach:
    """Moves towards what is darkest in the frame. Yours loads its weights in __init__."""

    def __init__(self, stride: float) -> None:
        self._stride = stride

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """An episode begins."""
        self._closing = instruction.startswith("close")
        self._random = np.random.default_rng(seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        """One action [7] or a chunk [T, 7]: metres, axis-angle in radians, gripper (1 closes)."""
        columns = frame.mean(axis=(0, 2))
        aside = 0.5 - columns.argmin() / len(columns)
        forward = self._stride * (1 if self._closing else 0.5)
        noise = self._random.normal(scale=0.1 * self._stride, size=3)
        return np.array([forward, self._stride * aside, 0, 0, 0, 0, 1]) + np.r_[noise, 0, 0, 0, 0]


def main(port: int, stride: float = 0.02) -> None:
    """Serve until Ctrl-C, to this machine alone.

    Args:
        port: Where it listens; 0 takes a free one, and says which.
        stride: The farthest it moves at once, metres.
    """
    # What is said here of the policy is part of what a study's trials mean: name your weights.
    about = {"policy": "reach", "stride": stride}
    server = PolicyServer(lambda: Reach(stride), about, host="127.0.0.1", port=port)
    print(f"serving at {server.url}", flush=True)
    server.run()


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
