"""Tests of simedit.envs.push_t.inputs and of the states that it draws."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from small_training import small_settings

from simedit import extras
from simedit.config import parse_config
from simedit.envs.push_t import masks
from simedit.envs.push_t.inputs import PushTInputs, write_photographs
from simedit.envs.push_t.scene import AGENT_RADIUS, REGIONS, draw_state, placed
from simedit.errors import SimeditError
from simedit.eval.checks import _of_regions
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.rollout import RAW_KEY
from simedit.eval.worker import scene
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.cli import main
from simedit.training.config import PushTConfig, TrainConfig
from simedit.training.data import read_style_images, read_style_masks

gym_pusht = pytest.mark.skipif(not extras.has("gym_pusht"), reason="needs the extra: push-t")


def inputs(region: str = "block", width: int = 96, height: int = 96, seed: int = 0) -> PushTInputs:
    return PushTInputs(PushTConfig.model_validate({"frames": 4, "region": region}), width, height, seed)


@gym_pusht
@pytest.mark.parametrize("region", ["background", "block"])
def test_frames_come_with_the_mask_of_the_region(region):
    some = inputs(region)
    assert len(some) == 4
    for frame, mask in map(some.__getitem__, range(4)):
        assert (frame.shape, frame.dtype, mask.dtype) == ((96, 96, 3), np.uint8, bool)
        np.testing.assert_array_equal(mask, masks.regions(frame)[region])


@gym_pusht
def test_a_frame_depends_on_seed_and_index_alone_and_unseen_ones_are_others():
    some, again = inputs(), inputs()
    frames = [some[index][0] for index in range(4)]
    np.testing.assert_array_equal(again[2][0], frames[2])
    others = [*frames, again.unseen(0)[0], again.unseen(1)[0], inputs(seed=1)[2][0]]
    assert len({frame.tobytes() for frame in others}) == 7
    with pytest.raises(IndexError, match="there is no input 4"):
        some[4]


@gym_pusht
def test_the_view_is_cut_at_the_centre():
    (whole, mask), (wide, cut) = inputs(width=96)[1], inputs(width=96, height=48)[1]
    np.testing.assert_array_equal(whole[24:72], wide)
    np.testing.assert_array_equal(mask[24:72], cut)


def test_a_config_asks_for_them_and_for_their_masks():
    config = {"inputs": {"kind": "push_t", "region": "background"}, "regions": {"inputs": "simulator"}}
    assert isinstance(TrainConfig.model_validate(config).inputs, PushTConfig)
    with pytest.raises(ValueError, match="region"):
        TrainConfig.model_validate({"inputs": {"kind": "push_t"}})


def test_states_are_those_of_episodes():
    random = np.random.default_rng(0)
    drawn = [draw_state(random) for _ in range(300)]
    gaps, near_goal = [], 0
    for state in drawn:
        block = placed(state[2:]).astype(np.float32)
        gaps.append(-cv2.pointPolygonTest(block, tuple(map(float, state[:2])), True) - AGENT_RADIUS)
        near_goal += np.abs(state[2:4] - 256).max() < 60
    assert min(gaps) > 0
    assert np.mean(np.array(gaps) < 10) > 0.4
    assert 0.2 < near_goal / 300 < 0.6


def test_photographs_are_written_with_what_they_show(tmp_path: Path, capsys):
    write_photographs(tmp_path / "real", 3, 64, seed=7)
    images = read_style_images(tmp_path / "real/images")
    assert [image.shape for image in images] == [(64, 64, 3)] * 3
    found = [read_style_masks(tmp_path / "real" / name, images) for name in ("background", "block")]
    for image, background, block in zip(images, *found, strict=True):
        assert image[block, 0].mean() > image[block, 2].mean() + 60
        assert image[background].mean() < 110
    written = [cv2.imread(str(tmp_path / "real" / name / "2.png"), 0) for name in REGIONS]
    of_one = sum(mask > 0 for mask in written)
    assert of_one.max() == 1
    assert (of_one[10:-10, 10:-10] == 1).all()
    assert not of_one[[0, -1]].any()  # beyond the tape
    write_photographs(tmp_path / "again", 1, 64, seed=7)
    same = (tmp_path / "again/images/0.png").read_bytes()
    assert same == (tmp_path / "real/images/0.png").read_bytes()
    with pytest.raises(SimeditError, match="real holds something already"):
        write_photographs(tmp_path / "real", 1, 64)


@gym_pusht
def test_regions_are_those_of_the_frame():
    some = inputs(width=96, height=48)
    for number, (frame, mask) in ((1, some[1]), (5, some.unseen(1))):
        found = some.regions(number)
        assert list(found) == list(REGIONS)
        np.testing.assert_array_equal(found["block"], mask)
        assert (sum(found.values()) == 1).all()
        assert found["block"].shape == frame.shape[:2]


def asked(name: str, *settings: str) -> list[str]:
    """A training on `name`, from photographs of it."""
    told = ("--style-images", "real/images", "--name", name, "--cpu", "--set")
    region = (f"inputs={{kind: push_t, frames: 2, region: {name}}}", f"regions.style_masks=real/{name}")
    return ["--config", "small.yaml", *told, *region, *settings]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The working directory: photographs, a base, and a config."""
    monkeypatch.chdir(tmp_path)
    tiny_pipeline(0).save_pretrained(tmp_path / "base")
    write_photographs("real", 2, 64)
    settings = small_settings("base", "x") | {
        "steps": 1,
        "samples": 2,
        "width": 64,
        "height": 64,
        "regions": {"inputs": "simulator", "styles": "files", "style_masks": "real/block"},
    }
    Path("small.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


@gym_pusht
def test_a_specialist_is_trained_on_a_region_from_photographs_of_it(folder: Path):
    assert main(asked("block")) == 0
    assert Specialist.load(Path("specialists/block")).card.style == "block"


@pytest.mark.slow
@gym_pusht
def test_a_recipe_is_trained_pass_by_pass_and_edits_the_suite(folder: Path):
    assert main(asked("background")) == 0
    assert main(asked("block", "after={recipe: background, region: background}")) == 0
    raw = PushTInputs(PushTConfig(frames=2, region="block"), 64, 64, 0)
    seen = np.asarray(Image.open("runs/train/block/inputs/00000.png"))
    changed, shown = (seen != raw[0][0]).any(-1), raw.regions(0)
    assert changed[shown["background"]].mean() > 0.9
    assert not changed[~shown["background"]].any()

    passes = [{"specialist": region, "region": region} for region in ("background", "block")]
    Path("recipe.yaml").write_text(yaml.safe_dump({"name": "tabletop", "passes": passes}))
    assert main(["recipe", "--config", "recipe.yaml"]) == 0
    study = {
        "policies": {"none": {"kind": "python", "factory": "a:b"}},
        "suite": {"kind": "push_t", "size": 96},
        "domains": ["edited"],
        "styles": ["tabletop", "block"],
        "editor": {"library": "specialists", "region": "block", "compile": False},
    }
    config = resolved(parse_config(StudyConfig, study, where="study"))
    assert config.editor.problems(config.styles) == _of_regions(config) == []
    editor = config.editor.load(config.editor.folders(config.styles, folder))
    env = scene(config, "edited", "", editor)
    for style in config.styles:
        env.style = style
        obs, _ = env.reset(seed=0, options={"task": "push", "scene": ("0",)})
        changed = (obs["image"] != obs[RAW_KEY]).any(-1)
        shown = masks.regions(obs[RAW_KEY])
        edited = shown["block"] | (shown["background"] & (style == "tabletop"))
        assert changed[edited].mean() > 0.9
        assert not changed[~edited].any()
