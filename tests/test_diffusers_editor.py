from __future__ import annotations

import inspect
import warnings
from functools import cache

import diffusers
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from small_pipelines import TINY, tiny, xl_instruct_pix2pix

from simedit.composition import compose, shrunk
from simedit.diffusers_editor import DiffusersEditor, averaged, with_averages
from simedit.editing_pipelines import CALLS
from simedit.errors import SimeditError
from simedit.wrapper import EditObservation

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 44, 60, 3)).astype(np.uint8)
MASKS = np.zeros((3, 44, 60), bool)
MASKS[:2, 8:30, 10:40] = True  # and an empty one
PROMPTS = {"gold": "make it gold", "wood": "make it wood"}
STYLES = ["gold", "wood", "gold"]
XL = "StableDiffusionXLInstructPix2PixPipeline"

pipe = cache(tiny)


def editor(name, **settings):
    return DiffusersEditor(pipe(name), PROMPTS, **{"steps": 2, "size": 80, **settings})


@pytest.mark.parametrize("name", CALLS)
def test_the_table_names_arguments_that_its_class_takes(name):
    call, taken = CALLS[name], inspect.signature(getattr(diffusers, name).__call__).parameters
    names = {"prompt", "image", "generator", "num_inference_steps", "output_type", "return_dict"}
    names |= {one for one in (call.guidance, call.image_guidance, call.area) if one} | {
        *call.sides,
        *call.fixed,
    }
    assert names <= set(taken)
    assert set(call.parts) <= set(inspect.signature(getattr(diffusers, name).__init__).parameters)
    assert hasattr(torch, call.half)
    # What the class takes and the table has not would be left at its default.
    assert ("image_guidance_scale" in taken) == (call.image_guidance is not None) or "Mobile" in name
    assert ("height" in taken) == bool(call.sides)


@pytest.mark.parametrize("name", TINY)
class TestEveryPipeline:
    def test_an_edit_depends_on_frame_style_and_seed_alone(self, name):
        one = editor(name)
        edits = one.edit(FRAMES, styles=STYLES, seeds=[1, 2, -3])
        alone = one.edit(FRAMES[1:2], styles=["wood"], seeds=[2])
        np.testing.assert_array_equal(edits[1:2], alone)
        assert not np.array_equal(alone, one.edit(FRAMES[1:2], styles=["wood"], seeds=[3]))
        assert not np.array_equal(alone, one.edit(FRAMES[1:2], styles=["gold"], seeds=[2]))
        assert not np.array_equal(edits[0], one.edit(FRAMES[2:], styles=["gold"], seeds=[1])[0])

    def test_nothing_outside_the_mask_changes(self, name):
        edits = editor(name).edit(FRAMES, styles=STYLES, masks=MASKS, seeds=[1, 2, 3])
        np.testing.assert_array_equal(edits[~MASKS], FRAMES[~MASKS])
        assert (edits != FRAMES)[MASKS].mean() > 0.9
        whole = editor(name).edit(FRAMES, styles=STYLES, seeds=[1, 2, 3])
        np.testing.assert_array_equal(edits, compose(FRAMES, whole, MASKS))


def test_it_is_the_pipelines_own_edit():
    name = "StableDiffusionInstructPix2PixPipeline"
    settings = {"guidance": 5.0, "image_guidance": 1.2, "steps": 3, "size": None}
    edit = editor(name, **settings).edit(FRAMES[:1], styles=["gold"], seeds=[7])[0]
    small = shrunk(FRAMES[:1], 48, 64)[0]  # sides are a multiple of 16 here
    wanted = pipe(name)(
        prompt="make it gold",
        image=Image.fromarray(small),
        num_inference_steps=3,
        guidance_scale=5.0,
        image_guidance_scale=1.2,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    wanted = shrunk((wanted * 255).round().astype(np.uint8)[None], 44, 60)[0]
    np.testing.assert_array_equal(edit, wanted)


def test_the_size_is_the_side_of_a_square_of_as_many_pixels():
    one = editor("Flux2KleinPipeline", size=100)
    assert one._sides(40, 56) == (84, 118)  # of 2, which is its multiple here
    assert one._sides(1, 400) == (4, 2000)
    assert editor("StableDiffusionInstructPix2PixPipeline", size=8)._sides(3, 400) == (16, 96)


def test_what_is_not_finite_is_refused():
    broken = tiny("StableDiffusionInstructPix2PixPipeline")
    broken.unet.conv_out.bias.data[0] = float("nan")
    with pytest.raises(
        SimeditError, match="the edit by StableDiffusionInstructPix2PixPipeline is not finite"
    ):
        DiffusersEditor(broken, PROMPTS, steps=1).edit(FRAMES[:1], styles=["gold"], seeds=[0])


def test_a_picture_of_another_size_is_refused(monkeypatch):
    one = editor("Flux2KleinPipeline")
    monkeypatch.setattr(type(one._pipeline), "__call__", lambda self, **asked: (torch.zeros(1, 3, 8, 8),))
    with pytest.raises(SimeditError, match=r"made \[1, 3, 8, 8\] where 94x68 pixels were asked for"):
        one.edit(FRAMES[:1], styles=["gold"], seeds=[0])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"styles": ["gold", "wod", "gold"]}, "unknown style 'wod': did you mean 'wood'"),
        ({"seeds": [1]}, "3 frames need as many styles and seeds, got 3 and 1"),
        ({"masks": {"block": MASKS}}, "'gold' has no region of its own"),
        ({"masks": MASKS[:1]}, "masks must be bool"),
    ],
)
def test_what_it_cannot_edit_is_refused(asked, message):
    with pytest.raises(SimeditError, match=message):
        editor(XL).edit(FRAMES, **{"styles": STYLES, "seeds": [1, 2, 3], **asked})


def test_mistakes_in_settings_are_refused():
    with pytest.raises(SimeditError, match="Flux2KleinPipeline takes no image_guidance"):
        editor("Flux2KleinPipeline", image_guidance=1.5)
    with pytest.raises(SimeditError, match=r"Flux2KleinPipeline refuses to edit so: .*at least 64px"):
        editor("Flux2KleinPipeline", size=16).edit(FRAMES[:1], styles=["gold"], seeds=[0])
    with pytest.raises(SimeditError, match="unknown pipeline 'str'"):
        DiffusersEditor("", PROMPTS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "xl"
    pipe(XL).save_pretrained(folder)
    return folder


class TestLoading:
    def load(self, model, **settings):
        return DiffusersEditor.load(
            model, PROMPTS, **{"pipeline": XL, "device": "cpu", "steps": 2, **settings}
        )

    def test_a_saved_pipeline_edits_as_it_did(self, saved):
        one, two = self.load(saved), editor(XL, size=None)
        asked = {"styles": ["gold"], "seeds": [3]}
        np.testing.assert_array_equal(one.edit(FRAMES[:1], **asked), two.edit(FRAMES[:1], **asked))

    def test_a_scheduler_and_settings_of_the_pipeline(self, saved):
        """CosXL's."""
        settings = {
            "sigma_min": 0.002,
            "sigma_max": 120.0,
            "sigma_data": 1.0,
            "sigma_schedule": "exponential",
        }
        one = self.load(
            saved,
            scheduler="EDMEulerScheduler",
            scheduler_settings=settings | {"prediction_type": "v_prediction"},
            pipeline_settings={"is_cosxl_edit": True},
        )
        assert settings.items() <= dict(one._pipeline.scheduler.config).items()
        assert one._pipeline.is_cosxl_edit
        assert one.edit(FRAMES[:1], styles=["gold"], seeds=[0]).std() > 0

    def test_mistakes(self, saved, tmp_path, monkeypatch):
        with pytest.raises(SimeditError, match="'EDMEuler': did you mean 'EDMEulerScheduler'"):
            self.load(saved, scheduler="EDMEuler")
        with pytest.raises(SimeditError, match=r"unknown pipeline 'Flux2KlienPipeline': did you mean"):
            self.load(saved, pipeline="Flux2KlienPipeline")
        with pytest.raises(SimeditError, match=f"cannot load {saved} as Flux2KleinPipeline"):
            self.load(saved, pipeline="Flux2KleinPipeline")
        with pytest.raises(SimeditError, match=r"no model ./nowhere: give a folder"):
            self.load("./nowhere")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(SimeditError, match=r"no model 'no/such' here.*hf download no/such"):
            self.load("no/such")

    def test_no_code_that_lies_there_runs(self, saved, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        for part in saved.iterdir():
            (folder / part.name).symlink_to(part)
        (folder / "pipeline.py").write_text("raise SystemExit('it ran')")
        with pytest.raises(SimeditError, match=r"holds code \(pipeline.py\)"):
            self.load(folder)

    def test_a_checkpoint_in_one_file_is_built_as_its_parts_say(self, tmp_path, monkeypatch):
        file, asked = tmp_path / "one.safetensors", {}
        save_file({"a": torch.zeros(1)}, file)

        def from_single_file(path, **settings):
            asked.update(settings, path=path)
            return xl_instruct_pix2pix()

        monkeypatch.setattr(
            diffusers.StableDiffusionXLInstructPix2PixPipeline, "from_single_file", from_single_file
        )
        self.load(file, parts="some/pipeline", pipeline_settings={"is_cosxl_edit": True})
        assert asked == {
            "path": str(file),
            "config": "some/pipeline",
            "torch_dtype": torch.float32,
            "add_watermarker": False,
            "is_cosxl_edit": True,
        }


class Code:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_checkpoints_averages_take_the_place_of_its_weights(tmp_path, capfd):
    state = {
        "model.diffusion_model.out.2.weight": torch.zeros(2),
        "model_ema.diffusion_modelout2weight": torch.ones(2),
        "model_ema.decay": torch.tensor(0.9),
        "first_stage_model.a": torch.full((1,), 3.0),
    }
    found = with_averages(state)
    assert found.keys() == {"model.diffusion_model.out.2.weight", "first_stage_model.a"}
    assert found["model.diffusion_model.out.2.weight"].tolist() == [1, 1]
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "ema.ckpt")
    new = averaged(tmp_path / "ema.ckpt", tmp_path)
    assert load_file(new)["model.diffusion_model.out.2.weight"].tolist() == [1, 1]
    torch.save({"state_dict": {"first_stage_model.a": torch.zeros(1)}}, tmp_path / "plain.ckpt")
    assert averaged(tmp_path / "plain.ckpt", tmp_path) == tmp_path / "plain.ckpt"
    torch.save({"state_dict": {}, "callbacks": Code()}, tmp_path / "code.ckpt")
    with pytest.raises(SimeditError, match=r"cannot read .*code.ckpt without running code"):
        averaged(tmp_path / "code.ckpt", tmp_path)
    assert "it ran" not in capfd.readouterr().out


def test_the_wrapper_takes_it():
    from small_gym import Point

    def mask(obs):
        return np.arange(10) < np.full((8, 1), 5)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = EditObservation(Point(), editor(XL, size=32), "gold", image_key="", mask=mask, keep_raw=None)
        obs, _ = env.reset(seed=0)
        raw, _ = Point().reset(seed=0)
    assert np.array_equal(obs[:, 5:], raw[:, 5:])
    assert (obs[:, :5] != raw[:, :5]).mean() > 0.9
