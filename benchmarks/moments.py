"""For which_metric.py: frames of the same moments as each arm shows them to policies, and metrics of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simedit.errors import SimeditError
from simedit.eval.config import EDITED, StudyConfig
from simedit.eval.run_folder import kept
from simedit.eval.scoring.editing import style_pictures
from simedit.eval.store import Store
from simedit.eval.trials import Trial
from simedit.metrics import Scene, tensors
from simedit.metrics.catalogue import KINDS
from simedit.policies.scripted import ScriptedExpert
from simedit.scores.lite import load_lite
from simedit.scores.semantic import patch_mask
from simedit.training.painted import frame_shading, usual_brightness
from simedit.training.worth import colour_distance, detail_contrast

TRIALS = Path(__file__).resolve().parent / "lab"
TIMES = (0.15, 0.5, 0.9)
INPUT, STYLE = ("edge_f1", "canny", "ssim"), ("colour", "texture", "lite_patches")
REAL = ("real_ssim", "real_edge_f1", "real_colour", "real_lite", "real_lite_mask")
METRICS = (*INPUT, *STYLE, "handles", *REAL)
LOWER = ("canny", "colour", "real_colour")
"""Of which less is better."""
_MOST_STEPS = 60


@dataclass(frozen=True)
class Moments:
    """The frames of a seed's moments in each domain, uint8 [N, H, W, 3], the cabinet's masks, bool [N, H, W],
    and each moment's task and noise."""

    frames: Mapping[str, np.ndarray]
    masks: np.ndarray
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]


def moments(config: StudyConfig, seed: int) -> Moments:
    """Every task at every pose, drawers and points of the way in a Latin square."""
    suite = config.suite.suite()
    axes = [suite.scenes[axis] for axis in ("drawer", "pose")]
    wanted = []
    for t, task in enumerate(config.tasks):
        for i, pose in enumerate(axes[1]):
            scene = f"{axes[0][i % 3]}/{pose}"
            number = Trial("", task, scene, "", "", "", seed).episode_seed
            wanted.append((task, scene, TIMES[(i + i // 3 + t) % 3], number))
    ways: list[list[Any]] = [[] for _ in wanted]  # the expert's actions, the same everywhere
    frames, masks = {}, {}
    for domain, variant in (("raw", ""), ("vismatch", "plain"), ("proxy_real", "")):
        env = suite.make(domain, variant)
        seen = [_moment(env, *each, way) for each, way in zip(wanted, ways, strict=True)]
        frames[domain], masks[domain] = (np.stack(part) for part in zip(*seen, strict=True))
        env.close()
        if (masks[domain] != masks["raw"]).any():
            raise SimeditError(f"the scenes of {domain} are not those of raw")
    tasks, _, _, seeds = zip(*wanted, strict=True)
    return Moments(frames, masks["raw"], tasks, seeds)


def _moment(env: Any, task: str, scene: str, time: float, seed: int, way: list[Any]) -> tuple[Any, Any]:
    """What the overhead camera shows at a point of the expert's way, and the cabinet's mask; an empty `way`
    is filled with its actions first."""
    options = {"task": task, "scene": tuple(scene.split("/"))}
    if not way:
        env.reset(seed=seed, options=options)
        expert = ScriptedExpert(env.unwrapped.privileged_state)
        while len(way) < _MOST_STEPS:
            action = expert.act(np.empty(0))
            if action.terminate:
                break
            way.append(action.to_array())
            env.step(way[-1])
    obs, _ = env.reset(seed=seed, options=options)
    for action in way[: int(time * len(way))]:
        obs = env.step(action)[0]
    camera = obs["sensor_data"]["overhead_camera"]
    height, width = camera["rgb"].shape[-3:-1]
    frame, ids = np.asarray(camera["rgb"]), np.asarray(camera["segmentation"]).reshape(height, width)
    return frame.reshape(height, width, 3).copy(), np.isin(ids, env.unwrapped.edit_segmentation_ids)


def painted(place: str, at: Moments, earlier: Path | None) -> tuple[np.ndarray, str, tuple[np.ndarray, ...]]:
    """What policies of an arm saw at these moments, the domain under it, and its style images, if any.

    Raises:
        SimeditError: its editor's weights are not those of its trials.
    """
    folder, domain, style = parts(place)
    if domain != EDITED:
        return at.frames[domain], domain, ()
    with tempfile.TemporaryDirectory() as scratch, Store(folder, write=False) as store:
        editor = kept(store)[0].editor
        if earlier:
            editor = editor.model_copy(update={"library": str(earlier / "specialists")})
        folders = editor.folders([style], Path(scratch))
        stored = store.meaning()
        if differ := [k for k, v in editor.fingerprints(folders).items() if stored[k] != v]:
            raise SimeditError(
                f"{place} was played with another {' and '.join(differ)}: --earlier DIR has it"
            )
        under = at.frames[editor.over]
        edits = editor.load(folders).edit(
            under, styles=[style] * len(under), masks=at.masks, seeds=list(at.seeds)
        )
    specialist = str(earlier / "specialists" / style) if earlier else f"lab:{style}"
    return edits, editor.over, style_pictures(specialist, ())


def parts(place: str) -> tuple[Path, str, str]:
    folder, _, rest = place.partition(":")
    domain, _, style = rest.partition("/")
    return TRIALS / folder, domain, style


class Measures:
    """All METRICS of pictures of the same moments."""

    def __init__(self, at: Moments) -> None:
        self._at, self._encode = at, load_lite("cpu")
        self._loaded = {name: KINDS[name].load(None, "cpu") for name in (*INPUT, *STYLE)}
        usual = usual_brightness(at.frames["raw"], at.masks)
        self._shading = [frame_shading(frame, usual) for frame in at.frames["raw"]]
        self._real = self._features(at.frames["proxy_real"])

    def _features(self, pictures: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.normalize(self._encode(tensors(pictures, "cpu")), dim=-1)

    def __call__(
        self, pictures: np.ndarray, under: np.ndarray, styles: tuple[np.ndarray, ...]
    ) -> dict[str, np.ndarray]:
        """By metric, float [N]; not a number where it is undefined."""
        at, real = self._at, self._at.frames["proxy_real"]
        alike = (self._features(pictures) * self._real).sum(-1)
        inside = patch_mask(torch.from_numpy(at.masks), alike.shape[1:])
        rows = []
        for i, (picture, mask) in enumerate(zip(pictures, at.masks, strict=True)):
            scene, truth = Scene(under[i], mask, styles), Scene(real[i], mask)
            one = {name: self._loaded[name](picture[None], scene)[0] for name in INPUT}
            one |= {name: self._loaded[name](picture[None], scene)[0] if styles else np.nan for name in STYLE}
            one["handles"] = detail_contrast(picture, mask, self._shading[i])
            one["real_ssim"] = self._loaded["ssim"](picture[None], truth)[0]
            one["real_edge_f1"] = self._loaded["edge_f1"](picture[None], truth)[0]
            one["real_colour"] = colour_distance(picture, real[i], mask)
            one["real_lite"] = float(alike[i].mean())
            one["real_lite_mask"] = float(alike[i][inside[i]].mean())
            rows.append(one)
        return {name: np.array([row[name] for row in rows]) for name in METRICS}
