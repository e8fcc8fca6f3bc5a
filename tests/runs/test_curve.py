"""A curve reads as the list of its points."""

import math

import pytest

from distill_core.runs.curve import Curve


def test_a_curve_reads_as_a_list_of_points() -> None:
    points = [(0, 0.5), (10, math.inf), (20, -1.25)]
    curve = Curve()
    assert not curve
    for step, value in points:
        curve.append(step, value)
    assert list(curve) == points
    assert (len(curve), curve[0], curve[-1]) == (3, points[0], points[-1])
    assert (curve[1:], curve[::2], curve[-2:], curve[5:]) == (points[1:], points[::2], points[-2:], [])
    with pytest.raises(IndexError):
        curve[3]
