"""The words for people on the cache."""

from __future__ import annotations

from tinyodl.learning.beside.cache.section import Cache
from tinyodl.learning.beside.record import Words
from tinyodl.project.manifest import Manifest
from tinyodl.report.figures import count


def _line(manifest: Manifest) -> str:
    facts, section = manifest.beside["cache"], Cache.on(manifest.plan)
    replay = section.replay
    learns = f"learns from {count(replay)} samples at once" if replay else "only adds a sample"
    where = "flash" if facts["flash"] else "RAM"
    return (
        f"A cache in {where} keeps the {count(facts['features'])} features of "
        f"{count(facts['slots'])} samples in int8 ({section.policy}); a step {learns}, and one "
        f"of them takes {count(facts['macs'])} MACs behind the cache.\n"
    )


WORDS = Words(line=_line)
