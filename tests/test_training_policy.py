from __future__ import annotations

import copy

import pytest
import torch

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.pipeline import predict
from simedit.settings import Scales
from simedit.specialist import Card, Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.policy import Encoded, Policy


def _policy(seed: int = 0, **options: bool) -> Policy:
    return Policy(tiny_pipeline(), rank=4, alpha=4, seed=seed, scales=Scales(), **options)


def _encoded(policy: Policy, n: int = 2) -> Encoded:
    random = torch.Generator().manual_seed(1)
    image, style = torch.randn(2, n, 4, 2, 2, generator=random)
    with torch.no_grad():
        return Encoded(policy.pipeline.encode_text(["paint it", "gold"])[:n], image, style)


def _predict(policy: Policy, encoded: Encoded) -> torch.Tensor:
    x = torch.randn(encoded.image.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return policy.predict(policy.conditioning(encoded), x, 500.0)


def _perturb(policy: Policy) -> None:
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)


def test_before_training_it_is_the_base() -> None:
    policy = _policy()
    encoded = _encoded(policy)
    base = tiny_pipeline()
    with torch.no_grad():
        style = base.style_attention(encoded.style, encoded.image, encoded.text)
        conditioning = policy.conditioning(encoded)
        torch.testing.assert_close(conditioning.style, style)
        assert conditioning.scales == [Scales()]
        x = torch.randn(encoded.image.shape, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(_predict(policy, encoded), predict(base.unet, conditioning, x, 500.0))


def test_the_reference_stays_the_base_while_all_that_is_trained_moves() -> None:
    policy = _policy()
    encoded = _encoded(policy)
    before, weights = _predict(policy, encoded), {k: v.clone() for k, v in policy.weights().items()}
    _perturb(policy)
    assert (_predict(policy, encoded) - before).abs().max() > 0.01
    with policy.reference():
        torch.testing.assert_close(_predict(policy, encoded), before, atol=0, rtol=0)
    after = policy.weights()
    assert all((after[key] != value).any() for key, value in weights.items())
    assert (_predict(policy, encoded) - before).abs().max() > 0.01


def test_after_the_reference_was_asked_gradients_still_reach_every_part() -> None:
    policy = _policy(gradient_checkpointing=True)
    _perturb(policy)
    encoded = _encoded(policy)
    policy.unet.train()
    with torch.no_grad(), policy.reference():
        policy.predict(policy.conditioning(encoded), torch.ones_like(encoded.image), 500.0)
    policy.predict(policy.conditioning(encoded), torch.ones_like(encoded.image), 500.0).sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in policy.parameters)
    trained = {id(p) for p in policy.parameters}
    parts = [*policy.unet.parameters(), *policy.pipeline.vae.parameters()]
    assert all(p.grad is None for p in parts if id(p) not in trained)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        policy = _policy(gradient_checkpointing=checkpointing)
        _perturb(policy)
        policy.unet.train()
        encoded = _encoded(policy)
        policy.predict(policy.conditioning(encoded), torch.ones_like(encoded.image), 500.0).sum().backward()
        gradients.append([p.grad for p in policy.parameters])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_the_seed_fixes_the_start_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    first, second, other = _policy(0).weights(), _policy(0).weights(), _policy(1).weights()
    assert all((first[key] == second[key]).all() for key in first)
    assert any((first[key] != other[key]).any() for key in first)
    assert (torch.random.get_rng_state() == state).all()


def test_in_bfloat16_what_is_trained_is_float32() -> None:
    pipeline = tiny_pipeline().to(dtype=torch.bfloat16)
    policy = Policy(pipeline, rank=4, alpha=4, seed=0, scales=Scales(), bf16=True)
    assert {p.dtype for p in policy.parameters} == {torch.float32}
    assert policy.pipeline.vae.dtype == torch.bfloat16
    exact = _policy()
    encoded = _encoded(exact)
    half = Encoded(*(value.bfloat16() for value in (encoded.text, encoded.image, encoded.style)))
    expected, found = _predict(exact, encoded), _predict(policy, half)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_its_weights_make_a_specialist_that_edits_as_it_does() -> None:
    policy = _policy()
    _perturb(policy)
    card = Card(style="gold", base="none", instruction="paint it", lora_rank=4, lora_alpha=4, steps=3)
    style = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    weights = {key: value.detach().clone() for key, value in policy.weights().items()}
    specialist = Specialist(card, weights, (style,))
    library = SpecialistLibrary(tiny_pipeline())
    library.add(specialist)
    frame = style[None, ::-1].copy()
    trained = library.edit(frame, styles=["gold"], seeds=[0])
    fresh = _policy(seed=5)
    fresh.load(specialist)
    assert all((fresh.weights()[key] == value).all() for key, value in weights.items())
    untrained = copy.deepcopy(_policy().weights())
    other = SpecialistLibrary(tiny_pipeline())
    other.add(Specialist(card, untrained, (style,)))
    assert (other.edit(frame, styles=["gold"], seeds=[0]) != trained).any()


def test_weights_of_another_rank_are_refused() -> None:
    policy = Policy(tiny_pipeline(), rank=2, alpha=4, seed=0, scales=Scales())
    card = Card(style="gold", base="none", instruction="paint it", lora_rank=4, lora_alpha=4)
    specialist = Specialist(card, _policy().weights(), (torch.zeros(8, 8, 3).byte().numpy(),))
    with pytest.raises(SimeditError, match="does not fit the base"):
        policy.load(specialist)
