from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_gpu import Gpu
from small_finders import MEAN, SQUARE, STD, save_finders
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GroundingDinoProcessor,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)

from simedit.errors import SimeditError
from simedit.scores.grounded_sam2 import GroundedSam2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return save_finders(tmp_path_factory.mktemp("finders"))


@pytest.fixture
def segment(weights: tuple[str, str]) -> GroundedSam2:
    """Both models, with thresholds that nothing fails to pass."""
    return GroundedSam2.load(*weights, device="cpu", box_threshold=1e-12, text_threshold=0)


def images(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, height, width), generator=generator)
    return pixels / 255


@pytest.mark.parametrize(("height", "width"), [(40, 50), (64, 64), (100, 31), (61, 200), (128, 301)])
@pytest.mark.parametrize("noun", ["cupboard", "Telephone booth"])
def test_detection_is_that_of_transformers_own_processor(weights, segment, height, width, noun):
    image = images(1, height, width)[0]
    found = []
    seen = see(segment.detector, lambda: found.append(segment.detect(image, noun)))
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil.from_pretrained(weights[0]), AutoTokenizer.from_pretrained(weights[0])
    )
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    inputs = processor(images=[pixels], text=f"{noun}.", return_tensors="pt")
    assert seen["pixel_values"].shape == inputs.pixel_values.shape
    # theirs rounds the resized image to 256 levels
    assert (seen["pixel_values"] - inputs.pixel_values).abs().max() < 1.5 / 255 / min(STD)
    output = segment.detector(**inputs | {"pixel_values": seen["pixel_values"]})
    (expected,) = processor.post_process_grounded_object_detection(
        output, inputs.input_ids, threshold=1e-12, target_sizes=[(height, width)]
    )
    assert len(expected["boxes"]) == 8
    torch.testing.assert_close(found[0], expected["boxes"])
    assert (expected["boxes"].std(0) > 0.05 * torch.tensor([width, height, width, height])).all()


def test_a_box_needs_both_thresholds(segment):
    image = images(1, 48, 60)[0]
    outputs = []
    handle = segment.detector.register_forward_hook(lambda *args: outputs.append(args[-1]))
    everything = segment.detect(image, "telephone booth")
    handle.remove()
    tokens = outputs[0].logits[0].sigmoid()
    best, words = tokens.amax(1), tokens[:, 1:3].amax(1)  # [CLS] telephone booth . [SEP]
    assert (words < best).any(), "no box is matched best by a token that is no word"
    segment.box_threshold = float(best.median())
    torch.testing.assert_close(
        segment.detect(image, "telephone booth"), everything[best > segment.box_threshold]
    )
    segment.box_threshold, segment.text_threshold = 1e-12, float(words.median())
    kept = segment.detect(image, "telephone booth")
    torch.testing.assert_close(kept, everything[words > segment.text_threshold])
    assert 0 < len(kept) < len(everything)


def test_nothing_found_is_the_whole_image(segment):
    batch = images(3, 40, 60)
    for segment.box_threshold, segment.text_threshold in ((1.0, 0.0), (1e-12, 1.0)):
        masks, found = segment(batch, ["cupboard"] * 3)
        assert (masks.dtype, masks.shape) == (torch.bool, (3, 40, 60))
        assert masks.all()
        assert found.tolist() == [False] * 3


def see(model: torch.nn.Module, run) -> dict:
    """The keyword arguments that `model` is called with while `run` runs."""
    calls = []
    handle = model.register_forward_pre_hook(lambda _, args, kwargs: calls.append(kwargs), with_kwargs=True)
    run()
    handle.remove()
    return calls[-1]


def paint_boxes(_module, _args, kwargs, output):
    """Instead of an untrained mask: each box that the segmenter is asked for, filled, in its coordinates."""
    ys, xs = torch.meshgrid(*[(torch.arange(SQUARE // 4) + 0.5) * 4] * 2, indexing="ij")
    left, top, right, bottom = kwargs["input_boxes"][0][..., None, None].unbind(1)
    inside = (xs > left) & (xs < right) & (ys > top) & (ys < bottom)
    assert output.pred_masks[0, :, 0].shape == inside.shape
    output.pred_masks = torch.where(inside, 8.0, -8.0)[None, :, None]
    return output


@pytest.mark.parametrize(("height", "width"), [(64, 64), (60, 200), (300, 90)])
def test_a_box_comes_back_as_a_mask_in_its_place(segment, height, width):
    image = images(1, height, width)[0]
    boxes = torch.tensor([[0.1, 0.5, 0.4, 0.9], [0.6, 0.1, 0.9, 0.3]])
    boxes = boxes * torch.tensor([width, height, width, height])
    handle = segment.segmenter.register_forward_hook(paint_boxes, with_kwargs=True)
    mask = segment.segment(image, boxes)
    handle.remove()
    expected = torch.zeros(height, width, dtype=torch.bool)
    for left, top, right, bottom in boxes.round().int().tolist():
        expected[top:bottom, left:right] = True
    assert mask.shape == expected.shape
    # the decoder's grid has 32 cells a side: boxes are sharp to half a cell
    assert (mask & expected).sum() / (mask | expected).sum() > 0.8


def test_the_segmenter_sees_the_stretched_and_normalised_image(segment):
    image = torch.linspace(0, 1, 60).expand(3, 40, 60)  # black at the left, white at the right
    seen = see(segment.segmenter, lambda: segment.segment(image, torch.tensor([[6.0, 10, 30, 40]])))
    torch.testing.assert_close(seen["input_boxes"], torch.tensor([[[12.8, 32, 64, 128]]]))
    pixels = seen["pixel_values"]
    assert pixels.shape == (1, 3, SQUARE, SQUARE)
    back = pixels[0] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    expected = (((torch.arange(SQUARE) + 0.5) * 60 / SQUARE - 0.5) / 59).clamp(0, 1)
    torch.testing.assert_close(back, expected.expand(3, SQUARE, SQUARE), atol=1e-5, rtol=0)


def test_masks_do_not_depend_on_the_batch(segment):
    batch = images(3, 40, 60)
    nouns = ["cupboard", "telephone booth", "booth"]
    masks, found = segment(batch, nouns)
    for i in range(3):
        alone, found_alone = segment(batch[i : i + 1], nouns[i : i + 1])
        torch.testing.assert_close(masks[i], alone[0])
        assert found[i] == found_alone[0]
    assert found.any()


def test_a_gpu_marks_what_the_cpu_does(weights, segment, gpu: Gpu):
    several, nouns = images(2, 64, 80), ["cupboard", "telephone booth"]
    expected, _ = segment(several, nouns)
    on_gpu = GroundedSam2.load(*weights, device="cuda", box_threshold=1e-12, text_threshold=0)
    for given in (several, several.to("cuda")):
        masks, found = on_gpu(given, nouns)
        assert (masks.device, found.device.type) == (given.device, "cpu")
        assert (masks.cpu() != expected).float().mean() <= (0.05 if gpu.real else 0)


def test_bfloat16(weights):
    segment = GroundedSam2.load(
        *weights, device="cpu", dtype=torch.bfloat16, box_threshold=1e-12, text_threshold=0
    )
    masks, found = segment(images(1, 40, 60), ["cupboard"])
    assert masks.shape == (1, 40, 60)
    assert found.all()


def test_empty_noun_and_missing_tokenizer_are_explained(weights, segment, tmp_path):
    with pytest.raises(SimeditError, match="none of them empty"):
        segment(images(1, 40, 60), [" "])
    with pytest.raises(SimeditError, match="as many nouns"):
        segment(images(2, 40, 60), ["cupboard"])
    for file in Path(weights[0]).iterdir():
        if file.name not in ("vocab.txt", "tokenizer_config.json"):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(SimeditError, match="lacks the tokenizer"):
        GroundedSam2.load(str(tmp_path), weights[1], device="cpu")
    with pytest.raises(SimeditError, match=r"regions\.segmenter"):
        GroundedSam2.load(weights[0], str(tmp_path / "nowhere"), device="cpu")
