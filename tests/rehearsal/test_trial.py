"""A trial says how well a network learns what it has not seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.quick_c import QUICK
from tests.rehearsal.samples import digits, lowered
from tinyodl.errors import DataError, UserError
from tinyodl.host_run.network import HostNetwork
from tinyodl.rehearsal.folds import folds_of
from tinyodl.rehearsal.trial import Course, Difference, _error_of, difference, try_out

X, Y = digits(20)


@pytest.fixture(scope="module")
def net():
    with HostNetwork.of(lowered(learning_rate=0.1), flags=QUICK) as made:
        yield made


def of_new_networks(course: Course, rate: float) -> list[int]:
    """How many held-out samples each seed has right, each fold learned by a network just loaded."""
    right = []
    for seed in course.seeds:
        answers = []
        for index, fold in enumerate(folds_of(Y, None, course.folds)):
            random = np.random.default_rng((seed, index))
            with HostNetwork.of(lowered(learning_rate=rate), flags=QUICK) as fresh:
                for _ in range(course.passes):
                    for row in random.permutation(fold.learned):
                        fresh.train(X[row], int(Y[row]))
                outputs = np.stack([fresh.forward(X[row])[0] for row in fold.held])
            answers.append(int((outputs.argmax(axis=1) == Y[fold.held]).sum()))
        right.append(sum(answers))
    return right


class TestAccuracy:
    def test_is_that_of_networks_just_loaded(self, net):
        """One network, which goes back to its beginning, is as good as a new one for each fold."""
        course = Course(passes=2, seeds=(3,), folds=2)
        outcome = try_out(net, X, Y, rate=0.05, course=course)
        assert [share * 80 for share in outcome.by_seed] == of_new_networks(course, 0.05)
        assert outcome.accuracy == outcome.by_seed[0]
        assert outcome.steps == sum(len(fold.learned) for fold in folds_of(Y, None, 2)) * 2

    def test_recorded_order_learns_the_samples_as_they_are(self, net):
        course = Course(order="recorded", seeds=(0,), folds=2)
        right = 0
        for fold in folds_of(Y, None, 2):
            net.reset()
            net.train_all(X[fold.learned], Y[fold.learned])
            right += int(
                (net.evaluate_all(X[fold.held], Y[fold.held]).predicted == Y[fold.held]).sum()
            )
        assert try_out(net, X, Y, course=course).accuracy * 80 == pytest.approx(right)

    def test_labels_in_blocks_are_no_help(self, net):
        """Samples that say nothing of their class: all are right, but only while learning."""
        noise = np.random.default_rng(0).normal(0, 0.1, X.shape).astype(np.float32)
        net.reset()
        net.learning_rate(1.0)
        while_learning = (net.train_all(noise, Y).predicted == Y).mean()
        course = Course(order="recorded", seeds=(0,))
        outcome = try_out(net, noise, Y, rate=1.0, course=course)
        assert while_learning > 0.8
        assert outcome.accuracy < 0.4

    def test_the_worst_class(self, net):
        """All samples of class 0 are those of class 3: at most one of the two can be told."""
        x = np.where((Y == 0)[:, None], np.roll(X, 20, axis=0), X)
        outcome = try_out(net, x, Y)
        assert outcome.worst_label in (0, 3)
        assert outcome.worst < 0.7

    def test_old_data_kept(self, net):
        """The digits' old names are forgotten as the steps become larger."""
        old = digits(10, skip=20, names=range(4))
        slow, fast = (try_out(net, X, Y, rate=rate, old=old) for rate in (1e-6, 0.1))
        assert slow.kept > 0.9
        assert fast.kept < 0.1


class TestError:
    def test_is_at_least_that_of_independent_samples(self, net):
        outcome = try_out(net, X, Y, rate=0.03)
        p = np.array(outcome.right) / 2
        assert outcome.error >= math.sqrt(p.var() / len(p))

    def test_of_recordings_that_differ(self, net):
        """Two recordings of four have wrong labels: the error is that of four values, not of 80."""
        groups = np.arange(80) % 4
        wrong = np.where(groups < 2, Y, (Y + 1) % 4)
        outcome = try_out(net, X, wrong, groups=groups, rate=1e-6)
        shares = np.add.reduceat(outcome.right, [0, 20, 40, 60]) / 40
        assert outcome.error == pytest.approx(shares.std(ddof=1) / 2)

    def test_a_difference_is_of_pairs(self, net):
        one, other = (try_out(net, X, Y, rate=rate) for rate in (0.05, 0.02))
        less = difference(one, other)
        assert less.mean == pytest.approx(one.accuracy - other.accuracy)
        assert difference(one, one).error == 0
        assert less.error < math.hypot(one.error, other.error)

    def test_other_folds_are_not_compared(self, net):
        one, other = (try_out(net, X, Y, course=Course(folds=n)) for n in (2, 4))
        with pytest.raises(UserError, match="same folds"):
            difference(one, other)


class TestRepeated:
    def test_the_same_outcome_after_other_trials(self, net):
        here = try_out(net, X, Y, rate=0.01)
        try_out(net, X, Y, rate=0.5)
        assert try_out(net, X, Y, rate=0.01) == here

    def test_other_seeds_are_other_orders(self, net):
        one, other = (
            try_out(net, X, Y, rate=0.03, course=Course(seeds=(seed,))) for seed in (1, 2)
        )
        assert one.right != other.right


class TestRefused:
    def test_samples_that_do_not_fit(self, net):
        with pytest.raises(DataError, match="80 samples need as many class numbers"):
            try_out(net, X, Y[:-1])

    def test_losses_that_are_no_numbers_are_told(self, net):
        outcome = try_out(net, X * np.float32(1e38), Y)
        assert not outcome.finite

    def test_a_network_without_labels(self):
        with (
            HostNetwork.of(lowered(loss="mse"), flags=QUICK) as targets,
            pytest.raises(UserError, match="class labels"),
        ):
            try_out(targets, X, Y)


@pytest.mark.parametrize("held", [(24, 24, 24, 24), (25, 25, 23, 23), (3, 90, 2, 1)])
def test_a_single_sample_more_is_a_tie_and_many_are_none(held):
    one, many = np.zeros(sum(held)), np.zeros(sum(held))
    one[5], many[::3] = 1, 1
    assert Difference(float(one.mean()), _error_of(one, held)).ties
    assert not Difference(float(many.mean()), _error_of(many, held)).ties
