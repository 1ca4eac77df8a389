"""Solid noise: textures as functions of position in space, so that they need no texture coordinates."""

from __future__ import annotations

import numpy as np


def noise(points: np.ndarray, seed: int) -> np.ndarray:
    """Smooth value noise on the unit lattice, float32 [...] in 0..1, mean about a half.

    Args:
        points: [..., 3], in units of the lattice.
        seed: 0 or more; another seed is another lattice.
    """
    points = np.asarray(points, np.float32)
    corner = np.floor(points).astype(np.int32)
    t = points - corner
    t = t * t * t * (t * (6 * t - 15) + 10)
    found = np.zeros(points.shape[:-1], np.float32)
    for step in np.ndindex(2, 2, 2):
        weight = np.where(step, t, 1 - t).prod(-1)
        found += weight * _hash(corner + np.array(step, np.int32), seed)
    return found


def fractal(points: np.ndarray, seed: int, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """Octaves of noise, each twice as fine and `gain` as strong as the last; float32 [...] in 0..1."""
    points, amplitudes = np.asarray(points, np.float32), (gain ** np.arange(octaves)).astype(np.float32)
    layers = [a * noise(points * 2.0**i, seed + 7919 * i) for i, a in enumerate(amplitudes)]
    return np.sum(layers, 0) / amplitudes.sum()


def cells(points: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Worley's cells of the unit lattice: a random number in 0..1 of each point's cell, and how far its
    border is (0 there, about a half at most), float32 [...] both."""
    points = np.asarray(points, np.float32)
    corner = np.floor(points).astype(np.int32)
    near = np.full(points.shape[:-1], np.inf, np.float32)
    second, owner = near.copy(), np.zeros_like(near)
    for step in np.ndindex(3, 3, 3):
        cell = corner + np.array(step, np.int32) - 1
        centre = cell + np.stack([_hash(cell, seed + k) for k in (1, 2, 3)], -1)
        distance = np.linalg.norm(points - centre, axis=-1)
        closer = distance < near
        second = np.where(closer, near, np.minimum(second, distance))
        owner = np.where(closer, _hash(cell, seed), owner)
        near = np.where(closer, distance, near)
    return owner, (second - near) / 2


def _hash(cell: np.ndarray, seed: int) -> np.ndarray:
    x, y, z = np.moveaxis(cell.astype(np.uint32), -1, 0)
    h = x * np.uint32(374761393) + y * np.uint32(668265263) + z * np.uint32(2147483647)
    h ^= np.uint32((seed * 2654435761) & 0xFFFFFFFF)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
