from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from simedit import samplers
from simedit.errors import SimeditError
from simedit.pipeline import (
    Conditioning,
    SpecialistPipeline,
    denoise,
    guidance,
    noise,
    noise_in,
    predict,
    scales_tensor,
    widen,
)
from simedit.settings import Scales
from simedit.style_attention import StyleAttention
from simedit.tiny import tiny_pipeline

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")


def _images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def pipe() -> SpecialistPipeline:
    return tiny_pipeline()


@needs_golden
def test_guidance_as_the_public_code() -> None:
    golden = np.load(GOLDEN / "guidance.npz")
    branches = [torch.from_numpy(golden[f"eps_{k}"]) for k in ("full", "image", "none", "image_style")]
    expected = torch.from_numpy(golden["output"])
    scales = Scales()
    plain = guidance(*branches, scales=(scales.image, scales.style, scales.text))
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)
    per_frame = guidance(*branches, scales=scales_tensor([scales] * len(expected)))
    torch.testing.assert_close(per_frame, expected, atol=1e-5, rtol=0)


@needs_golden
def test_the_whole_tiny_pipeline_as_the_public_code() -> None:
    """Every step's latents and the decoded images, at the public code's default scales."""
    root = GOLDEN / "tiny_pipeline"
    run = {k: torch.from_numpy(v) for k, v in np.load(root / "run.npz").items() if v.dtype.kind == "f"}
    prompts = np.load(root / "run.npz")["prompts"].tolist()
    attention = StyleAttention(inner_dim=16, text_dim=32)
    attention.load_state_dict(
        {f"{k}.weight": v for k, v in load_file(root / "style_attention.safetensors").items()}
    )
    pipe = SpecialistPipeline(
        AutoencoderKL.from_pretrained(root / "vae"),
        CLIPTextModel.from_pretrained(root / "text_encoder"),
        CLIPTokenizer.from_pretrained(root / "tokenizer"),
        UNet2DConditionModel.from_pretrained(root / "unet"),
        DDIMScheduler.from_pretrained(root / "scheduler"),
        attention,
    )
    with torch.no_grad():
        text, image = pipe.encode_text(prompts), pipe.encode_images(run["input"])
        style = pipe.encode_style(run["style"], 16, 20)
        conditioning = Conditioning(
            text=text,
            empty_text=pipe.encode_text([""]),
            image=image,
            style=attention(style, image, text),
            scales=[Scales()],
        )
        model = partial(predict, pipe.unet, conditioning)
        schedule = pipe.schedule("ddim", 6)
        result = samplers.sample(model, run["initial_latents"], schedule, lambda _: pytest.fail("eta is 0"))
        output = pipe.decode(result.final, 16, 20)
    close = partial(torch.testing.assert_close, atol=1e-4, rtol=0)
    close(text, run["text_states"])
    close(pipe.encode_text(["", ""]), run["empty_text_states"])
    close(image, run["input_latents"])
    close(style, run["style_latents"])
    close(result.latents, run["latents"])
    close(output, run["output"])


@pytest.mark.parametrize(
    ("scales", "branches"),
    [
        (Scales(), 4),
        (Scales(image=1, style=3, text=7), 3),
        (Scales(image=1.5, style=1.5, text=7), 3),
        (Scales(image=1, style=1, text=2), 2),
        (Scales(image=2, style=2, text=2), 2),
        (Scales(image=1, style=1, text=1), 1),
    ],
)
def test_branches_that_cancel_out_are_not_evaluated(
    pipe: SpecialistPipeline, scales: Scales, branches: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, image, style = torch.randn(3, 2, 4, 4, 4, generator=generator)
    with torch.no_grad():
        text, empty = pipe.encode_text(["make it gold", "make it wood"]), pipe.encode_text([""])
        conditioning = Conditioning(text, empty, image, style, [scales])
        batches = []
        handle = pipe.unet.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
        fewer = predict(pipe.unet, conditioning, x, 500)
        handle.remove()
        # Beside a frame that needs all four, each frame gets all four.
        all_four = predict(pipe.unet, replace(conditioning, scales=[scales, Scales()]), x, 500)
    assert batches == [2 * branches]
    assert scales.branches == branches
    torch.testing.assert_close(fewer[0], all_four[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("interval", "branches"),
    [((0.0, 1.0), [4, 4, 4]), ((0.0, 0.5), [4, 4, 1]), ((0.3, 0.6), [1, 4, 1]), ((0.0, 0.0), [1, 1, 1])],
)
def test_steps_outside_the_guidance_interval_take_one_branch(
    pipe: SpecialistPipeline, interval: tuple[float, float], branches: list[int]
) -> None:
    x, style = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    schedule = pipe.schedule("euler_ancestral", 3)

    def draw() -> Callable[[], torch.Tensor]:
        return noise(_generators(0), x.shape[1:], x.device)

    with torch.no_grad():
        text, empty = pipe.encode_text(["make it gold"]), pipe.encode_text([""])
        guided = Conditioning(text, empty, x, style, [Scales()])
        batches = []
        handle = pipe.unet.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
        found = denoise(pipe.unet, guided, schedule, draw(), guidance_interval=interval)
        handle.remove()
        assert batches == branches
        if interval == (0.0, 0.0):
            plain = replace(guided, scales=[Scales(image=1, style=1, text=1)])
            torch.testing.assert_close(found, denoise(pipe.unet, plain, schedule, draw()))


def test_a_base_saved_in_half_precision_loads_in_single(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    for part in (pipe.vae, pipe.text_encoder, pipe.unet, pipe.style_attention):
        part.half()
    pipe.save_pretrained(tmp_path)
    again = SpecialistPipeline.from_pretrained(tmp_path)
    for part in (again.vae, again.text_encoder, again.unet, again.style_attention):
        assert part.dtype == torch.float32
    again(_images(1, 32, 32), _images(1, 20, 20), "make it gold", generator=_generators(0), scales=Scales())


def test_a_vae_with_other_latent_channels() -> None:
    tiny = tiny_pipeline()
    vae = AutoencoderKL(**{**tiny.vae.config, "latent_channels": 8})
    unet = UNet2DConditionModel(**{**tiny.unet.config, "in_channels": 16, "out_channels": 8})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe = SpecialistPipeline(vae, tiny.text_encoder, tiny.tokenizer, unet, tiny.scheduler)
    assert pipe.unet.config["in_channels"] == 24
    edit = pipe(
        _images(1, 32, 32), _images(1, 20, 20), "make it gold", generator=_generators(0), scales=Scales()
    )
    assert edit.shape == (1, 3, 32, 32)
    with pytest.raises(SimeditError, match="takes 16 channels; it must be InstructPix2Pix's 8"):
        SpecialistPipeline(
            tiny.vae,
            tiny.text_encoder,
            tiny.tokenizer,
            UNet2DConditionModel(**{**tiny.unet.config, "in_channels": 16, "out_channels": 8}),
            tiny.scheduler,
        )


@pytest.mark.parametrize("sampler", ["euler_ancestral", "ddim"])
@pytest.mark.parametrize("style_scale", [0.0, 3.0])
def test_with_zero_style_weights_it_is_instruct_pix2pix(sampler: str, style_scale: float) -> None:
    """The two formulas coincide at EVERY style scale. With zero weights for the style channels the branch
    image+style predicts what the branch image does, so eq. 13's style term vanishes and its text term becomes
    text * (full - image), which is diffusers' formula."""
    ours, base = tiny_pipeline(3), tiny_pipeline(3)
    narrow = UNet2DConditionModel.from_config({**base.unet.config, "in_channels": 8})
    state = base.unet.state_dict()
    state["conv_in.weight"] = state["conv_in.weight"][:, :8]
    narrow.load_state_dict(state)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if sampler == "euler_ancestral":
        scheduler = EulerAncestralDiscreteScheduler(**betas)
        schedule = samplers.euler_ancestral(scheduler.alphas_cumprod, 5, karras=False)
    else:
        scheduler = DDIMScheduler(**betas, clip_sample=False, steps_offset=1, set_alpha_to_one=False)
        schedule = ours.schedule("ddim", 5)
    theirs = StableDiffusionInstructPix2PixPipeline(
        base.vae,
        base.text_encoder,
        base.tokenizer,
        narrow,
        scheduler,
        None,
        None,
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    images, prompts = _images(2, 64, 96), ["make it gold", "turn it into wood"]
    expected = theirs(
        prompts, images, num_inference_steps=5, generator=_generators(1, 2), output_type="pt",
        guidance_scale=7.5, image_guidance_scale=1.5,
    ).images  # fmt: skip
    edits = ours(
        images, _images(1, 50, 70, seed=1), prompts, generator=_generators(1, 2), schedule=schedule,
        scales=Scales(style=style_scale),
    )  # fmt: skip
    assert edits.std() > 0.01
    torch.testing.assert_close(edits, expected, atol=1e-4, rtol=0)


def test_the_style_image_matters_once_its_weights_are_not_zero() -> None:
    pipe = tiny_pipeline()
    edit = partial(pipe, _images(1, 32, 32), prompt="make it gold", schedule=pipe.schedule("ddim", 3))
    styles = [_images(1, 32, 32, seed=1), _images(1, 32, 32, seed=2)]
    assert torch.equal(*(edit(style, generator=_generators(0)) for style in styles))
    with torch.no_grad():
        pipe.unet.conv_in.weight[:, 8:].normal_(generator=torch.Generator().manual_seed(0))
    a, b = (edit(style, generator=_generators(0)) for style in styles)
    assert (a - b).abs().max() > 1e-3


def test_an_edit_depends_on_its_own_generator_alone(pipe: SpecialistPipeline) -> None:
    images, style = _images(3, 32, 64), _images(1, 32, 32, seed=1)
    schedule = pipe.schedule("euler_ancestral", 4)
    together = pipe(images, style, "make it gold", generator=_generators(5, 6, 5), schedule=schedule)
    for i, seed in enumerate((5, 6, 5)):
        alone = pipe(images[i, None], style, "make it gold", generator=_generators(seed), schedule=schedule)
        torch.testing.assert_close(together[i, None], alone, atol=1e-4, rtol=0)
    other = pipe(images[:1], style, "make it gold", generator=_generators(6), schedule=schedule)
    assert (other - together[:1]).abs().max() > 1e-3


def test_any_size_is_filled_up_and_cut_back(pipe: SpecialistPipeline) -> None:
    image = _images(1, 37, 50)
    edit = partial(pipe, prompt="make it gold", style_image=image, schedule=pipe.schedule("ddim", 2))
    filled = torch.nn.functional.pad(image, (0, 14, 0, 27), mode="replicate")
    assert filled.shape[-2:] == (64, 64)
    small, large = edit(image, generator=_generators(0)), edit(filled, generator=_generators(0))
    assert small.shape == image.shape
    torch.testing.assert_close(small, large[..., :37, :50], atol=1e-4, rtol=0)


def test_style_images_are_resized_to_cover_the_frame_and_cut_at_the_centre(pipe: SpecialistPipeline) -> None:
    stripes = torch.zeros(1, 3, 32, 96)
    stripes[..., 32:64] = 1.0
    with torch.no_grad():
        cut = pipe.encode_style(stripes, 32, 32)
        torch.testing.assert_close(cut, pipe.encode_images(torch.ones(1, 3, 32, 32)))
        assert pipe.encode_style(stripes, 64, 32).shape == pipe.encode_images(torch.ones(1, 3, 64, 32)).shape


def test_save_and_load(tmp_path: Path, pipe: SpecialistPipeline) -> None:
    pipe.save_pretrained(tmp_path)
    again = SpecialistPipeline.from_pretrained(tmp_path)
    assert again.unet.config.in_channels == 12
    for name in ("vae", "text_encoder", "unet", "style_attention"):
        for key, value in getattr(pipe, name).state_dict().items():
            assert torch.equal(value, getattr(again, name).state_dict()[key]), f"{name}.{key}"
    assert torch.equal(pipe.encode_text(["make it gold, now"]), again.encode_text(["make it gold, now"]))
    assert again.scheduler.config.beta_end == 0.012


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """A directory laid out as the hub's timbrooks/instruct-pix2pix; its safety checker would fail to load."""
    pipe, folder = tiny_pipeline(1), tmp_path / "instruct-pix2pix"
    pipe.save_pretrained(folder)
    narrow = UNet2DConditionModel.from_config({**pipe.unet.config, "in_channels": 8})
    narrow.save_pretrained(folder / "unet")
    shutil.rmtree(folder / "style_attention")
    weights = folder / "text_encoder" / "model.safetensors"
    prefixed = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(weights).items()}
    save_file(prefixed, weights, metadata={"format": "pt"})
    tokenizer = folder / "tokenizer"
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps(pipe.tokenizer.get_vocab()))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(
        '{"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}'
    )
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not a model")
    (folder / "safety_checker" / "config.json").write_text("{}")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text("not json")
    index = {
        "_class_name": "StableDiffusionInstructPix2PixPipeline",
        "_diffusers_version": "0.12.0.dev0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_loads_a_directory_laid_out_as_the_hubs(hub_folder: Path, tmp_path: Path) -> None:
    pipe = SpecialistPipeline.from_pretrained(hub_folder)
    saved = load_file(hub_folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert pipe.unet.conv_in.weight.shape == (16, 12, 3, 3)
    assert torch.equal(pipe.unet.conv_in.weight[:, :8], saved["conv_in.weight"])
    assert not pipe.unet.conv_in.weight[:, 8:].any()
    assert torch.equal(pipe.encode_text(["make it gold"]), tiny_pipeline(1).encode_text(["make it gold"]))
    first = pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    assert torch.equal(pipe.style_attention.to_k.weight, first.to_k.weight)
    image = _images(1, 32, 32)
    edit = pipe(image, image, "make it gold", generator=_generators(0), schedule=pipe.schedule("ddim", 2))
    assert edit.shape == image.shape
    pipe.save_pretrained(tmp_path / "again")
    assert SpecialistPipeline.from_pretrained(tmp_path / "again").unet.config.in_channels == 12


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("model_index.json", "model_index.json missing"),
        ("unet/diffusion_pytorch_model.safetensors", r"unet/\*.safetensors missing"),
        ("vae", "vae/config.json, vae/"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json missing"),
    ],
)
def test_an_incomplete_directory_says_what_is_missing(hub_folder: Path, remove: str, message: str) -> None:
    path = hub_folder / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SimeditError, match=message):
        SpecialistPipeline.from_pretrained(hub_folder)


def test_a_truncated_base_is_one_clear_error(hub_folder: Path) -> None:
    weights = hub_folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SimeditError, match="cannot load the base"):
        SpecialistPipeline.from_pretrained(hub_folder)


def test_a_base_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimeditError, match="no such directory"):
        SpecialistPipeline.from_pretrained(tmp_path / "absent")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SimeditError, match="the hub gave no model"):
        SpecialistPipeline.from_pretrained("nobody/no-such-base")


def test_a_unet_of_other_channels_is_refused(pipe: SpecialistPipeline) -> None:
    plain = UNet2DConditionModel.from_config({**pipe.unet.config, "in_channels": 4})
    with pytest.raises(SimeditError, match="takes 4 channels"):
        SpecialistPipeline(**{**pipe.components, "unet": plain, "style_attention": None})


def test_a_base_that_predicts_neither_noise_nor_velocity_is_refused(pipe: SpecialistPipeline) -> None:
    scheduler = DDIMScheduler(prediction_type="sample")
    with pytest.raises(SimeditError, match="'sample'"):
        SpecialistPipeline(**{**pipe.components, "scheduler": scheduler})


def test_a_velocity_is_the_noise_that_diffusers_takes_it_for(pipe: SpecialistPipeline) -> None:
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    alphas = SpecialistPipeline(**{**pipe.components, "scheduler": scheduler}).velocity_alphas
    assert alphas is not None
    assert pipe.velocity_alphas is None
    t, generator = torch.tensor([3.0, 400.0, 999.0]), torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 3, 4, 2, 2, generator=generator)
    a = alphas[t.long()].view(-1, 1, 1, 1)
    noisy = a.sqrt() * x + (1 - a).sqrt() * eps
    velocity = scheduler.get_velocity(x, eps, t.long())
    torch.testing.assert_close(noise_in(velocity, noisy, t, alphas), eps, rtol=1e-4, atol=1e-4)


def test_between_two_timesteps_the_noise_is_that_of_the_samplers_sigma(pipe: SpecialistPipeline) -> None:
    schedule = pipe.schedule("euler_ancestral", 7)
    alphas = pipe.scheduler.alphas_cumprod
    t, scale = schedule.timesteps[3].float(), schedule.input_scale[3]  # scale = 1 / sqrt(sigma^2 + 1)
    assert t != t.round()
    x, eps = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    noisy = scale * x + (1 - scale**2).sqrt() * eps
    velocity = scale * eps - (1 - scale**2).sqrt() * x
    torch.testing.assert_close(noise_in(velocity, noisy, t[None], alphas), eps, rtol=1e-4, atol=1e-4)


def test_numbers_that_do_not_match(pipe: SpecialistPipeline) -> None:
    with pytest.raises(SimeditError, match=r"2 images need 2 prompts \(got 2\), 2 generators \(got 1\)"):
        pipe(_images(2, 32, 32), _images(1, 32, 32), "make it gold", generator=_generators(0))


def test_unknown_sampler(pipe: SpecialistPipeline) -> None:
    with pytest.raises(SimeditError, match="did you mean 'ddim'"):
        pipe.schedule("dimm", 3)


def test_consistency_steps_have_no_eta(pipe: SpecialistPipeline) -> None:
    with pytest.raises(SimeditError, match="eta is for the other samplers"):
        pipe.schedule("consistency", 3, eta=0.0)


def test_widen_keeps_the_prediction() -> None:
    torch.manual_seed(0)
    pipe = tiny_pipeline()
    unet = UNet2DConditionModel.from_config({**pipe.unet.config, "in_channels": 8}).eval()
    x, text = torch.randn(1, 12, 4, 4), torch.randn(1, 5, 32)
    with torch.no_grad():
        before = unet(x[:, :8], 10, text).sample
        widen(unet)
        after = unet(x, 10, text).sample
    torch.testing.assert_close(before, after)


def _overflowing(pipe: SpecialistPipeline) -> SpecialistPipeline:
    """Its decoder's first activations do not fit into float16."""
    with torch.no_grad():
        pipe.vae.decoder.conv_in.weight.mul_(2e5)
    return pipe


def test_what_overflows_float16_in_the_autoencoder_is_done_in_float32_and_said_once() -> None:
    latents = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    latents[1] = 1e-3  # of this one nothing overflows
    with torch.no_grad():
        expected = _overflowing(tiny_pipeline()).decode(latents, 32, 32)
        half = _overflowing(tiny_pipeline())
        half.vae.half()
        with pytest.warns(UserWarning, match="leaves float16's range"):
            found = half.decode(latents, 32, 32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = half.decode(latents[:1], 32, 32)
            alone = half.decode(latents[1:], 32, 32)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    torch.testing.assert_close(again[0], found[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(alone[0], found[1], atol=2e-3, rtol=0)  # float16's rounding


def test_an_edit_that_is_not_finite_is_an_error() -> None:
    pipe, image = tiny_pipeline(), _images(1, 32, 32)
    with torch.no_grad():
        pipe.unet.conv_out.bias.fill_(torch.inf)
    with pytest.raises(SimeditError, match="the edit is not finite"):
        pipe(image, image, "make it gold", generator=_generators(0), schedule=pipe.schedule("ddim", 2))


def test_an_infinite_pixel_is_not_white() -> None:
    pipe = tiny_pipeline()
    with torch.no_grad():
        pipe.vae.decoder.conv_out.bias.fill_(torch.inf)
        assert pipe.decode(torch.zeros(1, 4, 2, 2), 32, 32).isnan().all()


def test_of_an_instruction_that_is_cut_it_warns(pipe: SpecialistPipeline) -> None:
    with pytest.warns(UserWarning, match="the base reads 77 tokens of an instruction, this one has 102"):
        cut = pipe.encode_text(["x " * 100])
    with torch.no_grad():
        assert torch.equal(cut, pipe.encode_text(["x " * 75]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cross_attention_dim": 64}, "text states are 32 wide, but its U-Net takes 64"),
        ({"heads": 8, "text_dim": 64}, "style attention takes text states 64 wide"),
    ],
)
def test_parts_that_do_not_fit_together(
    pipe: SpecialistPipeline, change: dict[str, int], message: str
) -> None:
    parts = {**pipe.components}
    if "text_dim" in change:
        parts["style_attention"] = StyleAttention(16, 64)
    else:
        parts["unet"] = UNet2DConditionModel.from_config({**pipe.unet.config, **change})
        parts["style_attention"] = None
    with pytest.raises(SimeditError, match=message):
        SpecialistPipeline(**parts)


def test_a_base_is_not_loaded_in_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="floating-point type"):
        SpecialistPipeline.from_pretrained(tmp_path, torch_dtype=torch.int8)


def test_a_base_cannot_be_written_over_a_file(tmp_path: Path, pipe: SpecialistPipeline) -> None:
    (tmp_path / "base").write_text("mine")
    with pytest.raises(SimeditError, match="cannot write the base"):
        pipe.save_pretrained(tmp_path / "base")
    assert (tmp_path / "base").read_text() == "mine"
