"""Which metrics are computed: those that can be had, and of the others it is said why not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from small_clip import save_clip

from simedit.errors import SimeditError
from simedit.eval.scoring.cli import DESCRIPTION
from simedit.metrics import Scene
from simedit.metrics.catalogue import KINDS, MODELS, chosen, load

FRAME = np.zeros((64, 64, 3), np.uint8)
MASK = np.arange(64)[:, None].repeat(64, 1) < 20
WHOLE = Scene(FRAME, MASK, (FRAME,), prompt="gold", source="a box")
PLAIN = {"edge_f1", "canny", "mse_outside", "colour", "texture"}
"""Need neither weights nor packages."""


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("simedit.metrics.catalogue.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


def test_help_names_every_metric_and_model() -> None:
    from simedit.eval.scoring.cli import score

    words = DESCRIPTION.replace(",", " ").split()
    assert [name for name in KINDS if name not in words] == []
    assert all(model in (score.__doc__ or "") for model in MODELS)


def test_by_default_nothing_is_fetched_and_what_is_left_out_is_named() -> None:
    kinds, left_out = chosen([], WHOLE, {})
    names = {kind.name for kind in kinds}
    assert names >= PLAIN
    assert names | left_out.keys() == KINDS.keys()
    assert not any(kind.hub or kind.file for kind in kinds)
    assert "--metrics depth" in left_out["depth"]
    assert "--weights clip=FOLDER" in left_out["clip_text"]
    if not find_spec("dreamsim"):
        assert "pip install 'simedit[scores]'" in left_out["dreamsim_patches"]


def test_what_the_scene_lacks_leaves_metrics_out() -> None:
    kinds, left_out = chosen([], Scene(FRAME), {})
    assert {kind.name for kind in kinds} & PLAIN == {"edge_f1", "canny"}
    assert "--masks" in left_out["mse_outside"]
    assert "--style-images" in left_out["colour"]
    assert "--source-prompt" in left_out["clip_direction"]


@pytest.mark.parametrize(
    ("names", "scene", "weights", "told"),
    [
        (["edge"], WHOLE, {}, "unknown metric 'edge': did you mean"),
        (["colour"], Scene(FRAME), {}, r"colour was asked for, but it needs style images \(--style-images\)"),
        ([], WHOLE, {"clp": "x"}, "unknown model 'clp': did you mean 'clip'"),
    ],
)
def test_what_cannot_be(names: list[str], scene: Scene, weights: dict[str, str], told: str) -> None:
    with pytest.raises(SimeditError, match=told):
        chosen(names, scene, weights)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simedit.metrics.catalogue.has", lambda package: False)
    assert "simedit[scores-lite]" in chosen([], WHOLE, {})[1]["ssim"]
    with pytest.raises(SimeditError, match=r"lite_patches was asked for, but .*simedit\[scores-lite\]"):
        chosen(["lite_patches"], WHOLE, {})


def test_given_weights_are_taken_for_every_metric_of_the_model(tmp_path: Path) -> None:
    save_clip(tmp_path)
    weights = {"clip": str(tmp_path)}
    kinds, left_out = chosen([], WHOLE, weights)
    found, failed = load(kinds, [], weights, "cpu")
    assert found.keys() >= {"clip_text", "clip_direction", "clip_patches"}
    assert "pickscore" in left_out
    assert failed == {}


def test_weights_that_are_not_there_stop_what_was_asked_for_and_are_else_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (kind,) = chosen(["depth"], WHOLE, {"depth": str(tmp_path / "none")})[0]
    for names in (["depth"], ["all"]):  # weights that were given are asked for, too
        with pytest.raises(SimeditError, match=r"depth: .*no such directory"):
            load([kind], names, {"depth": str(tmp_path / "none")}, "cpu")
    monkeypatch.setattr("simedit.metrics.depth.LARGE", str(tmp_path / "none"))
    found, left_out = load([kind], ["all"], {}, "cpu")
    assert found == {}
    assert "no such directory" in left_out["depth"]
