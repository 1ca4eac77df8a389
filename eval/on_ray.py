"""Workers and editors on a Ray cluster, of one machine or many."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simedit import extras
from simedit.errors import SimeditError, told
from simedit.eval.config import StudyConfig, TimeoutConfig
from simedit.eval.placement import plan
from simedit.eval.process import Process
from simedit.eval.worker import Plays, Tell

_ENVIRONMENT = {
    # An actor without a share of a GPU keeps the variable by which it is given one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # So that Ray, CUDA and the renderer count GPUs in one order.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}

_BEGIN = "`ray start --head` begins one; --ray local needs none"


@contextmanager
def ray_workers(
    study: StudyConfig,
    specialists: Mapping[str, Path],
    count: int,
    address: str,
    played: Callable[[dict[str, str]], None] = lambda played_with: None,
) -> Iterator[Sequence[Plays]]:
    """Workers that are Ray actors, and with GPUs editors that they share.

    Args:
        specialists: the folder of each style's; none where nothing is edited.
        count: at most how many workers.
        address: "local" starts Ray on this machine, "auto" looks for a cluster, "HOST:PORT" is one.
        played: called with what plays on each machine, `simedit.eval.fingerprints.played_with`.

    Raises:
        SimeditError: there is no such cluster, or it has no room.
    """
    if not extras.has("ray"):
        raise SimeditError(f"--ray needs Ray: {extras.install('ray')}")
    if address.startswith("ray://"):
        raise SimeditError(
            "--ray takes no Ray client (ray://): start simedit-eval on a machine of the cluster, --ray auto"
        )
    os.environ.update(_ENVIRONMENT)
    with _running(address, study.timeouts) as address:
        import ray  # only now, for it reads the environment

        from simedit.eval.actors import ActorEditor, Cluster, RayWorker

        _connect(address)
        cluster = None
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            chosen = plan(nodes, study.resources, edited=bool(specialists), wanted=count)
            with_editors = f" and {chosen.editors} editors" if chosen.editors else ""
            print(f"Ray: {chosen.rollouts} rollouts{with_editors} on {len(nodes)} machines", flush=True)
            cluster = Cluster(study, specialists, played)
            editors = [ActorEditor(cluster, chosen.editor, number) for number in range(chosen.editors)]
            yield [
                RayWorker(cluster, number, editors[number % len(editors)] if editors else None)
                for number in range(chosen.rollouts)
            ]
        finally:
            if cluster is not None:
                cluster.close()
            ray.shutdown()


@contextmanager
def _running(address: str, timeouts: TimeoutConfig) -> Iterator[str]:
    """The address of a cluster, which for "local" is begun."""
    if address != "local":
        _check_there(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        yield address
        return
    # In a process of its own, for some of Ray's processes outlive a driver that is killed.
    process = Process(_Local, timeouts)
    try:
        try:
            address, authentication = process.call("reached")
        except (RuntimeError, TimeoutError) as error:
            raise SimeditError(f"Ray does not start: {told(error)}") from error
        if authentication:
            os.environ["RAY_AUTH_MODE"] = authentication
        yield address
        process.call("stop")
    finally:
        process.kill()


def _check_there(address: str) -> None:
    """Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        with socket.create_connection((host, int(port)), timeout=10):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise SimeditError(f"no Ray cluster at {address!r}: {error}. {_BEGIN}") from error


class _Local:
    """A Ray cluster of this machine."""

    def __init__(self, *, tell: Tell) -> None:
        self._address = _connect("local", include_dashboard=False)

    def reached(self) -> tuple[str, str | None]:
        """Its address, and the mode of authentication that it chose."""
        return self._address, os.environ.get("RAY_AUTH_MODE")

    def stop(self) -> None:
        import ray

        ray.shutdown()


def _connect(address: str, **settings: Any) -> str:
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        found: Any = ray.init(
            address,
            logging_level=logging.ERROR,
            configure_logging=False,
            runtime_env={"env_vars": _ENVIRONMENT},
            **settings,
        )
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise SimeditError(f"no Ray cluster at {address!r}: {told(error)}. {_BEGIN}") from error
    return found.address_info["address"]
