"""The walls: the taxonomy, equations rendered from what runs, and examples worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.algebra import Choice, Expression, ScalarProgram, Symbol, substitute, topological
from mlsysim_opt.algebra.evaluate import evaluate
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.errors import UnknownNameError
from mlsysim_opt.physics import wall_equations
from mlsysim_opt.physics.node import SingleNodeModel
from mlsysim_opt.physics.walls import DOMAINS, Wall, walls, walls_of
from mlsysim_opt.solvers import SensitivitySolver, SynthesisSolver
from mlsysim_opt.units import parse_quantity

# the names and domains of the seed taxonomy
NAMES = {
    "node": ["Compute", "Memory", "Software", "Serving", "Batching", "Streaming", "Tail latency"],
    "data": ["Ingestion", "Transformation", "Locality"],
    "algorithm": ["Complexity", "Reasoning", "Fidelity"],
    "fleet": ["Communication", "Fragility", "Multi-tenant"],
    "operations": ["Capital", "Sustainability", "Checkpoint", "Safety"],
    "analysis": ["Sensitivity", "Synthesis"],
}
EVERY = pytest.mark.parametrize("wall", walls(), ids=lambda wall: f"{wall.number}-{wall.name}")


def half_a_digit(text: str) -> float:
    """Return half a unit of the last digit of a number as it is written, in its own unit."""
    mantissa, _, exponent = text.split()[0].partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals)


# the taxonomy ---------------------------------------------------------------------------------------------------------
def test_22_walls_in_six_domains() -> None:
    assert [wall.number for wall in walls()] == list(range(1, 23))
    assert {domain: [wall.name for wall in walls(domain=domain)] for domain in DOMAINS} == NAMES


def test_one_wall_by_its_number_or_by_what_answers() -> None:
    assert walls(4).name == "Serving"
    assert walls(4) is walls()[3]
    assert [wall.number for wall in walls(resolver="SingleNodeModel")] == [1, 2]
    assert [wall.number for wall in walls(resolver="ServingCapacityModel")] == [7]
    assert walls_of("Nobody") == ()


@pytest.mark.parametrize(("given", "says"), [(0, "1 to 22"), (23, "1 to 22"), (True, "1 to 22"), ("four", "1 to 22")])
def test_no_such_wall(given: Any, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        walls(given)


def test_C_no_such_domain_or_resolver() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'operations'"):
        walls(domain="operation")
    with pytest.raises(UnknownNameError, match="did you mean 'ServingModel'"):
        walls(resolver="ServingModle")


@EVERY
def test_resolvers_know_their_wall(wall: Wall) -> None:
    assert wall.resolver_class.__name__ == wall.resolver
    # compute and memory are one roofline: one class answers both
    assert wall.resolver_class.wall == (1 if wall.number == 2 else wall.number)


@EVERY
def test_sources_are_complete(wall: Wall) -> None:
    assert wall.sources
    for source in wall.sources:
        assert source.title
        assert source.locator
        assert 1900 < int(source.date[:4]) <= 2026


# worked examples ------------------------------------------------------------------------------------------------------
@EVERY
def test_arithmetic_of_the_example(wall: Wall) -> None:
    """Every line is right to the digits written, units included."""
    for step in wall.example.steps:
        _, _, arithmetic = step.partition(": ")
        left, _, right = arithmetic.rpartition(" = ")
        node, claimed = parse(left, {}), parse_quantity(right)
        assert node.dimension == claimed.dimension, step
        difference = abs(evaluate(node) - claimed.si) / claimed.unit.factor
        assert difference <= half_a_digit(right) * 1.001, (step, evaluate(node) / claimed.unit.factor)


@EVERY
def test_by_hand_and_by_the_model(wall: Wall) -> None:
    """What was worked out by hand is what the model answers, to the digits written."""
    example = wall.example
    assert abs(example.value - example.by_hand.magnitude) <= half_a_digit(example.answer) * 1.001, example.value
    last = example.steps[-1].rpartition(" = ")[2]  # and it is the end of the arithmetic
    ending = parse_quantity(last)
    assert ending.dimension == example.by_hand.dimension
    digit = half_a_digit(example.answer) * example.by_hand.unit.factor
    assert abs(ending.si - example.by_hand.si) <= digit * 1.001


def test_at_least_two_digits_are_claimed() -> None:
    for wall in walls():
        digits = [char for char in wall.example.answer.split()[0].partition("e")[0].lstrip("-0.") if char.isdigit()]
        assert len(digits) >= 2, wall.example.answer


# equations ------------------------------------------------------------------------------------------------------------
def expanded(parts: dict[str, Expression], name: str, others: dict[str, Expression]) -> Expression:
    """Return an equation with every name in it replaced by what it stands for, down to the leaves."""
    known = {**others, **parts}
    node = parts[name]
    for _ in range(200):
        # an output may be an input that is handed on under its own name
        leaves = [leaf for leaf in topological([node]) if isinstance(leaf, Symbol) and leaf.name in known]
        names = [leaf for leaf in leaves if known[leaf.name] is not leaf]
        if not names:
            return node
        node = substitute(node, {leaf: known[leaf.name] for leaf in names})
    raise AssertionError("the names of the equations go in a circle")


@EVERY
def test_equations_are_those_that_run(wall: Wall) -> None:
    """What is shown, its names replaced by what they stand for, has the value that the model computes."""
    asked, values = wall._asked
    named = asked.leaf_values(values)
    named["target_latency_resident"] = 0.02
    for name, root in wall._roots.items():
        if root.sort == "label":
            continue
        shown = expanded(wall._parts, name, wall.traced.expressions)
        assert ScalarProgram([shown]).run_named(named)[0] == pytest.approx(evaluate(root, named), rel=1e-12), name


@EVERY
def test_equations_as_text_and_latex(wall: Wall) -> None:
    lines = wall.equation.split("\n")
    assert lines[0] == wall.headline
    assert " = " in wall.headline
    assert wall.latex.startswith("\\begin{align*}\n")
    assert wall.latex.endswith("\n\\end{align*}")
    assert wall.latex.count(" &= ") == len([line for line in lines if line != "where"])
    for line in lines:  # readable: no equation is a page long
        assert len(line) < 420, line
    assert len(lines) < 30


@EVERY
def test_every_part_is_explained(wall: Wall) -> None:
    """Names in an equation are inputs, numbers of the catalog, outputs of the model, or parts listed below."""
    inputs = {item.name for item in wall._asked[0].inputs}
    outputs = set(wall.traced.expressions)
    for node in wall._parts.values():
        for leaf in topological([node]):
            if isinstance(leaf, Symbol | Choice):
                plain = leaf.name in inputs or leaf.name in outputs or leaf.name in wall._parts or "." in leaf.name
                assert plain or leaf.name == "target_latency_resident" or leaf.name in wall.traced.leaf_names, leaf.name


def test_written_in_values_are_named() -> None:
    fixed = walls(14).fixed
    assert fixed["overlap_comm"] == 0
    assert fixed["pp_size"] == 1
    assert "tp_size" not in fixed
    assert "pp_size" not in walls(14).equation
    assert walls(8).fixed == {}


def test_wall_21_is_the_derivative_that_the_solver_takes() -> None:
    wall = walls(21)
    asked, values = wall._asked
    (root,) = wall._roots.values()
    solved = SensitivitySolver().solve(**wall.example.inputs)
    assert evaluate(root, asked.leaf_values(values)) == pytest.approx(
        solved.elasticities["hardware.memory.bandwidth"], rel=1e-12
    )


def test_wall_22_is_the_inverse_that_the_solver_finds() -> None:
    """The formula, at the rates of the synthesized accelerator, gives the bandwidth of that accelerator again."""
    wall = walls(22)
    (formula,) = wall._roots.values()
    found = SynthesisSolver().solve(**wall.example.inputs, using=SingleNodeModel)
    asked, values = wall._asked
    named = {**asked.leaf_values(values), "target_latency_resident": 0.02}
    named["hardware.compute.peak.fp16"] = found.required_flops.to_base_units().magnitude
    assert evaluate(formula, named) == pytest.approx(found.required_bandwidth.to("byte/s").magnitude, rel=1e-9)


def test_plain_data() -> None:
    data = walls(9).as_dict()
    assert data["resolver"] == "TransformationModel"
    assert data["example"]["by_hand"] == "735.3 ms"
    assert data["example"]["model"] == "735.294 ms"
    assert data["equation"].startswith("transform_time = batch_size / ")


# setting apart --------------------------------------------------------------------------------------------------------
A, B, C = Symbol("a", low=1.0), Symbol("b"), Symbol("c")


@given(
    depth=st.integers(1, 6),
    longest=st.integers(6, 30),
    choice=st.lists(st.sampled_from("+*-x"), min_size=6, max_size=6),
)
def test_parts_never_change_the_value(depth: int, longest: int, choice: list[str]) -> None:
    node: Expression = A + B
    for level in range(depth):
        kind = choice[level]
        other = node * C if level % 2 else C + 2
        node = node + other if kind == "+" else node * other if kind == "*" else node - other
        node = node * 1 + 0 if kind == "x" else node
    parts = wall_equations.shown_parts({"y": node, "z": node + A}, {"w": A + B}, {}, longest)
    values = {"a": 1.5, "b": -2.0, "c": 0.75}
    for name, root in (("y", node), ("z", node + A)):
        found = evaluate(expanded(parts, name, {"w": A + B}), values)
        assert math.isclose(found, evaluate(root, values), rel_tol=1e-12, abs_tol=1e-12)


def test_constants_are_worked_out() -> None:
    from mlsysim_opt.algebra import maximum, minimum, where

    switch = Choice("switch", (0, 1))
    cases = [
        (where(switch == 1, A, B), {"switch": 0}, "y = b"),
        (A * 1 + 0 * B, {}, "y = a"),
        (minimum(1, A) * B, {}, "y = b"),  # a is never below 1
        (maximum(1, A) * B, {}, "y = a * b"),
        (minimum(1, B) * A, {}, "y = min(1, b) * a"),  # b may be
        (A / B, {"b": 4}, "y = a / 4"),
    ]
    for node, fixed, text in cases:
        parts = wall_equations.shown_parts({"y": node}, {}, fixed)
        assert wall_equations.text(parts, 1) == text


def test_another_output_keeps_its_name() -> None:
    parts = wall_equations.shown_parts({"y": (A + B) * C}, {"total": A + B})
    assert wall_equations.text(parts, 1) == "y = total * c"


def test_the_page_of_the_documentation_is_up_to_date(root: Path) -> None:
    from mlsysim_opt.cli.walls_page import page

    assert (root / "docs/walls.md").read_text(encoding="utf-8") == page().data["markdown"], "run: make walls"
