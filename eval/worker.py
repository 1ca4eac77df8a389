"""What plays trials: a worker holds an environment, the policies and, on the CPU, an editor of its own."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from simedit.errors import SimeditError
from simedit.eval.config import EDITED, StudyConfig, TimeoutConfig
from simedit.eval.recording import Recording
from simedit.eval.rollout import RAW_KEY, EnvironmentDied, Stage, rehearse, rollout
from simedit.eval.trials import Result, Trial
from simedit.protocols import Editor, Policy

if TYPE_CHECKING:
    import gymnasium as gym


Tell = Callable[[str, float, str], None]
"""Called with what begins now, how many seconds it may take, and which of the study's timeouts says so."""


class Plays(Protocol):
    """Where one trial at a time is played: a `Worker`, or where one is, in a process or on a machine of its
    own."""

    def prepare(self, wanted: Callable[[], bool]) -> bool:
        """Have a place to play, which may be long in coming.

        Args:
            wanted: whether it still has anything to play.

        Returns:
            False if nothing was wanted any more.
        """
        ...

    def play(self, trial: Trial, record: bool) -> tuple[Result, Recording | None]:
        """Play a trial; see `simedit.eval.rollout.rollout`. What died is let go with `close`."""
        ...

    def rehearse(self, trial: Trial) -> None:
        """Load what a trial needs, and have its policy choose one action: `simedit.eval.rollout.rehearse`."""
        ...

    def seconds_per_step(self, todo: Sequence[Trial]) -> dict[str, float]:
        """See `simedit.eval.estimate.seconds_per_step`."""
        ...

    def close(self) -> None:
        """Let go of what it holds. It may play again, with all of it new."""
        ...


class Worker:
    """Plays trials in this process.

    Args:
        stage: for its environment.
        policies: by the names that trials use, acting on that stage alone.
        max_steps: of an episode.
        edits: loads what edited trials need, for `rehearse`.
    """

    def __init__(
        self,
        stage: Stage,
        policies: Mapping[str, Policy],
        max_steps: int,
        edits: Callable[[], object] = lambda: None,
    ) -> None:
        self.stage, self.policies, self._max_steps, self._edits = stage, policies, max_steps, edits

    def prepare(self, wanted: Callable[[], bool]) -> bool:
        return True

    def play(self, trial: Trial, record: bool) -> tuple[Result, Recording | None]:
        recording = Recording() if record else None
        policy = self._policy(trial)
        result = rollout(trial, self.stage, policy, max_steps=self._max_steps, recording=recording)
        return result, recording

    def rehearse(self, trial: Trial) -> None:
        self._edits()
        rehearse(trial, self.stage, self._policy(trial))

    def seconds_per_step(self, todo: Sequence[Trial]) -> dict[str, float]:
        from simedit.eval.estimate import seconds_per_step

        return seconds_per_step(todo, self.stage, self._policy)

    def close(self) -> None:
        self.stage.close()

    def _policy(self, trial: Trial) -> Policy:
        return self.policies[trial.policy]


class Elsewhere(ABC):
    """A worker that lives elsewhere, and is asked there."""

    @abstractmethod
    def _call(self, name: str, *args: Any) -> Any:
        """What the worker's method of that name returns."""

    def play(self, trial: Trial, record: bool) -> tuple[Result, Recording | None]:
        return self._call("play", trial, record)

    def rehearse(self, trial: Trial) -> None:
        self._call("rehearse", trial)

    def seconds_per_step(self, todo: Sequence[Trial]) -> dict[str, float]:
        return self._call("seconds_per_step", todo)


class Phases:
    """Tells in what phase a trial is, and how long that may take.

    The first time in an environment or a policy, and of edits in a style, may take as long as a first frame:
    shaders are compiled then, networks converted.
    """

    def __init__(self, timeouts: TimeoutConfig, tell: Tell) -> None:
        self._timeouts, self._tell = timeouts, tell
        self._known: set[tuple[str, str]] = set()

    def __call__(self, phase: str, what: str = "") -> None:
        """Begin a phase: "load", "build", "reset", "step", "edit" of the style `what`, "act" of the policy
        `what`."""
        if phase == "build":
            self._known = {key for key in self._known if key[0] == "act"}
        longest, own = self._timeouts.first_frame, getattr(self._timeouts, phase, None)
        if own is None or ((phase, what) not in self._known and own < longest):
            self._tell(phase, longest, "first_frame")
        else:
            self._tell(phase, own, phase)
        self._known.add((phase, what))


def build(
    study: StudyConfig,
    specialists: Mapping[str, Path],
    *,
    tell: Tell,
    editor: Editor | None = None,
    networks: Path | None = None,
) -> Worker:
    """A worker of a study that loads what it needs when it first needs it.

    Args:
        specialists: the folder of each style's.
        tell: hears of each phase.
        editor: for its edits, which tells how long they may take; None loads one of its own.
        networks: a folder in which workers share what they convert for the CPU.
    """
    limit_threads()
    if networks is not None:
        from simedit.engine import share_networks

        share_networks(networks)
    enter = Phases(study.timeouts, tell)

    @functools.cache
    def edits() -> Editor:
        if editor is not None:
            return editor
        enter("load")
        return TimedEditor(load_editor(study, specialists), enter)

    def make(domain: str, variant: str) -> gym.Env:
        painting = edits() if domain == EDITED else None
        enter("build")
        return scene(study, domain, variant, painting)

    stage = Stage(make, study.suite.editing().get("image_key"), enter)
    needed = edits if specialists else lambda: None
    return Worker(stage, _Policies(study, stage, enter), study.max_steps, needed)


def build_editor(study: StudyConfig, specialists: Mapping[str, Path], *, tell: Tell) -> TimedEditor:
    """The editor that a study's workers share.

    Args:
        specialists: the folder of each style's.
        tell: hears of each phase.
    """
    enter = Phases(study.timeouts, tell)
    enter("load")
    return TimedEditor(load_editor(study, specialists), enter)


class TimedEditor:
    """An `Editor` whose edits are a phase of their own."""

    def __init__(self, editor: Editor, enter: Phases) -> None:
        self._editor, self._enter = editor, enter
        self.styles = editor.styles

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """See `simedit.protocols.Editor.edit`."""
        for style in dict.fromkeys(styles):
            self._enter("edit", style)
        return self._editor.edit(frames, styles=styles, masks=masks, seeds=seeds)


class _Policies(dict[str, Policy]):
    """A study's policies, each loaded when it is first wanted."""

    def __init__(self, study: StudyConfig, stage: Stage, enter: Phases) -> None:
        self._study, self._stage, self._enter = study, stage, enter

    def __missing__(self, name: str) -> Policy:
        self._enter("load")
        try:
            self[name] = self._study.policies[name].load(self._stage.state)
        except SimeditError as error:
            raise type(error)(f"policy {name!r}: {error}") from error
        return self[name]


def load_editor(study: StudyConfig, specialists: Mapping[str, Path]) -> Editor:
    """The editor of a study, ready to edit."""
    return study.editor.load(specialists)


def scene(study: StudyConfig, domain: str, variant: str, editor: Editor | None) -> gym.Env:
    """The environment of a domain and variant, edited where there is an editor."""
    from simedit.wrapper import EditObservation

    env = study.suite.suite().make(*study.behind(domain, variant))
    if editor is None:
        return env
    settings: dict[str, Any] = {"composition": study.editor.composition, **study.suite.editing()}
    settings["region"] = study.editor.region or None
    return EditObservation(env, editor, study.styles[0], keep_raw=RAW_KEY, **settings)


def limit_threads() -> None:
    """One thread, or what OMP_NUM_THREADS says, for whatever torch does here on the CPU.

    Workers share the cores. One alone gets no more, so that results are the same with any number.
    """
    import torch

    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def rehearse_policies(todo: Sequence[Trial], stored: Mapping[Trial, Result], worker: Plays) -> None:
    """Have each policy choose an action, so that one that cannot act is refused before the first trial.

    Those that have finished a trial are left alone: what one raises in a single scene is that trial's error.

    Args:
        todo: the trials to be played; each policy rehearses its first.
        stored: what is there already.

    Raises:
        SimeditError: a policy needs what the environment has not, raised, or chose no action.
    """
    able = {trial.policy for trial, result in stored.items() if result.outcome != "error"}
    try:
        for trial in todo:
            if trial.policy in able:
                continue
            able.add(trial.policy)
            try:
                worker.prepare(lambda: True)
                worker.rehearse(trial)
            except EnvironmentDied:  # the study meets that again, and counts it
                worker.close()
    except BaseException:
        worker.close()
        raise
