"""The ONNX project's own node tests of every operator that tinyodl imports, in generated C.

`python -m tests.operators_page` writes the counts and the reasons for what is left out into
docs/operators.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.backend import OPERATORS, all_cases, forms, reason_to_exclude
from tests.hostnet import HostNet
from tests.operators_page import PAGE, page
from tinyodl.project.plan import UpdatePlan

FORWARD_ONLY = UpdatePlan(layers={}, loss="mse")


@pytest.mark.parametrize("op", OPERATORS)
def test_generated_code_passes_every_case_that_no_rule_excludes(tmp_path, op):
    faults = []
    for case in all_cases()[op]:
        if reason_to_exclude(op, case):
            continue
        try:
            run(op, case, tmp_path)
        except Exception as error:
            said = " ".join(str(error).splitlines()[:3])[-400:]
            faults.append(f"{case.name}: {type(error).__name__}: {said}")
    assert not faults, "\n".join(faults)


def run(op, case, folder):
    for form in forms(op, case, folder):
        net = HostNet(form.graph, FORWARD_ONLY, folder / form.path.stem)
        sample = tuple(form.inputs[name] for name in form.graph.inputs)
        found = net.forward(sample).reshape(form.graph.shape(form.graph.outputs[0]))
        assert found.shape == form.expected.shape
        np.testing.assert_allclose(found, form.expected, case.rtol, case.atol)


def test_the_page_shows_what_the_operator_tables_and_these_tests_say():
    assert PAGE.read_text("utf-8") == page(), "run python -m tests.operators_page"
