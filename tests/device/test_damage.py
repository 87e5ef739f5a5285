"""How long pieces are and when a request is repeated: figures, without any line."""

from __future__ import annotations

import math
import random

import pytest

from tinyodl.device.damage import LEAST_PIECE, RETRY_SECONDS, Damage, RoundTrips

MOST = 512
OVERHEAD = 10


def line(rate: float, count: int, damage: Damage | None = None, seed: int = 0) -> Damage:
    """What is known after `count` frames, as long as it says, at so many faults a byte."""
    damage = damage or Damage()
    generator = random.Random(seed)
    for _ in range(count):
        length = damage.piece(OVERHEAD, MOST) + OVERHEAD
        damage.note(length, generator.random() > (1 - rate) ** length)
    return damage


def cost(rate: float, data: int) -> float:
    """Bytes on the line for a byte of data, where damaged frames are sent again."""
    length = data + OVERHEAD
    return length / data / (1 - rate) ** length


@pytest.mark.parametrize("rate", [0.0003, 0.001, 0.003, 0.01])
def test_pieces_are_about_as_long_as_costs_least(rate: float) -> None:
    best = min(cost(rate, data) for data in range(1, MOST + 1))
    for seed in range(5):
        found = line(rate, 3000, seed=seed).piece(OVERHEAD, MOST)
        assert cost(rate, found) < 1.03 * best


def test_a_good_line_takes_the_longest_pieces() -> None:
    assert line(0.0, 1).piece(OVERHEAD, MOST) == MOST


def test_one_fault_after_many_frames_shortens_little() -> None:
    damage = line(0.0, 200)
    damage.note(MOST, damaged=True)
    assert damage.piece(OVERHEAD, MOST) == MOST


def test_repeated_damage_shortens_pieces_quickly_and_they_grow_again() -> None:
    damage = line(0.0, 200)
    lengths = []
    for _ in range(30):
        damage.note(damage.piece(OVERHEAD, MOST) + OVERHEAD, damaged=True)
        lengths.append(damage.piece(OVERHEAD, MOST))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 150
    assert line(0.0, 2000, damage).piece(OVERHEAD, MOST) == MOST


def test_pieces_never_vanish() -> None:
    assert line(1.0, 500).piece(OVERHEAD, MOST) == LEAST_PIECE


def test_a_reply_is_late_after_its_mean_time_and_four_times_its_spread() -> None:
    trips = RoundTrips()
    assert trips.late(1, 60.0) == RETRY_SECONDS
    assert trips.late(1, 0.5) == 0.5
    for at in range(200):
        trips.note(1, 0.2 + 0.02 * (-1) ** at)
    assert trips.late(1, 60.0) == pytest.approx(0.2 + 4 * 0.02, rel=0.05)
    assert trips.late(1, 0.1) == 0.1
    assert trips.late(2, 60.0) == RETRY_SECONDS, "another kind of request"


def test_where_replies_always_take_the_same_time_there_is_slack() -> None:
    trips = RoundTrips()
    for _ in range(200):
        trips.note(1, 0.004)
    assert math.isclose(trips.late(1, 60.0), 0.034, rel_tol=0.01)
