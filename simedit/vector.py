"""The wrapper for gymnasium's vector environments: all their frames go through an editor at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from simedit.arrays import as_numpy, whole_number
from simedit.errors import SimeditError
from simedit.observations import get_path
from simedit.protocols import Editor
from simedit.repainter import Repainter
from simedit.segmentation import Masks, fixed_ids

try:
    from gymnasium.vector import AutoresetMode
except ImportError as error:
    raise SimeditError("simedit.vector needs gymnasium 1.1 or newer") from error


class EditVectorObservation(gym.vector.VectorWrapper):
    """Repaints the images of N environments in one call of the editor; see `simedit.wrapper.EditObservation`.

    It needs gymnasium 1.1 or later and takes all its autoreset modes. An environment that resets its parts
    within the step has the last observation of an episode in `infos["final_obs"]`: it is repainted too, with
    that episode's noise. (ManiSkill's own batched environments are no vector environments: EditObservation
    wraps them, and ManiSkillVectorEnv goes around it.)

    Environment i's edits are those of a lone one in an EditObservation with the same seeds: they change
    with its episode, and with no other environment's. With render mode "rgb_array", `render()` gives the
    frames that the policies saw last, N of uint8 [H, W, 3].

    Args:
        env: its observations are, or hold in nested dicts, images uint8 [N, ..., H, W, 3]; all frames of an
            environment (a stack, the drawer twin's batch of one) have its style and noise.
        style: one for all, or N; `env.styles` may be set again at any time, on this object: gymnasium's
            vector wrappers around it do not pass it on. Nor does `env.spec` hold this wrapper.
        mask: "segmentation", or a function of the batched observation that returns bool [H, W], or the
            image's shape without its last axis; of several regions or cameras a dict of such.
        mask_ids: numbers, of masks by region a dict of such; None asks each environment for its
            `edit_segmentation_ids`, after each reset.
        editor, seed, image_key, region, composition, keep_raw: as EditObservation's.

    Raises:
        SimeditError: as EditObservation, another number of styles, or of seeds, or an environment that does
            not say when it resets its parts.

    Examples:
        Worker processes must be spawned, for a renderer does not survive a fork; so a script needs its
        `if __name__ == "__main__":`.

        >>> envs = gym.make_vec(
        ...     "simedit/Drawer-v1",
        ...     num_envs=4,
        ...     vectorization_mode="async",
        ...     vector_kwargs={"context": "spawn"},
        ... )
        >>> envs = EditVectorObservation(envs, library, style="gold")
        >>> obs, info = envs.reset(seed=0)
        >>> obs["sensor_data"]["overhead_camera"]["rgb"].shape
        (4, 1, 512, 640, 3)
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        editor: Editor,
        style: str | Sequence[str],
        *,
        seed: int = 0,
        image_key: str | Sequence[str] | None = None,
        mask: Masks | Mapping[str, Masks] = "segmentation",
        mask_ids: Iterable[int] | Mapping[str, Iterable[int]] | None = None,
        region: str | None = None,
        composition: Literal["mask", "none"] = "mask",
        keep_raw: str | None = None,
    ) -> None:
        if not isinstance(env, gym.vector.VectorEnv):
            raise SimeditError(
                f"EditVectorObservation wraps a gymnasium vector environment, not a {type(env).__name__}: "
                "one environment goes into EditObservation"
            )
        if "autoreset_mode" not in env.metadata:
            raise SimeditError(
                f"{type(env).__name__} does not say when it resets its environments, so whose noise must "
                "change: set its metadata['autoreset_mode'] to AutoresetMode.NEXT_STEP or DISABLED"
            )
        if hasattr(env.unwrapped, "update_obs_space"):
            raise SimeditError(
                "around ManiSkill's environments go EditObservation and then its vector environment: "
                "ManiSkillVectorEnv(EditObservation(env, ...))"
            )
        try:
            self._mode = AutoresetMode(env.metadata["autoreset_mode"])
        except ValueError:
            modes = ", ".join(f"AutoresetMode.{mode.name}" for mode in AutoresetMode)
            raise SimeditError(
                f"the autoreset_mode of {type(env).__name__} is {env.metadata['autoreset_mode']!r}, "
                f"none of {modes}"
            ) from None
        super().__init__(env)
        self._seed = whole_number("seed", seed)
        self._ids: list[tuple[int, ...]] = []
        self._repainter = Repainter(
            env.observation_space,
            editor,
            lambda wanted: self._mask_ids if wanted is None else fixed_ids(wanted),
            count=self.num_envs,
            image_key=image_key,
            mask=mask,
            mask_ids=mask_ids,
            region=region,
            composition=composition,
            keep_raw=keep_raw,
        )
        self.image_keys = self._repainter.image_keys
        self.observation_space = self._repainter.extended(env.observation_space)
        self.single_observation_space = self._repainter.extended(env.single_observation_space)
        self.styles = (style,) * self.num_envs if isinstance(style, str) else style
        self._generators = [np.random.default_rng((self._seed, 0, i)) for i in range(self.num_envs)]
        self._noise: list[int] = []
        self._over = np.zeros(self.num_envs, bool)

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles of the frames to come, one for each environment."""
        return self._styles

    @styles.setter
    def styles(self, styles: Sequence[str]) -> None:
        if isinstance(styles, str) or not isinstance(styles, Sequence):
            raise SimeditError(f"styles must be a list of {self.num_envs} names, got {styles!r}")
        if len(styles) != self.num_envs:
            raise SimeditError(f"{self.num_envs} environments need as many styles, got {len(styles)}")
        self._styles = tuple(map(self._repainter.check_style, styles))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of gymnasium's options["reset_mask"], and draw their noise.

        Args:
            seed: None, N of them (each may be None), or one, which as in gymnasium gives environment i
                seed + i.

        Raises:
            SimeditError: a seed that is no whole number, another number of them, or options that are no dict.
        """
        if not isinstance(options, Mapping | None):
            raise SimeditError(f"options must be a dict or None, not {options!r}")
        seeds: Any = self._each(seed)
        which = as_numpy((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        # gymnasium takes the mask out of the options that it is given.
        obs, info = self.env.reset(
            seed=None if seed is None else seeds, options=None if options is None else dict(options)
        )
        for i in np.flatnonzero(which):
            if seeds[i] is not None:
                self._generators[i] = np.random.default_rng((self._seed, seeds[i], 0))
        self._noise = self._noise or [0] * self.num_envs
        self._begin(which)
        return self.observations(obs), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        over = as_numpy(terminations) | as_numpy(truncations)
        if self._mode == AutoresetMode.SAME_STEP:
            infos = self._with_final(obs, over, infos)
            self._begin(over)
        elif self._mode == AutoresetMode.NEXT_STEP:
            self._begin(self._over)
        self._over = over
        return self.observations(obs), rewards, terminations, truncations, infos

    def _with_final(self, observations: Any, over: Any, infos: dict[str, Any]) -> dict[str, Any]:
        """The infos with the last observations of episodes repainted: N of them or None, as gymnasium's own
        vector environments give, or one batch, where `_final_obs`, or else `over`, tells whose are meant."""
        if "final_observation" in infos:
            raise SimeditError(
                "last observations are in infos['final_observation'], where they would stay as they are: "
                "gymnasium's name for them is 'final_obs'"
            )
        final = infos.get("final_obs")
        if final is None:
            return infos
        one_each = isinstance(final, np.ndarray) and final.dtype.kind == "O"
        if not (one_each or isinstance(final, list | tuple)):
            over = np.flatnonzero(as_numpy(infos.get("_final_obs", over))).tolist()
            painted = self._repainter.repaint(final, self._styles, self._noise, over) if over else final
            return {**infos, "final_obs": painted}
        over = [i for i, last in enumerate(final) if last is not None]
        if not over:
            return infos
        space = self.env.single_observation_space
        batch = list(iterate(self.env.observation_space, observations))  # the others only fill it
        for i in over:
            batch[i] = final[i]
        whole = concatenate(space, batch, create_empty_array(space, self.num_envs))
        painted = self._repainter.repaint(whole, self._styles, self._noise, over)
        edited = list(iterate(self.observation_space, painted))
        last = np.full(self.num_envs, None, object)
        for i in over:
            last[i] = final[i]
            for key in self.image_keys:
                image, raw = get_path(edited[i], key), get_path(final[i], key)
                last[i] = self._repainter.changed(last[i], key, image, raw)
        return {**infos, "final_obs": last}

    def observations(self, observations: Any) -> Any:
        """The observations with their images repainted; those given are not changed."""
        return self._repainter.repaint(observations, self._styles, self._noise)

    def render(self) -> Any:
        """The frames that the policies saw last; the class says more."""
        if self.env.render_mode != "rgb_array":
            return self.env.render()
        if self._repainter.shown is None:
            raise SimeditError("there is no frame to render yet: call reset() first")
        return tuple(self._repainter.shown.copy())

    def _each(self, seed: Any) -> list[int | None]:
        """The seed of each environment."""
        if seed is None:
            return [None] * self.num_envs
        if np.ndim(seed) == 0:
            first = whole_number("a seed", seed)
            return [first + i for i in range(self.num_envs)]
        seeds = seed if isinstance(seed, list | tuple) else as_numpy(seed).tolist()
        if len(seeds) != self.num_envs:
            raise SimeditError(f"{self.num_envs} environments take one seed or as many, got {len(seeds)}")
        return [None if each is None else whole_number("a seed", each) for each in seeds]

    def _begin(self, which: np.ndarray) -> None:
        """New noise for the environments whose episode has just begun."""
        for i in np.flatnonzero(which):
            self._noise[i] = int(self._generators[i].integers(2**63))
        self._over = self._over & ~which
        if which.any():
            self._ids = []  # a reset may have rebuilt a scene

    def _mask_ids(self) -> list[tuple[int, ...]]:
        if not self._ids:
            self._ids = [tuple(ids) for ids in self.env.unwrapped.get_attr("edit_segmentation_ids")]  # type: ignore[attr-defined]
        return self._ids
