from __future__ import annotations

import hashlib
import textwrap

import foreign_python
import numpy as np
import PIL
import pytest
from PIL import Image as Pillow
from scipy.spatial.transform import Rotation

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.policies.mappings import Image, Mapping, named_mapping, named_mappings
from simedit.policies.wire.convert import Actions, needs, observation, resized
from simedit.policies.wire.fit import check_fit, identity

ROBOT = {
    "joint_positions": np.arange(3, dtype=np.float32),
    "gripper": 0.25,
    "tool_pose": np.array([1, 2, 3, 0.5, 0.5, 0.5, 0.5], np.float32),
}
FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SEEN = {"frame": FRAME, "proprioception": ROBOT, "cameras": {"hand": FRAME[::2]}}


def mapping(**settings) -> Mapping:
    return parse_config(Mapping, settings, where="mapping")


def sent(made: Mapping, seen=SEEN, **settings):
    settings = {"seed": 3, "first": True, "needs": needs(made), **settings}
    return observation(made, seen, "open it", **settings)


def read(action, *answers, execute=None):
    actions = Actions(mapping(action=action).action, execute)
    return [one for answer in answers for one in actions.read({"actions": answer})]


@pytest.mark.parametrize("name", named_mappings())
def test_a_mapping_that_ships_says_where_it_is_from(name):
    made = named_mapping(name)
    assert made.source
    assert made.protocol
    assert name == "simedit" or "not run against the real weights" in made.note
    assert sent(made, SEEN if made.states else FRAME)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imges": []}, "unknown key 'imges': did you mean 'images'"),
        ({"images": [{"key": "a", "width": 3}]}, "both width and height"),
        ({"images": [{"key": "a"}], "instruction": "a"}, "the key a is used twice"),
        ({"images": [{"key": ["a", "b"]}], "instruction": "a"}, "the key a is used twice"),
        ({"images": [{"key": ""}]}, "should have at least 1"),
        ({"states": [{"key": "s", "parts": ["euler"]}]}, "unknown part of a state 'euler'.*'euler_xyz'"),
        ({"states": [{"key": "s", "parts": []}]}, "at least 1"),
        ({"action": {"columns": ["x", "y", "z"]}}, "columns must be"),
        ({"action": {"columns": ["x", "x", "z", "rx", "ry", "rz", "gripper"]}}, "columns must be"),
        ({"action": {"columns": ["x", "y", "z", "r", "ry", "rz", "gripper"]}}, "unknown column 'r'"),
        (
            {"action": {"columns": None, "rotation": "euler_xyz"}},
            "plays numbers as they are: leave out rotation",
        ),
        ({"action": {"columns": None, "chunk": 2, "execute": 3}}, "execute must be at most chunk"),
        ({"action": {"gripper": {"open": 1}}}, "must differ"),
        ({"action": {"gripper": {"read": "switch"}}}, "needs sticky"),
        ({"action": {"chunk": 2, "execute": 3}}, "execute must be at most chunk"),
        ({"action": {"position_scale": float("inf")}}, "position_scale"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(settings, message):
    with pytest.raises(SimeditError, match=message):
        mapping(**settings)


def test_an_observation_has_what_the_mapping_says_where_it_says():
    made = mapping(
        images=[{"key": ["images", "primary"]}, {"key": "hand", "camera": "hand", "width": 8, "height": 6}],
        states=[{"key": ["images", "state"], "parts": ["gripper_open", "joint_positions"]}],
        instruction="prompt",
        seed="seed",
        reset="reset",
    )
    found = sent(made)
    assert found["images"]["primary"] is FRAME
    assert found["hand"].shape == (6, 8, 3)
    assert found["images"]["state"].dtype == np.float32
    assert found["images"]["state"].tolist() == [0.75, 0, 1, 2]
    assert (found["prompt"], found["seed"], found["reset"]) == ("open it", 3, True)
    with pytest.raises(SimeditError, match="unknown camera 'hnd': did you mean 'hand'"):
        sent(mapping(images=[{"key": "hand", "camera": "hnd"}]))


@pytest.mark.parametrize(
    ("part", "numbers"),
    [
        ("gripper_closed", [0.25]),
        ("position", [1, 2, 3]),
        ("quaternion_wxyz", [0.5, 0.5, 0.5, 0.5]),
        ("axis_angle", [2 * np.pi / 3 / 3**0.5] * 3),
        ("euler_xyz", [np.pi / 2, 0, np.pi / 2]),
    ],
)
def test_the_parts_of_a_state(part, numbers):
    found = sent(mapping(states=[{"key": "s", "parts": [part]}]))["s"]
    assert found.tolist() == pytest.approx(numbers, abs=1e-6)


def test_the_two_orders_of_a_quaternion():
    pose = {**ROBOT, "tool_pose": np.array([0, 0, 0, 1, 2, 3, 4], np.float32)}
    parts = ["quaternion_wxyz", "quaternion_xyzw"]
    found = sent(mapping(states=[{"key": "s", "parts": parts}]), {"proprioception": pose})
    assert found["s"].tolist() == [1, 2, 3, 4, 2, 3, 4, 1]


SIZES = [(48, 64, 224, 224), (64, 48, 31, 57), (33, 100, 224, 224), (100, 33, 16, 9), (512, 640, 224, 224)]


def picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def padded(height, width, to_height, to_width):
    image = Image(key="a", height=to_height, width=to_width, resize="pad")
    return resized(picture(height, width), image)


def test_padding_is_openpis_to_the_pixel():
    python = foreign_python.interpreter("openpi-client")
    script = """
        import hashlib, numpy as np, PIL
        from openpi_client.image_tools import resize_with_pad
        print(PIL.__version__)
        for height, width, to_height, to_width in SIZES:
            picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
            print(hashlib.sha256(resize_with_pad(picture, to_height, to_width).tobytes()).hexdigest())
    """
    script = textwrap.dedent(script).replace("SIZES", str(SIZES))
    pillow, *theirs = foreign_python.run(python, script).split()
    if pillow != PIL.__version__:
        pytest.skip(f"Pillow {pillow} there and {PIL.__version__} here, which resize otherwise")
    assert [hashlib.sha256(padded(*sizes).tobytes()).hexdigest() for sizes in SIZES] == theirs


@pytest.mark.parametrize("sizes", SIZES)
def test_padding_keeps_the_shape_and_centres(sizes):
    height, width, to_height, to_width = sizes
    ratio = max(width / to_width, height / to_height)
    tall, wide = int(height / ratio), int(width / ratio)
    top, left = (to_height - tall) // 2, (to_width - wide) // 2
    inner = Pillow.fromarray(picture(height, width)).resize((wide, tall), Pillow.Resampling.BILINEAR)
    found = padded(*sizes).copy()
    assert found.shape == (to_height, to_width, 3)
    np.testing.assert_array_equal(found[top : top + tall, left : left + wide], np.asarray(inner))
    found[top : top + tall, left : left + wide] = 0
    assert not found.any()


def test_stretching_fills_the_size():
    image = Image(key="a", height=10, width=10, filter="lanczos")
    white = np.full((20, 40, 3), 255, np.uint8)
    assert (resized(white, image) == 255).all()


def test_columns_scales_and_rotations():
    columns = ["gripper", "-", "rz", "ry", "rx", "z", "y", "x"]
    step = [0.5, 9, 0.3, 0.2, 0.1, 3, 2, 1]
    (one,) = read({"columns": columns, "position_scale": 0.5, "rotation_scale": 2}, step)
    assert one.world_vector.tolist() == [0.5, 1, 1.5]
    assert one.rot_axangle.tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert one.gripper == 0.5
    turn = Rotation.from_rotvec([0.1, -0.2, 0.3])
    (one,) = read({"rotation": "euler_xyz"}, [0, 0, 0, *turn.as_euler("xyz"), 0])
    assert one.rot_axangle.tolist() == pytest.approx([0.1, -0.2, 0.3])
    order = ["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"]
    (one,) = read({"columns": order}, [0, 0, 0, *(2 * turn.as_quat()), 0])
    assert one.rot_axangle.tolist() == pytest.approx([0.1, -0.2, 0.3])
    with pytest.raises(SimeditError, match="no quaternion"):
        read({"columns": order}, np.zeros(8))


def test_roll_pitch_yaw_turn_about_fixed_axes():
    # As transforms3d's euler2axangle, which SimplerEnv's policies use: first about x, then y, then z.
    (one,) = read({"rotation": "euler_xyz"}, [0, 0, 0, np.pi / 2, np.pi / 2, 0, 0])
    whole = Rotation.from_rotvec(one.rot_axangle).as_matrix()
    np.testing.assert_allclose(whole @ [0, 1, 0], [1, 0, 0], atol=1e-6)


def grips(values, **gripper):
    return [one.gripper for one in read({"gripper": gripper}, *([0] * 6 + [value] for value in values))]


def test_a_gripper_that_says_where_it_stands():
    assert grips([-1, 0.25, 1, 3]) == [-1, 0.25, 1, 1]
    assert grips([1, 0.75, 0, -0.1], open=1, closed=0) == [-1, -0.5, 1, 1]
    assert grips([0.4, 0.6], open=1, closed=0, binary=True) == [1, -1]


def test_a_gripper_whose_motion_is_repeated():
    # As GR00T's in vla-eval: open again is heard only when the motion is over.
    found = grips([0.5, 0.1, 0.9, 0.5, 0.5, 1.0], open=1, closed=0, sticky=3)
    assert found == pytest.approx([0, 0.8, 0.8, 0.8, 0, -1])


def test_a_gripper_that_moves_by_the_change():
    # As Octo's and OpenVLA's in SimplerEnv: from one action to the next. A slow change sets nothing off.
    values = [1.0, 0.7, 0.1, 0.1, 1.0, 1.0, 0.2]
    found = grips(values, open=1, closed=0, read="change", sticky=2)
    assert found == pytest.approx([0, 0.3, 0.6, 0.6, -0.9, -0.9, 0.8])


def test_a_gripper_that_moves_by_the_change_since_it_moved():
    # As CogACT's and pi0's in SimplerEnv: what it has not followed yet adds up.
    values = [1.0, 0.7, 0.4, 0.4, 1.0, 1.0]
    found = grips(values, open=1, closed=0, read="switch", sticky=2)
    assert found == pytest.approx([0, 0.3, 0.6, 0.6, -0.6, -0.6])


def test_an_episode_begins_with_a_gripper_that_has_not_moved():
    actions = Actions(mapping(action={"gripper": {"open": 1, "closed": 0, "sticky": 9}}).action, None)
    assert actions.read({"actions": [0] * 7})[0].gripper == 1
    actions.reset()
    assert actions.read({"actions": [0] * 6 + [0.5]})[0].gripper == 0


def test_only_steps_that_are_played_move_the_gripper_and_must_be_finite():
    chunk = np.zeros((3, 7))
    chunk[1:, 6], chunk[2] = 1, np.nan
    found = read({"gripper": {"sticky": 2}}, chunk, chunk, execute=2)
    assert [one.gripper for one in found] == [0, 1, 1, 1]
    with pytest.raises(SimeditError, match="gives 3 steps at once, but execute is 4"):
        read({}, chunk, execute=4)


def test_which_steps_end_the_episode():
    spec = mapping(action={"terminate": "done"}).action
    found = Actions(spec, None).read({"actions": np.zeros((2, 7)), "done": np.array([False, True])})
    assert [one.terminate for one in found] == [False, True]
    for wrong in (np.zeros(3), "no"):
        with pytest.raises(SimeditError, match="'done' must be a number for each of 2 steps"):
            Actions(spec, None).read({"actions": np.zeros((2, 7)), "done": wrong})


def test_numbers_as_they_are():
    spec = mapping(action={"columns": None, "terminate": "done"}).action
    actions = Actions(spec, None)
    two = actions.read({"actions": np.array([[0.1, 3]]), "done": [0]})
    np.testing.assert_array_equal(two, np.array([[0.1, 3]], np.float32))
    (seven,) = actions.read({"actions": np.full(7, 1.5), "done": True})
    assert (seven.gripper, seven.terminate) == (1.5, True)
    with pytest.raises(SimeditError, match="ends the episode, which an action of 2 numbers cannot"):
        actions.read({"actions": np.zeros(2), "done": True})
    for wrong in (np.zeros((1, 0)), np.zeros((1, 1, 2)), np.zeros(())):
        with pytest.raises(SimeditError, match=r"the mapping expects \[T, D\]"):
            actions.read({"actions": wrong, "done": False})


def test_a_mapping_is_held_against_what_vla_evals_servers_say():
    def spec(name, dims):
        return {"name": name, "dims": dims, "format": "x"}

    seven = {"position": spec("position", 3), "rotation": spec("rotation", 3), "gripper": spec("gripper", 1)}
    check_fit(mapping(), {"action_spec": seven, "observation_spec": {"image": spec("image", 0)}})
    check_fit(mapping(), {"action_spec": {"actions": spec("actions", 0)}})
    check_fit(mapping(action={"columns": None}), {"action_spec": {"actions": spec("actions", 14)}})
    check_fit(mapping(), {"action_spec": [1], "observation_spec": {"state": None}, "needs": 3})
    with pytest.raises(SimeditError, match=r"are 10 numbers .*, the mapping expects 7: x y z"):
        check_fit(mapping(), {"action_spec": {**seven, "rotation": spec("rotation", 6)}})
    with pytest.raises(SimeditError, match=r"wants a state \(x\), the mapping sends none"):
        check_fit(mapping(), {"observation_spec": {"state": spec("state", 8)}})


def test_who_a_server_is_are_json_values_without_what_passes():
    found = identity({"harness_version": "9", b"pose": np.arange(2), "n": np.float32(0.5), "x": (1, None)})
    assert found == {"b'pose'": [0, 1], "n": 0.5, "x": [1, None]}
