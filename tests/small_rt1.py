"""Small real SavedModels with the interfaces of RT-1 and of its sentence encoder. Needs TensorFlow."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from simedit.policies.rt1 import load_tensorflow

tf: Any = load_tensorflow()

TimeStep = namedtuple("TimeStep", ["step_type", "reward", "discount", "observation"])
PolicyStep = namedtuple("PolicyStep", ["action", "state", "info"])


class EchoPolicy(tf.Module):
    """RT-1's interface; its actions say what it was given and how often it was called in the episode."""

    def __init__(self, without: str = "") -> None:
        self.scale = tf.Variable(1 / 255)
        self._without = without

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def get_initial_state(self, batch_size: Any) -> Any:
        return {"calls": tf.zeros([batch_size, 1], tf.int32)}

    @tf.function(
        input_signature=[
            TimeStep(
                step_type=tf.TensorSpec([None], tf.int32, "step_type"),
                reward=tf.TensorSpec([None], tf.float32, "reward"),
                discount=tf.TensorSpec([None], tf.float32, "discount"),
                observation={
                    "image": tf.TensorSpec([None, 256, 320, 3], tf.uint8, "image"),
                    "natural_language_embedding": tf.TensorSpec([None, 512], tf.float32, "embedding"),
                    "natural_language_instruction": tf.TensorSpec([None], tf.string, "instruction"),
                    "gripper_closed": tf.TensorSpec([None, 1], tf.float32, "closed"),
                },
            ),
            {"calls": tf.TensorSpec([None, 1], tf.int32, "calls")},
        ]
    )
    def action(self, time_step: Any, state: Any) -> Any:
        calls = state["calls"] + 1
        image = tf.cast(time_step.observation["image"], tf.float32) * self.scale
        corners = tf.stack([image[:, 0, 0, 0], image[:, 128, 160, 1], image[:, 255, 319, 2]], axis=1)
        count = tf.cast(calls, tf.float32)
        step_type = tf.cast(time_step.step_type[:, None], tf.float32)
        action = {
            "world_vector": corners,
            "rotation_delta": tf.concat([count, -count, step_type], 1),
            "gripper_closedness_action": time_step.observation["natural_language_embedding"][:, :1],
            "terminate_episode": tf.concat([tf.cast(calls >= 3, tf.int32), tf.cast(calls < 3, tf.int32)], 1),
        }
        action.pop(self._without, None)
        return PolicyStep(action, {"calls": calls}, ())


class Encoder(tf.Module):
    """The sentence encoder's interface: strings in, [N, 512] out, here from the length of the string."""

    def __init__(self) -> None:
        self.scale = tf.Variable(0.01)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, sentences: Any) -> Any:
        return tf.cast(tf.strings.length(sentences), tf.float32)[:, None] * self.scale * tf.ones([1, 512])
