from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.policies.rt1 import RT1Policy, load_tensorflow, read_embeddings, write_embeddings

if find_spec("tensorflow") is None:
    pytest.skip("needs TensorFlow: pip install 'simedit[rt1]'", allow_module_level=True)
from small_rt1 import EchoPolicy, Encoder, TimeStep

tf: Any = load_tensorflow()

TINY = Path(__file__).resolve().parents[2] / "shared" / "rt1_tiny"
needs_tiny = pytest.mark.skipif(not TINY.is_dir(), reason="needs rt1_tiny in ../shared")
INSTRUCTIONS = [
    f"{task} {drawer} drawer" for task in ("open", "close") for drawer in ("top", "middle", "bottom")
]


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("echo")
    tf.saved_model.save(EchoPolicy(), str(path))
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder")
    tf.saved_model.save(Encoder(), str(path))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("table") / "embeddings.npz"
    np.savez(path, **{i: rng.normal(size=512).astype(np.float32) * 0.05 for i in INSTRUCTIONS})
    return path


def test_input_and_output(echo: Path, encoder: Path) -> None:
    policy = RT1Policy(echo, embeddings=encoder)
    assert policy.uses_images
    frame = np.zeros((512, 640, 3), np.uint8)
    frame[:2, :2, 0] = [[10, 20], [30, 40]]
    frame[256:258, 320:322, 1] = 255
    frame[-2:, -2:, 2] = 102
    for _ in range(2):
        policy.reset("open top drawer")
        for call in (1, 2, 3):
            action = policy.act(frame)
            np.testing.assert_allclose(action.world_vector, [25 / 255, 1, 0.4], atol=1e-6)
            np.testing.assert_allclose(action.rot_axangle, [call, -call, 1])
            assert action.gripper == pytest.approx(0.15)
            assert action.terminate is (call == 3)
            assert action.to_array().dtype == np.float32
            assert action.to_array().shape == (7,)


def test_other_sizes_are_letterboxed(echo: Path, encoder: Path) -> None:
    policy = RT1Policy(echo, embeddings=encoder)
    policy.reset("open top drawer")
    square = policy.act(np.full((64, 64, 3), 51, np.uint8))
    np.testing.assert_allclose(square.world_vector, [0, 0.2, 0], atol=1e-6)
    exact = policy.act(np.full((256, 320, 3), 51, np.uint8))
    np.testing.assert_allclose(exact.world_vector, [0.2, 0.2, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("raw", "filtered"), [(0.009, 0), (-0.009, 0), (0.01, 0.01), (0.011, 0.011), (-1, -1)]
)
def test_small_gripper_actions_are_dropped(echo: Path, tmp_path: Path, raw: float, filtered: float) -> None:
    (tmp_path / "table.json").write_text(json.dumps({"open top drawer": [raw] * 512}))
    policy = RT1Policy(echo, embeddings=tmp_path / "table.json")
    policy.reset("open top drawer")
    assert policy.act(np.zeros((256, 320, 3), np.uint8)).gripper == pytest.approx(filtered)


@needs_tiny
def test_tf_agents_export(table: Path) -> None:
    """The same actions as the export itself gives, called by hand without this module."""
    frames = np.random.default_rng(1).integers(0, 256, (4, 256, 320, 3), dtype=np.uint8)
    model = tf.saved_model.load(str(TINY))
    policy = RT1Policy(TINY, embeddings=table)
    first = {}
    for instruction in INSTRUCTIONS:
        policy.reset(instruction)
        state = model.get_initial_state(1)
        embedding = np.load(table)[instruction]
        for frame in frames:
            step = TimeStep(
                tf.constant([1]),
                tf.constant([0.0]),
                tf.constant([1.0]),
                {"image": frame[None], "natural_language_embedding": embedding[None]},
            )
            expected = model.action(step, state)
            state = expected.state
            action = policy.act(frame)
            np.testing.assert_array_equal(action.world_vector, expected.action["world_vector"][0])
            np.testing.assert_array_equal(action.rot_axangle, expected.action["rotation_delta"][0])
            assert np.isfinite(action.to_array()).all()
            first.setdefault(instruction, action)
    policy.reset(INSTRUCTIONS[0])
    again = policy.act(frames[0])
    np.testing.assert_array_equal(again.to_array(), first[INSTRUCTIONS[0]].to_array())
    assert not np.array_equal(again.to_array(), first[INSTRUCTIONS[1]].to_array())


def test_bad_frames(echo: Path, encoder: Path) -> None:
    policy = RT1Policy(echo, embeddings=encoder)
    with pytest.raises(SimeditError, match="call reset"):
        policy.act(np.zeros((256, 320, 3), np.uint8))
    policy.reset("open top drawer")
    with pytest.raises(SimeditError, match=r"uint8 \[H, W, 3\] frame, not float32 \[256, 320, 3\]"):
        policy.act(np.zeros((256, 320, 3), np.float32))
    with pytest.raises(SimeditError, match=r"not uint8 \[1, 256, 320, 3\]"):
        policy.act(np.zeros((1, 256, 320, 3), np.uint8))


def test_bad_checkpoints(echo: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match=r"nowhere does not exist: .*checkpoints fetch"):
        RT1Policy(tmp_path / "nowhere", embeddings=encoder)
    broken = tmp_path / "broken"
    (broken / "variables").mkdir(parents=True)
    for part in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        with pytest.raises(SimeditError, match=f"lacks .*{part[:24]}"):
            RT1Policy(broken, embeddings=encoder)
        (broken / part).write_bytes((echo / part).read_bytes()[:40])
    with pytest.raises(SimeditError, match="TensorFlow cannot load"):
        RT1Policy(broken, embeddings=encoder)
    with pytest.raises(SimeditError, match="no RT-1 policy"):
        RT1Policy(encoder, embeddings=encoder)


def test_bad_embeddings(echo: Path, encoder: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match=r"Universal Sentence Encoder .* or a \.json or \.npz table"):
        RT1Policy(echo)
    with pytest.raises(SimeditError, match=r"does not exist: .* or a \.json or \.npz table"):
        RT1Policy(echo, embeddings=tmp_path / "encoder")
    with pytest.raises(SimeditError, match="no Universal Sentence Encoder"):
        RT1Policy(echo, embeddings=echo)
    with pytest.raises(SimeditError, match="did you mean 'open top drawer'"):
        RT1Policy(echo, embeddings=table).reset("open the top drawer")
    texts = ["", "[1, 2]", '{"open top drawer": [1, 2]}', f'{{"open top drawer": {[float("nan")] * 512}}}']
    for text in texts:
        (tmp_path / "table.json").write_text(text.replace("nan", "NaN"))
        with pytest.raises(SimeditError, match="cannot read the embedding table"):
            RT1Policy(echo, embeddings=tmp_path / "table.json")
    (tmp_path / "table.npz").write_bytes(table.read_bytes()[:3000])
    with pytest.raises(SimeditError, match="cannot read the embedding table"):
        RT1Policy(echo, embeddings=tmp_path / "table.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": [1], "a": [2]}', "stands in it twice"),
        ('{"a": [1e39' + ", 0" * 511 + "]}", "512 finite numbers"),
        ('{"a": [' + "9" * 400 + ", 0" * 511 + "]}", "cannot read the embedding table"),
        ('{"a": ' + "[" * 100_000, "not valid JSON"),
        ("null", "must hold a JSON object"),
        ({"a": np.zeros(10**6)}, "a.npy is more than an embedding"),
        ({"a": np.array([None] * 512)}, "cannot read the embedding table"),
        ({"a": np.array(["x"] * 512)}, "cannot read the embedding table"),
        ({"a": np.full(512, np.nan)}, "512 finite numbers"),
    ],
)
def test_hostile_tables(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / ("table.json" if isinstance(content, str) else "table.npz")
    if isinstance(content, str):
        path.write_text(content)
    else:
        np.savez_compressed(path, **content)
    with pytest.raises(SimeditError) as error:
        read_embeddings(path)
    assert message in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.filterwarnings("error")
def test_a_policy_that_says_nan(echo: Path, encoder: Path) -> None:
    policy = RT1Policy(echo, embeddings=encoder)
    policy.reset("open top drawer")
    policy._embedding = np.full(512, np.nan, np.float32)  # what the echo says
    with pytest.raises(SimeditError, match="NaN or infinity"):
        policy.act(np.zeros((256, 320, 3), np.uint8))


def test_a_policy_of_other_actions(encoder: Path, tmp_path: Path) -> None:
    """A network with RT-1's inputs whose answer lacks what SimplerEnv takes of it."""
    tf.saved_model.save(EchoPolicy(without="gripper_closedness_action"), str(tmp_path / "other"))
    with pytest.raises(SimeditError, match="no RT-1 policy saved by tf-agents: KeyError"):
        RT1Policy(tmp_path / "other", embeddings=encoder)


def test_a_written_table_stands_in_for_the_encoder(echo: Path, encoder: Path, tmp_path: Path) -> None:
    write_embeddings(encoder, tmp_path / "new" / "table.json", INSTRUCTIONS)
    table = json.loads((tmp_path / "new" / "table.json").read_text())
    assert {instruction: len(vector) for instruction, vector in table.items()} == dict.fromkeys(
        INSTRUCTIONS, 512
    )
    frame = np.full((512, 640, 3), 51, np.uint8)
    with_encoder = RT1Policy(echo, embeddings=encoder)
    with_table = RT1Policy(echo, embeddings=tmp_path / "new" / "table.json")
    for instruction in INSTRUCTIONS:
        with_encoder.reset(instruction)
        with_table.reset(instruction)
        assert with_encoder.act(frame).gripper == with_table.act(frame).gripper != 0


def test_a_table_that_cannot_be_written(encoder: Path, echo: Path, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match=r"must end in \.json"):
        write_embeddings(encoder, tmp_path / "table.npz", INSTRUCTIONS)
    with pytest.raises(SimeditError, match="no Universal Sentence Encoder"):
        write_embeddings(echo, tmp_path / "table.json", INSTRUCTIONS)
    (tmp_path / "file").touch()
    with pytest.raises(SimeditError, match="cannot write"):
        write_embeddings(encoder, tmp_path / "file" / "table.json", INSTRUCTIONS)
    assert not (tmp_path / "table.json").exists()


def test_gpu_is_asked_for(echo: Path, encoder: Path) -> None:
    RT1Policy(echo, embeddings=encoder)
    assert tf.config.get_visible_devices("GPU") == []
    with pytest.raises(SimeditError, match=r"sees no GPU|another choice of `gpu`"):
        RT1Policy(echo, embeddings=encoder, gpu=True)


def test_without_tensorflow(echo: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from simedit.errors import SimeditError\n"
        "from simedit.policies.rt1 import RT1Policy\n"
        "try:\n    RT1Policy(sys.argv[1])\n"
        "except SimeditError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(echo)], capture_output=True, text=True, check=True)
    assert "pip install 'simedit[rt1]'" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("mani_skill") is None, reason="needs the drawer twin: pip install 'simedit[sim]'"
)
@pytest.mark.parametrize("before", ["", "import tensorflow"])
def test_a_scene_renders_after_tensorflow_is_loaded(before: str) -> None:
    code = f"""
{before}
from simedit.policies.rt1 import load_tensorflow
load_tensorflow()
import gymnasium, simedit.envs
gymnasium.make("simedit/Drawer-v1", width=20, height=16).reset()
"""
    # In a process of its own: what goes wrong here crashes it.
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
