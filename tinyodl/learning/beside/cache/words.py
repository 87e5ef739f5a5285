"""What people are told of the cache."""

from __future__ import annotations

from tinyodl.learning.beside.record import Words
from tinyodl.manifest import Manifest
from tinyodl.report.figures import count


def _line(manifest: Manifest) -> str:
    facts, plan = manifest.beside["cache"], manifest.plan
    learns = (
        f"learns from {count(plan.replay)} samples at once" if plan.replay else "only adds a sample"
    )
    where = "flash" if facts["flash"] else "RAM"
    return (
        f"A cache in {where} keeps the {count(facts['features'])} features of "
        f"{count(facts['slots'])} samples in int8 ({plan.cache_policy}); a step {learns}, and one "
        f"of them takes {count(facts['macs'])} MACs behind the cache.\n"
    )


WORDS = Words(line=_line)
