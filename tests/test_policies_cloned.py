"""Cloned policies: their files, their memory, and what they refuse."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simedit.errors import SimeditError
from simedit.policies.cloned import (
    INSTRUCTIONS,
    ClonedPolicy,
    Network,
    NetworkConfig,
    encode,
    remember,
)
from simedit.policies.networks import load, save

SMALL = NetworkConfig(width=16, height=8, channels=[4, 4, 4], features=8, hidden=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save(Network(SMALL), SMALL, tmp_path / "policy")
    return tmp_path / "policy"


def _frames(count: int, height: int = 8, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _actions(policy: ClonedPolicy, frames: np.ndarray, instruction: str = INSTRUCTIONS[0]) -> np.ndarray:
    policy.reset(instruction)
    return np.stack([policy.act(frame).to_array() for frame in frames])


def test_acts_within_range_and_the_same_each_time(folder):
    policy = ClonedPolicy(folder)
    first = _actions(policy, _frames(5))
    assert first.shape == (5, 7)
    assert first.dtype == np.float32
    assert np.abs(first[:, :3]).max() <= 0.1
    assert np.abs(first[:, 3:6]).max() <= 0.4
    np.testing.assert_array_equal(first, _actions(policy, _frames(5)))  # reset forgets
    np.testing.assert_array_equal(first, _actions(ClonedPolicy(folder), _frames(5)))


def test_frame_instruction_and_memory_matter(folder):
    policy, frames = ClonedPolicy(folder), _frames(1)
    first = _actions(policy, frames)[0]
    assert not np.array_equal(first, _actions(policy, 255 - frames)[0])
    assert not np.array_equal(first, _actions(policy, frames, "close bottom drawer")[0])
    twice = _actions(policy, np.repeat(frames, 2, 0))
    assert not np.array_equal(twice[0], twice[1])


def test_acts_as_trained(folder):
    """Step by step it says what `Network.act` says of the whole sequence at once."""
    _, network = load(folder, NetworkConfig, Network, "cloned policy")
    frames = _frames(6)
    commands = _actions(ClonedPolicy(folder), frames, "close middle drawer")
    with torch.inference_mode():
        features = network.see(torch.from_numpy(frames))[None]
        memory = torch.from_numpy(remember(commands)[:-1])[None]
        said, _ = network.act(features, memory, torch.from_numpy(encode("close middle drawer"))[None])
    said = said[0].numpy()
    np.testing.assert_allclose(commands[:, :3], 0.1 * said[:, :3].clip(-1, 1), atol=1e-5)
    np.testing.assert_allclose(commands[:, 3:6], 0.4 * said[:, 3:6].clip(-1, 1), atol=1e-5)
    np.testing.assert_allclose(commands[:, 6].cumsum(), said[:, 6], atol=1e-5)


def test_a_policy_without_memory_or_instruction(tmp_path):
    config = SMALL.model_copy(update={"recurrent": False, "told": False})
    save(Network(config), config, tmp_path)
    policy, frames = ClonedPolicy(tmp_path), _frames(2)
    first = _actions(policy, frames)
    np.testing.assert_array_equal(first, _actions(policy, frames, "close bottom drawer"))
    policy._commands = [*first[:1]]  # what it commanded is all that it knows of the frame before
    np.testing.assert_array_equal(policy.act(frames[1]).to_array(), first[1])


def test_a_policy_of_before_there_were_kinds_loads(folder):
    path = folder / "config.json"
    old = {
        key: value for key, value in json.loads(path.read_text()).items() if key not in ("recurrent", "told")
    }
    before = _actions(ClonedPolicy(folder), _frames(2))
    path.write_text(json.dumps(old))
    np.testing.assert_array_equal(_actions(ClonedPolicy(folder), _frames(2)), before)


def test_large_frames_are_shrunk(folder):
    small = _frames(3)
    large = small.repeat(4, axis=1).repeat(4, axis=2)
    policy = ClonedPolicy(folder)
    np.testing.assert_allclose(_actions(policy, large), _actions(policy, small), atol=1e-6)


def test_memory_sums_the_commands():
    commands = np.array([[0.1, 0, 0, 0.4, 0, 0, 0.3], [0.05, 0, 0, 0, 0, -0.2, 0.2]])
    memory = remember(commands)
    assert memory.shape == (3, 14)
    assert not memory[0].any()
    np.testing.assert_allclose(memory[2, :7], [0.5, 0, 0, 0, 0, -0.5, 0.2], atol=1e-6)
    np.testing.assert_allclose(memory[2, 7:], [0.15, 0, 0, 0.1, 0, -0.05, 0.5], atol=1e-6)


def test_the_default_network_is_small(tmp_path):
    config = NetworkConfig()
    save(Network(config), config, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 1_000_000
    policy, (frame,) = ClonedPolicy(tmp_path), _frames(1, 128, 160)
    policy.reset("open top drawer")
    assert policy.act(frame).to_array().shape == (7,)


@pytest.mark.parametrize("instruction", ["open the top drawer", "lift top drawer", ""])
def test_unknown_instruction(folder, instruction):
    with pytest.raises(SimeditError, match=r"unknown instruction.*close bottom drawer"):
        ClonedPolicy(folder).reset(instruction)


def test_acting_before_an_episode(folder):
    with pytest.raises(SimeditError, match="reset"):
        ClonedPolicy(folder).act(_frames(1)[0])


def test_missing_files(folder, tmp_path):
    with pytest.raises(SimeditError, match=r"nowhere is no cloned policy.*config\.json"):
        ClonedPolicy(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SimeditError, match=r"holds no model\.safetensors"):
        ClonedPolicy(folder)


def test_broken_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(SimeditError, match=r"model\.safetensors is broken"):
        ClonedPolicy(folder)


def test_weights_of_another_network(folder):
    other = SMALL.model_copy(update={"hidden": 9})
    (folder / "config.json").write_text(other.model_dump_json())
    with pytest.raises(SimeditError, match=r"does not fit config\.json"):
        ClonedPolicy(folder)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not valid JSON"), ('{"widht": 80}', "width"), ('{"width": 81}', "width")]
)
def test_broken_config(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(SimeditError, match=message):
        ClonedPolicy(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"channels": [16, 0]}', "channels.1: Input should be greater than 0"),
        ('{"channels": [4, -4, 4]}', "channels.1: Input should be greater than 0"),
        ('{"channels": []}', "channels: List should have at least 2"),
        (f'{{"channels": {[1] * 21}}}', "channels: List should have at most 20"),
        ('{"channels": [4, 9223372036854775808]}', "channels.1: "),
        ('{"channels": "444"}', "channels: Input should be a valid list"),
        ('{"channels": [true, 4]}', "must be a number, not true"),
        ('{"hidden": 1000000000}', "hidden: Input should be less than or equal to 4096"),
        ('{"width": 40000}', "width: Input should be less than or equal to 1024"),
        ('{"width": NaN}', "NaN is no JSON number"),
        ('{"width": 16, "width": 16}', "the key 'width' stands in it twice"),
        ("[]", "must hold a JSON object"),
        ('{"width": 1024, "height": 1024, "features": 4096}', "does not fit"),  # 1 GB, which is not taken
    ],
)
def test_hostile_config(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(SimeditError) as error:
        ClonedPolicy(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("hand.weight_hh_l0"), "hand.weight_hh_l0 is absent and should be [24, 8]"),
        (lambda state: state.update(more=torch.ones(1)), "more is [1] and should be absent"),
        (
            lambda state: state.update({"command.bias": torch.ones(9)}),
            "command.bias is [9] and should be [8]",
        ),
        (lambda state: state["command.bias"].fill_(torch.nan), "command.bias is not finite"),
        (lambda state: state["hand.bias_ih_l0"][:1].fill_(-torch.inf), "hand.bias_ih_l0 is not finite"),
        (lambda state: state.update({"command.bias": torch.ones(8).cfloat()}), "command.bias is not finite"),
    ],
)
def test_hostile_weights(folder, change, message):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(SimeditError) as error:
        ClonedPolicy(folder)
    assert message in str(error.value)


def test_what_a_network_says_is_finite(folder):
    state = load_file(folder / "model.safetensors")
    state["eyes.1.running_var"].fill_(-1)
    save_file(state, folder / "model.safetensors")
    policy = ClonedPolicy(folder)
    policy.reset(INSTRUCTIONS[0])
    with pytest.raises(SimeditError, match="NaN or infinity"):
        policy.act(_frames(1)[0])


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 16, 3)),
        np.zeros((8, 16), np.uint8),
        np.zeros((8, 16, 4), np.uint8),
        np.zeros((1, 8, 16, 3), np.uint8),
        np.zeros((0, 16, 3), np.uint8),
    ],
)
def test_other_frames_are_refused(folder, frame):
    policy = ClonedPolicy(folder)
    policy.reset(INSTRUCTIONS[0])
    with pytest.raises(SimeditError, match=r"needs a uint8 \[H, W, 3\] frame"):
        policy.act(frame)


def test_a_full_disk_leaves_what_was_there(folder):
    before = (folder / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SimeditError, match=r"cannot write .*model\.safetensors"):
            save(Network(SMALL), SMALL, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_others_may_read_a_policy(folder):
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666 & ~_umask()}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
