"""The shell and Python blocks of README and docs are tests of their own, and slow ones."""

from __future__ import annotations

import pytest
from documents import blocks
from sybil.integration.pytest import SybilItem

pytest_collect_file = blocks.pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, SybilItem):
            item.add_marker("slow")
