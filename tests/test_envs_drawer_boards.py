"""Boards: which way they face, and what light they stop."""

from __future__ import annotations

import numpy as np

from simedit.envs.drawer.boards import board_normals, unblocked


def test_a_board_stops_light_that_comes_through_it_and_no_other() -> None:
    board = np.array([[[-1, -1, 1.0], [1, 1, 1.1]]], np.float32)
    points = np.array([[0, 0, 0], [0, 0, 2], [3, 0, 0], [0.9, 0, 0]], np.float32)
    up, aslant, down = (np.array(ray, np.float32) for ray in ([0, 0, 1], [0.5, 0, 1], [0, 0, -1]))
    assert unblocked(points, up, board).tolist() == [False, True, True, False]
    assert unblocked(points, aslant, board).tolist() == [False, True, True, True]
    assert unblocked(points, down, board).tolist() == [True, False, True, True]
    assert unblocked(points.reshape(2, 2, 3), up, board).tolist() == [[False, True], [True, False]]


def test_boards_face_along_an_axis() -> None:
    unsure = np.array([[0.9, 0.1, -0.3], [0.1, -0.8, 0.6], [np.nan, np.nan, np.nan]], np.float32)
    assert board_normals(unsure).tolist() == [[1, 0, 0], [0, -1, 0], [0, 0, 0]]
