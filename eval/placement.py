"""How a study's actors fit a cluster, and which GPU each sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simedit.errors import SimeditError
from simedit.eval.config import Resources, ResourcesConfig

_A_BIT = 1e-9  # shares such as 0.1 do not add up to the last bit


@dataclass(frozen=True)
class Plan:
    """How many actors of each kind there are.

    Attributes:
        editor: what each of the editors takes.
    """

    rollouts: int
    editors: int
    editor: Resources


def plan(
    nodes: Sequence[Mapping[str, float]], resources: ResourcesConfig, *, edited: bool, wanted: int
) -> Plan:
    """How many rollouts and editors there are room for.

    Args:
        nodes: what each machine has, "CPU" and "GPU".
        edited: whether anything is edited.
        wanted: at most so many rollouts.

    Raises:
        SimeditError: no rollout or no editor has room.
    """
    free = [[node.get("CPU", 0.0), node.get("GPU", 0.0)] for node in nodes]
    has = f"{sum(cpu for cpu, _ in free):g} CPUs and {sum(gpu for _, gpu in free):g} GPUs"
    gpus = any(gpu for _, gpu in free)
    editor = resources.editor or Resources(cpu=0.0, gpu=1.0)
    editors = 0
    if edited and (gpus or resources.editor or resources.editors):
        most = resources.editors or (None if editor.gpu else 1)
        editors = _placed(free, editor, most)
        if editors == 0 or (resources.editors and editors < resources.editors):
            raise SimeditError(
                f"the cluster, of {len(nodes)} machines with {has}, has no room for "
                f"{resources.editors or 'an'} editor{'s' if resources.editors else ''} of {_told(editor)}: "
                "set resources.editor"
            )
    rollouts = _placed(free, resources.rollout, wanted)
    if rollouts == 0:
        beside = f" beside {editors} editors of {_told(editor)}" if editors else ""
        raise SimeditError(
            f"the cluster, of {len(nodes)} machines with {has}, has no room for a rollout of "
            f"{_told(resources.rollout)}{beside}: set resources.rollout"
            f"{' and resources.editor, such as {gpu: 0.5}' if editors else ''}"
        )
    return Plan(rollouts, editors, editor)


def _placed(free: list[list[float]], each: Resources, most: int | None) -> int:
    """Place as many as there is room for, and take that room."""
    count = 0
    for node in free:
        while (
            count != most
            and each.cpu <= node[0] + _A_BIT
            and (not each.gpu or (each.gpu <= node[1] + _A_BIT))
        ):
            node[0] -= each.cpu
            node[1] -= each.gpu
            count += 1
    return count


def _told(each: Resources) -> str:
    return f"{each.cpu:g} CPU and {each.gpu:g} GPU"


def visible_gpu(number: int, visible: str | None, count: int) -> str | None:
    """The GPU that a process without a share of its own is to see, as CUDA_VISIBLE_DEVICES names it.

    A process sees the GPUs that this variable lists under the numbers 0, 1, ..., in SAPIEN's renderer, torch
    and TensorFlow alike, and each takes number 0: so it is given one alone, and processes take turns.

    Args:
        number: which of the processes it is.
        visible: what the variable says on its machine; None where it is not set.
        count: how many GPUs its machine has.

    Returns:
        None if there is none.
    """
    there = [str(index) for index in range(count)] if visible is None else visible.split(",")
    # As CUDA reads it: what follows an invalid entry does not count.
    there = [name.strip() for name in there]
    there = there[: there.index("-1")] if "-1" in there else there
    there = [name for name in there if name]
    return there[number % len(there)] if there else None
