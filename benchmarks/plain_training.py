"""A training step as the paper describes it, written down straight: the peer of `training_step.py --peer`.

Every sampling batch encodes its texts and style images; the four branches of a prediction are a U-Net call
each, the adapter beside the weights; the reference is a second U-Net, asked for at every update; a backward
pass takes one denoising step of one batch of pairs. Gradients, scores and sizes are simedit's.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from torch import Tensor

from simedit.pipeline import SpecialistPipeline, guidance, noise_in
from simedit.samplers import sample, score
from simedit.scores import Targets
from simedit.scores.encoders import load_encoder
from simedit.scores.semantic import Semantic
from simedit.scores.structural import load_structural
from simedit.specialist import lora_config
from simedit.training.config import TrainConfig
from simedit.training.feedback import feedback
from simedit.training.objectives.d3po import D3PO, d3po_loss


def step_seconds(
    config: TrainConfig, frames: np.ndarray, styles: np.ndarray, device: str
) -> dict[str, float]:
    """Seconds of each phase of one step.

    Args:
        config: its number of `samples`, sizes and rates.
        frames: uint8 [M, H, W, 3], the inputs, used in turn.
        styles: uint8 [K, H, W, 3], the style images, likewise.
        device: a torch device.
    """
    base = SpecialistPipeline.from_pretrained(config.base).to(device)
    for module in (base.vae, base.text_encoder, base.unet):
        module.requires_grad_(False).eval()
    reference, reference_attention = copy.deepcopy(base.unet), copy.deepcopy(base.style_attention)
    if config.update.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    unet: Any = get_peft_model(base.unet, lora_config(config.lora_rank, config.lora_alpha)).eval()
    parameters = [p for p in unet.parameters() if p.requires_grad] + list(base.style_attention.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=config.update.learning_rate)
    schedule = base.schedule("euler_ancestral", config.sampling.steps)
    scales = config.style.scales
    scores = (
        load_structural(config.scores.structural, device),
        Semantic(load_encoder(config.scores.semantic, device), config.scores.semantic.outside),
    )
    generator = torch.Generator().manual_seed(config.seed)
    seconds = dict.fromkeys(("sample", "score", "reference", "update"), 0.0)

    def clocked(phase: str, since: float) -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds[phase] += now - since
        return now

    def images(chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(chosen).permute(0, 3, 1, 2).to(device) / 255

    def predict(network: Any, attention: Any, batch: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        empty, image, text = batch["empty"], batch["image"], batch["text"]
        alphas = base.velocity_alphas
        style, nothing = attention(batch["style"], image, text), torch.zeros_like(image)

        def eps(*latents: Tensor, states: Tensor) -> Tensor:
            seen = torch.cat([x, *latents], 1)
            found = network(seen, t, encoder_hidden_states=states, return_dict=False)[0].float()
            return found if alphas is None else noise_in(found, x, t.expand(len(x)), alphas)

        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.precision == "bf16"):
            full, none = eps(image, style, states=text), eps(nothing, nothing, states=empty)
            image_style, image_only = eps(image, style, states=empty), eps(image, nothing, states=empty)
        return guidance(full, image_only, none, image_style, (scales.image, scales.style, scales.text))

    def encode(rows: range) -> tuple[dict[str, Tensor], Targets]:
        inputs = images(frames[[i % len(frames) for i in rows]])
        shown = images(styles[[i % len(styles) for i in rows]])
        batch = {
            "text": base.encode_text([config.style.instruction] * len(rows)),
            "empty": base.encode_text([""] * len(rows)),
            "image": base.encode_images(inputs),
            "style": base.encode_style(shown, config.height, config.width),
        }
        masks = torch.ones(inputs.shape[0], *inputs.shape[2:], dtype=torch.bool, device=device)
        return batch, Targets(inputs, masks, shown, masks)

    sampled = []
    with torch.no_grad():
        for start in range(0, config.samples, config.sampling.batch_size):
            now = time.perf_counter()
            batch, targets = encode(range(start, min(start + config.sampling.batch_size, config.samples)))
            shape = batch["image"].shape
            initial = torch.randn(shape, generator=generator).to(device) * schedule.init_scale
            latents, judged = [], []
            for _ in range(2):
                trajectory = sample(
                    lambda x, t, batch=batch: predict(
                        unet, base.style_attention, batch, x, torch.tensor(t, device=device)
                    ),
                    initial,
                    schedule,
                    lambda _, shape=shape: torch.randn(shape, generator=generator).to(device),
                )
                latents.append(trajectory.latents)
                judged.append(base.decode(trajectory.final, config.height, config.width))
            now = clocked("sample", now)
            edits = torch.stack(judged, 1)
            sampled.append((batch, torch.stack(latents, 1), [score(edits, targets) for score in scores]))
            clocked("score", now)
    found = zip(*(judged for _, _, judged in sampled), strict=True)
    judged = {name: torch.cat(one).cpu() for name, one in zip(config.scores.weights, found, strict=True)}
    winner = feedback(judged, config.scores.weights).best

    def log_probs(network: Any, attention: Any, batch: dict[str, Tensor], latents: Tensor, i: int) -> Tensor:
        def model(x: Tensor, t: Tensor) -> Tensor:
            return predict(network, attention, batch, x, t.to(x))

        steps = torch.full((len(latents),), i)
        edits = [score(model, edit[:, i], edit[:, i + 1], steps, schedule)[0] for edit in latents.unbind(1)]
        return torch.stack(edits, 1)

    everything = [(batch, pair, i) for batch, pairs, _ in sampled for i, pair in enumerate(pairs)]
    size, update, objective = config.update.batch_size, config.update, config.objective
    assert isinstance(objective, D3PO)
    for number, start in enumerate(range(0, len(everything), size), 1):
        rows = everything[start : start + size]
        batch = {key: torch.stack([one[key][i] for one, _, i in rows]) for key in rows[0][0]}
        latents, wins = torch.stack([pair for _, pair, _ in rows]), winner[start : start + size].to(device)
        for i in schedule.noisy_steps:
            now = time.perf_counter()
            with torch.no_grad():
                known = log_probs(reference, reference_attention, batch, latents, i)
            now = clocked("reference", now)
            policy = log_probs(unet, base.style_attention, batch, latents, i)
            loss = d3po_loss(policy, known, wins, beta=objective.beta, clamp=objective.clamp).mean()
            (loss / (update.accumulation * len(schedule.noisy_steps))).backward()
            clocked("update", now)
        if number % update.accumulation == 0:
            torch.nn.utils.clip_grad_norm_(parameters, update.gradient_norm)
            optimizer.step()
            optimizer.zero_grad()
    return seconds
