"""The first few of the broken files that `tests.fuzz_compile` makes."""

from __future__ import annotations

from tests.fuzz_compile import fuzz


def test_broken_files_end_in_a_plan_or_a_clean_error():
    found = fuzz(first=0, count=250)
    assert not found.faults, "\n".join(found.faults.values())
    assert found.outcomes["plan"] > 10 and found.outcomes["ModelError"] > 100
