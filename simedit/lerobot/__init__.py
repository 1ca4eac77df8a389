"""Datasets of LeRobot's format v3: read, written, and edited by specialists."""

from simedit.lerobot.reading import is_dataset, read_dataset
from simedit.lerobot.writing import write_dataset

__all__ = ["is_dataset", "read_dataset", "write_dataset"]
