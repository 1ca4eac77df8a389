"""The shell and Python blocks of README and docs are tests of their own."""

from documents import blocks

pytest_collect_file = blocks.pytest()
