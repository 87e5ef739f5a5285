"""A Dask cluster gives the results of this process, bit for bit; what is missing is said."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from distributed import LocalCluster

from tests.rehearsal.samples import MODEL, digits
from tinyodl.errors import UserError
from tinyodl.rehearsal import cluster
from tinyodl.rehearsal.candidates import Candidate
from tinyodl.rehearsal.rehearse import rehearse
from tinyodl.rehearsal.trial import Course

COURSE = Course(seeds=(0,), folds=2)
FEW = (
    Candidate("none", {"update": "none"}),
    Candidate("ncm", {"learner": "ncm"}),
    Candidate("last", {"update": "last"}, (0.001, 0.1)),
)


@pytest.fixture(scope="module")
def address():
    """Two processes on this computer."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as made:
        yield made.scheduler_address


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyodl.rehearsal.rehearse.candidates", lambda task: FEW)
    x, y = digits(12)
    np.savez(tmp_path / "new.npz", x=x, y=y)
    return tmp_path / "new.npz"


def test_results_are_those_of_one_process(address, data):
    """On a cluster, and in processes of this command."""
    here = rehearse(MODEL, "host", data, course=COURSE)
    for where in ({"dask": address}, {"jobs": 2}):
        there = rehearse(MODEL, "host", data, course=COURSE, **where)
        assert [r.tried for r in there.results] == [r.tried for r in here.results]
        assert there.choice == here.choice
        assert there.finals == here.finals


def test_a_resource_that_nobody_has(address):
    with pytest.raises(UserError, match="none of 2 Dask workers has BOARD: start one"):
        cluster.connected(address, cluster.BOARD)


def test_another_version_on_a_worker(address, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(UserError, match=r"has tinyodl .*, and this is 9.9: install the same"):
        cluster.connected(address)


def test_no_scheduler(data, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        silent = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match="no Dask scheduler answers at tcp://127"):
            rehearse(MODEL, "host", data, dask=silent)
