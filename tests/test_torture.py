"""A few trials of each subject of `python -m tests.torture`, another seed than its own."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.torture import subjects

TRIALS = 4


@pytest.mark.parametrize("name", subjects())
def test_what_is_put_through_it_holds(name: str) -> None:
    assert [o for o in islice(subjects()[name].trials(2026), TRIALS) if o[1] is not None] == []
