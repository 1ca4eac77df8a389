"""Serve a policy of your own over openpi's protocol, from an environment of its own, to a study elsewhere.

python examples/policy_server.py --port 8000
"""

import numpy as np
import tyro

from simedit.errors import run_cli
from simedit.policies.wire.serve import PolicyServer


class Reaching:
    """Reaches ahead, more slowly the darker the frame. Put your model here."""

    uses_images = True

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """An episode begins."""
        self.noise = np.random.default_rng(seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        """Of uint8 [H, W, 3]: metres x, y, z; axis-angle in radians; the gripper, 1 closes."""
        action = np.zeros(7, np.float32)
        action[0] = 0.02 * frame.mean() / 255
        action[:3] += self.noise.normal(0, 0.001, 3)
        return action


def main(port: int, host: str = "127.0.0.1") -> None:
    """Serve until Ctrl-C. A study plays it with `kind: server, protocol: openpi, mapping: simedit`.

    Args:
        port: Where it listens; 0 takes a free one.
        host: By default only this machine reaches it.
    """
    # What is said here tells one server from another: name your weights.
    server = PolicyServer(Reaching, {"policy": "reaching", "version": 1}, host=host, port=port)
    print(f"serving at ws://{host}:{server.port}", flush=True)
    server.run()


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
