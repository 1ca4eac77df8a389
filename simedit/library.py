"""A library: specialists and recipes on one loaded base. It is the `Editor` that everything else is given."""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from simedit import composition, on_device
from simedit.arrays import as_numpy, copied, joined
from simedit.engine import Engine, run_on_engine
from simedit.errors import SimeditError, unknown
from simedit.isolation import isolated
from simedit.masks import mapped
from simedit.packaged import RECIPE, library_folder
from simedit.passes import Step, rounds_of, seed_of, steps_of
from simedit.pipeline import Conditioning, SpecialistPipeline, check_edits, denoise, noise
from simedit.recipe import Recipe
from simedit.samplers import Schedule, is_integer
from simedit.specialist import ADAPTED, WHOLE, Card, Specialist, lora_config, set_weights, specialists_in
from simedit.style_attention import StyleAttention
from simedit.window import Extent, Window, around

FAR = 4
"""So many times larger or smaller than the sizes that a base knows, frames are far outside its range."""


_Array = Any  # NumPy arrays, or tensors on the library's device: one run has one of the two
_SIZES = 4  # of windows, a side: each is converted anew for the CPU's engine


@dataclass(frozen=True)
class _Loaded:
    """A specialist in the library; what stays constant over its edits is computed once."""

    card: Card
    adapter: str
    style_attention: StyleAttention
    style_image: Tensor
    text: Tensor
    style_latents: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class SpecialistLibrary:
    """Several specialists and recipes on one loaded base: an `Editor` (see simedit.protocols).

    Frames of different styles share one U-Net call: peft routes each frame through its own adapter. The
    passes of recipes come one after the other, the first ones of all frames with what has but one.

    An edit depends on the other frames of its batch by rounding alone: by 1 of 255 in float32, and in 16
    bits, where a batch of another size has other kernels, by up to 5 in single pixels (0.15 in the mean, on
    the lab's base and a CPU). What is compiled has batches of one size.

    The adapters go into `pipeline.unet` in place: the library owns the pipeline from then on.

    Threads may share a library: one edit runs at a time. What a caller has set for torch (autocast, inference
    mode, default dtype and device) does not reach the edits; the precision of float32 products, which is
    global, does.

    Args:
        pipeline: the base, on its device.
        batch_size: frames edited at once (the U-Net sees up to four times as many).
        steps: denoising steps, in place of the cards'; what was distilled takes no more than its card's.
        guidance_interval: start and end, in shares of the steps, of those that are guided; the others cost
            one U-Net branch in place of up to four. A frame's first steps decide on its colours.
        compile: make edits faster, for many frames of one size: on the CPU U-Net and VAE run on OpenVINO
            (float32; the first edit of each size takes seconds), on a GPU the U-Net is torch.compile's (the
            first edit takes minutes). Batches are then of one style and size each, and always full.

    Raises:
        SimeditError: a batch size or steps below 1, an interval not in 0..1; to compile for the CPU,
            OpenVINO or float32 is missing.
    """

    def __init__(
        self,
        pipeline: SpecialistPipeline,
        *,
        batch_size: int = 8,
        steps: int | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        compile: bool = False,
    ):
        if not all(is_integer(n) and n >= 1 for n in (batch_size, 1 if steps is None else steps)):
            raise SimeditError(
                f"batch_size and steps must be 1 or more, whole numbers, got {batch_size} and {steps}"
            )
        if not 0 <= guidance_interval[0] <= guidance_interval[1] <= 1:
            raise SimeditError(f"guidance_interval must be 0 <= start <= end <= 1, got {guidance_interval}")
        pipeline.fast_convolutions()
        self._lock, self._process = threading.RLock(), os.getpid()
        self._warned: set[tuple[str, tuple[int, ...]]] = set()
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.steps = steps
        self.guidance_interval = guidance_interval
        self.compile = compile
        self._loaded: dict[str, _Loaded] = {}
        self._styles: dict[str, list[Step]] = {}
        self._unet: Any = None  # a PeftModel from the first specialist on
        self._added = 0
        # A batch of one style needs neither routing nor two more products for every projection: this U-Net
        # shares the base's weights but for those that a specialist changes, which are its own.
        self._single = _sharing(pipeline.unet)
        self._merged = ""  # the adapter that it has
        self._engine: Engine | None = None
        if compile and pipeline.device.type == "cpu":
            if pipeline.dtype != torch.float32:
                raise SimeditError(f"compiling for the CPU needs float32, the base is in {pipeline.dtype}")
            self._engine = Engine(self._single, [name for name, _ in _changed(self._single)])
            vae = pipeline.vae
            for part in (vae.encoder, vae.quant_conv, vae.post_quant_conv, vae.decoder):
                if part is not None:  # some autoencoders have no quant_conv
                    run_on_engine(part)
        elif compile:
            self._single.compile(dynamic=False)
        with isolated(pipeline.device):
            self._empty_text = pipeline.encode_text([""])

    @classmethod
    def load(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        base: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        steps: int | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 8,
        compile: bool = False,
    ) -> SpecialistLibrary:
        """Load the folder of a specialist or a recipe, a folder of such, or several of either, and their
        base, once.

        Args:
            paths: the folders; "lab" and "lab-distilled" are those of the lab's specialists, which ship with
                simedit.
            base: in place of the cards' base.
            device: default: cuda where there is one, else cpu.
            dtype: default: float16 on cuda, else float32.
            steps, guidance_interval, batch_size, compile: as the class's.

        Raises:
            SimeditError: no specialist there, a broken one, specialists on different bases, or no such
                device.
        """
        roots = [paths] if isinstance(paths, str | Path) else list(paths)
        found = [
            Recipe.load(folder) if (folder / RECIPE).is_file() else Specialist.load(folder)
            for root in roots
            for folder in specialists_in(library_folder(root), recipes=True)
        ]
        bases = {one.base for one in found} if base is None else {str(base)}
        if len(bases) != 1:
            raise SimeditError(
                f"a library has one base, but these specialists name {sorted(bases)}: give `base`"
            )
        device = torch.device(usable(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
        with isolated(device):
            pipeline = SpecialistPipeline.from_pretrained(bases.pop(), torch_dtype=dtype).to(device)
            library = cls(
                pipeline,
                batch_size=batch_size,
                steps=steps,
                guidance_interval=guidance_interval,
                compile=compile,
            )
            for one in found:
                library.add(one)
        return library

    def __getstate__(self) -> dict[str, Any]:
        if self.compile:
            raise SimeditError("a compiled library cannot be sent to another process: load one there")
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _process=os.getpid())

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._styles)

    def add(self, one: Specialist | Recipe) -> None:
        """Add a specialist or a recipe without reloading the base.

        Raises:
            SimeditError: its style is already there, its weights do not fit the base, or what finds a
                recipe's nouns cannot be had.
        """
        with self._lock, isolated(self._empty_text.device):
            if one.name in self._styles:
                raise SimeditError(f"the library already holds style {one.name!r}: remove it first")
            if isinstance(one, Specialist):
                steps, specialists = [Step(one.name, one.name)], [one]
            else:
                steps = steps_of(one, self._empty_text.device)
                specialists = [each.prompted for each in one.passes]
            self._styles[one.name] = []
            try:
                for step, specialist in zip(steps, specialists, strict=True):
                    self._add(step.key, specialist)
                    self._styles[one.name].append(step)
            except BaseException:
                self.remove(one.name)
                raise

    def _add(self, key: str, specialist: Specialist) -> None:
        card, pipe = specialist.card, self.pipeline
        pipe.schedule(card.sampler, self._steps(card))  # refuses what the base has not
        text = pipe.encode_text([card.instruction])
        style_attention = copy.deepcopy(pipe.style_attention)
        adapter = self._add_adapter(lora_config(card.lora_rank, card.lora_alpha))
        try:
            set_weights(specialist, self._unet, adapter, style_attention)
        except BaseException:
            self._delete_adapter(adapter)
            raise
        pixels = _pixels(specialist.style_images[card.style_image][None])
        self._loaded[key] = _Loaded(card, adapter, style_attention, pixels, text)

    def _steps(self, card: Card) -> int:
        if self.steps and self.steps > card.steps and card.sampler == "consistency":
            raise SimeditError(
                f"{card.style!r} is distilled to {card.steps} denoising step{'s' * (card.steps != 1)}, with "
                f"{self.steps} it was never tried: leave steps out"
            )
        return self.steps or card.steps

    def remove(self, style: str) -> None:
        """Drop a specialist or a recipe and free its weights.

        Raises:
            SimeditError: unknown style.
        """
        with self._lock:
            if style not in self._styles:
                raise unknown("style", style, self._styles)
            for step in self._styles.pop(style):
                self._delete_adapter(self._loaded.pop(step.key).adapter)

    def edit(
        self,
        frames: Any,
        *,
        styles: Sequence[str],
        masks: Any = None,
        seeds: Sequence[int],
    ) -> Any:
        """Repaint each frame in its own style: see `simedit.protocols.Editor.edit`.

        With masks only what they show is worth an edit: a frame whose mask is empty comes back as it is, and
        of one whose specialist's card says `crop` the window around the mask is edited.

        The passes of a recipe each edit what the one before it made, and change nothing outside their region:
        a mask of that name in `masks`, or where its nouns are in the frame as it was given, inside the mask
        that has no region if there is one. Where a noun is not found, it shows nothing. A pass's noise is its
        own, drawn from the frame's seed and the pass's number (`simedit.passes.seed_of`), in the first pass
        the seed's own as in a plain style.

        Tensors on the library's GPU stay there; of their masks only the extents come to the host, as that
        many numbers. Their edits differ from those of the same frames as arrays by rounding. Tensors of any
        other device go through the host.
        """
        _check_input(frames, styles, masks, seeds)
        if isinstance(frames, Tensor) and not self._stays(frames):
            shown = mapped(as_numpy, masks)
            edits = self.edit(as_numpy(frames), styles=styles, masks=shown, seeds=seeds)
            return torch.from_numpy(edits).to(frames.device)
        device = self._empty_text.device.type
        if os.getpid() != self._process and (self.compile or device != "cpu" or torch.get_num_threads() > 1):
            raise SimeditError(  # it would wait for ever: the threads of torch stay behind in a fork
                "the library was loaded before this process was forked off: load it here, start the process "
                "with 'spawn', or set OMP_NUM_THREADS=1"
            )
        with self._lock, isolated(self._empty_text.device):
            return self._edit_all(frames, styles, masks, seeds)

    def _stays(self, frames: Tensor) -> bool:
        """Whether the tensors are edited where they are; on the CPU an array is no copy."""
        return frames.device == self._empty_text.device and frames.device.type != "cpu"

    def _edit_all(self, frames: _Array, styles: Sequence[str], masks: Any, seeds: Sequence[int]) -> _Array:
        for style in dict.fromkeys(styles):
            if style not in self._styles:
                raise unknown("style", style, self._styles)
        edits = copied(frames)
        for number, one in enumerate(rounds_of(frames, [self._styles[style] for style in styles], masks)):
            keys, drawn = [step.key for step in one.steps], [seed_of(seeds[i], number) for i in one.members]
            edits[one.members] = self._edit_once(edits[one.members], keys, one.masks, drawn)
        return edits

    def _edit_once(
        self, frames: _Array, styles: Sequence[str], masks: _Array | None, seeds: Sequence[int]
    ) -> _Array:
        """One pass over each frame; styles are keys of `_loaded`."""
        arrays = _arrays(frames)
        sizes: dict[tuple[int, int], list[int]] = {}
        for style in dict.fromkeys(styles):
            self._warn_of_size(self._loaded[style].card, frames.shape[1:3])
        within = None if masks is None else arrays.extents(masks)
        for i, style in enumerate(styles):
            if within is None or within[i] is not None:
                sizes.setdefault(edited_at(self._loaded[style].card, frames.shape[1:3]), []).append(i)
        edits = copied(frames)
        for size, members in sizes.items():
            some = frames[members]
            chosen, drawn = [styles[i] for i in members], [seeds[i] for i in members]
            if size == frames.shape[1:3]:
                kept = None if within is None else [within[i] for i in members]
                edits[members] = self._edit_as_they_are(some, chosen, kept, drawn)
                continue
            small = arrays.shrunk(some, *size)
            shown = None if masks is None else arrays.shrunk(masks[members], *size)
            found = self._edit_as_they_are(
                small, chosen, None if shown is None else arrays.extents(shown), drawn
            )
            edits[members] = arrays.brought_back(some, small, found, shown)
        return edits if masks is None else arrays.compose(frames, edits, masks)

    def _edit_as_they_are(
        self,
        frames: _Array,
        styles: Sequence[str],
        within: Sequence[Extent | None] | None,
        seeds: Sequence[int],
    ) -> _Array:
        """Whole edits of frames of one size, at that size; what lies outside their windows, around the
        extents of their masks, is the frames'."""
        edits = copied(frames)
        windows: dict[int, Window] = {}
        runs: dict[tuple[Any, ...], list[int]] = {}
        for i, style in enumerate(styles):
            extent = None if within is None else within[i]
            if within is not None and extent is None:
                continue
            card = self._loaded[style].card
            windows[i] = self.window(card, frames[i].shape, extent)
            shape = frames[i][windows[i]].shape
            key = (card.sampler, self._steps(card), shape, style if self.compile else "")
            runs.setdefault(key, []).append(i)
        for (sampler, steps, *_), members in runs.items():
            schedule = self.pipeline.schedule(sampler, steps)
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                full = batch
                if self.compile:  # anew for every number of frames, if it were not always the same
                    full = batch + batch[-1:] * (self.batch_size - len(batch))
                edited = self._edit(frames, [(i, windows[i]) for i in full], styles, seeds, schedule)
                for i, part in zip(batch, edited, strict=False):  # what only fills the batch is left
                    edits[i][windows[i]] = part
        return edits

    def _warn_of_size(self, card: Card, size: tuple[int, ...]) -> None:
        """Say once where frames are of a size, or of a shape, that the specialist's base hardly knows."""
        config = (card.training or {}).get("config")
        if not isinstance(config, dict):
            return
        trained: list[Any] = [config.get(side) for side in ("height", "width")]
        if not all(is_integer(side) and side > 0 for side in trained) or (card.style, size) in self._warned:
            return
        least, most = card.heights or (trained[0] / 1.5, trained[0] * 1.5)
        shape = (size[1] / size[0]) / (trained[1] / trained[0])
        far = 1 if card.heights is None else FAR
        if not (least / far <= size[0] <= most * far and 0.5 <= shape <= 2):
            self._warned.add((card.style, size))
            warnings.warn(
                f"specialist {card.style!r} was trained on frames of {trained[1]} x {trained[0]} pixels and "
                f"may leave blotches on these of {size[1]} x {size[0]}: resize or cut them first",
                stacklevel=6,
            )

    def window(self, card: Card, shape: tuple[int, ...], extent: Extent | None) -> Window:
        """What a specialist edits of a frame [H, W, ...] whose mask has that extent; None: all of it."""
        if extent is None or not card.crop:
            return slice(0, shape[0]), slice(0, shape[1])
        unit = self.pipeline.size_factor
        multiple = unit * max(1, min(shape[:2]) // (_SIZES * unit))
        return around(extent, shape, step=self.pipeline.vae_scale_factor, multiple=multiple)

    def _latent_window(self, window: Window) -> Window:
        """Where a frame's window lies among its latents."""
        unit = self.pipeline.vae_scale_factor
        rows, columns = (
            slice(begin := s.start // unit, begin + self._latent_side(s.stop - s.start)) for s in window
        )
        return rows, columns

    def _latent_side(self, side: int) -> int:
        """How many latents so many pixels, filled up, are."""
        return (
            -(-side // self.pipeline.size_factor)
            * self.pipeline.size_factor
            // self.pipeline.vae_scale_factor
        )

    def _noise(self, shape: tuple[int, ...], places: list[Window], seeds: list[int]) -> Callable[[], Tensor]:
        """Noise for those windows of latents of frames of that shape: a place's is always the same."""
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        channels = self.pipeline.vae.config.latent_channels
        # diffusers searches a pipeline's device among all of its layers: 8 ms
        draw = noise(generators, (channels, *map(self._latent_side, shape)), self._empty_text.device)
        return lambda: torch.stack([one[(..., *at)] for one, at in zip(draw(), places, strict=True)])

    def _edit(
        self,
        frames: _Array,
        parts: list[tuple[int, Window]],
        styles: Sequence[str],
        seeds: Sequence[int],
        schedule: Schedule,
    ) -> _Array:
        """Edits, uint8 [N, h, w, 3], of N windows of one size, each of the frame of that number."""
        arrays = _arrays(frames)
        pipe, (height, width) = self.pipeline, frames[parts[0][0]][parts[0][1]].shape[:2]
        numbers, windows = [i for i, _ in parts], [window for _, window in parts]
        places = [self._latent_window(window) for window in windows]
        given = joined([frames[i][window][None] for i, window in parts])
        draw = self._noise(frames.shape[1:3], places, [seeds[i] for i in numbers])
        styles = [styles[i] for i in numbers]
        loaded = [self._loaded[style] for style in styles]
        image = pipe.encode_images(_pixels(given, self._empty_text.device))
        text = torch.cat([one.text for one in loaded])
        style = torch.empty_like(image)
        for name in set(styles):
            at = [i for i, s in enumerate(styles) if s == name]
            whole = self._style_latents(self._loaded[name], *frames.shape[1:3])
            latents = torch.stack([whole[0][(..., *places[i])] for i in at])
            style[at] = self._loaded[name].style_attention(latents, image[at], text[at])
        conditioning = Conditioning(
            text=text,
            empty_text=self._empty_text,
            image=image,
            style=style,
            scales=[one.card.scales for one in loaded],
            alphas=pipe.velocity_alphas,
        )
        alone = len(set(styles)) == 1
        latents = denoise(
            self._unet_of(loaded[0].adapter) if alone else self._unet,
            conditioning,
            schedule,
            draw,
            None if alone else [one.adapter for one in loaded],
            self.guidance_interval,
        )
        detailed = [i for i, one in enumerate(loaded) if one.card.detail]
        known = image[detailed] * pipe.vae.config.scaling_factor  # decoded beside the edits, as what they are
        images = pipe.decode(torch.cat([latents, known.to(latents)]), height, width)
        check_edits(images, f"the edit in style {', '.join(dict.fromkeys(styles))}")
        found = arrays.like(given, images.permute(0, 2, 3, 1))
        edits, decoded = found[: len(given)], found[len(given) :]
        if detailed:
            edits[detailed] = arrays.restore_detail(given[detailed], edits[detailed], decoded)
        return arrays.as_bytes(edits)

    def _unet_of(self, adapter: str) -> Callable[..., Any]:
        """The U-Net of one specialist."""
        single = self._merge(adapter)
        engine = self._engine
        if engine is None:
            return single

        def unet(x: Tensor, t: Tensor, encoder_hidden_states: Tensor, return_dict: bool) -> tuple[Tensor]:
            return (engine(x, t, encoder_hidden_states),)

        return unet

    def _merge(self, adapter: str) -> nn.Module:
        """The U-Net of that adapter's specialist, until the next merge."""
        if self._merged != adapter:
            adapted = self._unet.get_base_model()
            for name, weight in _changed(self._single):
                layer, _, kind = name.rpartition(".")
                source = adapted.get_submodule(layer)
                if isinstance(source, LoraLayer):
                    merged = source.get_base_layer().weight + source.get_delta_weight(adapter)  # type: ignore
                else:
                    merged = getattr(source.modules_to_save[adapter], kind)
                weight.data.copy_(merged)
            self._merged = adapter
        return self._single

    def _style_latents(self, loaded: _Loaded, height: int, width: int) -> Tensor:
        if (height, width) not in loaded.style_latents:
            loaded.style_latents[height, width] = self.pipeline.encode_style(
                loaded.style_image, height, width
            )
        return loaded.style_latents[height, width]

    def _add_adapter(self, config: LoraConfig) -> str:
        adapter = f"specialist{self._added}"
        self._added += 1
        if self._unet is None:
            self._unet = get_peft_model(self.pipeline.unet, config, adapter, autocast_adapter_dtype=False)
        else:
            self._unet.add_adapter(adapter, config, autocast_adapter_dtype=False)
        self._unet.eval()
        return adapter

    def _delete_adapter(self, adapter: str) -> None:
        others = [name for name in self._unet.peft_config if name != adapter]
        if others:
            # peft routes frames only while the active adapter exists.
            self._unet.set_adapter(others[0])
            self._unet.delete_adapter(adapter)
        else:
            self._unet.unload()
            self._unet = None


def _changed(unet: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The weights in whose place a specialist has others, by name."""
    adapted = tuple(f"{layer}.weight" for layer in ADAPTED)
    for name, parameter in unet.named_parameters():
        if name.endswith(adapted) or name.startswith(f"{WHOLE}."):
            yield name, parameter


def _sharing(unet: nn.Module) -> nn.Module:
    """A copy whose weights are the same tensors, but for those that specialists change."""
    own = {id(parameter) for _, parameter in _changed(unet)}
    return copy.deepcopy(unet, {id(p): p for p in unet.parameters() if id(p) not in own})


def edited_at(card: Card, size: tuple[int, ...]) -> tuple[int, int]:
    """The height and width at which a specialist edits frames of that height and width."""
    height, width = size
    if card.heights is None:
        return height, width
    wanted = min(max(height, card.heights[0]), card.heights[1])
    return wanted, max(1, round(width * wanted / height))


def _arrays(frames: _Array) -> Any:
    """What is done with frames that are arrays, or tensors."""
    return on_device if isinstance(frames, Tensor) else composition


def _check_input(frames: _Array, styles: Sequence[str], masks: Any, seeds: Sequence[int]) -> None:
    if not isinstance(frames, np.ndarray | Tensor):
        raise SimeditError(
            f"frames must be a NumPy array or a torch tensor, uint8 [N,H,W,3], got {type(frames).__name__}"
        )
    if frames.dtype not in (np.uint8, torch.uint8) or frames.ndim != 4 or frames.shape[-1] != 3:
        raise SimeditError(f"frames must be uint8 [N,H,W,3], got {frames.dtype} {list(frames.shape)}")
    if 0 in frames.shape[1:3]:
        raise SimeditError(f"frames must have pixels, got {list(frames.shape)}")
    if isinstance(styles, str):
        raise SimeditError(f"styles must be a list, one for each frame, not the one name {styles!r}")
    if isinstance(seeds, str) or not all(isinstance(given, Collection) for given in (styles, seeds)):
        raise SimeditError("styles and seeds must be lists, one of each for each frame")
    if not len(frames) == len(styles) == len(seeds):
        raise SimeditError(
            f"{len(frames)} frames need as many styles and seeds, got {len(styles)} and {len(seeds)}"
        )
    for style in styles:
        if not isinstance(style, str):
            raise SimeditError(f"styles must be names, got {style!r}")
    for seed in seeds:
        if not is_integer(seed) or not -(2**63) <= seed < 2**63:
            raise SimeditError(f"seeds must be integers of 64 bits with a sign, got {seed!r}")
    if isinstance(masks, Mapping):
        if not masks or not all(isinstance(region, str) for region in masks):
            raise SimeditError(f"masks by region must be a mapping from names to masks, got {list(masks)}")
        for region, mask in masks.items():
            _check_masks(frames, mask, f"masks[{region!r}]")
    elif masks is not None:
        _check_masks(frames, masks, "masks")


def _check_masks(frames: _Array, masks: Any, what: str) -> None:
    kind = "torch tensor" if isinstance(frames, Tensor) else "NumPy array"
    if not isinstance(masks, Tensor if isinstance(frames, Tensor) else np.ndarray):
        raise SimeditError(
            f"{what} must be a {kind}, as the frames are, bool [N,H,W], got {type(masks).__name__}"
        )
    if isinstance(frames, Tensor) and masks.device != frames.device:
        raise SimeditError(
            f"{what} must be on the frames' device, {frames.device}, but they are on {masks.device}"
        )
    if masks.dtype not in (bool, torch.bool) or masks.shape != frames.shape[:3]:
        raise SimeditError(
            f"{what} must be bool {list(frames.shape[:3])}, one for each frame, "
            f"got {masks.dtype} {list(masks.shape)}"
        )


def _pixels(images: _Array, device: torch.device | str = "cpu") -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [N, H, W, 3]."""
    if isinstance(images, Tensor):
        pixels = images
    else:
        pixels = torch.tensor(np.ascontiguousarray(images), device=device)  # as bytes: a fourth to copy
    return pixels.permute(0, 3, 1, 2).to(torch.float32) / 255


def usable(device: str | torch.device) -> str | torch.device:
    """The device, if this machine has it.

    Raises:
        SimeditError: it has not.
    """
    try:
        torch.zeros(1, device=device).cpu()  # of "meta" there is nothing to copy
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SimeditError(f"cannot use the device {str(device)!r}: {str(error).splitlines()[0]}") from error
    return device
