"""simedit-score: pictures matched, values put into tables, what is wrong said in a sentence."""

from __future__ import annotations

import csv
import json
import re
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from simedit.eval.scoring import page as pages
from simedit.eval.scoring import words
from simedit.eval.scoring.cli import main
from simedit.eval.scoring.page import page_html, worst_and_best
from simedit.eval.scoring.pictures import matched
from simedit.eval.scoring.summary import summarise
from simedit.metrics import Kind, Scene
from simedit.metrics.catalogue import KINDS
from simedit.tiny import make_tiny_library

NAMES = [f"f{i}" for i in range(6)]


def save(path: Path, pixels: np.ndarray, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)


def frame(i: int) -> np.ndarray:
    found = np.full((48, 64, 3), 90, np.uint8)
    found[8 + i : 32 + i, 16:48] = (200, 190, 180)
    return found


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Six inputs, their masks, edits in the frames' light, the same blurred ever more, and a style image."""
    gold = np.array([1.0, 0.8, 0.3])
    for i, name in enumerate(NAMES):
        image = frame(i)
        mask = image[..., 0] > 150
        edit = image.copy()
        edit[mask] = (image[mask] * gold).astype(np.uint8)
        save(tmp_path / "in" / f"{name}.png", image)
        save(tmp_path / "masks" / f"{name}.png", mask.astype(np.uint8) * 255)
        save(tmp_path / "gold" / f"{name}.bmp", edit)
        save(tmp_path / "soft" / f"{name}.png", cv2.GaussianBlur(edit, (0, 0), 2 + i))
    save(tmp_path / "style" / "gold.png", np.full((32, 32, 3), (200, 150, 54), np.uint8))
    return tmp_path


def run(folder: Path, *more: str, out: str = "out") -> list[str]:
    args = ["--inputs", "in", "--masks", "masks", "--out", out, *more]
    return [
        str(folder / a) if a in ("in", "masks", "style", out) else a.replace("@", f"{folder}/") for a in args
    ]


def test_from_folders_to_tables_a_file_and_a_page(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editors = ["gold=@gold", "soft=@soft", "raw=@in"]
    assert main(run(folders, "--edits", *editors, "--style-images", "style")) == 0
    found = json.loads((folders / "out" / "scores.json").read_text(encoding="utf-8"))
    assert found["editors"] == ["gold", "soft", "raw"]
    assert found["images"] == NAMES
    assert set(found["values"]) >= {"edge_f1", "canny", "mse_outside", "colour", "texture"}
    assert found["values"]["mse_outside"]["raw"] == found["values"]["canny"]["raw"] == [0] * 6
    soft = found["differences"]["mse_outside"]["soft"]
    assert soft["mean"] == pytest.approx(np.mean(found["values"]["mse_outside"]["soft"]))
    assert soft["p"] == pytest.approx(2 / 2**6)  # all six to one side
    assert soft["p_holm"] >= soft["p"]
    assert found["means"]["colour"]["gold"]["mean"] < found["means"]["colour"]["raw"]["mean"]
    with (folders / "out" / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["editor"]) for row in rows] == list(product(NAMES, found["editors"]))
    assert float(rows[4]["mse_outside"]) == found["values"]["mse_outside"]["soft"][1]
    page = (folders / "out" / "index.html").read_text(encoding="utf-8")
    assert page.count('<figure class="card"') == 6
    assert page.count("data:image/webp") == 6 * 4
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    told = capsys.readouterr().out
    assert words.headline(found) in told
    assert "left out: clip_text: it needs a caption of the edit (--prompt)" in told


def test_a_specialist_edits_the_inputs_itself_and_brings_its_style_images(folders: Path) -> None:
    library = make_tiny_library(folders / "library", ["gold"])
    more = ["--specialist", str(library / "gold"), "--metrics", "colour", "mse_outside", "--edits", "raw=@in"]
    assert main(run(folders, *more, "--json")) == 0
    found = json.loads((folders / "out" / "scores.json").read_text(encoding="utf-8"))
    first, editor = found["editors"]
    assert first == "raw"
    assert sorted(p.name for p in (folders / "out" / "edits" / editor).iterdir()) == [
        f"{n}.png" for n in NAMES
    ]
    assert found["values"]["mse_outside"][editor] == [0] * 6  # a specialist changes nothing outside
    assert found["values"]["colour"][editor] != found["values"]["colour"]["raw"]
    (folders / "in" / "f5.png").unlink()
    assert main(run(folders, *more)) == 0  # OUT is replaced, edits of other inputs too


def test_alpha_grey_and_exif_are_read_as_they_look(folders: Path) -> None:
    grey = frame(0)[..., 0]
    save(folders / "in" / "f0.png", grey)
    save(folders / "soft" / "f0.png", np.dstack([grey] * 3 + [np.full_like(grey, 255)]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = np.rot90(frame(1), 1).copy()
    save(folders / "soft" / "f1.jpg", turned, exif=exif, quality=95)
    (folders / "soft" / "f1.png").unlink()
    cases = matched(folders / "in", {"soft": folders / "soft"}, folders / "masks")
    one, edits = cases[0].read()
    assert np.array_equal(edits[0], one.input)
    assert np.array_equal(one.input[..., 0], grey)
    one, edits = cases[1].read()
    assert np.abs(edits[0].astype(int) - one.input).mean() < 3


def bad_size(f: Path) -> None:
    save(f / "gold" / "f3.bmp", np.zeros((48, 60, 3), np.uint8))


def missing(f: Path) -> None:
    (f / "gold" / "f3.bmp").unlink()


def extra(f: Path) -> None:
    save(f / "gold" / "f9.png", frame(0))


def twice(f: Path) -> None:
    save(f / "gold" / "f3.png", frame(3))


def empty_mask(f: Path) -> None:
    save(f / "masks" / "f3.png", np.zeros((48, 64), np.uint8))


def no_mask(f: Path) -> None:
    (f / "masks" / "f3.png").unlink()


def mask_size(f: Path) -> None:
    save(f / "masks" / "f3.png", np.full((40, 64), 255, np.uint8))


def deep(f: Path) -> None:
    save(f / "gold" / "f3.png", np.zeros((48, 64), np.uint16))
    (f / "gold" / "f3.bmp").unlink()


def broken(f: Path) -> None:
    (f / "gold" / "f3.bmp").write_bytes(b"BM")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (bad_size, r"gold/f3\.bmp is 60x48, and .*in/f3\.png is 64x48"),
        (missing, r"gold has no edit of .*in/f3\.png"),
        (extra, r"gold/f9\.png is no edit of any input"),
        (twice, r"gold/f3\.bmp and .*gold/f3\.png have one name"),
        (empty_mask, r"the mask .*masks/f3\.png is black all over"),
        (no_mask, r"masks has no mask for f3\.png"),
        (mask_size, r"masks/f3\.png is 64x40, and .*in/f3\.png is 64x48"),
        (deep, r"gold/f3\.png has more than 8 bits"),
        (broken, r"cannot read the image .*gold/f3\.bmp"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_fit_is_one_sentence_that_names_the_file(
    folders: Path, harm: object, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(harm)
    harm(folders)
    assert main(run(folders, "--edits", "gold=@gold")) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not (folders / "out").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "nothing to score"),
        (("--edits", "gold"), "must read NAME=FOLDER"),
        (("--edits", "a=@gold", "a=@soft"), "--edits has a twice"),
        (
            ("--edits", "a=@gold", "--metrics", "depth", "--weights", "depth=/none"),
            "depth: .*no such directory",
        ),
        (("--edits", "a=@gold", "--metrics", "clip_text"), "needs a caption of the edit"),
        (("--edits", "a=@gold", "--weights", "clip"), "--weights 'clip' must read NAME=FOLDER"),
        (("--edits", "a=@gold", "--style-images", "@none"), "no specialist at"),
        (("--edits", "a=@gold", "--device", "cuda:77"), "cannot use the device 'cuda:77'"),
    ],
)
def test_options_that_cannot_be(
    folders: Path, more: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(run(folders, *more)) == 2
    assert re.search(told, capsys.readouterr().err)


def test_a_folder_of_something_else_stays_as_it_is(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run(folders, "--edits", "gold=@gold", out="soft")) == 2
    assert "of no simedit-score" in capsys.readouterr().err
    assert not (folders / "soft" / "index.html").exists()


def kind(name: str, higher: bool) -> Kind:
    return Kind(name, "something", "nowhere", (0, None), higher, lambda *_: lambda edits, scene: np.zeros(1))


def summary(values: dict[str, np.ndarray], higher: bool = True) -> dict:
    ones = next(iter(values.values()))
    editors, images = ("abcde"[: len(ones)], [f"i{i}" for i in range(ones.shape[1])])
    return summarise([kind(name, higher) for name in values], list(editors), images, values, {})


class TestSummary:
    def test_means_and_intervals_hold_the_estimate_and_shrink_with_images(self) -> None:
        random = np.random.default_rng(0)
        widths = []
        for n in (10, 1000):
            found = summary({"x": random.exponential(1, (1, n))})["means"]["x"]["a"]
            low, high = found["ci"]
            assert low <= found["mean"] <= high
            widths.append(high - low)
        # The standard error of the mean, 1 / sqrt(n), times 2 x 1.96.
        assert widths[1] == pytest.approx(3.92 / np.sqrt(1000), rel=0.15)
        assert widths[0] > 3 * widths[1]

    def test_differences_are_paired(self) -> None:
        """Images differ much, editors little and always alike: that is seen."""
        of_images = np.random.default_rng(0).normal(0, 10, 12)
        found = summary({"x": np.stack([of_images, of_images + 0.1])})["differences"]["x"]["b"]
        assert found["mean"] == pytest.approx(0.1)
        assert found["ci"] == pytest.approx([0.1, 0.1])
        assert found["p"] == pytest.approx(2 / 2**12)
        assert found["verdict"] == "better"

    def test_the_direction_decides_what_is_better(self) -> None:
        values = {"x": np.stack([np.arange(8.0), np.arange(8.0) + 1])}
        assert summary(values, higher=True)["differences"]["x"]["b"]["verdict"] == "better"
        assert summary(values, higher=False)["differences"]["x"]["b"]["verdict"] == "worse"

    def test_the_exact_test_counts_signs(self) -> None:
        """Of 2^6 ways to give 1, 2, ..., 6 signs, 1 - 2 + 3 + 4 + 5 + 6 = 17 or more in size: 2 x 3."""
        first = np.zeros(6)
        second = np.array([1.0, -2, 3, 4, 5, 6])
        found = summary({"x": np.stack([first, second])})["differences"]["x"]["b"]
        sums = [abs(np.dot(signs, np.arange(1, 7))) for signs in product((-1, 1), repeat=6)]
        assert found["p"] == pytest.approx(np.mean(np.array(sums) >= 17))

    def test_what_float32_rounds_is_no_difference(self) -> None:
        first = np.linspace(0.5, 1, 9)
        found = summary({"x": np.stack([first, first * (1 + 1e-7)])})["differences"]["x"]["b"]
        assert (found["mean"], found["p"], found["verdict"]) == (0, 1, "open")

    def test_holm_over_the_editors_and_nothing_from_nothing(self) -> None:
        first = np.zeros(6)
        found = summary({"x": np.stack([first, first + 1, first + 1, first])})["differences"]["x"]
        assert [found[e]["p_holm"] for e in "bcd"] == pytest.approx([3 * 2 / 64, 3 * 2 / 64, 1])
        assert [found[e]["verdict"] for e in "bcd"] == ["open"] * 3

    def test_undefined_values_are_left_out_and_told(self) -> None:
        values = np.array([[1.0] * 8, [2, 2, 2, np.nan, 2, 2, 2, 2]])
        found = summary({"x": values})
        assert found["means"]["x"]["b"]["mean"] == 2
        assert found["differences"]["x"]["b"]["n"] == found["means"]["x"]["b"]["n"] == 7
        assert found["values"]["x"]["b"][3] is None
        assert found["warnings"] == [
            "x is undefined for 1 of 16 edits, such as of i3: its mean leaves them out."
        ]
        nothing = summary({"x": np.full((2, 8), np.nan)})
        assert nothing["means"]["x"]["a"] == {"mean": None, "n": 0, "ci": None}
        assert nothing["differences"]["x"]["b"]["p"] is None

    def test_few_images_have_no_intervals(self) -> None:
        found = summary({"x": np.array([[1.0, 2], [3, 5]])})
        assert found["differences"]["x"]["b"] == {
            **{"mean": 2.5, "n": 2, "ci": None, "p": None, "p_holm": None},
            "verdict": "open",
        }
        assert "fewer than 6 images" in found["warnings"][0]


def test_words() -> None:
    entry = {
        "mean": -0.00123456,
        "ci": [-0.002, 0.0],
        "n": 9,
        "p": 0.01,
        "p_holm": 0.0004,
        "verdict": "worse",
    }
    assert words.difference(entry) == ("-0.00123", "[-0.002, 0] p < 0.001 worse")
    assert words.mean({"mean": 12.3456, "ci": None, "n": 2}) == ("12.3", "")
    assert words.mean({"mean": None, "ci": None, "n": 0}) == ("undefined", "")


class TestPage:
    VALUES = np.array([[0.5, 0.1, 0.9, 0.3, 0.7, 0.6], [0.2, 0.8, 0.4, 0.1, 0.3, np.nan]])

    @staticmethod
    def read(i: int) -> tuple[Scene, np.ndarray]:
        return Scene(frame(i), frame(i)[..., 0] > 150), np.stack([frame(i)] * 2)

    def test_worst_and_best_come_first_and_every_image_once(self) -> None:
        found = summary({"x": self.VALUES})
        assert worst_and_best(found) == [1, 2, 3, 4, 0, 5]
        lower = summary({"x": self.VALUES}, higher=False)
        assert worst_and_best(lower)[:2] == [2, 1]

    def test_a_page_that_would_be_too_large_says_what_it_leaves_out(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = summary({"x": self.VALUES})
        whole = page_html(found, self.read)
        assert [int(i) for i in re.findall(r'data-image="(\d)"', whole)] == worst_and_best(found)
        monkeypatch.setattr(pages, "LIMIT", len(whole.encode()) - 100)
        small = page_html(found, self.read)
        assert len(small.encode()) <= pages.LIMIT
        shown = small.count('<figure class="card"')
        assert 0 < shown < 6
        assert f"{shown} of 6 images are shown" in small

    def test_names_of_others_end_no_element(self) -> None:
        values = {"x": self.VALUES}
        evil = "<img src=x onerror=alert(1)>"
        found = summarise(
            [kind("x", True)], [evil, "b"], [f"</script>{i}" for i in range(6)], values, {"y": evil}
        )
        text = page_html(found, self.read)
        assert evil not in text
        assert text.count("</script>") == 2


def test_every_metric_says_where_it_is_from() -> None:
    for each in KINDS.values():
        low, high = each.range
        assert low is not None
        assert high is None or low < high
        assert re.search(r"arXiv|TPAMI|TIP|simedit", each.source), each.name
