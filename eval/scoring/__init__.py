"""Editors compared by their pictures: the command simedit-score."""
