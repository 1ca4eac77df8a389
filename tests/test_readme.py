"""What README shows can be done as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_the_first_example_runs() -> None:
    pytest.importorskip("mani_skill")
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)
    rgb = names["obs"]["sensor_data"]["overhead_camera"]["rgb"]
    raw = names["env"].unwrapped.get_obs()["sensor_data"]["overhead_camera"]["rgb"]
    names["env"].close()
    assert tuple(rgb.shape) == (1, 512, 640, 3)
    assert (rgb != raw).any(-1).float().mean() > 0.05
