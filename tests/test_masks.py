from __future__ import annotations

import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.masks import mapped, mask_of, together

MASK = np.ones((1, 2, 2), bool)
OTHER = ~MASK


def test_a_pass_gets_the_mask_of_its_region() -> None:
    assert mask_of(MASK, "", "wood") is MASK
    assert mask_of(None, "", "wood") is None
    both = {"": OTHER, "block": MASK}
    assert mask_of(both, "block", "tabletop") is MASK
    assert mask_of(both, "", "wood") is OTHER


@pytest.mark.parametrize(
    ("masks", "region", "message"),
    [
        (None, "block", "'x' edits the region 'block', but there are no masks. Give masks by region"),
        (MASK, "block", "'x' edits the region 'block', but the masks are not by region"),
        ({"": MASK}, "block", "'x' edits the region 'block', but the masks are not by region"),
        ({"table": MASK, "goal": MASK}, "block", "the masks there are: table, goal"),
        ({"table": MASK, "goal": MASK}, "", r"'x' has no region of its own, .* by region \(table, goal\)"),
    ],
)
def test_a_mask_that_is_not_there_is_named_beside_those_that_are(masks, region, message) -> None:
    with pytest.raises(SimeditError, match=message):
        mask_of(masks, region, "x")


def test_a_function_is_applied_to_each_mask() -> None:
    assert mapped(np.any, None) is None
    assert mapped(np.any, MASK)
    assert mapped(np.any, {"a": MASK, "b": OTHER}) == {"a": True, "b": False}


def test_the_masks_of_several_calls_are_put_together() -> None:
    assert together([None, None]) is None
    np.testing.assert_array_equal(together([MASK, OTHER]), np.concatenate([MASK, OTHER]))
    found = together([{"a": MASK, "b": OTHER}, {"b": MASK, "a": MASK}])
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], np.concatenate([OTHER, MASK]))
