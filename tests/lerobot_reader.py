"""Run by the Python of `.venv-reader`: all that LeRobot's own reader finds in a dataset, as one .npz file.

lerobot_reader.py FOLDER OUT.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # torchvision from PyPI wants CUDA's torch for its operators. The reader uses none, but without their
    # names torchvision cannot be imported.
    sys.modules.pop("torchvision", None)
    names = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from ledataset.datasets.compute_stats import get_feature_stats, sample_indices
from ledataset.datasets.lerobot_dataset import LeRobotDataset

folder, out = Path(sys.argv[1]), sys.argv[2]
dataset = LeRobotDataset("local/found", root=folder, video_backend="torchcodec")
items = [dataset[i] for i in range(len(dataset))]
found: dict[str, np.ndarray] = {"tasks": np.array([item["task"] for item in items])}
for name in items[0]:
    if name != "task":
        found[name] = np.stack([item[name].numpy() for item in items])
for name in ("dataset_from_index", "dataset_to_index"):
    found[name] = np.array([episode[name] for episode in dataset.meta.episodes])
for name, stats in dataset.meta.stats.items():
    for key, value in stats.items():
        found[f"stats/{name}/{key}"] = value
# What its own arithmetic makes of the frames that it reads. In float64, for in uint8 its squares overflow.
for camera in dataset.meta.camera_keys:
    for number, (begin, end) in enumerate(
        zip(found["dataset_from_index"], found["dataset_to_index"], strict=True)
    ):
        frames = found[camera][begin:end][sample_indices(end - begin)].astype(np.float64) * 255
        for key, value in get_feature_stats(frames.round(), axis=(0, 2, 3), keepdims=True).items():
            found[f"computed/{camera}/{number}/{key}"] = value if key == "count" else value[0] / 255.0
np.savez(out, **found)
