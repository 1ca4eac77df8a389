"""SIMPLER's drawer tasks as a suite: open or close one of three drawers, from nine poses of the robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from pydantic import Field

from simedit import extras
from simedit.digests import digest
from simedit.envs.drawer.assets import missing, require, resolve_asset_root, room_mesh, verify
from simedit.envs.drawer.domains import VARIANTS, poses
from simedit.envs.drawer.poses import CLOSE_START, CLOSED_AT, DRAWERS, OPEN_AT, POSES, TASKS
from simedit.envs.suite import Places, SuiteKind
from simedit.errors import SimeditError
from simedit.packaged import lab_data

_ENDLESS = 10**9
"""Steps: whoever plays an episode counts them."""
POSE_TOLERANCE = 1e-6
"""Metres and radians that a scene may be from the pose that was asked for."""


class DrawerSuite(SuiteKind):
    """The drawer twin, or the original; settings not listed are as in `simedit.envs.drawer.twin.DrawerEnv`.

    Attributes:
        simulator: "twin", or "original": SimplerEnv itself, which knows no `skin` but its own.
        photographs: what Visual Matching lays behind robot and cabinet: "simpler", the photographs among its
            assets, or "proxy_real", one of the lab's kitchens for each episode, which needs no files.
        asset_root: None means $SIMEDIT_ASSETS or what was fetched; to the original, its own files.
    """

    kind: Literal["drawer"] = "drawer"
    simulator: Literal["twin", "original"] = "twin"
    skin: Literal["primitive", "simpler"] = "primitive"
    photographs: Literal["simpler", "proxy_real"] = "simpler"
    asset_root: str | None = None
    shader: str = "default"
    width: int = Field(default=640, gt=0)
    height: int = Field(default=512, gt=0)
    samples_per_pixel: int = Field(default=32, gt=0)
    denoiser: Literal["auto", "none", "oidn", "optix"] = "auto"

    @property
    def max_steps(self) -> int:
        return 113  # SIMPLER's

    @property
    def tasks(self) -> Sequence[str]:
        return TASKS

    @property
    def scenes(self) -> Mapping[str, Sequence[str]]:
        return {"drawer": DRAWERS, "pose": tuple(POSES)}

    @property
    def domains(self) -> Mapping[str, Sequence[str]]:
        return {domain: tuple(variants) for domain, variants in VARIANTS.items()}

    @property
    def realities(self) -> Sequence[str]:
        return ("proxy_real",)

    @property
    def _primitive(self) -> bool:
        """Whether scenes are made of what ships with the package, and of no asset files."""
        return self.simulator == "twin" and self.skin == "primitive"

    def suite(self) -> DrawerSuite:
        return self

    def problems(self, places: Places) -> list[str]:
        found = []
        if self.simulator == "original" and not extras.has("mani_skill2_real2sim"):
            found.append(
                "the original simulator needs SimplerEnv, in a Python environment of its own: "
                "docs/from-nothing.md says how to install it"
            )
        if self.simulator == "twin" and not extras.has("mani_skill"):
            found.append(f"the drawer twin needs ManiSkill 3: {extras.install('mani_skill')}")
        if not self._primitive:
            if "proxy_real" in places:
                found.append("the domain proxy_real needs suite.simulator: twin and suite.skin: primitive")
            if self.photographs == "proxy_real":
                found.append("photographs: proxy_real needs suite.simulator: twin and suite.skin: primitive")
        else:
            found += [
                f"the domain {domain} needs suite.skin: simpler, for {variant}"
                for domain, variants in places.items()
                for variant in variants
                if VARIANTS[domain][variant].robot_variant
            ]
        if self._needs_assets(places):
            try:
                verify(resolve_asset_root(self.asset_root))
            except SimeditError as error:
                found.append(str(error))
        return found

    def _needs_assets(self, places: Places) -> bool:
        """Whether scenes are made of SIMPLER's asset files, in an asset root."""
        if self.simulator == "original":  # it is installed with files of its own
            return self.asset_root is not None
        return self.skin == "simpler" or (self.photographs == "simpler" and "vismatch" in places)

    def _rooms(self, places: Places) -> dict[tuple[str, str], str]:
        """The mesh of each wanted variant that lies in a room."""
        return {
            (domain, variant): room_mesh(VARIANTS[domain][variant].room)
            for domain, variants in places.items()
            for variant in variants
            if VARIANTS[domain][variant].room and not self._primitive
        }

    def absent(self, places: Places) -> dict[str, dict[str, str]]:
        """Rooms alone may be absent; whatever else is missing keeps a study from starting."""
        found: dict[str, dict[str, str]] = {}
        for (domain, variant), file in self._rooms(places).items():
            if missing(resolve_asset_root(self.asset_root), [file]):
                found.setdefault(domain, {})[variant] = file
        return found

    def meaning(self, places: Places) -> dict[str, Any]:
        """The settings, but not where assets lie, and the assets' fingerprints."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude={"asset_root"})
        if self._needs_assets(places):
            root, absent = resolve_asset_root(self.asset_root), self.absent(places)
            found["assets"] = digest(root, [root / name for name in verify(root)])
            for (domain, variant), file in self._rooms(places).items():
                if variant not in absent.get(domain, {}):
                    files = [root / name for name in require(root, [file])]
                    found[f"rooms.{VARIANTS[domain][variant].room}"] = digest(root, files)
        return found

    def published_trials(self) -> dict[str, int]:
        """Visual Matching and Variant Aggregation as SIMPLER (arXiv 2405.05941) runs them, edited frames as
        arXiv 2504.12833, section 6.4, does: seven styles, three seeds, over Visual Matching's frames."""
        situations = len(TASKS) * len(DRAWERS) * len(POSES)
        found = {domain: situations * len(VARIANTS[domain]) for domain in ("vismatch", "varagg")}
        return found | {"edited": situations * 7 * 3}

    def real_rates(self, source: str) -> Path | None:
        if source == "published":
            return Path(__file__).parent / "published.yaml"
        return lab_data("real.yaml") if source == "lab" else None

    def make(self, domain: str, variant: str) -> gym.Env:
        """See `simedit.envs.suite.Suite.make`; "measures" holds how far the drawer is out, metres."""
        from simedit.envs.drawer.proxy_real import ProxyReal, VisualMatching

        original = self.simulator == "original"
        env_id = "simedit/SimplerDrawer-v1" if original else "simedit/Drawer-v1"
        apart = {"kind", "simulator", "photographs"} | ({"skin"} if original else set())
        look = VARIANTS[domain][variant]
        in_kitchen = look.overlay and self.photographs == "proxy_real"
        if in_kitchen:
            look = replace(look, overlay=False)
        env = gym.make(env_id, **self.model_dump(exclude=apart), **asdict(look), max_episode_steps=_ENDLESS)
        if domain == "proxy_real":
            env = ProxyReal(env)
        elif in_kitchen:
            env = VisualMatching(env)
        return StudyEnv(env, domain)


class StudyEnv(gym.Wrapper):
    """The drawers in the words of a study."""

    def __init__(self, env: gym.Env, domain: str) -> None:
        super().__init__(env)
        self._poses, self._task = poses(domain), ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        self._task, (drawer, name) = options["task"], options["scene"]
        pose = self._poses[name]
        # By name where it has one, for a photograph goes by the name.
        asked = name if POSES[name] == pose else pose
        obs, info = self.env.reset(seed=seed, options={"pose": asked, "task": self._task, "drawer": drawer})
        realised = np.asarray(info["pose"], np.float64).ravel()
        told = {"instruction": self.env.unwrapped.instruction, "start": realised}  # pyright: ignore[reportAttributeAccessIssue]
        if not np.abs(realised - pose).max() <= POSE_TOLERANCE:  # nor is NaN
            told["misplaced"] = f"asked for pose {tuple(pose)}, the scene is at {tuple(realised.tolist())}"
        return obs, {**info, **told}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        extension = float(np.asarray(info["drawer_extension"]).item())
        if not np.isfinite(extension):
            raise ValueError(f"the drawer is {extension} m out")
        told = {"progress": progress(self._task, extension), "measures": {"extension": extension}}
        return obs, reward, terminated, truncated, {**info, **told}


def progress(task: str, extension: float) -> float:
    """How near a task is to done, in [0, 1]: the share of the way that success asks for.

    Args:
        extension: how far the target drawer is out, metres.
    """
    share = extension / OPEN_AT if task == "open" else (CLOSE_START - extension) / (CLOSE_START - CLOSED_AT)
    return min(1.0, max(0.0, share))
