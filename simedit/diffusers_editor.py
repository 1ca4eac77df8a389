"""Editing pipelines of diffusers with whoever's weights as an `Editor`: papers' baselines, modern bases."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from simedit.composition import as_bytes, shrunk
from simedit.editing_pipelines import CALLS, is_hub_id
from simedit.errors import SimeditError, told, unknown
from simedit.frame_editor import FrameEditor
from simedit.isolation import isolated
from simedit.memory import ran_out
from simedit.pipeline import check_edits

_EMA = "model_ema."


class DiffusersEditor(FrameEditor):
    """Edits each frame by a pipeline of `simedit.editing_pipelines.CALLS`, as its style's prompt says.

    Frames go through the pipeline one by one, each with a generator of its own: an edit depends on its frame,
    style and seed alone. The frame is brought to a size that the pipeline takes, and the edit back.

    Args:
        pipeline: of one of those classes, on its device.
        prompts: from style to its prompt.
        steps, guidance, image_guidance: denoising steps, and the scales of the text and of the image; None
            takes the pipeline's own.
        size: side in pixels of the square that has as many pixels as the pictures that the pipeline sees;
            None takes the frames' own size. Either is rounded to what the pipeline takes, the shape is kept.

    Raises:
        SimeditError: a scale that the pipeline does not have, or a pipeline that is none of those.
    """

    def __init__(
        self,
        pipeline: Any,
        prompts: Mapping[str, str],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        image_guidance: float | None = None,
        size: int | None = None,
    ) -> None:
        self._name = type(pipeline).__name__
        if self._name not in CALLS:
            raise unknown("pipeline", self._name, CALLS)
        self._pipeline, self._prompts, self._size = pipeline, dict(prompts), size
        self._call = CALLS[self._name]
        self._settings = dict(self._call.fixed) | scales(self._name, guidance, image_guidance)
        if steps is not None:
            self._settings["num_inference_steps"] = steps
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(
        cls,
        model: str | Path,
        prompts: Mapping[str, str],
        *,
        pipeline: str,
        revision: str | None = None,
        parts: str | None = None,
        scheduler: str | None = None,
        scheduler_settings: Mapping[str, Any] | None = None,
        pipeline_settings: Mapping[str, Any] | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> DiffusersEditor:
        """Load a pipeline: from safetensors, or from pickles with torch's weights_only, and no code with it.

        Args:
            model: a hub id, a folder that diffusers saved, or a checkpoint in one file (.safetensors, .ckpt).
                Of a checkpoint that has averaged weights (EMA) those are taken.
            prompts, settings: as the class's.
            pipeline: one of CALLS.
            revision: of a hub id.
            parts: for a checkpoint in one file, the hub id or folder of a pipeline that is built as it is;
                None leaves it to diffusers to tell from the weights.
            scheduler: a class of diffusers' in place of the model's own, with its configuration.
            scheduler_settings: changes to that configuration.
            pipeline_settings: of the pipeline's constructor.
            device: default: cuda where there is one, else cpu. On a GPU weights are of the 16 bits that the
                authors use.

        Raises:
            SimeditError: an unknown pipeline or scheduler; no such model, or one that cannot be loaded.
        """
        kind = _class_of(pipeline)
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = getattr(torch, CALLS[pipeline].half) if where.type == "cuda" else torch.float32
        given = {**CALLS[pipeline].parts, **(pipeline_settings or {})}
        path = model_at(model, pipeline, revision)
        if path.is_dir() and (code := next(path.rglob("*.py"), None)):
            raise SimeditError(f"{path} holds code ({code.name}), and none is run: load a model without any")
        try:
            with isolated(where), ExitStack() as scratch, warnings.catch_warnings():
                # Newer diffusers call it `dtype`, older ones do not know that name.
                warnings.filterwarnings("ignore", "`torch_dtype` is deprecated", FutureWarning)
                if path.is_dir():
                    pipe = kind.from_pretrained(path, torch_dtype=dtype, local_files_only=True, **given)
                else:
                    folder = scratch.enter_context(tempfile.TemporaryDirectory())
                    file = averaged(path, Path(folder))
                    pipe = kind.from_single_file(str(file), config=parts, torch_dtype=dtype, **given)
                pipe = pipe.to(where)
                if scheduler is not None:
                    known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
                    if scheduler not in known:
                        raise unknown("scheduler", scheduler, known)
                    new = getattr(diffusers, scheduler)
                    pipe.scheduler = new.from_config(pipe.scheduler.config, **(scheduler_settings or {}))
        except SimeditError:
            raise
        except Exception as error:  # of whatever library reads a broken part
            if ran_out(error):
                raise
            raise SimeditError(f"cannot load {model} as {pipeline}: {told(error)}") from error
        return cls(pipe, prompts, **settings)

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._prompts)

    def repaint(self, frame: np.ndarray, mask: np.ndarray, style: str, seed: int) -> np.ndarray:
        height, width = self._sides(*frame.shape[:2])
        settings = dict(self._settings)
        settings |= dict(zip(self._call.sides, (height, width), strict=False))
        if self._call.area is not None:
            settings[self._call.area] = height * width
        with isolated(self._pipeline.device):
            try:
                edit: Tensor = self._pipeline(
                    prompt=self._prompts[style],
                    image=Image.fromarray(shrunk(frame[None], height, width)[0]),
                    generator=torch.Generator().manual_seed(int(seed)),  # the CPU's, the same on any device
                    output_type="pt",
                    return_dict=False,
                    **settings,
                )[0]
            except (ValueError, TypeError) as error:
                raise SimeditError(f"{self._name} refuses to edit so: {told(error)}") from error
        if tuple(edit.shape) != (1, 3, height, width):
            raise SimeditError(
                f"{self._name} made {list(edit.shape)} where {width}x{height} pixels were asked for: choose "
                "another size"
            )
        check_edits(edit, f"the edit by {self._name}")
        found = as_bytes(edit.float().permute(0, 2, 3, 1).cpu().numpy())
        return shrunk(found, *frame.shape[:2])[0]

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        """The height and width at which frames of that height and width are edited."""
        scale = 1.0 if self._size is None else self._size / (height * width) ** 0.5
        multiple = self._call.multiple * self._pipeline.vae_scale_factor
        tall, wide = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
        return tall, wide


def scales(pipeline: str, guidance: float | None, image_guidance: float | None) -> dict[str, float]:
    """The arguments by which a pipeline takes those of the two scales that are given.

    Raises:
        SimeditError: it does not take one.
    """
    call, found = CALLS[pipeline], {}
    for what, name, value in (
        ("guidance", call.guidance, guidance),
        ("image_guidance", call.image_guidance, image_guidance),
    ):
        if value is not None:
            if name is None:
                raise SimeditError(f"{pipeline} takes no {what}: leave it out")
            found[name] = value
    return found


def model_at(model: str | Path, pipeline: str, revision: str | None = None) -> Path:
    """Where a model lies: its own folder or file, or the hub's copy, downloaded if need be.

    Raises:
        SimeditError: there is no such model, or it cannot be had from here.
    """
    path, name = Path(model), str(model)
    if path.exists():
        return path
    if not is_hub_id(name):
        raise SimeditError(f"there is no model {name}: give a folder, a checkpoint's file or a hub id")
    unused = {part: None for part, value in CALLS[pipeline].parts.items() if value is None}
    try:
        return Path(_class_of(pipeline).download(name, revision=revision, **unused))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise SimeditError(
            f"no model {name!r} here, and none from the hub ({told(error)}). Download it where there is a "
            f"network (hf download {name}), accept its licence there if it has one, or give its folder as "
            "editor.model"
        ) from error


def averaged(file: Path, folder: Path) -> Path:
    """A checkpoint in one file, or where it has averaged weights beside those last trained (LitEma's
    `model_ema.*`) one in `folder` with the averaged ones in their place, as its authors edit.

    Raises:
        SimeditError: a pickle that holds more than tensors and plain values.
    """
    if file.suffix == ".safetensors":
        return file  # whoever wrote it so has chosen
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise SimeditError(
            f"cannot read {file} without running code in it ({told(error)}): convert it to safetensors where "
            "you trust it"
        ) from error
    state = held.get("state_dict", held)
    if not any(name.startswith(_EMA) for name in state):
        return file
    new = folder / "averaged.safetensors"
    save_file(with_averages(state), new)
    return new


def with_averages(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with the averaged weights in place of those last trained: "model.a.b" is averaged in
    "model_ema.ab"."""
    found = {}
    for name, value in state.items():
        own = name.removeprefix("model.")
        average = state.get(_EMA + own.replace(".", "")) if own != name else None
        if not name.startswith(_EMA) and isinstance(value, Tensor):
            found[name] = (value if average is None else average).clone()
    return found


def _class_of(pipeline: str) -> Any:
    if pipeline not in CALLS:
        raise unknown("pipeline", pipeline, CALLS)
    try:
        return getattr(diffusers, pipeline)
    except AttributeError as error:
        raise SimeditError(
            f"diffusers {diffusers.__version__} has no {pipeline}: pip install -U diffusers"
        ) from error
