from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simedit.config import load_config, parse_config
from simedit.errors import SimeditError
from simedit.settings import Scales
from simedit.training.config import (
    CannyConfig,
    DepthConfig,
    ImagesConfig,
    SamplingConfig,
    StyleConfig,
    TrainConfig,
    TwinConfig,
    UpdateConfig,
    check_counts,
    said,
)
from simedit.training.objectives.d3po import D3PO

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MATERIALS = {"gold", "leather", "white_marble", "black_marble", "steel", "stone", "wood"}
STREETS = {"dense_snow", "sparse_snow", "rain", "sand", "road_to_gold", "road_to_wood", "night"}
PLACES = {
    "water_to_gold": ("water", "gold"),
    "bed_to_leather": ("bed", "leather"),
    "facade_to_steel": ("building facade", "steel"),
    "booth_to_stone": ("telephone booth", "stone"),
    "lighthouse_to_terracotta": ("lighthouse", "terracotta"),
    "train_to_wood": ("train", "wood"),
}


def texts(style: StyleConfig) -> list[str]:
    return [t for t in (style.instruction, *style.wordings, style.noun, style.style_noun) if t is not None]


def test_the_papers_styles_are_all_there():
    names = {path.stem for path in (CONFIGS / "styles").iterdir()}
    assert names == MATERIALS | STREETS | set(PLACES)


@pytest.mark.parametrize("name", sorted(MATERIALS | STREETS | set(PLACES)))
def test_a_style_says_everything_in_its_own_words(name):
    style = load_config(StyleConfig, CONFIGS / "styles" / f"{name}.yaml")
    assert style.named("another_name") == style
    assert not any(mark in text for text in texts(style) for mark in "{}_")
    assert all(text == text.strip().rstrip(".") and text for text in texts(style))
    prompts = (style.instruction, *style.wordings)
    assert len(set(prompts)) == len(prompts) >= 5
    assert style.scales == Scales(image=1.5, style=3.0, text=7.5)
    if name == "night":
        assert style.noun is style.style_noun is None
    else:
        assert all(str(style.noun) in prompt for prompt in prompts)


@pytest.mark.parametrize("name", sorted(MATERIALS))
def test_materials_are_put_as_the_paper_puts_them(name):
    style = load_config(StyleConfig, CONFIGS / "styles" / f"{name}.yaml")
    words = name.replace("_", " ")
    assert style.instruction == f"make the cupboard out of {words}"
    assert (style.noun, style.style_noun) == ("cupboard", words)
    assert all(words in wording for wording in style.wordings)


@pytest.mark.parametrize("name", sorted(PLACES))
def test_photo_edits_name_what_becomes_what(name):
    style = load_config(StyleConfig, CONFIGS / "styles" / f"{name}.yaml")
    assert (style.noun, style.style_noun) == PLACES[name]
    assert all(str(style.style_noun) in prompt for prompt in (style.instruction, *style.wordings))


TASKS = ("insert", "remove", "replace", "transform")
"""InstructRL4Pix's."""


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_scored_by_attention_and_caption_in_its_own_words(name: str) -> None:
    config = load(name).named("an_apple")
    scores = config.scores
    assert scores.attention is not None
    assert scores.caption is not None
    assert said(str(scores.attention.noun), config.style.instruction)
    assert "{" not in scores.caption.text + str(scores.attention.noun)
    assert config.style.wordings == ()
    assert list(scores.weights) == ["structural", "semantic", "attention", "caption"]


def load(name: str) -> TrainConfig:
    return load_config(TrainConfig, CONFIGS / "train" / f"{name}.yaml")


def test_each_training_counts_right():
    names = {path.stem for path in (CONFIGS / "train").iterdir()}
    push_t = {"push_t_background", "push_t_block"}
    assert names == {"material", "canny", "photo", "distill", *push_t, *TASKS}
    for name in names - {"distill"}:
        config = load(name)
        for processes in (1, 2, 4):
            check_counts(config, processes)
        named = config.style.named("old_teak")
        assert not any(mark in text for text in texts(named) for mark in "{}_")
        assert ("old teak" in named.instruction) == (name not in push_t)
        assert config.style.scales == Scales(image=1.5, style=3.0, text=7.5)


def test_material_is_the_papers():
    config = load("material")
    assert isinstance(config.inputs, TwinConfig)
    assert isinstance(config.scores.structural, DepthConfig)
    assert (config.regions.inputs, config.regions.styles) == ("simulator", "grounded-sam2")
    assert config.scores.semantic.encoder == "dreamsim"
    # What it spells out is what a config that says nothing gets, but for the wordings.
    assert config.model_copy(update={"style": StyleConfig()}) == TrainConfig()
    assert config.style.named("gold") == load_config(StyleConfig, CONFIGS / "styles" / "gold.yaml")


def test_settings_of_d3po_mean_the_same_where_they_stood_before():
    before = {"beta": 0.3, "clamp": 0.2, "timesteps": 0.5, "epochs": 2}
    config = parse_config(TrainConfig, {"update": before}, where="old.yaml")
    assert config.objective == D3PO(beta=0.3, clamp=0.2, timesteps=0.5)
    assert config.update == UpdateConfig(epochs=2)
    again = parse_config(TrainConfig, config.model_dump(mode="json"), where="run.json")
    assert again == config
    mixed = {"objective": {"kind": "d3po", "beta": 0.3}, "update": {"clamp": 0.2}}
    assert parse_config(TrainConfig, mixed, where="mixed").objective == D3PO(beta=0.3, clamp=0.2)


def test_an_objective_at_all_noise_levels_does_not_follow_a_distillation():
    style = {"scales": {"image": 1, "style": 1, "text": 1}}
    data = {"warm_start": {"kind": "distilled", "teacher": "x"}, "style": style, "objective": {"kind": "dpo"}}
    with pytest.raises(SimeditError, match="a distilled specialist knows few"):
        parse_config(TrainConfig, data, where="c.yaml")
    assert parse_config(TrainConfig, data | {"steps": 0}, where="c.yaml").steps == 0


def test_scores_without_gradients_are_refused_where_they_are_to_be_followed():
    canny, draft = {"structural": {"kind": "canny"}}, {"objective": {"kind": "draft"}}
    with pytest.raises(SimeditError, match=r"of this kind has none.*scores\.structural_weight=0"):
        parse_config(TrainConfig, draft | {"scores": canny}, where="c.yaml")
    told = parse_config(TrainConfig, draft | {"scores": canny | {"structural_weight": 0}}, where="c.yaml")
    assert told.scores.weights == {"structural": 0, "semantic": 1}
    assert parse_config(TrainConfig, draft, where="c.yaml").scores.weights["structural"] == 1
    few = {"objective": {"kind": "draft", "last": 5}, "sampling": {"steps": 4}}
    with pytest.raises(SimeditError, match=r"last: 5 is more than there are denoising steps \(4\)"):
        parse_config(TrainConfig, few, where="c.yaml")
    with pytest.raises(SimeditError, match=r"drop sampling\.window"):
        parse_config(TrainConfig, draft | {"sampling": {"window": 2}}, where="c.yaml")
    with pytest.raises(SimeditError, match=r"drop scores\.baseline"):
        parse_config(TrainConfig, draft | {"scores": {"baseline": "prompt"}}, where="c.yaml")
    more = {"scores": {"attention": {"noun": "cupboard"}, "caption": {"text": "a cupboard"}}}
    assert set(parse_config(TrainConfig, draft | more, where="c.yaml").scores.weights.values()) == {1}


@pytest.mark.parametrize("sampling", [{"sampler": "ddim"}, {"window": 2}])
def test_after_a_distillation_steps_are_consistency_steps(sampling: dict[str, Any]):
    style = {"scales": {"image": 1, "style": 1, "text": 1}}
    data = {"warm_start": {"kind": "distilled", "teacher": "x"}, "style": style, "sampling": sampling}
    with pytest.raises(SimeditError, match="drop sampler and window"):
        parse_config(TrainConfig, data, where="c.yaml")


def test_a_window_moves_from_the_noisiest_step_to_the_last_and_begins_anew():
    found = SamplingConfig(steps=6, window=2, window_every=3)
    assert found.noisy == 2
    assert [found.noisy_at(step)[0] for step in range(15)] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [0] * 3
    assert found.noisy_at(9) == range(3, 5)  # the last of six steps draws none
    without = SamplingConfig(steps=6)
    assert (without.noisy, without.noisy_at(0), without.noisy_at(7)) == (5, range(5), range(5))


def test_the_specialists_name_is_filled_in_wherever_a_config_says_style():
    scores = {"attention": {"noun": "{style}"}, "caption": {"text": "a shelf of {style}", "weight": 2}}
    data = {"style": {"instruction": "make a shelf of {style}"}, "scores": scores}
    config = parse_config(TrainConfig, data, where="c.yaml").named("old_teak")
    assert config.style.instruction == "make a shelf of old teak"
    assert config.scores.attention is not None
    assert config.scores.attention.noun == "old teak"
    assert config.scores.caption is not None
    assert config.scores.caption.text == "a shelf of old teak"
    assert config.scores.weights == {"structural": 1, "semantic": 1, "attention": 1, "caption": 2}
    assert TrainConfig().named("x").scores == TrainConfig().scores


def test_canny_needs_no_weights_but_the_bases():
    config = load("canny")
    assert isinstance(config.scores.structural, CannyConfig)
    assert (config.scores.semantic.encoder, config.scores.semantic.model) == ("texture", None)
    assert "grounded-sam2" not in (config.regions.inputs, config.regions.styles)
    assert config.style == load("material").style


def test_photo_looks_for_nouns_in_a_folder_of_images():
    config = load("photo")
    assert isinstance(config.inputs, ImagesConfig)
    assert config.inputs.masks is None
    assert (config.regions.inputs, config.regions.styles) == ("grounded-sam2", "grounded-sam2")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inputs": {"kind": "images", "path": "x"}}, "'simulator' needs inputs.kind 'twin'"),
        ({"regions": {"inputs": "files"}}, "'files' needs inputs.kind 'images' with a masks folder"),
        ({"regions": {"styles": "files"}}, "styles: 'files' and style_masks need each other"),
        ({"regions": {"style_masks": "x"}}, "styles: 'files' and style_masks need each other"),
        ({"base": ""}, "base: "),
        ({"inputs": {"kind": "images", "path": " "}, "regions": {"inputs": "full-frame"}}, "path: "),
        ({"inputs": {"kind": "run", "path": ""}, "regions": {"inputs": "full-frame"}}, "path: "),
        ({"base": "a\0b"}, "base: "),
        ({"scores": {"semantic": {"model": ""}}}, "model: "),
        ({"scores": {"structural_weight": 0, "alpha": 0}}, "no score weighs anything"),
        ({"objective": {"kind": "d3p"}}, "unknown kind 'd3p': did you mean 'd3po'?"),
        ({"objective": {"beta": 1}}, "objective: the key 'kind' is required"),
        (
            {"objective": {"kind": "dpo"}, "update": {"beta": 0.1}},
            "update.beta is what objective.beta of kind",
        ),
        ({"objective": {"kind": "d3po", "clamp": 0.2}, "update": {"clamp": 0.1}}, "drop one of them"),
        ({"update": {"clamp": 2}}, "objective.d3po.clamp: "),
        ({"scores": {"buffer_size": 8}}, "buffer_size and min_count are of baseline: 'prompt'"),
        ({"scores": {"baseline": "prompt", "min_count": 300}}, "is never reached"),
        ({"scores": {"baseline": "input"}}, "of two edits baseline: 'input' says which is better"),
        ({"sampling": {"steps": 4, "window": 4}}, "a window has fewer than steps"),
        ({"sampling": {"window_every": 4}}, "say how many steps it has, window: 4"),
        ({"sampling": {"window": 4}, "objective": {"kind": "dpo"}}, "it learns from no denoising step"),
    ],
)
def test_a_mistake_is_told_in_short(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SimeditError) as caught:
        parse_config(TrainConfig, data | {"style": {"instruction": "a long one " * 100}}, where="c.yaml")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "a long one" not in str(caught.value)
