"""The flow policy: its network learns, its chunks are drawn, its files are checked."""

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.policies.flow import FlowConfig, FlowNetwork, FlowPolicy, shrunk
from simedit.policies.networks import save
from simedit.policies.player import Player

SMALL = FlowConfig(size=32, channels=[8, 8], points=4, hidden=16, blocks=1, chunk=4, execute=3, steps=5)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save(FlowNetwork(SMALL), SMALL, tmp_path / "policy")
    return tmp_path / "policy"


def _seen(seed=0, size=48):
    frame = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    return {"frame": frame, "observation": {"agent_pos": np.array([100.0, 200.0])}}


def test_a_chunk_is_drawn_and_played_to_where_it_looks_again(folder):
    policy = FlowPolicy(folder)
    policy.reset("", seed=3)
    chunk = policy.act(_seen())
    assert chunk.dtype == np.float32
    assert chunk.shape == (3, 2)
    player = Player(FlowPolicy(folder), size=2)
    player.reset("", seed=3)
    played = [player.act(_seen()) for _ in range(3)]
    assert np.array_equal(chunk, played)
    assert not np.array_equal(player.act(_seen()), chunk[0])  # its noise goes on


def test_the_seed_alone_draws(folder):
    policy = FlowPolicy(folder)
    chunks = []
    for seed in (1, 1, 2):
        policy.reset("", seed=seed)
        chunks.append(policy.act(_seen()))
    assert np.array_equal(chunks[0], chunks[1])
    assert not np.array_equal(chunks[0], chunks[2])


def test_frames_and_state_matter(folder):
    policy = FlowPolicy(folder)
    found = []
    for seen in (_seen(), _seen(seed=1), _seen() | {"observation": {"agent_pos": np.array([400.0, 1.0])}}):
        policy.reset("", seed=1)
        found.append(policy.act(seen))
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_points_are_where_the_light_is():
    network = FlowNetwork(SMALL)
    network.eyes = torch.nn.AvgPool2d(4)  # three points, each at its colour's brightest place
    frames = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    frames[0, 24:28, 4:8] = 255
    x, y, _ = (network.see(frames.float() * 20)[0].view(3, 3)).unbind()
    assert torch.allclose(x, torch.full((3,), 2 * 1 / 7 - 1), atol=1e-3)
    assert torch.allclose(y, torch.full((3,), 2 * 6 / 7 - 1), atol=1e-3)


def test_it_learns_where_a_patch_is():
    torch.manual_seed(0)
    network = FlowNetwork(SMALL)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    random = torch.Generator().manual_seed(0)

    def batch(n):
        places = torch.randint(0, 24, (n, 2), generator=random)
        frames = torch.zeros(n, 32, 32, 3, dtype=torch.uint8)
        for frame, (x, y) in zip(frames, places, strict=True):
            frame[y : y + 8, x : x + 8] = 255
        actions = (places / 12.0 - 1)[:, None].expand(-1, 4, -1)
        return frames, torch.zeros(n, 2), actions

    def error():
        frames, state, actions = batch(64)
        noise = torch.randn(64, 4, 2, generator=random)
        with torch.no_grad():
            return (network.draw(network.see(frames), state, noise) - actions).square().mean().item()

    before = error()
    for _ in range(150):
        frames, state, actions = batch(32)
        noise, time = torch.randn(32, 4, 2, generator=random), torch.rand(32, generator=random)
        optimizer.zero_grad()
        network.loss(frames, state, actions, noise, time).backward()
        optimizer.step()
    assert error() < 0.3 * before


def test_the_path_from_noise_to_actions_is_straight():
    """With the velocity that is right for one action alone, Euler's method ends at it from any noise."""
    network, action = FlowNetwork(SMALL), torch.ones(2, 4, 2)
    network.velocity = lambda x, time, *_: (action - x) / (1 - time)[:, None, None]
    noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network.draw(torch.zeros(2, 12), torch.zeros(2, 2), noise), action, atol=1e-5)


def test_frames_are_shrunk_alike():
    frame = _seen(size=64)["frame"]
    assert shrunk(frame[None], 32).shape == (1, 32, 32, 3)
    assert np.array_equal(shrunk(frame[None], 64)[0], frame)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (_seen() | {"frame": np.zeros((8, 8, 3), np.float32)}, "uint8"),
        (_seen() | {"observation": {"agent": np.zeros(2)}}, "agent_pos"),
        (_seen() | {"observation": {"agent_pos": np.zeros(3)}}, "2 numbers"),
        (_seen() | {"observation": {"agent_pos": np.array([np.nan, 0])}}, "finite"),
    ],
)
def test_what_it_cannot_see_is_refused(folder, seen, message):
    with pytest.raises(SimeditError, match=message):
        FlowPolicy(folder).act(seen)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="execute"):
        FlowConfig(chunk=4, execute=5)
    with pytest.raises(ValueError, match="spread"):
        FlowConfig(mean=[0.0], spread=[1.0, 1.0])
