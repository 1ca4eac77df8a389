from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simedit.errors import SimeditError
from simedit.training.config import ImagesConfig, RegionsConfig
from simedit.training.data import (
    STYLE_SIDE,
    ImageInputs,
    draws,
    fit,
    read_photo,
    read_style_images,
)
from simedit.training.regions import check_masks


def save(
    path: Path, pixels: np.ndarray | None = None, size: tuple[int, int] = (48, 40), seed: int = 0
) -> Path:
    if pixels is None:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def half(width: int, height: int) -> np.ndarray:
    """A mask: white in the left half."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


class TestReadPhoto:
    def test_grey_and_palette_become_rgb(self, tmp_path):
        ramp = np.tile(np.arange(40, dtype=np.uint8) * 6, (36, 1))
        grey = read_photo(save(tmp_path / "grey.png", ramp))
        np.testing.assert_array_equal(grey, np.stack([ramp] * 3, -1))
        Image.fromarray(ramp).convert("P").save(tmp_path / "palette.png")
        np.testing.assert_array_equal(read_photo(tmp_path / "palette.png"), grey)

    def test_sixteen_bits_become_eight(self, tmp_path):
        levels = np.tile(np.arange(0, 65536, 1638, dtype=np.uint16), (40, 1))
        photo = read_photo(save(tmp_path / "deep.png", levels))
        expected = np.round(levels / 65535 * 255).astype(np.uint8)
        np.testing.assert_array_equal(photo, np.stack([expected] * 3, -1))

    def test_other_numbers_are_refused(self, tmp_path):
        for name, value in (("float.tif", np.float32(0.5)), ("wide.tif", np.int32(70000))):
            with pytest.raises(SimeditError, match=f"{name} has pixels of more than 16 bits"):
                read_photo(save(tmp_path / name, np.full((40, 40), value)))

    def test_what_is_transparent_is_laid_on_white(self, tmp_path):
        pixels = np.zeros((40, 40, 4), np.uint8)
        pixels[..., 0] = 200
        pixels[:10, :, 3], pixels[10:20, :, 3] = 255, 51  # opaque, a fifth, and nothing
        photo = read_photo(save(tmp_path / "rgba.png", pixels))
        for row, colour in ((0, [200, 0, 0]), (15, [244, 204, 204]), (30, [255, 255, 255])):
            np.testing.assert_array_equal(photo[row, 0], colour)
        palette = Image.fromarray(np.zeros((40, 40), np.uint8)).convert("P")
        palette.save(tmp_path / "palette.png", transparency=0)
        assert (read_photo(tmp_path / "palette.png") == 255).all()

    def test_exif_rotation_is_applied(self, tmp_path):
        image = Image.new("RGB", (48, 40))
        exif = image.getexif()
        exif[0x0112] = 6  # a phone held upright
        image.save(tmp_path / "photo.jpg", exif=exif)
        assert read_photo(tmp_path / "photo.jpg").shape == (48, 40, 3)

    @pytest.mark.parametrize("size", [(1, 1), (31, 200), (200, 31)])
    def test_small_ones_are_refused(self, tmp_path, size):
        with pytest.raises(SimeditError, match=rf"p\.png is {size[0]} x {size[1]} pixels: 32 a side"):
            read_photo(save(tmp_path / "p.png", size=size))


class TestFit:
    @pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 32), (32, 96)])
    def test_covers_and_cuts_at_the_centre(self, width, height):
        x, y = np.meshgrid(np.arange(120), np.arange(80))
        image = np.stack([x * 2, y * 3, x * 0], -1).astype(np.uint8)
        fitted = fit(image, width, height)
        assert (fitted.dtype, fitted.shape) == (np.uint8, (height, width, 3))
        scale = max(width / 120, height / 80)
        left, top = (120 - width / scale) / 2, (80 - height / scale) / 2
        # away from the edges, where a filter has nothing on its other side
        columns = ((np.arange(width) + 0.5) / scale + left - 0.5)[2:-2] * 2
        rows = ((np.arange(height) + 0.5) / scale + top - 0.5)[2:-2] * 3
        assert np.abs(fitted[2:-2, 2:-2, 0] - columns).max() <= 1
        assert np.abs(fitted[2:-2, 2:-2, 1] - rows[:, None]).max() <= 1

    def test_shrinking_averages(self):
        checks = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
        fitted = fit(np.stack([checks] * 3, -1), 32, 32)
        assert np.abs(fitted.astype(int) - 127.5).max() < 10

    def test_masks_keep_what_is_at_least_half_covered(self):
        mask = np.zeros((8, 8), bool)
        mask[:4, :4] = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0]]
        np.testing.assert_array_equal(
            fit(mask, 4, 4), [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
        )
        np.testing.assert_array_equal(fit(mask, 16, 16), mask.repeat(2, 0).repeat(2, 1))

    def test_a_mask_stays_on_its_picture(self):
        mask = np.zeros((80, 120), bool)
        mask[20:50, 40:90] = True
        image = np.stack([mask * np.uint8(255)] * 3, -1)
        assert ((fit(image, 50, 50)[..., 0] > 127) != fit(mask, 50, 50)).mean() < 0.01


class TestStyleImages:
    def test_natural_order_and_size(self, tmp_path):
        for number, size in ((10, (64, 48)), (2, (2 * STYLE_SIDE, STYLE_SIDE)), (1, (40, 50))):
            save(tmp_path / f"gold {number}.png", size=size, seed=number)
        images = read_style_images(tmp_path)
        shapes = [(50, 40, 3), (STYLE_SIDE // 2, STYLE_SIDE, 3), (48, 64, 3)]
        assert [(image.dtype, image.shape) for image in images] == [(np.uint8, shape) for shape in shapes]
        np.testing.assert_array_equal(images[0], read_photo(tmp_path / "gold 1.png"))

    def test_which_they_are_is_said(self, tmp_path, capsys):
        for name in ("b 10.JPG", "b 2.jfif", "a.png"):
            save(tmp_path / name)
        (tmp_path / "notes.txt").write_text("x")
        assert len(read_style_images(tmp_path)) == 3
        said = capsys.readouterr().err
        assert "style images (3): a.png, b 2.jfif, b 10.JPG" in said
        assert "left out: notes.txt" in said

    def test_the_processes_of_one_training_say_it_once(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        read_style_images(save(tmp_path / "a.png"))
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("name", ["d.heic", "d.AVIF", "d.gif"])
    def test_a_photograph_that_cannot_be_read_is_not_left_out(self, tmp_path, name):
        save(tmp_path / "a.png")
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(SimeditError, match=rf"cannot read .*{name}: convert it to PNG or JPEG"):
            read_style_images(tmp_path)

    def test_a_folder_of_folders_is_refused(self, tmp_path):
        for folder in ("gold", "wood", "masks"):
            save(tmp_path / folder / "1.png")
        with pytest.raises(SimeditError, match=r"folders of its own, such as gold/1\.png"):
            read_style_images(tmp_path)

    def test_one_file(self, tmp_path):
        (image,) = read_style_images(save(tmp_path / "a.png"))
        assert image.shape == (40, 48, 3)

    def test_none_is_explained(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no image")
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(
                SimeditError, match=r"no style images: .*photographs that show the style, five"
            ):
                read_style_images(path)

    def test_corrupt_one_is_named(self, tmp_path):
        save(tmp_path / "a.png")
        path = save(tmp_path / "b.png", size=(200, 200))
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(SimeditError, match=r"cannot read the image .*b\.png"):
            read_style_images(tmp_path)


class TestImageInputs:
    def test_any_depth_and_masks_by_path(self, tmp_path):
        for seed, name in enumerate(("a.jpg", "street/a.png", "street/b.png")):
            save(tmp_path / "photos" / name, size=(96, 64), seed=seed)
            mask = half(96, 64) if seed else np.zeros((64, 96), np.uint8)
            save((tmp_path / "masks" / name).with_suffix(".png"), mask)
        config = ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
        inputs = ImageInputs(config, 48, 32)
        assert len(inputs) == 3
        for i, name in enumerate(("a.jpg", "street/a.png", "street/b.png")):
            frame, mask = inputs[i]
            np.testing.assert_array_equal(frame, fit(read_photo(tmp_path / "photos" / name), 48, 32))
            np.testing.assert_array_equal(mask, half(48, 32) > 0 if i else np.zeros((32, 48), bool))
        check_masks(RegionsConfig(inputs="files"), inputs)
        plain = ImageInputs(ImagesConfig(path=str(tmp_path / "photos")), 48, 32)
        assert plain[2][1] is None

    def test_masks_by_region(self, tmp_path):
        for name in ("a.png", "b.png"):
            save(tmp_path / "photos" / name, size=(96, 64))
            save(tmp_path / "block" / name, half(96, 64))
            save(tmp_path / "table" / name, 255 - half(96, 64))
        masks = {region: str(tmp_path / region) for region in ("block", "table")}
        inputs = ImageInputs(ImagesConfig(path=str(tmp_path / "photos"), masks=masks, region="table"), 48, 32)
        assert list(inputs.regions(1)) == ["block", "table"]
        np.testing.assert_array_equal(inputs.regions(1)["block"], half(48, 32) > 0)
        np.testing.assert_array_equal(inputs[1][1], inputs.regions(1)["table"])
        plain = ImageInputs(ImagesConfig(path=str(tmp_path / "photos"), masks=masks), 48, 32)
        assert plain[0][1] is None
        one = ImageInputs(ImagesConfig(path=str(tmp_path / "photos"), masks=masks["block"]), 48, 32)
        assert one.regions(0) == {}
        save(tmp_path / "table" / "b.png", half(64, 96))
        with pytest.raises(SimeditError, match=r"table/b\.png is 64 x 96 pixels and .* is 96 x 64"):
            ImageInputs(ImagesConfig(path=str(tmp_path / "photos"), masks=masks), 48, 32)

    def test_counts_and_empty_masks_are_said(self, tmp_path, capsys):
        beside, black = np.zeros((40, 200), np.uint8), np.zeros((40, 200), np.uint8)
        beside[:, :9] = 255  # cut off at the centre
        for name, mask in (("a.png", half(200, 40)), ("b.png", black), ("c.png", beside)):
            save(tmp_path / "photos" / name, size=(200, 40))
            save(tmp_path / "masks" / name, mask)
        config = ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
        inputs = ImageInputs(config, 32, 32)
        said = capsys.readouterr().err
        assert "3 input images" in said
        assert "2 of 3 masks are black all over" in said
        assert f"{tmp_path / 'masks' / 'b.png'}, {tmp_path / 'masks' / 'c.png'}" in said
        assert not inputs[2][1].any()

    def test_two_masks_of_one_image_are_refused(self, tmp_path):
        save(tmp_path / "photos" / "a.png")
        for name in ("a.png", "a.bmp"):
            save(tmp_path / "masks" / name, half(48, 40))
        config = ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
        with pytest.raises(SimeditError, match=r"a\.bmp and .*a\.png are both the mask of one image"):
            ImageInputs(config, 32, 32)

    def test_bad_folders_are_explained(self, tmp_path):
        with pytest.raises(SimeditError, match="there is no folder"):
            ImageInputs(ImagesConfig(path=str(tmp_path / "nowhere")), 32, 32)
        with pytest.raises(SimeditError, match="no images in"):
            ImageInputs(ImagesConfig(path=str(tmp_path)), 32, 32)
        save(tmp_path / "photos" / "a.png")
        save(tmp_path / "photos" / "masks" / "a.png")
        with pytest.raises(SimeditError, match="lie inside"):
            ImageInputs(
                ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "photos" / "masks")), 32, 32
            )

    def test_every_bad_image_is_found_at_once(self, tmp_path):
        save(tmp_path / "a.png")
        save(tmp_path / "b.png", size=(1, 1))
        with pytest.raises(SimeditError, match=r"b\.png is 1 x 1 pixels"):
            ImageInputs(ImagesConfig(path=str(tmp_path)), 32, 32)
        (tmp_path / "b.png").write_text("not what the name says")
        with pytest.raises(SimeditError, match=r"cannot read the image .*b\.png"):
            ImageInputs(ImagesConfig(path=str(tmp_path)), 32, 32)

    def test_missing_and_wrong_masks_are_named(self, tmp_path):
        for i in range(7):
            save(tmp_path / "photos" / f"{i}.png")
        save(tmp_path / "masks" / "0.png", half(48, 40))
        config = ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
        with pytest.raises(SimeditError, match=r"no mask for 1\.png, .*5\.png and 1 more"):
            ImageInputs(config, 32, 32)
        for i in range(7):
            save(tmp_path / "masks" / f"{i}.png", half(40, 48) if i == 4 else half(48, 40))
        with pytest.raises(SimeditError, match=r"4\.png is 40 x 48 pixels and .*4\.png is 48 x 40"):
            ImageInputs(config, 32, 32)

    def test_masks_that_are_empty_everywhere(self, tmp_path):
        for i in range(3):
            save(tmp_path / "photos" / f"{i}.png")
            save(tmp_path / "masks" / f"{i}.png", np.full((40, 48), i, np.uint8))  # label numbers
        config = ImagesConfig(path=str(tmp_path / "photos"), masks=str(tmp_path / "masks"))
        with pytest.raises(SimeditError, match="the masks of all 3 inputs are empty"):
            check_masks(RegionsConfig(inputs="files"), ImageInputs(config, 32, 32))
        check_masks(RegionsConfig(inputs="full-frame"), ImageInputs(config, 32, 32))


class TestDraws:
    def test_every_input_comes_once_a_pass(self):
        every = [draw.input for step in range(9) for draw in draws(3, step, 8, 12, 5, 5)]
        passes = [every[start : start + 12] for start in range(0, 72, 12)]
        assert all(sorted(one) == list(range(12)) for one in passes)
        assert len({tuple(one) for one in passes}) == 6

    def test_more_samples_than_inputs(self):
        counts = Counter(draw.input for draw in draws(0, 0, 20, 3, 1, 1))
        assert sorted(counts) == [0, 1, 2]
        assert set(counts.values()) <= {6, 7}

    @pytest.mark.parametrize("samples", [5, 8])
    def test_style_images_take_turns_and_every_sample_meets_all(self, samples):
        table = np.array([[draw.style for draw in draws(1, step, samples, 9, 2, 5)] for step in range(5)])
        assert (np.diff(table, axis=1) % 5 == 1).all()
        assert all(sorted(column) == [0, 1, 2, 3, 4] for column in table.T)

    def test_a_step_follows_from_seed_and_step_alone(self):
        later = draws(7, 4, 16, 30, 9, 5)
        assert later == draws(7, 4, 16, 30, 9, 5)
        assert later != draws(8, 4, 16, 30, 9, 5)
        assert later != draws(7, 5, 16, 30, 9, 5)

    def test_noise_is_never_the_same_and_wordings_all_occur(self):
        every = [draw for seed in range(3) for step in range(8) for draw in draws(seed, step, 64, 7, 9, 5)]
        assert len({draw.noise_seed for draw in every}) == len(every)
        assert all(0 <= draw.noise_seed < 2**63 for draw in every)
        counts = Counter(draw.wording for draw in every)
        assert sorted(counts) == list(range(9))
        assert min(counts.values()) > 0.7 * len(every) / 9
