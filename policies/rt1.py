"""RT-1 and RT-1-X: a TensorFlow SavedModel, run as SimplerEnv runs it on the Google Robot.

Pre- and post-processing follow SimplerEnv's `simpler_env/policies/rt1/rt1_model.py` (policy_setup
"google_robot"), without tf-agents and tensorflow_hub. TensorFlow is the extra `rt1` and loads only when a
policy is made.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from simedit import extras
from simedit.config import load_json
from simedit.errors import SimeditError, shortened, unknown
from simedit.policies.checkpoints import check_saved_model
from simedit.protocols import Action

_WIDTH, _HEIGHT, _EMBEDDING = 320, 256, 512
_ACTION = {"world_vector": 3, "rotation_delta": 3, "gripper_closedness_action": 1, "terminate_episode": 1}
"""What of RT-1's answer is used, and how many numbers each has."""
_LARGEST = 1 << 14
"""Bytes of an entry of a .npz table: four times what an embedding takes in float64."""
_SMALL_GRIPPER_ACTION = float(np.float32(0.01))  # SimplerEnv compares in float32
_FETCH = "`simedit-eval checkpoints fetch` gets the public ones"


class RT1Policy:
    """One RT-1 checkpoint. Its state (past frames, as tokens) lasts for an episode."""

    uses_images = True

    def __init__(self, path: str | Path, *, embeddings: str | Path | None = None, gpu: bool = False) -> None:
        """Load the checkpoint and the embeddings, and run the network once: the first call traces it.

        Args:
            path: the checkpoint's folder, with `saved_model.pb` and `variables/` in it.
            embeddings: how instructions become vectors: the folder of the Universal Sentence Encoder (large,
                version 5), or a table made with it (`write_embeddings`): a .json or .npz file with 512
                numbers for each instruction.
            gpu: let TensorFlow use the GPU, growing its memory as needed. One choice for the whole process.

        Raises:
            SimeditError: no TensorFlow, no or incomplete files, files of something else, no GPU.
        """
        path = Path(path)
        check_saved_model(path, _FETCH)
        self._tf = load_tensorflow(gpu=gpu)
        self._embed = _load_embeddings(self._tf, embeddings)
        self._model = _load_saved_model(self._tf, path)
        try:
            (step, *_), _ = self._model.action.concrete_functions[0].structured_input_signature
            self._blank = self._tf.nest.map_structure(self._zeros, step)
            self._state = self._model.get_initial_state(1)
            said, _ = self._infer(np.zeros((_HEIGHT, _WIDTH, 3), np.uint8), np.zeros(_EMBEDDING, np.float32))
            for part, size in _ACTION.items():
                if said[part].size < size:
                    raise ValueError(f"its {part} has {said[part].size} numbers, not {size}")
        # Of a foreign network: besides Python's own errors TensorFlow has a class for each of its own.
        except Exception as error:
            problem = f"{type(error).__name__}: {shortened(error, 300)}"
            raise SimeditError(f"{path} is no RT-1 policy saved by tf-agents: {problem}") from error
        self._embedding: np.ndarray | None = None

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode. RT-1 decodes the most likely action tokens, so `seed` changes nothing.

        Raises:
            SimeditError: the embedding table lacks the instruction.
        """
        self._embedding = self._embed(instruction)
        self._state = self._model.get_initial_state(1)

    def act(self, frame: np.ndarray) -> Action:
        """Choose the next action from `frame`, uint8 [H, W, 3] RGB, any size (letterboxed to 320x256).

        Raises:
            SimeditError: another dtype or shape, no `reset` yet, or a network that says NaN.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
            raise SimeditError(f"RT-1 needs a uint8 [H, W, 3] frame, not {frame.dtype} {list(frame.shape)}")
        if self._embedding is None:
            raise SimeditError("call reset(instruction) before the first act(frame)")
        action, self._state = self._infer(frame, self._embedding)
        if not all(np.isfinite(action[part]).all() for part in _ACTION):
            raise SimeditError("the RT-1 policy says NaN or infinity: fetch its checkpoint anew")
        gripper = float(action["gripper_closedness_action"][0])
        return Action(
            world_vector=action["world_vector"],
            # Already axis times angle: SimplerEnv takes it apart and multiplies it again.
            rot_axangle=action["rotation_delta"],
            gripper=0.0 if abs(gripper) < _SMALL_GRIPPER_ACTION else gripper,
            terminate=bool(action["terminate_episode"][0] > 0),
        )

    def _infer(self, frame: np.ndarray, embedding: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
        tf = self._tf
        image = tf.cast(tf.image.resize_with_pad(frame, _HEIGHT, _WIDTH), tf.uint8)
        seen = {"image": image[None], "natural_language_embedding": tf.constant(embedding[None])}
        # A checkpoint may list more observations than these two: as in SimplerEnv, they stay blank.
        step = self._blank._replace(
            step_type=tf.constant([1]),  # tf-agents' MID, on the first frame too, as in SimplerEnv
            discount=tf.constant([1.0]),
            observation={**self._blank.observation, **seen},
        )
        result = self._model.action(step, self._state)
        return {key: value[0].numpy() for key, value in result.action.items()}, result.state

    def _zeros(self, spec: Any) -> Any:
        return self._tf.zeros([1, *spec.shape[1:]], spec.dtype)


def load_tensorflow(*, gpu: bool = False) -> Any:
    """The module `tensorflow`, loaded so that it and a renderer can share the process.

    Raises:
        SimeditError: no TensorFlow, no GPU where one is wanted, or TensorFlow runs with the other choice.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow and Mesa's software Vulkan driver each bring LLVM. A driver loaded in the ordinary way after
    # TensorFlow finds some symbols in the wrong one, and the first rendered frame crashes the process.
    with contextlib.suppress(OSError, AttributeError):  # no such driver, or not Linux
        ctypes.CDLL("libvulkan_lvp.so", mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        import tensorflow as tf
    except ImportError as error:
        raise SimeditError(f"RT-1 needs TensorFlow: {extras.install('tensorflow')} ({error})") from error
    gpus = tf.config.list_physical_devices("GPU")
    if gpu and not gpus:
        raise SimeditError(
            "TensorFlow sees no GPU: leave gpu off, or replace the CPU build that the extra `rt1` brings: "
            "pip uninstall tensorflow-cpu, then pip install 'tensorflow[and-cuda]'"
        )
    try:
        tf.config.set_visible_devices(gpus if gpu else [], "GPU")
        for device in gpus if gpu else []:
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError as error:
        raise SimeditError("TensorFlow already runs in this process with another choice of `gpu`") from error
    return tf


def write_embeddings(encoder: str | Path, table: str | Path, instructions: Iterable[str]) -> None:
    """Write a .json table of the instructions' embeddings, for `RT1Policy` on machines without the encoder.

    Args:
        encoder: the folder of the Universal Sentence Encoder.
        table: the file to write; its name ends in .json.

    Raises:
        SimeditError: no TensorFlow, no encoder in that folder, or a file that cannot be written.
    """
    encoder, table = Path(encoder), Path(table)
    if table.suffix != ".json":
        raise SimeditError(f"{table} must end in .json")
    embed = _load_embeddings(load_tensorflow(), encoder)
    vectors = {instruction: embed(instruction).tolist() for instruction in instructions}
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(json.dumps(vectors), encoding="utf-8")
    except OSError as error:
        raise SimeditError(f"cannot write {table}: {error.strerror}") from error


def _load_embeddings(tf: Any, source: str | Path | None) -> Callable[[str], np.ndarray]:
    """A function from an instruction to float32 [512]."""
    ways = (
        "give the folder of the Universal Sentence Encoder (`simedit-eval checkpoints fetch "
        f"sentence-encoder`), or a .json or .npz table with {_EMBEDDING} numbers for each instruction"
    )
    if source is None:
        raise SimeditError(f"RT-1 needs its instructions as sentence embeddings: {ways}")
    source = Path(source)
    if source.suffix in (".json", ".npz"):
        table = read_embeddings(source)

        def look_up(instruction: str) -> np.ndarray:
            if instruction not in table:
                raise unknown(f"instruction in {source}", instruction, table)
            return table[instruction]

        return look_up
    check_saved_model(source, ways)
    encoder = _load_saved_model(tf, source)

    def encode(instruction: str) -> np.ndarray:
        try:
            return _as_embedding(encoder(tf.constant([instruction]))[0])
        except Exception as error:  # as with the policy
            reason = shortened(error, 300)
            raise SimeditError(f"{source} is no Universal Sentence Encoder: {ways} ({reason})") from error

    encode("open top drawer")
    return encode


def read_embeddings(path: Path) -> dict[str, np.ndarray]:
    """From instruction to embedding, float32 [512], as a .json or .npz table has them.

    Raises:
        SimeditError: it cannot be read, or holds anything else.
    """
    try:
        if path.suffix == ".json":
            table: dict[str, Any] = load_json(path)
        else:
            with np.load(path, allow_pickle=False) as arrays:
                large = [entry.filename for entry in arrays.zip.infolist() if entry.file_size > _LARGEST]
                if large:
                    raise ValueError(f"{shortened(large[0])} is more than an embedding")
                table = dict(arrays)
        return {instruction: _as_embedding(vector) for instruction, vector in table.items()}
    # Of a foreign file: zip, zlib and numpy's header each fail in their own ways.
    except Exception as error:
        raise SimeditError(f"cannot read the embedding table {path}: {shortened(error, 300)}") from error


def _as_embedding(vector: Any) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 does not hold is refused below
        vector = np.asarray(vector, dtype=np.float32)
    if vector.shape != (_EMBEDDING,) or not np.isfinite(vector).all():
        raise ValueError(f"an embedding must be {_EMBEDDING} finite numbers, not {list(vector.shape)}")
    return vector


# An encoder is half a gigabyte, and the same for all policies; a policy is the same for all environments.
@functools.lru_cache
def _load_saved_model(tf: Any, path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # as with the policy's own
        reason = shortened(str(error).partition("\n")[0], 300)
        raise SimeditError(f"TensorFlow cannot load {path}: {reason}") from error
