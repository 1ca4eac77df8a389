from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from simedit.errors import SimeditError
from simedit.images import FOREIGN, IMAGES, images_in, open_image, read_image, read_mask


def colours(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: Image.Image | np.ndarray | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = colours() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


class TestImagesIn:
    def test_any_depth_any_case_and_nothing_hidden(self, tmp_path, capsys):
        wanted = ["B.JPG", "a.png", "deep/er/c.JfIf", "d.jpe", "e.webp", "f.TIFF", "g.bmp"]
        for name in wanted:
            save(tmp_path / name)
        for name in (".hidden.png", ".folder/x.png", "__MACOSX/a.png"):
            save(tmp_path / name)
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
            (tmp_path / name).write_text("x")
        assert [str(name) for name in images_in(tmp_path)] == sorted(wanted)
        assert capsys.readouterr().err == ""
        for name in wanted:
            assert read_image(tmp_path / name).shape == (20, 30, 3)

    def test_what_else_lies_there_is_named(self, tmp_path, capsys):
        for name in ("a.png", "notes.txt", "clip.mp4", "deep/README"):
            save(tmp_path / "a.png") if name == "a.png" else (tmp_path / name).parent.mkdir(exist_ok=True)
            if name != "a.png":
                (tmp_path / name).write_text("x")
        assert images_in(tmp_path) == [Path("a.png")]
        said = capsys.readouterr().err
        assert all(name in said for name in ("notes.txt", "clip.mp4", "deep/README", "left out"))

    @pytest.mark.parametrize("suffix", [*FOREIGN, ".HEIC"])
    def test_pictures_of_other_kinds_are_refused_by_name(self, tmp_path, suffix):
        save(tmp_path / "a.png")
        (tmp_path / f"b{suffix}").write_bytes(b"x")
        with pytest.raises(SimeditError, match=rf"cannot read .*b\{suffix}: convert it to PNG or JPEG"):
            images_in(tmp_path)

    def test_folders_below_are_refused_where_one_folder_is_meant(self, tmp_path):
        for name in ("gold/1.png", "masks/1.png"):
            save(tmp_path / name)
        with pytest.raises(SimeditError, match=r"folders of its own, such as gold/1\.png"):
            images_in(tmp_path, deep=False)
        assert images_in(tmp_path / "gold", deep=False) == [Path("1.png")]

    def test_links_are_followed_and_loops_end(self, tmp_path):
        save(tmp_path / "elsewhere" / "b.png")
        save(tmp_path / "in" / "a.png")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
        (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
        found = [str(name) for name in images_in(tmp_path / "in")]
        assert found[:1] == ["a.png"]
        assert "link/b.png" in found
        assert len(found) == 2

    def test_what_is_no_plain_file_is_refused_and_not_waited_for(self, tmp_path):
        save(tmp_path / "a.png")
        os.mkfifo(tmp_path / "fifo.png")
        with pytest.raises(SimeditError, match=r"fifo\.png is no plain file"):
            images_in(tmp_path)
        with pytest.raises(SimeditError, match=r"fifo\.png: it is no plain file"):
            read_image(tmp_path / "fifo.png")
        (tmp_path / "fifo.png").unlink()
        (tmp_path / "lost.png").symlink_to("nowhere.png")
        with pytest.raises(SimeditError, match=r"lost\.png is a link to nothing"):
            images_in(tmp_path)


class TestReadImage:
    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_what_is_transparent_is_laid_on_white(self, tmp_path, mode):
        pixels = np.full((20, 30, 4), (255, 0, 255, 0), np.uint8)
        pixels[:, :15] = (40, 40, 40, 255)
        image = Image.fromarray(pixels)
        path = save(tmp_path / "a.png", image.quantize(8) if mode == "P" else image.convert(mode))
        read = read_image(path)
        assert (read[:, 20:] == 255).all()
        assert np.abs(read[:, :15].astype(int) - 40).max() <= 4

    @pytest.mark.parametrize(
        ("name", "options"),
        [("a.tif", {}), ("a.webp", {}), ("a.png", {}), ("a.gif", {}), ("a.mpo", {"format": "MPO"})],
    )
    def test_several_pages_are_refused(self, tmp_path, name, options):
        pages = [Image.fromarray(colours(seed=seed)) for seed in range(3)]
        path = save(tmp_path / name, pages[0], save_all=True, append_images=pages[1:], **options)
        with pytest.raises(SimeditError, match=f"{name} holds 3 pictures: save the one"):
            read_image(path)

    def test_a_cameras_preview_beside_the_photograph_is_no_page(self, tmp_path):
        photo, preview = Image.fromarray(colours(64, 96)), Image.fromarray(colours(16, 24, seed=1))
        path = save(tmp_path / "a.jpg", photo, format="MPO", save_all=True, append_images=[preview])
        assert open_image(path).size == (96, 64)
        np.testing.assert_array_equal(read_image(path), read_image(save(tmp_path / "b.jpg", photo)))

    def test_more_than_eight_bits_are_refused(self, tmp_path):
        deep = save(tmp_path / "grey.png", np.full((4, 4), 40000, np.uint16))
        with pytest.raises(SimeditError, match="8 bits"):
            read_image(deep)
        # Pillow makes eight bits of sixteen in colour, and says nothing.
        import cv2

        for name in ("colour.png", "colour.tif"):
            cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), 40000, np.uint16))
            assert Image.open(tmp_path / name).mode == "RGB"
            with pytest.raises(SimeditError, match="8 bits"):
                read_image(tmp_path / name)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
    def test_a_colour_profile_is_heeded(self, tmp_path, mode):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        profile = profile.replace("sRGB".encode("utf-16-be"), "xBGR".encode("utf-16-be"))
        swapped = profile.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
        pixels = np.full((6, 8, 3), (200, 100, 50), np.uint8)
        image = Image.fromarray(pixels)
        image = image.quantize(2) if mode == "P" else image.convert(mode)
        read = read_image(save(tmp_path / "a.png", image, icc_profile=swapped))
        assert np.abs(read.astype(int) - pixels[..., ::-1]).max() <= 5
        again = read_image(save(tmp_path / "b.png", image, icc_profile=profile))
        assert np.abs(again.astype(int) - pixels).max() <= 5

    def test_sRGB_is_left_to_the_bit(self, tmp_path):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        pixels = colours()
        np.testing.assert_array_equal(
            read_image(save(tmp_path / "a.png", pixels, icc_profile=profile)), pixels
        )

    def test_a_broken_profile_is_refused(self, tmp_path):
        path = save(tmp_path / "a.png", icc_profile=b"no profile")
        with pytest.raises(SimeditError, match=r"a\.png has a broken colour profile"):
            read_image(path)

    def test_large_ones_are_read_without_a_warning_and_larger_refused(self, tmp_path, monkeypatch, recwarn):
        path = save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
        assert read_image(path).shape == (20, 30, 3)
        assert not recwarn.list
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
        with pytest.raises(SimeditError, match=r"a\.png has more than .* megapixels: shrink it"):
            read_image(path)

    @pytest.mark.parametrize("suffix", IMAGES)
    def test_damage_of_any_kind_is_one_error(self, tmp_path, suffix):
        """Bytes changed and cut at random: read, or refused."""
        whole = save(tmp_path / f"a{suffix}", colours(40, 40)).read_bytes()
        random = np.random.default_rng(0)
        for _ in range(40):
            data = bytearray(whole[: random.integers(0, len(whole))] if random.random() < 0.3 else whole)
            for place in random.integers(0, max(1, len(data)), 8):
                data[place : place + 1] = bytes([random.integers(256)])
            (tmp_path / f"b{suffix}").write_bytes(data)
            with suppress(SimeditError):
                read_image(tmp_path / f"b{suffix}")


class TestReadMask:
    def test_it_is_white_where_edits_show(self, tmp_path):
        path = save(tmp_path / "mask.png", np.uint8([[0, 63, 100, 150, 255, 255, 255]]))
        np.testing.assert_array_equal(read_mask(path), [[0, 0, 0, 1, 1, 1, 1]])
        with pytest.raises(SimeditError, match="black all over"):
            read_mask(save(tmp_path / "labels.png", Image.new("L", (4, 4), 1)))
        assert not read_mask(tmp_path / "labels.png", may_be_empty=True).any()

    def test_one_drawn_in_the_alpha_channel(self, tmp_path):
        drawn = np.zeros((6, 8), np.uint8)
        drawn[:, :3] = 255
        white = np.dstack([np.full((6, 8, 3), 255, np.uint8), drawn])
        np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", white)), drawn == 255)
        grey = Image.fromarray(np.dstack([np.full((6, 8), 255, np.uint8), drawn]), "LA")
        np.testing.assert_array_equal(read_mask(save(tmp_path / "b.png", grey)), drawn == 255)

    def test_a_photograph_is_none(self, tmp_path):
        with pytest.raises(SimeditError, match=r"a\.png is grey: paint white"):
            read_mask(
                save(tmp_path / "a.png", np.random.default_rng(0).normal(128, 20, (40, 40)).astype(np.uint8))
            )
