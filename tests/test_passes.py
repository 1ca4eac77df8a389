from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gpu import Gpu
from small_finders import save_finders

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.passes import seed_of
from simedit.recipe import Pass, Recipe
from simedit.settings import Finders
from simedit.specialist import Specialist

H, W = 32, 64
FRAMES = np.random.default_rng(0).integers(0, 256, (5, H, W, 3)).astype(np.uint8)
FRAMES.setflags(write=False)
BLOCK = np.zeros((5, H, W), bool)
for i in range(5):
    BLOCK[i, 8 : 20 + i, 10 + i : 30] = True
MASKS = {"background": ~BLOCK, "block": BLOCK}


def recipe(root: Path, name: str, *passes: dict, **settings: Finders) -> Recipe:
    made = [Pass(**{**one, "specialist": Specialist.load(root / one["specialist"])}) for one in passes]
    return Recipe(name, tuple(made), **settings)


@pytest.fixture(scope="module")
def library(tiny_root: Path) -> SpecialistLibrary:
    """The styles gold and wood; and of both the recipes "both", "one" and "everywhere"."""
    found = SpecialistLibrary.load([tiny_root / "gold", tiny_root / "wood"], device="cpu", steps=2)
    first, second = {"specialist": "gold", "region": "background"}, {"specialist": "wood", "region": "block"}
    found.add(recipe(tiny_root, "both", first, second))
    found.add(recipe(tiny_root, "one", second))
    found.add(recipe(tiny_root, "everywhere", {"specialist": "gold"}, {"specialist": "wood"}))
    return found


def far(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_each_pass_sees_the_output_of_the_one_before_and_edits_its_region_alone(library) -> None:
    seeds = [7, 8, 9, 10, 11]
    found = library.edit(FRAMES, styles=["both"] * 5, masks=MASKS, seeds=seeds)
    first = library.edit(FRAMES, styles=["gold"] * 5, masks=MASKS["background"], seeds=seeds)
    drawn = [seed_of(seed, 1) for seed in seeds]
    second = library.edit(first, styles=["wood"] * 5, masks=MASKS["block"], seeds=drawn)
    assert np.array_equal(found, second)
    assert np.array_equal(found[~BLOCK], first[~BLOCK])
    alone = library.edit(FRAMES, styles=["wood"] * 5, masks=BLOCK, seeds=drawn)
    assert far(found[BLOCK], alone[BLOCK]) > 1  # it did not see the rendered background
    assert (found != FRAMES).any(-1).mean() > 0.95


def test_a_recipe_of_one_pass_is_its_specialist(library) -> None:
    given = {"masks": MASKS["block"], "seeds": [3] * 5}
    plain = library.edit(FRAMES, styles=["wood"] * 5, **given)
    assert np.array_equal(library.edit(FRAMES, styles=["one"] * 5, masks=MASKS, seeds=[3] * 5), plain)
    whole = library.edit(FRAMES[:1], styles=["everywhere"], seeds=[3])
    first = library.edit(FRAMES[:1], styles=["gold"], seeds=[3])
    assert np.array_equal(whole, library.edit(first, styles=["wood"], seeds=[seed_of(3, 1)]))


def test_a_batch_of_recipes_and_styles_equals_single_edits(library) -> None:
    styles, seeds = ["both", "wood", "one", "everywhere", "both"], [1, 2, 3, 4, 5]
    masks = {"": BLOCK, **MASKS}
    together = library.edit(FRAMES, styles=styles, masks=masks, seeds=seeds)
    for i, style in enumerate(styles):
        own = {region: mask[i : i + 1] for region, mask in masks.items()}
        alone = library.edit(FRAMES[i : i + 1], styles=[style], masks=own, seeds=[seeds[i]])
        assert far(together[i], alone[0]) <= 2  # a pass over what differs by rounding


def test_passes_share_no_noise_and_seeds_stay_in_their_range() -> None:
    seeds = (0, 1, -1, 2**63 - 1, -(2**63))
    drawn = [seed_of(seed, number) for seed, number in itertools.product(seeds, range(3))]
    assert len(set(drawn)) == len(drawn)
    assert all(-(2**63) <= seed < 2**63 for seed in drawn)
    assert seed_of(5, 0) == 5
    assert seed_of(5, 1) == 3462322709277726755
    assert seed_of(np.int64(5), 1) == seed_of(5, 1)


def test_an_empty_mask_of_a_pass_leaves_its_frame_to_the_others(library) -> None:
    empty = {**MASKS, "block": BLOCK.copy()}
    empty["block"][0] = False
    found = library.edit(FRAMES, styles=["both"] * 5, masks=empty, seeds=[0] * 5)
    full = library.edit(FRAMES, styles=["both"] * 5, masks=MASKS, seeds=[0] * 5)
    assert np.array_equal(found[0][BLOCK[0]], FRAMES[0][BLOCK[0]])
    assert np.array_equal(found[0][~BLOCK[0]], full[0][~BLOCK[0]])
    assert np.array_equal(found[1:], full[1:])
    none = {region: np.zeros_like(BLOCK) for region in MASKS}
    assert np.array_equal(library.edit(FRAMES, styles=["both"] * 5, masks=none, seeds=[0] * 5), FRAMES)


@pytest.mark.parametrize(
    ("style", "masks", "message"),
    [
        ("both", None, "'both' edits the region 'background', but there are no masks"),
        ("both", BLOCK, "'both' edits the region 'background', but the masks are not by region"),
        ("both", {"background": BLOCK, "blok": BLOCK}, "'block', but the masks there are: background, blok"),
        ("wood", MASKS, r"'wood' has no region of its own, .* \(background, block\)"),
        ("both", {**MASKS, "block": BLOCK[1:]}, r"masks\['block'\] must be bool \[5, 32, 64\]"),
        ("both", {**MASKS, "block": BLOCK.tolist()}, r"masks\['block'\] must be a NumPy array"),
        ("both", {}, "masks by region must be a mapping from names to masks"),
        ("both", {3: BLOCK}, "masks by region must be a mapping from names to masks"),
        ("bth", MASKS, r"unknown style 'bth': did you mean 'both'"),
    ],
)
def test_mistakes_are_named_before_anything_is_edited(library, style, masks, message, monkeypatch) -> None:
    monkeypatch.setattr(library, "_edit_once", lambda *_: pytest.fail("edited"))
    with pytest.raises(SimeditError, match=message):
        library.edit(FRAMES, styles=[style] * 5, masks=masks, seeds=[0] * 5)


def test_a_recipe_is_added_and_removed_whole(tiny_root: Path) -> None:
    library = SpecialistLibrary.load(tiny_root / "gold", device="cpu", steps=1)
    before = library.edit(FRAMES[:1], styles=["gold"], seeds=[0])
    made = recipe(tiny_root, "both", {"specialist": "wood"}, {"specialist": "stone"})
    library.add(made)
    with pytest.raises(SimeditError, match="already holds style 'both'"):
        library.add(made)
    assert library.styles == ("gold", "both")
    library.remove("both")
    assert library.styles == ("gold",)
    assert len(library._loaded) == 1
    second = made.passes[1]
    weights = {k: v for k, v in second.specialist.weights.items() if "conv_in" not in k}
    broken = Pass(Specialist(second.specialist.card, weights, second.specialist.style_images))
    with pytest.raises(SimeditError, match="does not fit the base"):
        library.add(Recipe("both", (made.passes[0], broken)))
    assert (library.styles, len(library._loaded)) == (("gold",), 1)
    assert np.array_equal(library.edit(FRAMES[:1], styles=["gold"], seeds=[0]), before)


@pytest.fixture(scope="module")
def finders(tmp_path_factory: pytest.TempPathFactory) -> Finders:
    """Untrained, and found is whatever passes next to no thresholds."""
    detector, segmenter = save_finders(tmp_path_factory.mktemp("finders"))
    return Finders(detector=detector, segmenter=segmenter, box_threshold=1e-12, text_threshold=1e-12)


def looking(root: Path, finders: Finders, *nouns: str) -> SpecialistLibrary:
    library = SpecialistLibrary.load(root / "stone", device="cpu", steps=2)
    passes = {"specialist": "gold"}, {"specialist": "wood", "nouns": nouns or ("cupboard", "telephone booth")}
    library.add(recipe(root, "looks", *passes, regions=finders))
    return library


def dark(images: torch.Tensor, nouns: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds what is red and dark for "red", and so on; of another name nothing."""
    channels = {"red": 0, "green": 1}
    shown = [
        image[channels[n]] < 0.3 if n in channels else image[0] >= 0
        for image, n in zip(images, nouns, strict=True)
    ]
    return torch.stack(shown), torch.tensor([noun in channels for noun in nouns])


def test_nouns_are_found_in_the_frame_as_given(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simedit.passes.finder", lambda *_: dark)
    library, frames, seeds = looking(tiny_root, Finders(), "red", "green", "blue"), FRAMES[:2], [0, 1]
    with pytest.warns(UserWarning, match="'looks': no 'blue' was found in a frame"):
        found = library.edit(frames, styles=["looks"] * 2, seeds=seeds)
    shown = (frames[..., :2] < 0.3 * 255).any(-1)
    plain = SpecialistLibrary.load([tiny_root / "gold", tiny_root / "wood"], device="cpu", steps=2)
    gold = plain.edit(frames, styles=["gold"] * 2, seeds=seeds)
    assert not np.array_equal((gold[..., :2] < 0.3 * 255).any(-1), shown)
    drawn = [seed_of(seed, 1) for seed in seeds]
    assert np.array_equal(found, plain.edit(gold, styles=["wood"] * 2, masks=shown, seeds=drawn))
    within = np.zeros_like(shown)
    within[:, :16] = True  # a caller's one mask bounds what is found
    with pytest.warns(UserWarning, match="'blue'"):
        bounded = library.edit(frames, styles=["looks"] * 2, masks=within, seeds=seeds)
    with pytest.warns(UserWarning, match="'blue'"):
        same = library.edit(frames, styles=["looks"] * 2, masks={"": within, "a": shown}, seeds=seeds)
    assert np.array_equal(bounded, same)
    assert np.array_equal(bounded[~within], frames[~within])
    gold = plain.edit(frames, styles=["gold"] * 2, masks=within, seeds=seeds)
    assert np.array_equal(bounded, plain.edit(gold, styles=["wood"] * 2, masks=within & shown, seeds=drawn))


def test_what_finds_nouns_goes_with_the_library(tiny_root: Path, finders: Finders) -> None:
    library = looking(tiny_root, finders)
    library.edit(FRAMES[:1], styles=["looks"], seeds=[0])  # transformers hooks models that were used
    again = pickle.loads(pickle.dumps(library))
    one, other = (each.edit(FRAMES[:1], styles=["looks"], seeds=[0]) for each in (library, again))
    assert np.array_equal(one, other)
    look = library._styles["looks"][1].look
    assert look is not None
    shown = look(FRAMES[0], "looks")
    assert (shown.dtype, shown.shape) == (bool, (H, W))
    assert shown.any()


def test_what_is_not_found_is_not_repainted_and_said(tiny_root: Path, finders: Finders) -> None:
    library = looking(tiny_root, finders.model_copy(update={"box_threshold": 1.0}))
    with pytest.warns(UserWarning, match="'looks': no 'cupboard' was found in a frame"):
        found = library.edit(FRAMES[:1], styles=["looks"], seeds=[0])
    library.add(Recipe("first", (Pass(Specialist.load(tiny_root / "gold")),)))
    assert np.array_equal(found, library.edit(FRAMES[:1], styles=["first"], seeds=[0]))


def test_what_finds_nouns_must_be_there(tiny_root: Path, finders: Finders) -> None:
    gone = finders.model_copy(update={"segmenter": "./nowhere"})
    with pytest.raises(SimeditError, match="nowhere"):
        looking(tiny_root, gone)
    library = SpecialistLibrary.load(tiny_root / "stone", device="cpu")
    library.add(recipe(tiny_root, "no_nouns", {"specialist": "gold"}, regions=gone))  # loads none of it


def test_tensors_on_a_gpu_stay_there(tiny_root: Path, gpu: Gpu) -> None:
    made = {"specialist": "gold", "region": "background"}, {"specialist": "wood", "region": "block"}
    libraries = []
    for device in ("cpu", "cuda"):
        libraries.append(
            SpecialistLibrary.load(tiny_root / "stone", device=device, dtype=torch.float32, steps=2)
        )
        libraries[-1].add(recipe(tiny_root, "both", *made))
    on_cpu, on_gpu = libraries
    asked = {"styles": ["both", "stone"], "seeds": [0, 1]}
    masks = {"": MASKS["block"][:2], **{region: mask[:2] for region, mask in MASKS.items()}}
    expected = on_cpu.edit(FRAMES[:2].copy(), masks=masks, **asked)
    there = {region: torch.from_numpy(mask).to("cuda") for region, mask in masks.items()}
    found = on_gpu.edit(torch.from_numpy(FRAMES[:2].copy()).to("cuda"), masks=there, **asked)
    assert found.device.type == "cuda"
    assert far(found.cpu().numpy(), expected) <= 40
    assert np.abs(found.cpu().numpy().astype(int) - expected).mean() < 1
    there["block"] = there["block"].cpu()
    with pytest.raises(SimeditError, match=r"masks\['block'\] must be on the frames' device"):
        on_gpu.edit(torch.from_numpy(FRAMES[:2].copy()).to("cuda"), masks=there, **asked)
