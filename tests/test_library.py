from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import shutil
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from simedit import engine
from simedit.composition import compose, restore_detail
from simedit.errors import SimeditError
from simedit.isolation import isolated
from simedit.library import SpecialistLibrary
from simedit.settings import Scales
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline

STYLES = ("gold", "wood", "stone")


@pytest.fixture(scope="module")
def library(tiny_root: Path) -> SpecialistLibrary:
    return SpecialistLibrary.load(tiny_root, device="cpu", steps=3)


def _frames(n: int, height: int = 32, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def _loud(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Untrained weights hardly look at the style: these do."""
    louder = {"unet.conv_in.weight": 10, "style_attention.to_q.weight": 1000}
    return {key: louder.get(key, 1) * value for key, value in weights.items()}


def _far(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def _break(folder: Path, what: str) -> None:
    if what == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif what == "weights":
        data = (folder / "adapter.safetensors").read_bytes()
        (folder / "adapter.safetensors").write_bytes(data[: len(data) // 2])
    elif what == "no weights":
        (folder / "adapter.safetensors").unlink()
    elif what == "no style image":
        (folder / "style_0.png").unlink()
    elif what == "style image":
        (folder / "style_0.png").write_bytes(b"no picture")
    elif what == "card":
        (folder / "card.json").write_text("{")
    elif what == "typo":
        card = json.loads((folder / "card.json").read_text())
        card["instrution"] = card.pop("instruction")
        (folder / "card.json").write_text(json.dumps(card))
    elif what == "version":
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | {"schema_version": 2}))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("empty", "no specialist at"),
        ("weights", "cannot read the specialist"),
        ("no weights", "cannot read the specialist"),
        ("no style image", "style image 0 is wanted, but it has 0"),
        ("style image", "cannot read the specialist"),
        ("card", "is not valid JSON"),
        ("typo", "did you mean 'instruction'"),
        ("version", "schema_version"),
    ],
)
def test_a_broken_folder_is_one_clear_error(gold: Path, what: str, message: str) -> None:
    _break(gold, what)
    with pytest.raises(SimeditError, match=message):
        SpecialistLibrary.load(gold)


def test_loads_a_folder_a_folder_of_folders_or_several(tiny_root: Path, library: SpecialistLibrary) -> None:
    assert library.styles == tuple(sorted(STYLES))
    assert SpecialistLibrary.load(tiny_root / "gold", device="cpu").styles == ("gold",)
    several = SpecialistLibrary.load([tiny_root / "wood", tiny_root / "gold"], device="cpu")
    assert several.styles == ("wood", "gold")


def test_what_a_killed_process_left_is_no_specialist(gold: Path) -> None:
    shutil.copytree(gold, gold.parent / ".unfinished")
    assert SpecialistLibrary.load(gold.parent, device="cpu").styles == ("gold",)


def test_specialists_on_different_bases_need_a_base(tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root, tmp_path / "other")
    paths = [tiny_root / "gold", tmp_path / "other" / "wood"]
    with pytest.raises(SimeditError, match="give `base`"):
        SpecialistLibrary.load(paths, device="cpu")
    assert SpecialistLibrary.load(paths, base=tiny_root / "base", device="cpu").styles == ("gold", "wood")


def test_a_batch_of_mixed_styles_equals_single_edits(library: SpecialistLibrary) -> None:
    frames, styles, seeds = (
        _frames(8),
        ["gold", "wood", "stone", "gold", "wood", "wood", "stone", "gold"],
        range(8),
    )
    together = library.edit(frames, styles=styles, seeds=seeds)
    assert together.dtype == np.uint8
    assert together.shape == frames.shape
    for i in range(8):
        alone = library.edit(frames[i : i + 1], styles=[styles[i]], seeds=[seeds[i]])
        assert _far(together[i], alone[0]) <= 1
    other = library.edit(frames, styles=[*styles[1:], "wood"], seeds=seeds)
    assert all(
        _far(a, b) > 5
        for a, b, s, t in zip(together, other, styles, [*styles[1:], "wood"], strict=True)
        if s != t
    )


def test_mixed_styles_share_one_unet_call_and_equal_single_latents(
    library: SpecialistLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same to 1e-4 in 0..1, before rounding to bytes."""
    decoded, calls, decode, forward = [], [], library.pipeline.decode, PeftModel.forward

    def record(*args: object) -> torch.Tensor:
        decoded.append(decode(*args))
        return decoded[-1]

    def count(self: PeftModel, x: torch.Tensor, *args: object, **kwargs: object) -> object:
        calls.append(len(x))
        return forward(self, x, *args, **kwargs)

    monkeypatch.setattr(library.pipeline, "decode", record)
    monkeypatch.setattr(PeftModel, "forward", count)
    frames, styles = _frames(8), ["gold", "wood", "stone", "gold"] * 2
    library.edit(frames, styles=styles, seeds=range(8))
    assert calls == [4 * 8] * 3
    for i in range(8):
        library.edit(frames[i : i + 1], styles=styles[i : i + 1], seeds=[i])
    torch.testing.assert_close(decoded[0], torch.cat(decoded[1:]), atol=1e-4, rtol=0)


def test_the_library_edits_as_the_pipeline_with_the_specialists_weights(
    tiny_root: Path, library: SpecialistLibrary
) -> None:
    """Its adapter merged into the base by hand, run as a plain pipeline."""
    gold, pipe, frame = Specialist.load(tiny_root / "gold"), tiny_pipeline(), _frames(1)
    state = pipe.unet.state_dict()
    scale = gold.card.lora_alpha / gold.card.lora_rank
    for key, value in gold.weights.items():
        name = key.removeprefix("unet.")
        if key.endswith("lora_A.weight"):
            up = gold.weights[key.replace("lora_A", "lora_B")]
            state[name.replace("lora_A.", "")] += scale * up @ value
        elif name.startswith("conv_in."):
            state[name] = value
    pipe.unet.load_state_dict(state)
    attention = {k.split(".", 1)[1]: v for k, v in gold.weights.items() if k.startswith("style_attention.")}
    pipe.style_attention.load_state_dict(attention)

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.tensor(image).permute(2, 0, 1)[None] / 255

    expected = pipe(
        tensor(frame[0]),
        tensor(gold.style_images[0]),
        gold.card.instruction,
        generator=[torch.Generator().manual_seed(7)],
        schedule=pipe.schedule("euler_ancestral", 3),
    )
    edit = library.edit(frame, styles=["gold"], seeds=[7])
    assert (tensor(edit[0]) - expected).abs().max() <= 0.5 / 255 + 1e-4


def test_frames_are_edited_in_batches_of_any_size(tiny_root: Path, library: SpecialistLibrary) -> None:
    small = SpecialistLibrary.load(tiny_root, device="cpu", steps=3, batch_size=2)
    frames, styles = _frames(5), ["gold", "wood", "wood", "gold", "stone"]
    edits = [x.edit(frames, styles=styles, seeds=range(5)) for x in (library, small)]
    assert _far(*edits) <= 1


def test_each_frame_is_run_as_its_own_card_says(tiny_root: Path) -> None:
    """Steps, sampler and scales may all differ within one call."""
    changes = {
        "gold": {"steps": 2, "scales": Scales(text=2.0)},
        "wood": {"steps": 3, "sampler": "ddim"},
        "stone": {"steps": 1, "sampler": "consistency", "scales": Scales(image=1, style=1, text=1)},
    }
    library = SpecialistLibrary(tiny_pipeline())
    for style, change in changes.items():
        one = Specialist.load(tiny_root / style)
        library.add(dataclasses.replace(one, card=one.card.model_copy(update=change)))
    frames, styles = _frames(6), [*STYLES, *STYLES]
    together = library.edit(frames, styles=styles, seeds=range(6))
    for i, style in enumerate(styles):
        one = Specialist.load(tiny_root / style)
        alone = SpecialistLibrary(tiny_pipeline())
        alone.add(dataclasses.replace(one, card=one.card.model_copy(update=changes[style])))
        assert _far(together[i], alone.edit(frames[i : i + 1], styles=[style], seeds=[i])[0]) <= 1
        default = SpecialistLibrary(tiny_pipeline(), steps=2)
        default.add(one)
        assert _far(together[i], default.edit(frames[i : i + 1], styles=[style], seeds=[i])[0]) > 1


def test_half_precision(tiny_root: Path, library: SpecialistLibrary) -> None:
    half = SpecialistLibrary.load(tiny_root, device="cpu", dtype=torch.bfloat16, steps=3)
    assert all(p.dtype == torch.bfloat16 for p in half.pipeline.unet.parameters())
    frames, styles = _frames(3), ["gold", "wood", "gold"]
    edits = half.edit(frames, styles=styles, seeds=range(3))
    # A batch of another size rounds otherwise, and 8 bits of mantissa let single pixels drift.
    alone = half.edit(frames[2:], styles=["gold"], seeds=[2])[0]
    assert np.abs(alone.astype(int) - edits[2]).mean() < 2
    full = library.edit(frames, styles=styles, seeds=range(3))
    assert np.abs(edits.astype(int) - full).mean() < 5


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cuba"},
        {"device": "cuda:99"},
        {"device": "meta"},
        {"steps": 0},
        {"steps": 2.5},
        {"steps": True},
        {"batch_size": 0},
        {"batch_size": 1.0},
    ],
)
def test_options_that_cannot_be(tiny_root: Path, options: dict[str, object]) -> None:
    with pytest.raises(SimeditError, match=r"cannot use the device|must be 1 or more"):
        SpecialistLibrary.load(tiny_root, **({"device": "cpu"} | options))


def test_the_seed_fixes_the_noise(library: SpecialistLibrary) -> None:
    frame = _frames(1)
    a, again, b = (library.edit(frame, styles=["gold"], seeds=[seed]) for seed in (1, 1, 2))
    assert np.array_equal(a, again)
    assert _far(a, b) > 5


def test_styles_one_after_the_other_leave_no_trace(library: SpecialistLibrary) -> None:
    """A style on its own is merged into the U-Net's weights; they come back to the last bit."""
    frames, mixed = _frames(2), {"styles": ["gold", "wood"], "seeds": [0, 1]}
    together = library.edit(frames, **mixed)
    alone = {style: library.edit(frames[:1], styles=[style], seeds=[0]) for style in ("gold", "wood", "gold")}
    assert (library.edit(frames, **mixed) == together).all()
    for style, before in alone.items():
        assert (library.edit(frames[:1], styles=[style], seeds=[0]) == before).all()
    assert _far(alone["gold"], alone["wood"]) > 5


def test_swapping_specialists(tiny_root: Path) -> None:
    gold, wood = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    library = SpecialistLibrary(tiny_pipeline(), steps=2)
    frame = _frames(1)
    library.add(gold)
    first = library.edit(frame, styles=["gold"], seeds=[0])
    library.remove("gold")
    assert library.styles == ()
    library.add(wood)
    library.add(gold)
    assert library.styles == ("wood", "gold")
    library.remove("wood")
    assert _far(library.edit(frame, styles=["gold"], seeds=[0]), first) <= 1
    library.add(wood)
    mixed = library.edit(frame[[0, 0]], styles=["wood", "gold"], seeds=[0, 0])
    assert _far(mixed[1], first[0]) <= 1
    assert _far(mixed[0], first[0]) > 5
    with pytest.raises(SimeditError, match="already holds style 'gold'"):
        library.add(gold)
    with pytest.raises(SimeditError, match="did you mean 'gold'"):
        library.remove("golt")


def test_a_specialist_of_another_base_is_refused_and_leaves_the_library_as_it_was(tiny_root: Path) -> None:
    gold, wood = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    library = SpecialistLibrary(tiny_pipeline(), steps=2)
    library.add(gold)
    before = library.edit(_frames(1), styles=["gold"], seeds=[0])
    key = "unet.conv_in.weight"
    wider = {**wood.weights, key: torch.zeros(20, 12, 3, 3)}
    with pytest.raises(SimeditError, match=r"does not fit the base: 1 weights differ, unet\.conv_in\.weight"):
        library.add(dataclasses.replace(wood, weights=wider))
    fewer = {k: v for k, v in wood.weights.items() if not k.startswith("style_attention.")}
    with pytest.raises(SimeditError, match=r"style_attention\.to_k\.weight is missing"):
        library.add(dataclasses.replace(wood, weights=fewer))
    assert library.styles == ("gold",)
    assert np.array_equal(library.edit(_frames(1), styles=["gold"], seeds=[0]), before)


def test_masks_compose(library: SpecialistLibrary) -> None:
    frames = _frames(2)
    masks = np.zeros(frames.shape[:3], bool)
    masks[:, 8:24, 16:48] = True
    whole = library.edit(frames, styles=["gold", "wood"], seeds=[0, 1])
    part = library.edit(frames, styles=["gold", "wood"], seeds=[0, 1], masks=masks)
    assert np.array_equal(part, compose(frames, whole, masks))
    assert np.array_equal(part[~masks], frames[~masks])
    assert _far(part[masks], frames[masks]) > 5


def test_no_frames_give_no_frames(library: SpecialistLibrary) -> None:
    assert library.edit(_frames(0), styles=[], seeds=[]).shape == (0, 32, 64, 3)


def test_the_input_is_left_alone(library: SpecialistLibrary) -> None:
    frames = _frames(1)
    library.edit(frames, styles=["gold"], seeds=[0])
    assert np.array_equal(frames, _frames(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": _frames(2).astype(np.float32)}, "frames must be uint8"),
        ({"frames": _frames(2)[0]}, r"frames must be uint8 \[N,H,W,3\], got uint8 \[32, 64, 3\]"),
        ({"frames": _frames(2).tolist()}, "got list"),
        ({"styles": ["gold"]}, "2 frames need as many styles and seeds, got 1 and 2"),
        ({"styles": "gold"}, "styles must be a list"),
        ({"styles": ["gold", "wod"]}, "unknown style 'wod': did you mean 'wood'"),
        ({"seeds": [1]}, "got 2 and 1"),
        ({"seeds": [1.5, 2]}, "seeds must be integers"),
        ({"seeds": [True, 2]}, "seeds must be integers"),
        ({"seeds": np.ones(2)}, "seeds must be integers"),
        ({"seeds": ["1", 2]}, "seeds must be integers"),
        ({"seeds": [2**63, 2]}, "seeds must be integers of 64 bits"),
        ({"seeds": 7}, "must be lists"),
        ({"styles": [["gold"], "wood"]}, "styles must be names"),
        ({"styles": [None, "wood"]}, "styles must be names"),
        ({"frames": _frames(2).tolist()}, "frames must be a NumPy array or a torch tensor, .* got list"),
        ({"frames": torch.from_numpy(_frames(2)).float()}, r"frames must be uint8 .* got torch.float32"),
        (
            {"frames": torch.from_numpy(_frames(2)), "masks": np.ones((2, 32, 64), bool)},
            "masks must be a torch tensor, as the frames are",
        ),
        ({"frames": _frames(2)[:, :0]}, "frames must have pixels"),
        ({"masks": [[True]]}, "masks must be a NumPy array"),
        ({"masks": torch.ones(2, 32, 64, dtype=torch.bool)}, "masks must be a NumPy array"),
        ({"masks": np.ones((2, 32, 63), bool)}, r"masks must be bool \[2, 32, 64\]"),
        ({"masks": np.ones((2, 32, 64), np.uint8)}, "got uint8"),
    ],
)
def test_bad_input(library: SpecialistLibrary, change: dict[str, object], message: str) -> None:
    arguments = {"frames": _frames(2), "styles": ["gold", "wood"], "seeds": [0, 1]} | change
    with pytest.raises(SimeditError, match=message):
        library.edit(arguments.pop("frames"), **arguments)


def test_tensors_are_edited_as_arrays_are(library: SpecialistLibrary) -> None:
    frames, masks = _frames(3), np.zeros((3, 32, 64), bool)
    masks[0, 4:20, 8:40] = masks[2, :, 30:] = True
    styles, seeds = ["gold", "wood", "gold"], [1, 2, 3]
    expected = library.edit(frames, styles=styles, masks=masks, seeds=seeds)
    tensors = torch.from_numpy(frames), torch.from_numpy(masks)
    edits = library.edit(tensors[0], styles=styles, masks=tensors[1], seeds=seeds)
    assert np.array_equal(edits.numpy(), expected)
    with isolated():  # as on a GPU, where they stay
        stayed = library._edit_all(tensors[0], styles, tensors[1], seeds)
    assert _far(stayed.numpy(), expected) <= 1


def test_detail_is_restored_for_the_specialists_that_ask_for_it(tiny_root: Path) -> None:
    frames, args = _frames(3), {"styles": ["gold", "wood", "gold"], "seeds": [0, 1, 2]}
    plain, detailed = (SpecialistLibrary(tiny_pipeline(), steps=2) for _ in range(2))
    for style in ("gold", "wood"):
        specialist = Specialist.load(tiny_root / style)
        plain.add(specialist)
        card = specialist.card.model_copy(update={"detail": style == "gold"})
        detailed.add(dataclasses.replace(specialist, card=card))
    before, after = (library.edit(frames, **args) for library in (plain, detailed))
    assert _far(after[1], before[1]) <= 1
    pipe = plain.pipeline
    with torch.no_grad():
        latents = pipe.encode_images(torch.tensor(frames).permute(0, 3, 1, 2) / 255)
        decoded = pipe.decode(latents * pipe.vae.config.scaling_factor, *frames.shape[1:3])
    expected = restore_detail(frames, before / 255, decoded.permute(0, 2, 3, 1).numpy())
    for i in (0, 2):
        assert np.abs(after[i] - 255 * expected[i]).max() <= 3  # `before` was rounded
        assert _far(after[i], before[i]) > 20


@pytest.fixture(scope="module")
def cropping(tiny_root: Path) -> SpecialistLibrary:
    """Gold edits a window, wood the whole frame."""
    library = SpecialistLibrary(tiny_pipeline(), steps=2, batch_size=2)
    for style in ("gold", "wood"):
        specialist = Specialist.load(tiny_root / style)
        card = specialist.card.model_copy(update={"crop": style == "gold"})
        library.add(dataclasses.replace(specialist, card=card))
    return library


def test_a_cropped_edit_depends_on_its_window_alone(cropping: SpecialistLibrary) -> None:
    frames, masks = np.repeat(_frames(1, 64, 96), 2, 0), np.zeros((2, 64, 96), bool)
    factor = cropping.pipeline.size_factor
    masks[:, 1:factor, 2 : 2 * factor] = True
    frames[1, :, 2 * factor :] = 255
    frames[1, factor:] = 0
    args = {"masks": masks, "seeds": [5, 5]}
    gold, wood = (cropping.edit(frames, styles=[style] * 2, **args) for style in ("gold", "wood"))
    assert (gold[0] != frames[0]).any(-1)[masks[0]].mean() > 0.5
    assert (gold[~masks] == frames[~masks]).all()
    assert (gold[0] == gold[1])[masks[0]].all()
    assert _far(wood[0][masks[0]], wood[1][masks[0]]) > 0


def test_windows_of_a_frame_share_its_noise(cropping: SpecialistLibrary) -> None:
    scale, factor = cropping.pipeline.vae_scale_factor, cropping.pipeline.size_factor
    rows, columns = slice(scale, scale + factor), slice(0, 2 * factor)
    whole, part = (
        cropping._noise((50, 96), [cropping._latent_window(window)], [3])()
        for window in ((slice(0, 50), slice(0, 96)), (rows, columns))
    )
    assert torch.equal(part, whole[..., 1 : 1 + factor // scale, : 2 * factor // scale])


def test_a_full_mask_is_no_window(cropping: SpecialistLibrary) -> None:
    frames = _frames(2)
    args = {"styles": ["gold", "wood"], "masks": np.ones(frames.shape[:3], bool), "seeds": [1, 2]}
    alone = [
        cropping.edit(frames[i : i + 1], **{key: value[i : i + 1] for key, value in args.items()})[0]
        for i in range(2)
    ]
    assert _far(cropping.edit(frames, **args), np.stack(alone)) <= 1
    args.pop("masks")
    assert _far(cropping.edit(frames, **args), np.stack(alone)) <= 1


def test_a_frame_with_an_empty_mask_costs_nothing(cropping: SpecialistLibrary) -> None:
    frames, masks = _frames(3), np.zeros((3, 32, 64), bool)
    masks[1, 8:24, 8:24] = True
    sizes = []
    handle = cropping.pipeline.vae.encoder.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    edits = cropping.edit(frames, styles=["gold"] * 3, masks=masks, seeds=[0, 1, 2])
    handle.remove()
    assert (edits[[0, 2]] == frames[[0, 2]]).all()
    assert _far(edits[1], frames[1]) > 0
    assert sum(sizes) <= 2  # the frame, and the style image once


def test_a_guidance_interval(tiny_root: Path, library: SpecialistLibrary) -> None:
    frame, one = _frames(1), {"styles": ["gold"], "seeds": [0]}
    some = SpecialistLibrary.load(tiny_root, device="cpu", steps=3, guidance_interval=(0, 0.5))
    assert _far(some.edit(frame, **one), library.edit(frame, **one)) > 0
    with pytest.raises(SimeditError, match="0 <= start <= end <= 1"):
        SpecialistLibrary(tiny_pipeline(), guidance_interval=(0.5, 0.2))


def test_the_named_style_image_is_used(tiny_root: Path) -> None:
    gold, frame = Specialist.load(tiny_root / "gold"), _frames(1)
    images = (np.zeros((40, 40, 3), np.uint8), gold.style_images[0])
    gold = dataclasses.replace(gold, weights=_loud(gold.weights))
    edits = []
    for index in (0, 1):
        card = gold.card.model_copy(update={"style_image": index})
        library = SpecialistLibrary(tiny_pipeline(), steps=2)
        library.add(Specialist(card, gold.weights, images))
        edits.append(library.edit(frame, styles=["gold"], seeds=[0]))
    plain = SpecialistLibrary(tiny_pipeline(), steps=2)
    plain.add(gold)
    assert _far(plain.edit(frame, styles=["gold"], seeds=[0]), edits[1]) <= 1
    assert _far(*edits) > 5


@pytest.mark.slow
def test_compiled_edits_are_those_of_the_plain_library(
    tiny_root: Path, library: SpecialistLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converted once for each style: not anew for a batch that is not full, and anew for another size."""
    converted = []
    convert = engine._convert

    def counted(network, inputs):
        converted.append(type(network).__name__)
        return convert(network, inputs)

    monkeypatch.setattr(engine, "_convert", counted)
    compiled = SpecialistLibrary.load(tiny_root, device="cpu", steps=3, batch_size=2, compile=True)
    frames, mixed = _frames(5), {"styles": ["gold", "wood", "gold", "gold", "wood"], "seeds": [0, 1, 2, 3, 4]}
    for _ in range(2):
        assert _far(compiled.edit(frames, **mixed), library.edit(frames, **mixed)) <= 1
    # Frames come in batches of two, style images one by one; a convolution follows each autoencoder's half.
    autoencoder = {"Encoder": 2, "Decoder": 1, "Conv2d": 3}
    assert Counter(converted) == autoencoder | {"_Open": 1}  # the U-Net, for all styles
    larger, one = _frames(1, 48, 48), {"styles": ["gold"], "seeds": [0]}
    assert _far(compiled.edit(larger, **one), library.edit(larger, **one)) <= 1
    compiled.remove("gold")
    gold = Specialist.load(tiny_root / "gold")
    loud = dataclasses.replace(gold, weights=_loud(gold.weights))
    library = SpecialistLibrary(tiny_pipeline(), steps=3)
    for each in (compiled, library):
        each.add(loud)
    assert _far(compiled.edit(frames[:1], **one), library.edit(frames[:1], **one)) <= 1


def test_compiling_for_the_cpu_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimeditError, match=r"needs float32, the base is in torch\.bfloat16"):
        SpecialistLibrary(tiny_pipeline().to(torch.bfloat16), compile=True)
    monkeypatch.setattr(engine, "has_openvino", lambda: False)
    with pytest.raises(SimeditError, match=r"pip install \"simedit\[cpu\]\""):
        SpecialistLibrary(tiny_pipeline(), compile=True)


def test_threads_may_share_a_library(tiny_root: Path) -> None:
    library = SpecialistLibrary.load(tiny_root, device="cpu", steps=2)
    frame, styles = _frames(1), ("gold", "wood")
    expected = {style: library.edit(frame, styles=[style], seeds=[1]) for style in styles}
    wrong = Counter()

    def work(style: str) -> None:
        for _ in range(10):
            wrong[style] += _far(library.edit(frame, styles=[style], seeds=[1]), expected[style]) > 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(style,)) for style in styles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == dict.fromkeys(styles, 0)


@contextmanager
def _default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "setting",
    [
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
        torch.enable_grad,
        _default_dtype,
    ],
    ids=["inference mode", "autocast", "default device", "gradients", "default dtype"],
)
@pytest.mark.parametrize("loaded", ["inside", "before"])
def test_what_a_caller_has_set_does_not_reach_edits(
    tiny_root: Path, library: SpecialistLibrary, setting: Callable[[], AbstractContextManager], loaded: str
) -> None:
    calls = [{"styles": styles, "seeds": [1, 2]} for styles in (["gold", "gold"], ["gold", "wood"])]
    expected = [library.edit(_frames(2), **call) for call in calls]
    within = SpecialistLibrary.load(tiny_root, device="cpu", steps=3) if loaded == "before" else None
    with setting():
        within = within or SpecialistLibrary.load(tiny_root, device="cpu", steps=3)
        inside = [within.edit(_frames(2), **call) for call in calls]
    after = [within.edit(_frames(2), **call) for call in calls]
    for found in (inside, after):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_16_bits_the_frames_beside_one_change_it_by_rounding_alone(
    tiny_root: Path, dtype: torch.dtype
) -> None:
    library = SpecialistLibrary.load(tiny_root, device="cpu", dtype=dtype, steps=2)
    frames = _frames(3)
    mixed = library.edit(frames, styles=["gold", "wood", "gold"], seeds=[0, 1, 2])
    for i, style in enumerate(("gold", "wood", "gold")):
        alone = library.edit(frames[i : i + 1], styles=[style], seeds=[i])
        assert np.abs(mixed[i].astype(int) - alone[0]).mean() < 2


@pytest.mark.parametrize("style", ["gold", "wood"])
def test_weights_and_edits_that_are_not_finite_are_refused(tiny_root: Path, style: str) -> None:
    """Large weights are numbers, and so is a card's large scale; their product is none."""
    specialist = Specialist.load(tiny_root / style)
    huge = specialist.card.model_copy(update={"lora_alpha": 1e300})
    library = SpecialistLibrary(tiny_pipeline(), steps=2)
    library.add(dataclasses.replace(specialist, card=huge))
    with pytest.raises(SimeditError, match=f"the edit in style {style} is not finite"):
        library.edit(_frames(1), styles=[style], seeds=[0])


def test_lab_is_the_labs_folder_and_an_unknown_one_suggests_it(tmp_path: Path) -> None:
    assert "gold" in SpecialistLibrary.load("lab", device="cpu").styles
    with pytest.raises(SimeditError, match="'lab' names the specialists that ship with simedit"):
        SpecialistLibrary.load(tmp_path / "absent")


def test_of_frames_of_another_size_than_the_trainings_it_warns_once(tiny_root: Path) -> None:
    gold = Specialist.load(tiny_root / "gold")
    trained = gold.card.model_copy(update={"training": {"config": {"width": 64, "height": 32}}})
    library = SpecialistLibrary(tiny_pipeline(), steps=1)
    library.add(dataclasses.replace(gold, card=trained))
    one = {"styles": ["gold"], "seeds": [0]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.edit(_frames(1), **one)
    with pytest.warns(UserWarning, match=r"trained on frames of 64 x 32 pixels .* these of 128 x 64"):
        library.edit(_frames(1, 64, 128), **one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.edit(_frames(1, 64, 128), **one)


def test_a_library_survives_pickling_and_copying(library: SpecialistLibrary) -> None:
    mixed = {"styles": ["gold", "wood"], "seeds": [0, 1]}
    expected = library.edit(_frames(2), **mixed)
    for again in (pickle.loads(pickle.dumps(library)), copy.deepcopy(library)):
        assert np.array_equal(again.edit(_frames(2), **mixed), expected)


def test_after_a_fork_it_says_what_to_do(library: SpecialistLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"styles": ["gold"], "seeds": [0]}
    monkeypatch.setattr("os.getpid", lambda: -1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    library.edit(_frames(1), **one)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(SimeditError, match="before this process was forked off"):
        library.edit(_frames(1), **one)


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**63 - 1, np.int64(5), np.uint8(7)])
def test_seeds_are_integers_of_64_bits(library: SpecialistLibrary, seed: int) -> None:
    library.edit(_frames(1), styles=["gold"], seeds=[seed])


def test_frames_in_any_memory(library: SpecialistLibrary) -> None:
    frames, one = _frames(2), {"styles": ["gold", "wood"], "seeds": [0, 1]}
    expected = library.edit(frames, **one)
    backwards = np.asfortranarray(frames[:, ::-1, ::-1])[:, ::-1, ::-1]
    frozen = frames.copy()
    frozen.flags.writeable = False
    for given in (backwards, frozen, frozen.copy(order="F")):
        assert np.array_equal(library.edit(given, **one), expected)


def test_a_specialist_of_steps_that_the_base_has_not_is_refused_when_it_is_added(tiny_root: Path) -> None:
    gold, library = Specialist.load(tiny_root / "gold"), SpecialistLibrary(tiny_pipeline())
    with pytest.raises(SimeditError, match="steps must be 1 to 1000, got 1001"):
        library.add(dataclasses.replace(gold, card=gold.card.model_copy(update={"steps": 1001})))
    assert library.styles == ()
    library.add(gold)


def test_what_was_distilled_takes_no_more_steps_than_it_learned(tiny_root: Path) -> None:
    gold = Specialist.load(tiny_root / "gold")
    card = gold.card.model_copy(update={"steps": 2, "sampler": "consistency"})
    for steps in (1, 2):
        SpecialistLibrary(tiny_pipeline(), steps=steps).add(dataclasses.replace(gold, card=card))
    with pytest.raises(SimeditError, match="'gold' is distilled to 2 denoising steps, with 20 it was never"):
        SpecialistLibrary(tiny_pipeline(), steps=20).add(dataclasses.replace(gold, card=card))


def test_folders_may_be_moved_and_linked(tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root, tmp_path / "moved")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "gold").symlink_to(tmp_path / "moved" / "gold")
    library = SpecialistLibrary.load(tmp_path / "links", device="cpu")
    assert Path(library._loaded["gold"].card.base) == tmp_path / "moved" / "base"
