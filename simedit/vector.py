"""The wrapper for gymnasium's vector environments: all their frames go through an editor at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from simedit.errors import SimeditError, unknown
from simedit.protocols import Editor
from simedit.wrapper import Repainter


class EditVectorObservation(gym.vector.VectorObservationWrapper):
    """Repaints the images of N environments in one call of the editor; see `simedit.wrapper.EditObservation`.

    It needs gymnasium 1.1 or later and an environment that resets its parts at the next step, gymnasium's
    default, or not at all. (ManiSkill's own batched environments are no vector environments: EditObservation
    wraps them.)

    Environment i's edits are those of a lone one in an EditObservation with the same seeds: they change
    with its episode, and with no other environment's.

    Args:
        env: its observations are, or hold in nested dicts, images uint8 [N, H, W, 3].
        style: one for all, or N; `env.styles` may be set again at any time.
        mask: "segmentation", or a function of the batched observation that returns bool [N, H, W].
        mask_ids: as EditObservation's; None asks each environment for its `edit_segmentation_ids`.
        editor, seed, image_key, composition, keep_raw: as EditObservation's.

    Raises:
        SimeditError: as EditObservation, or another number of styles, or of seeds.
        ValueError: the environment resets its parts within the step.

    Examples:
        >>> envs = gym.make_vec("simedit/Drawer-v1", num_envs=4, vectorization_mode="async")
        >>> envs = EditVectorObservation(envs, library, style="gold")
        >>> obs, info = envs.reset(seed=0)
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        editor: Editor,
        style: str | Sequence[str],
        *,
        seed: int = 0,
        image_key: str | None = None,
        mask: Literal["segmentation"] | Callable[[Any], Any] = "segmentation",
        mask_ids: Iterable[int] | None = None,
        composition: Literal["mask", "none"] = "mask",
        keep_raw: str | None = None,
    ) -> None:
        super().__init__(env)
        if seed < 0:
            raise SimeditError(f"seed must be 0 or more, got {seed}")
        self._wanted = None if mask_ids is None else tuple(mask_ids)
        self._ids: list[tuple[int, ...]] = []
        self._repainter = Repainter(
            env.observation_space,
            editor,
            self._mask_ids,
            image_key=image_key,
            mask=mask,
            composition=composition,
            keep_raw=keep_raw,
        )
        self.image_key = self._repainter.image_key
        self.observation_space = self._repainter.extended(env.observation_space)
        self.single_observation_space = self._repainter.extended(env.single_observation_space)
        self.styles = (style,) * self.num_envs if isinstance(style, str) else style
        self._seed = seed
        self._generators = [np.random.default_rng((seed, 0, i)) for i in range(self.num_envs)]
        self._noise = [0] * self.num_envs
        self._over = np.zeros(self.num_envs, bool)
        self._resets = env.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles of the frames to come, one for each environment."""
        return self._styles

    @styles.setter
    def styles(self, styles: Sequence[str]) -> None:
        if len(styles) != self.num_envs:
            raise SimeditError(f"{self.num_envs} environments need as many styles, got {len(styles)}")
        for style in styles:
            if style not in self._repainter.editor.styles:
                raise unknown("style", style, self._repainter.editor.styles)
        self._styles = tuple(styles)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of gymnasium's options["reset_mask"], and draw their noise.

        Args:
            seed: None, N of them, or one, which as in gymnasium gives environment i seed + i.
        """
        which = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
            for i in np.flatnonzero(which):
                if seeds[i] is not None:
                    self._generators[i] = np.random.default_rng((self._seed, seeds[i], 0))
        self._begin(which)
        return self.observations(obs), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        if self._resets:
            self._begin(self._over)
        self._over = np.logical_or(terminations, truncations)
        return self.observations(obs), rewards, terminations, truncations, infos

    def observations(self, observations: Any) -> Any:
        """The observations with their images repainted; those given are not changed."""
        return self._repainter.repaint(observations, self._styles, self._noise)

    def _begin(self, which: np.ndarray) -> None:
        """New noise for the environments whose episode has just begun."""
        for i in np.flatnonzero(which):
            self._noise[i] = int(self._generators[i].integers(2**63))
        self._over = self._over & ~which
        if which.any():
            self._ids = []  # a reset may have rebuilt a scene

    def _mask_ids(self) -> tuple[int, ...] | list[tuple[int, ...]]:
        if self._wanted is not None:
            return self._wanted
        if not self._ids:
            self._ids = [tuple(ids) for ids in self.env.get_attr("edit_segmentation_ids")]  # type: ignore[attr-defined]
        return self._ids
