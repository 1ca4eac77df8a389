"""The attention score: its maps by a plain computation, what moves it, and what must not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention as Layer
from torch import Tensor
from torch.nn.functional import interpolate

from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.scores import Differentiable, Targets
from simedit.scores.attention import SEED, Attention, noun_places
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.policy import Encoded, Policy

TEXT, NOUN = "make the cupboard out of gold", "cupboard"
PLACES = list(range(8, 16))
"""The tiny tokenizer's tokens are letters; the text's beginning is another."""
SIZE = (64, 96)


@pytest.fixture(scope="module")
def pipeline() -> SpecialistPipeline:
    return tiny_pipeline()


def targets(n: int) -> Targets:
    inputs = torch.rand(n, 3, *SIZE, generator=torch.manual_seed(1))
    masks = torch.ones(n, *SIZE, dtype=torch.bool)
    return Targets(inputs, masks, inputs, masks)


def edits_of(inputs: Tensor, count: int) -> Tensor:
    noise = torch.rand(len(inputs), count, *inputs.shape[1:], generator=torch.manual_seed(2))
    return torch.lerp(inputs[:, None].expand_as(noise), noise, 0.5)


def by_hand(pipeline: SpecialistPipeline, pictures: Tensor, steps: int) -> Tensor:
    """The maps from what the layers of the base as it is get to see."""
    unet: Any = pipeline.unet
    text, latents = pipeline.encode_text([TEXT]), pipeline.encode_images(pictures)
    n, _, height, width = latents.shape
    seen: list[tuple[Any, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, args, kwargs: seen.append((layer, args[0])), with_kwargs=True
        )
        for name, layer in unet.named_modules()
        if isinstance(layer, Layer) and name.endswith("attn2")
    ]
    random, maps = torch.Generator().manual_seed(SEED), torch.zeros(n, height, width, dtype=latents.dtype)
    for i in range(steps):
        t = int(1000 * (i + 0.5) / steps)
        alpha = pipeline.scheduler.alphas_cumprod[t].double()
        noise = torch.randn(latents.shape[1:], generator=random).double()
        noisy = alpha.sqrt() * latents * pipeline.vae.config.scaling_factor + (1 - alpha).sqrt() * noise
        unet(torch.cat([noisy, 0 * noisy, 0 * noisy], 1), t, encoder_hidden_states=text.expand(n, -1, -1))
    for hook in hooks:
        hook.remove()
    assert len(seen) == steps * len(hooks) > 0
    for layer, hidden in seen:
        query, key = layer.to_q(hidden), layer.to_k(text)[0]
        size, each = query.shape[-1] // layer.heads, []
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            each.append((query[..., own] @ key[:, own].T / size**0.5).softmax(-1)[..., PLACES].mean(-1))
        scale = (height * width // hidden.shape[1]) ** 0.5
        grid = torch.stack(each).mean(0).view(n, 1, int(height / scale), int(width / scale))
        maps += interpolate(grid, (height, width), mode="bilinear")[:, 0]
    return maps / maps.sum((1, 2), keepdim=True)


@torch.no_grad()
def test_maps_are_what_a_plain_computation_gives() -> None:
    pipeline = tiny_pipeline().to(torch.float64)
    pictures = torch.rand(3, 3, *SIZE, generator=torch.manual_seed(0), dtype=torch.float64)
    maps = Attention(pipeline, TEXT, NOUN, steps=3).maps(pictures)
    assert torch.allclose(maps, by_hand(pipeline, pictures, 3), rtol=0, atol=1e-6)
    assert (maps > 0).all()
    assert torch.allclose(maps.sum((1, 2)), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-9)
    assert (maps[0] - maps[1]).abs().max() > 1e-4  # they depend on what is seen


def test_an_edit_that_is_its_input_scores_0_and_the_further_it_is_the_worse(
    pipeline: SpecialistPipeline,
) -> None:
    score, given = Attention(pipeline, TEXT, NOUN), targets(2)
    inputs = given.inputs[:, None]
    edits = torch.cat([torch.lerp(inputs, 1 - inputs, share) for share in (0.0, 0.05, 0.9)], 1)
    values = score(edits, given)
    assert (values.shape, values.dtype) == ((2, 3), torch.float32)
    assert values[:, 0].abs().max() < 1e-6
    assert (values.diff(dim=1) > 1e-5).all()
    assert values.max() < 1


def test_edits_of_several_inputs_score_as_each_alone(pipeline: SpecialistPipeline) -> None:
    score, given = Attention(pipeline, TEXT, NOUN), targets(3)
    edits = edits_of(given.inputs, 2)
    broken = edits.clone()
    broken[1, 0, 2, 5, 5] = torch.nan
    together = score(broken, given)
    assert together[1, 0].isnan()
    for i in range(3):
        one = slice(i, i + 1)
        own = Targets(given.inputs[one], given.masks[one], given.styles[one], given.style_masks[one])
        alone = score(edits[one], own)
        for g in range(2):
            if (i, g) != (1, 0):
                assert together[i, g].item() == pytest.approx(alone[0, g].item(), abs=1e-6)


def test_it_says_which_way_an_edit_gets_better() -> None:
    pipeline, given = tiny_pipeline(), targets(1)
    for module in (pipeline.vae, pipeline.unet):
        module.requires_grad_(False)
    score = Attention(pipeline, TEXT, NOUN)
    assert isinstance(score, Differentiable)
    edits = edits_of(given.inputs, 2).requires_grad_()
    before = score.value(edits, given)
    (slope,) = torch.autograd.grad(before.sum(), edits)
    assert (slope != 0).flatten(2).any(-1).all()
    step = 1e-2 * slope / slope.flatten(2).norm(dim=-1).view(1, 2, 1, 1, 1)
    assert (score(edits - step, given) < before).all()


def test_training_moves_no_score_and_scoring_no_policy() -> None:
    pipeline, given = tiny_pipeline(), targets(2)
    pipeline.fast_convolutions()  # as a policy has it: other kernels would move the last bits
    edits, score = edits_of(given.inputs, 2), Attention(pipeline, TEXT, NOUN)
    processors = {**pipeline.unet.attn_processors}
    before = score(edits, given)
    policy = Policy(pipeline, rank=4, alpha=4, seed=0, scales=Scales(), gradient_checkpointing=True)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
        image, style, x = torch.randn(3, 2, 4, 4, 6, generator=random)
        conditioning = policy.conditioning(Encoded(pipeline.encode_text([TEXT] * 2), image, style))
        predicted = policy.predict(conditioning, x, 500.0)
        policy.unet.train()
        assert torch.equal(score(edits, given), before)
        policy.unet.eval()
        assert torch.equal(policy.predict(conditioning, x, 500.0), predicted)
        with policy.reference():
            assert not torch.allclose(policy.predict(conditioning, x, 500.0), predicted, atol=1e-3)
    assert pipeline.unet.attn_processors == processors
    ours, theirs = ({id(p) for p in unet.parameters()} for unet in (score._unet, pipeline.unet))
    assert ours < theirs  # not one weight twice in memory


def test_the_nouns_tokens(pipeline: SpecialistPipeline) -> None:
    tokenizer = pipeline.tokenizer
    assert noun_places(tokenizer, TEXT, NOUN) == PLACES
    assert noun_places(tokenizer, "Cupboard of the cupboard", NOUN) == [*range(1, 9), *range(14, 22)]
    assert noun_places(tokenizer, "the top drawer", "top drawer") == list(range(4, 13))
    letters = tokenizer.convert_ids_to_tokens(tokenizer(TEXT).input_ids)
    assert [letters[place] for place in PLACES] == [*"cupboar", "d</w>"]


@pytest.mark.parametrize(
    ("text", "noun", "message"),
    [
        (TEXT, "board", "does not say it"),  # only as a part of another word
        (TEXT, "table", "does not say it"),
        ("make it gold, " * 9 + "the cupboard", NOUN, "says it too late"),
    ],
)
def test_a_noun_without_attention_is_refused(
    pipeline: SpecialistPipeline, text: str, noun: str, message: str
) -> None:
    with pytest.raises(SimeditError, match=message):
        Attention(pipeline, text, noun)
