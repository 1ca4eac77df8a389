from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simedit.errors import SimeditError
from simedit.training.config import RegionsConfig, StyleConfig
from simedit.training.regions import Regions, _largest, fit_style_masks


class RedSquare:
    """Looks for "red" by its colour, and for nothing else."""

    def __init__(self):
        self.looked: list[tuple[int, str]] = []

    def __call__(self, images, nouns):
        assert images.dtype == torch.float32
        assert 0 <= images.min() <= images.max() <= 1
        self.looked += [(len(images), noun) for noun in set(nouns)]
        masks = (images[:, 0] > 0.9) & (images[:, 1] < 0.1)
        masks &= torch.tensor([noun == "red" for noun in nouns])[:, None, None]
        found = masks.flatten(1).any(1)
        masks[~found] = True
        return masks, found


def red(height: int, width: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """A white frame with a red square of 5 pixels, and where it is; none at 0."""
    frame, mask = np.full((height, width, 3), 255, np.uint8), np.zeros((height, width), bool)
    if top:
        frame[top : top + 5, 3:8], mask[top : top + 5, 3:8] = (255, 0, 0), True
    return frame, mask


def no_weights():
    raise AssertionError("nothing is to be looked for")


class TestRegions:
    def test_the_inputs_own_masks(self):
        config, style = RegionsConfig(inputs="simulator", styles="full-frame"), StyleConfig()
        image = red(20, 30, 2)[0]
        regions = Regions(config, style, [image], no_weights)
        frames, masks = zip(*(red(12, 13, top) for top in (0, 1)), strict=True)
        np.testing.assert_array_equal(regions.inputs([4, 5], np.stack(frames), masks), masks)
        assert regions.styles[0].shape == (20, 30)
        assert regions.styles[0].all()
        with pytest.raises(SimeditError, match="input 5 has no mask"):
            regions.inputs([4, 5], np.stack(frames), [masks[0], None])

    @pytest.mark.parametrize("kind", ["full-frame", "grounded-sam2"])
    def test_no_noun_is_the_whole_frame(self, kind):
        config, style = RegionsConfig(inputs=kind, styles=kind), StyleConfig(noun=None, style_noun=None)
        regions = Regions(config, style, [red(20, 30, 2)[0]], no_weights)
        masks = regions.inputs([0], red(12, 13, 1)[0][None], [None])
        assert (masks.dtype, masks.shape) == (bool, (1, 12, 13))
        assert masks.all()
        assert regions.styles[0].all()
        assert regions.found == {}
        assert regions.styles_found == []

    def test_nouns_are_looked_for_once_each(self):
        segment = RedSquare()
        style_images = [red(20, 30, 2), red(16, 21, 0)]
        regions = Regions(
            RegionsConfig(inputs="grounded-sam2"),
            StyleConfig(noun="red", style_noun="red"),
            [image for image, _ in style_images],
            lambda: segment,
        )
        np.testing.assert_array_equal(regions.styles[0], style_images[0][1])
        assert regions.styles[1].shape == (16, 21)
        assert regions.styles[1].all()
        assert regions.styles_found == [True, False]
        assert segment.looked == [(1, "red")] * 2

        pictures = {index: red(12, 13, top) for index, top in ((3, 1), (8, 5), (2, 0))}
        frames = {index: frame for index, (frame, _) in pictures.items()}
        expected = {index: mask if mask.any() else ~mask for index, (_, mask) in pictures.items()}
        for indices in ([3, 8], [8, 2, 8], [2, 3]):
            masks = regions.inputs(indices, np.stack([frames[i] for i in indices]), [None] * len(indices))
            np.testing.assert_array_equal(masks, [expected[i] for i in indices])
        assert segment.looked[2:] == [(2, "red"), (1, "red")]
        assert regions.found == {3: True, 8: True, 2: False}

    def test_only_the_style_images_are_searched(self):
        segment = RedSquare()
        style = StyleConfig(noun="cupboard", style_noun="red")
        regions = Regions(RegionsConfig(inputs="full-frame"), style, [red(20, 30, 2)[0]], lambda: segment)
        assert regions.inputs([0], red(12, 13, 1)[0][None], [None]).all()
        assert segment.looked == [(1, "red")]
        np.testing.assert_array_equal(regions.styles[0], red(20, 30, 2)[1])

    def test_the_style_images_masks_from_files(self, tmp_path: Path):
        expected = [red(20, 30, 2), red(40, 24, 9)]
        for number, (_, mask) in zip((2, 10), expected, strict=True):
            Image.fromarray(mask).resize((2 * mask.shape[1], 2 * mask.shape[0])).save(
                tmp_path / f"{number}.png"
            )
        config = RegionsConfig(inputs="full-frame", styles="files", style_masks=str(tmp_path))
        images = [image for image, _ in expected]
        regions = Regions(config, StyleConfig(), images, no_weights)
        for found, (_, mask) in zip(regions.styles, expected, strict=True):
            np.testing.assert_array_equal(found, mask)
        with pytest.raises(SimeditError, match="2 masks for 1 style images"):
            Regions(config, StyleConfig(), images[:1], no_weights)
        with pytest.raises(SimeditError, match=r"2\.png is 60 x 40 .* must sort alike"):
            Regions(config, StyleConfig(), images[::-1], no_weights)


class TestFitStyleMasks:
    def test_they_are_cut_as_the_images_are(self):
        mask = np.zeros((64, 256), bool)
        mask[:, 120:] = True
        fitted = fit_style_masks([mask, np.ones((40, 40), bool)], 32, 32)
        assert (fitted.dtype, fitted.shape) == (bool, (2, 32, 32))
        assert 0.6 < fitted[0].mean() < 0.7
        assert fitted[1].all()

    @pytest.mark.parametrize("place", [(slice(0, 256), slice(0, 200)), (slice(7, 8), slice(500, 501))])
    def test_a_style_of_which_nothing_is_left_is_refused(self, place):
        mask = np.zeros((256, 1024), bool)
        mask[place] = True
        with pytest.raises(SimeditError, match=r"style image 2 is too small, or lies outside the 256 x 128"):
            fit_style_masks([np.ones((40, 40), bool), mask], 256, 128)


class TestCut:
    def _regions(self, images, masks):
        regions = Regions(RegionsConfig(styles="full-frame"), StyleConfig(), images, no_weights)
        regions.styles = masks
        return regions

    def test_nothing_is_left_but_the_style(self):
        image = np.random.default_rng(0).integers(0, 200, (60, 80, 3), np.uint8)
        mask = np.zeros((60, 80), bool)
        mask[20:50, 10:40] = True
        mask[30, 60:] = True
        image[~mask] = 255
        regions = self._regions([image], [mask])
        (cut,) = regions.cut([image])
        assert cut.shape == image.shape
        assert cut.max() < 255
        inner = image[21:49, 11:39]  # without its border
        assert np.array_equal(cut[16:44, 26:54], inner)
        assert np.array_equal(cut[15], cut[16])  # mirrored
        assert regions.styles[0].all()

    def test_a_whole_image_stays_as_it_is(self):
        image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
        (cut,) = self._regions([image], [np.ones((40, 30), bool)]).cut([image])
        assert np.array_equal(cut, image)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_rectangle_is_the_largest(self, seed):
        mask = np.random.default_rng(seed).random((9, 11)) < 0.8
        rows, columns = _largest(mask)
        assert mask[rows, columns].all()
        most = max(
            (b - t) * (r - left)
            for t in range(9)
            for b in range(t + 1, 10)
            for left in range(11)
            for r in range(left + 1, 12)
            if mask[t:b, left:r].all()
        )
        assert mask[rows, columns].size == most

    def test_too_little_of_the_style_is_refused(self):
        image, mask = red(40, 40, 2)
        with pytest.raises(SimeditError, match=r"style image 1 holds no rectangle of 16 x 16 pixels"):
            self._regions([image], [mask]).cut([image])

    def test_whole_images_cannot_be_cut(self):
        with pytest.raises(ValueError, match="cut needs masks"):
            RegionsConfig(styles="full-frame", cut=True)
