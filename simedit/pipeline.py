"""InstructPix2Pix with a style image as third condition (arXiv 2504.12833, 3.3 and 6.1), for diffusers."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from diffusers.utils.torch_utils import randn_tensor
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from simedit import samplers
from simedit.base import base_folder, load_parts
from simedit.base_config import PREDICTIONS
from simedit.errors import SimeditError, unknown
from simedit.isolation import isolated
from simedit.samplers import Schedule
from simedit.settings import DEFAULT_BASE, Scales
from simedit.style_attention import StyleAttention

SAMPLERS = ("euler_ancestral", "ddim", "consistency")


@dataclass(frozen=True)
class Conditioning:
    """All that stays constant while N frames are denoised.

    Attributes:
        text: [N, L, D], text states of the instructions.
        empty_text: [1, L, D], text states of the empty instruction.
        image: [N, 4, h, w], latents of the input frames.
        style: [N, 4, h, w], the style attention's output.
        scales: of each frame, or one for all.
        alphas: [T], the cumulated alphas of a base that predicts velocities; None if it predicts noise.

    The four channels are Stable Diffusion's; a base may have any number of them.
    """

    text: Tensor
    empty_text: Tensor
    image: Tensor
    style: Tensor
    scales: Sequence[Scales]
    alphas: Tensor | None = None


def scales_tensor(scales: Sequence[Scales]) -> Tensor:
    """float32 [3, N, 1, 1, 1]: image, style and text scale of each of N frames."""
    rows = [[s.image, s.style, s.text] for s in scales]
    return torch.tensor(rows, dtype=torch.float32).T.reshape(3, -1, 1, 1, 1)


def guidance(
    eps_full: Tensor,
    eps_image: Tensor,
    eps_none: Tensor,
    eps_image_style: Tensor,
    scales: Tensor | Sequence[float],
) -> Tensor:
    """Guidance with three conditions (arXiv 2504.12833, eq. 13).

    Args:
        eps_full, eps_image, eps_none, eps_image_style: [N, ...], the noise predicted with all conditions,
            with the image alone, with none, and with image and style.
        scales: image, style and text scale: three numbers, or a tensor [3, ...] that broadcasts.
    """
    image, style, text = scales
    return (
        eps_none
        + image * (eps_image - eps_none)
        + style * (eps_image_style - eps_image)
        + text * (eps_full - eps_image_style)
    )


def predict(
    unet: Callable[..., Any],
    conditioning: Conditioning,
    x: Tensor,
    t: float | Tensor,
    adapter_names: Sequence[str] | None = None,
) -> Tensor:
    """The guided noise prediction, its branches in one U-Net batch: four (full, image+style, image, none),
    but those that the scales of no frame need are left out, for they would cancel out (`Scales.branches`).

    Args:
        unet: the widened U-Net, a peft model around it, or what is called like either.
        conditioning: of N frames.
        x: [N, 4, h, w], latents, scaled as the sampler says.
        t: timestep, one or [N].
        adapter_names: N of peft's adapters, one for each frame; None takes the active one.

    Returns:
        [N, 4, h, w] in x's dtype.
    """
    c, n, zeros = conditioning, len(x), torch.zeros_like(conditioning.image)
    empty = c.empty_text.expand(n, -1, -1)
    branches = [(c.image, c.style, c.text)]
    needed = [
        any(scales.text != scales.style for scales in c.scales),
        any(scales.style != scales.image for scales in c.scales),
        any(scales.image != 1 for scales in c.scales),
    ]
    for is_needed, branch in zip(needed, [(c.image, c.style), (c.image, zeros), (zeros, zeros)], strict=True):
        if is_needed:
            branches.append((*branch, empty))
    image, style, text = map(torch.cat, zip(*branches, strict=True))
    count = len(branches)
    time = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(n).repeat(count)
    latents = torch.cat([x.to(image.dtype).repeat(count, 1, 1, 1), image, style], 1)
    routing = {} if adapter_names is None else {"adapter_names": [*adapter_names] * count}
    eps = unet(latents, time, encoder_hidden_states=text, return_dict=False, **routing)[0].to(x.dtype)
    if c.alphas is not None:
        eps = noise_in(eps, x.repeat(count, 1, 1, 1), time, c.alphas)
    rest = list(eps.chunk(count))
    # A branch left out counts as much as the one before it: their difference has weight 0.
    full = eps_image_style = rest.pop(0)
    if needed[0]:
        eps_image_style = rest.pop(0)
    eps_image = rest.pop(0) if needed[1] else eps_image_style
    eps_none = rest.pop(0) if needed[2] else eps_image
    return guidance(full, eps_image, eps_none, eps_image_style, scales=scales_tensor(c.scales).to(x))


def noise_in(velocity: Tensor, x: Tensor, t: Tensor, alphas: Tensor) -> Tensor:
    """The noise that a predicted velocity means (arXiv 2202.00512, appendix D), like `velocity`.

    Args:
        velocity, x: [N, ...], the prediction and the scaled latents that it was made from.
        t: [N], timesteps; between two trained ones sigma is interpolated as the samplers do.
        alphas: [T], the base's cumulated alphas.
    """
    log_sigmas = ((1 - alphas) / alphas).log().to(t) / 2
    low = t.floor().long().clamp(0, len(alphas) - 2)
    sigma = (
        torch.lerp(log_sigmas[low], log_sigmas[low + 1], t - low).exp().to(x).view(-1, *[1] * (x.ndim - 1))
    )
    return (velocity + sigma * x) / (1 + sigma**2).sqrt()


def noise(
    generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device
) -> Callable[[], Tensor]:
    """Gives new noise, float32 [N, *shape] on `device`, at each call. Frame i's comes from generators[i]
    alone, so that it depends neither on the batch nor on its other frames."""
    size = (len(generators), *shape)
    return lambda: randn_tensor(size, generator=list(generators), device=device, dtype=torch.float32)


def denoise(
    unet: Callable[..., Any],
    conditioning: Conditioning,
    schedule: Schedule,
    draw: Callable[[], Tensor],
    adapter_names: Sequence[str] | None = None,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Sample N latents, float32 [N, 4, h, w].

    Args:
        unet, conditioning, adapter_names: as `predict`'s.
        draw: gives noise of that shape, first the initial, then each step's, e.g. from `noise`.
        guidance_interval: step i of S is guided if start <= i / S < end; the others take the full branch
            alone (arXiv 2404.07724 has the idea, and limits in sigma).
    """
    start, end = guidance_interval
    unguided = dataclasses.replace(conditioning, scales=[Scales(image=1, style=1, text=1)])
    guided = {t for i, t in enumerate(schedule.timesteps.tolist()) if start <= i / len(schedule) < end}

    def model(x: Tensor, t: float) -> Tensor:
        return predict(unet, conditioning if t in guided else unguided, x, t, adapter_names)

    return samplers.sample(model, draw() * schedule.init_scale, schedule, lambda _step: draw()).final


class SpecialistPipeline(DiffusionPipeline):
    """InstructPix2Pix with a 12-channel U-Net (noise 4, input image 4, style 4) and style attention.

    Made from an InstructPix2Pix checkpoint's parts (an 8-channel U-Net, no style attention) it widens the
    U-Net with zeros, in place, and starts the style attention from it; untrained, it edits as
    InstructPix2Pix does, whatever the style scale. With a VAE of other than 4 latent channels the U-Net's
    are twice or three times as many.

    Raises:
        SimeditError: the parts do not fit together.
    """

    model_cpu_offload_seq = "text_encoder->style_attention->unet->vae"
    _optional_components = ["style_attention"]

    # Set by register_modules. Any: diffusers' own types say too little of outputs and configs.
    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    style_attention: Any

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,
        style_attention: StyleAttention | None = None,
    ):
        super().__init__()
        prediction = scheduler.config.get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS:
            raise SimeditError(f"the base predicts {prediction!r}; and not {' or '.join(PREDICTIONS)}")
        channels, latent = unet.config["in_channels"], vae.config["latent_channels"]
        if channels not in (2 * latent, 3 * latent) or unet.config["out_channels"] != latent:
            raise SimeditError(
                f"the base's U-Net takes {channels} channels; it must be InstructPix2Pix's {2 * latent} "
                f"or simedit's {3 * latent} (Stable Diffusion's {latent} cannot see the image)"
            )
        text, wanted = text_encoder.config.hidden_size, unet.config["cross_attention_dim"]
        if text != wanted:
            raise SimeditError(f"the base's text states are {text} wide, but its U-Net takes {wanted}")
        if style_attention is not None:
            fit = (style_attention.config["text_dim"], style_attention.config["latent_channels"])
            if fit != (text, latent):
                raise SimeditError(
                    f"the base's style attention takes text states {fit[0]} wide and {fit[1]} latent "
                    f"channels, but its other parts have {text} and {latent}"
                )
        _check_betas(scheduler)
        if channels == 2 * latent:
            widen(unet)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            style_attention=style_attention or StyleAttention.for_unet(unet),
        )
        self.vae_scale_factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.size_factor = self.vae_scale_factor * 2 ** (len(unet.config["block_out_channels"]) - 1)
        self._exact_vae: Any = None

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        base: str | Path = DEFAULT_BASE,
        *,
        torch_dtype: torch.dtype = torch.float32,
        variant: str | None = None,
        **hub: Any,
    ) -> SpecialistPipeline:
        """Load a saved SpecialistPipeline, or any InstructPix2Pix checkpoint (its safety checker and feature
        extractor are neither downloaded nor loaded). Safetensors only.

        Args:
            base: a directory, or a hub id.
            torch_dtype: of all weights, whatever the files hold.
            variant: of the weights' files, such as "fp16", where a part has it.
            hub: of a hub id: `revision`, `cache_dir`, `local_files_only`, `token`, as `base_folder`'s.

        Raises:
            SimeditError: no such directory or hub id, a part is missing, broken or of another family of
                models, or the parts do not fit.
        """
        if not torch_dtype.is_floating_point:
            raise SimeditError(f"a base is loaded in a floating-point type, not in {torch_dtype}")
        with isolated():
            return cls(**load_parts(base_folder(base, variant=variant, **hub), torch_dtype, variant))

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the base as a folder, which `from_pretrained` reads.

        Args:
            save_directory: is made if need be.
            kwargs: as diffusers'.

        Raises:
            SimeditError: it cannot be written.
        """
        folder = Path(save_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            super().save_pretrained(folder, **kwargs)
            for file in folder.glob("*/*.safetensors"):  # safetensors keeps its files to their owner
                shutil.copymode(folder / "model_index.json", file)
        except (OSError, SafetensorError) as error:
            raise SimeditError(f"cannot write the base {folder}: {error}") from error

    def fast_convolutions(self) -> None:
        """Lay U-Net and VAE out in channels-last order, in place: faster, but not to be saved like that."""
        self.unet.to(memory_format=torch.channels_last)
        self.vae.to(memory_format=torch.channels_last)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """The text encoder's states [N, L, D] of N prompts, cut or filled to the tokenizer's length; of one
        that is cut it warns."""
        limit = self.tokenizer.model_max_length
        ids = self.tokenizer(list(prompts), padding="max_length", max_length=limit).input_ids
        for prompt, tokens in zip(prompts, ids, strict=True):
            if len(tokens) > limit:
                warnings.warn(
                    f"the base reads {limit} tokens of an instruction, this one has {len(tokens)}, and its "
                    f"end is left out: {prompt[:100]!r}",
                    stacklevel=2,
                )
        end = self.tokenizer.eos_token_id
        cut = [tokens if len(tokens) <= limit else [*tokens[: limit - 1], end] for tokens in ids]
        return self.text_encoder(torch.tensor(cut, device=self.device))[0]

    def encode_images(self, images: Tensor) -> Tensor:
        """Latents [N, 4, h, w] of `images` [N, 3, H, W] in 0..1: the VAE's mode, without the scaling factor.
        Sizes not divisible by `size_factor` are filled up to the right and below by repeating the edge."""
        height, width = images.shape[-2:]
        filler = (0, -width % self.size_factor, 0, -height % self.size_factor)
        # The autoencoder's own `device` and `dtype` search all of its layers at each use.
        images = pad(images.to(self.vae.encoder.conv_in.weight), filler, mode="replicate")
        found = self._in_range(lambda vae, x: vae.encode(x).latent_dist.mode(), 2 * images - 1)
        return found.to(images.dtype)

    def encode_style(self, style_images: Tensor, height: int, width: int) -> Tensor:
        """Latents [N, 4, h, w] of style images [N, 3, any, any] in 0..1, for frames of the given size, which
        the style images are resized to cover, and cut to at the centre."""
        h, w = style_images.shape[-2:]
        scale = max(height / h, width / w)
        size = (max(height, round(h * scale)), max(width, round(w * scale)))
        if size != (h, w):
            style_images = interpolate(style_images, size, mode="bilinear", antialias=True).clamp(0, 1)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        return self.encode_images(style_images[..., top : top + height, left : left + width])

    def decode(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Images float32 [N, 3, height, width] in 0..1 of sampled latents [N, 4, h, w], filling cut off."""
        latents = latents.to(self.vae.decoder.conv_in.weight) / self.vae.config.scaling_factor
        images = self._in_range(lambda vae, x: vae.decode(x).sample, latents).float()
        # An infinite pixel would be white.
        images = images.where(images.isfinite(), torch.nan)
        return (images[..., :height, :width] / 2 + 0.5).clamp(0, 1)

    def _in_range(self, run: Callable[[Any, Tensor], Tensor], x: Tensor) -> Tensor:
        """What the VAE gives for x [N, ...]. Those of the N whose values leave float16's range are done anew
        in float32, each for itself: a neighbour in the batch changes nothing."""
        found = run(self.vae, x)
        if x.dtype != torch.float16:
            return found
        lost = x.isfinite().flatten(1).all(1) & ~found.isfinite().flatten(1).all(1)
        if lost.any():
            if self._exact_vae is None:
                warnings.warn(
                    "the base's autoencoder leaves float16's range: what overflows is done anew in float32",
                    stacklevel=2,
                )
                self._exact_vae = copy.deepcopy(self.vae).float()
            # Of float32's range there may be values again that float16 does not hold.
            found = found.float()
            found[lost] = run(self._exact_vae, x[lost].float())
        return found

    @property
    def velocity_alphas(self) -> Tensor | None:
        """What `Conditioning.alphas` is to be."""
        velocity = self.scheduler.config.get("prediction_type", "epsilon") == "v_prediction"
        return self.scheduler.alphas_cumprod if velocity else None

    def schedule(self, sampler: str, steps: int, *, eta: float | None = None) -> Schedule:
        """The schedule of `sampler` ("euler_ancestral" on Karras' sigmas, "ddim" or "consistency") from the
        base's betas.

        Args:
            sampler: its name.
            steps: of denoising.
            eta: how much noise they draw, of 0 to 1: by default Euler's all, DDIM's none.

        Raises:
            SimeditError: unknown sampler, steps out of range or no integer, eta not in 0..1, or given to
                consistency steps.
        """
        alphas, config = self.scheduler.alphas_cumprod, self.scheduler.config
        if sampler == "euler_ancestral":
            return samplers.euler_ancestral(alphas, steps, eta=1.0 if eta is None else eta)
        if sampler == "consistency":
            if eta is not None:
                raise SimeditError("consistency steps draw all of their noise: eta is for the other samplers")
            return samplers.consistency(alphas, steps)
        if sampler == "ddim":
            final = 1.0 if config.get("set_alpha_to_one", False) else None
            offset = config.get("steps_offset", 1)
            return samplers.ddim(alphas, steps, eta=eta or 0.0, steps_offset=offset, final_alpha=final)
        raise unknown("sampler", sampler, SAMPLERS)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        style_image: Tensor,
        prompt: str | Sequence[str],
        *,
        generator: Sequence[torch.Generator],
        scales: Scales = Scales(),  # noqa: B008 (frozen)
        schedule: Schedule | None = None,
    ) -> Tensor:
        """Edit N images.

        Args:
            image: [N, 3, H, W] in 0..1.
            style_image: [N or 1, 3, any, any] in 0..1.
            prompt: one instruction for all, or N.
            generator: N generators; image i's noise comes from generator i alone.
            scales: guidance scales.
            schedule: from `schedule` or `simedit.samplers`; default: 100 Euler ancestral steps.

        Returns:
            float32 [N, 3, H, W] in 0..1.

        Raises:
            SimeditError: numbers of images, prompts and generators that do not match, or an edit that is not
                finite.
        """
        n, (height, width) = len(image), image.shape[-2:]
        prompts = [prompt] * n if isinstance(prompt, str) else list(prompt)
        if not len(prompts) == len(generator) == n or len(style_image) not in (1, n):
            raise SimeditError(
                f"{n} images need {n} prompts (got {len(prompts)}), {n} generators (got {len(generator)}) "
                f"and 1 or {n} style images (got {len(style_image)})"
            )
        text, image_latents = self.encode_text(prompts), self.encode_images(image)
        style_latents = self.encode_style(style_image, height, width).expand_as(image_latents)
        conditioning = Conditioning(
            text=text,
            empty_text=self.encode_text([""]),
            image=image_latents,
            style=self.style_attention(style_latents, image_latents, text),
            scales=[scales],
            alphas=self.velocity_alphas,
        )
        schedule = schedule or self.schedule("euler_ancestral", 100)
        draw = noise(generator, image_latents.shape[1:], image_latents.device)
        edits = self.decode(denoise(self.unet, conditioning, schedule, draw), height, width)
        check_edits(edits)
        return edits


def widen(unet: UNet2DConditionModel) -> None:
    """Give `unet`, in place, half as many input channels again, whose weights are zero."""
    old: Any = unet.conv_in
    channels = old.in_channels // 2 * 3
    new: Any = nn.Conv2d(channels, old.out_channels, old.kernel_size, padding=old.padding).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def check_edits(edits: Tensor, what: str = "the edit") -> None:
    """Check that edits [N, 3, H, W] are pictures.

    Args:
        what: they are, for the error.

    Raises:
        SimeditError: a value is NaN or infinite.
    """
    if not edits.isfinite().all():
        raise SimeditError(
            f"{what} is not finite: the weights' values leave the range of their type (load them in float32 "
            "or bfloat16), or the card's scales are too large"
        )


def _check_betas(scheduler: Any) -> None:
    alphas = scheduler.alphas_cumprod.double()
    if not ((alphas > 0) & (alphas < 1)).all() or not (alphas.diff() < 0).all():
        raise SimeditError("the base's scheduler has betas that do not add noise step by step: it is broken")


def silence_loading() -> None:
    """Keep the libraries' progress bars for loading files out of a command line's own output."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
