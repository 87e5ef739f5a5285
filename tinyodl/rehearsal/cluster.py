"""Candidates on a Dask cluster: the same work, on as many machines as there are.

The scheduler hands the problem to every worker once; a worker compiles and tries a candidate as
`work.carry_out` does here. Everybody runs the same version, so results are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from tinyodl import __version__
from tinyodl.errors import UserError
from tinyodl.rehearsal.candidates import Candidate
from tinyodl.rehearsal.problem import Problem
from tinyodl.rehearsal.running import Stop
from tinyodl.rehearsal.work import Result, carry_out

PATIENCE = 20.0  # seconds for a scheduler, and for a worker
BOARD = "BOARD"  # the resource of workers with a board attached
_LOOK_EVERY = 0.5


def on_cluster(
    problem: Problem, todo: Sequence[Candidate], stop: Stop, address: str
) -> Iterator[tuple[Candidate, Result]]:
    """The results as they come. Raises UserError, ToolError, within 30 seconds."""
    dask = _dask()
    client = connected(address)
    try:
        shared = client.scatter(problem, broadcast=True)
        waiting: dict[Any, Candidate] = {
            client.submit(carry_out, shared, candidate, pure=False): candidate for candidate in todo
        }
        while waiting and not stop():
            try:
                with client.as_current():
                    done = dask.wait(list(waiting), _LOOK_EVERY, "FIRST_COMPLETED").done
            except TimeoutError:
                _workers(client, address)
                continue
            for future in done:
                yield waiting.pop(future), future.result()
        client.cancel(list(waiting))
    finally:
        client.close()


def connected(address: str, resource: str = "") -> Any:
    """A client of a cluster whose workers can do the work, one of them with the resource.

    Raises UserError for no Dask, no scheduler, no worker, another version or a missing resource.
    """
    try:
        client = _dask().Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and give "
            "the tcp:// address that it prints"
        ) from error
    try:
        check_workers(client, address, resource)
    except BaseException:
        client.close()
        raise
    return client


def _dask() -> Any:
    """Dask's module, most of which has no types. Raises UserError."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise UserError(
            "--dask needs Dask: pip install 'tinyodl[cluster]', here and for every worker"
        ) from error


def check_workers(client: Any, address: str, resource: str = "") -> None:
    """Raises UserError unless there are workers of this version, one of them with the resource."""
    workers = _workers(client, address)
    if resource and not any(resource in each["resources"] for each in workers.values()):
        raise UserError(
            f"none of {len(workers)} Dask workers has {resource}: start one where a board is "
            f"attached, with `dask worker {address} --resources {resource}=1`"
        )
    for name, version in client.run(_version, on_error="return").items():
        if version != __version__:
            raise UserError(_of_version(name, version))


def _workers(client: Any, address: str) -> dict[str, Any]:
    """The workers there are. Raises UserError where there is none."""
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise UserError(
            f"the Dask scheduler at {address} has no workers: start some with "
            f"`dask worker {address}`, in an environment with tinyodl"
        )
    return workers


def _version() -> str:
    from tinyodl import __version__

    return __version__


def _of_version(worker: str, version: Any) -> str:
    has = "has no tinyodl" if isinstance(version, Exception) else f"has tinyodl {version}"
    return (
        f"the Dask worker {worker} {has}, and this is {__version__}: install the same version "
        "everywhere, since results are only then the same"
    )
