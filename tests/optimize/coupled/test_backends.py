"""One program, several solvers: the same answer, and models that people can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlsysim_opt.errors import FileError, InputError
from mlsysim_opt.optimize import CoupledProblem, Largest, Problem, optimize, task


@pytest.fixture
def problem() -> CoupledProblem:
    """Jobs on sites with servers, and power that servers draw by the hour."""
    made = CoupledProblem("sites")
    job, size, site = made.choose("job", ["a", "b"]), made.choose("size", [1, 2]), made.choose("site", ["Iowa", "Utah"])
    run = made.picks("run", [job, size, site], for_each=[job])
    servers = made.amounts("servers", [site], whole=True, high=5)
    power = made.amounts("power", [site], unit="kW", high=40)
    made.require("room", run * size <= servers, each=[site])
    made.require("power", power.equals(servers * "2 kW"), each=[site])
    made.require("spare", servers <= 6)
    made.measure("cost", servers * made.table("price", [site], [3.0, 4.0], "USD") + power * "0.1 USD/kW", unit="USD")
    made.measure("work", run * size)
    made.measure("peak", Largest(run * size, (site,)))
    made.default_objective = "min_cost"
    return made


@pytest.mark.parametrize("objective", ["min_cost", "min_peak", "cost / work", "maximize 5 USD * work - cost"])
@pytest.mark.parametrize("backend", ["pyomo", "pyomo:appsi_highs"])
def test_pyomo_finds_what_highs_finds(problem: CoupledProblem, objective: str, backend: str) -> None:
    asked = {"objective": objective, "constraints": ["work >= 3"]}
    one, two = optimize(problem, **asked), optimize(problem, backend=backend, **asked)  # type: ignore[arg-type]
    assert two.objective.value == pytest.approx(one.objective.value, rel=1e-9)
    assert two.status == "optimal"
    assert "Pyomo" in two.certificate.solver
    two.verify()


def test_the_pyomo_model_has_the_names_of_the_problem_and_the_same_optimum(problem: CoupledProblem) -> None:
    import pyomo.environ as pyo

    answer = optimize(problem, constraints=["work >= 3"])
    assert answer.task is not None
    model = answer.task.pyomo()
    assert model.run["a", 1, "Iowa"].is_integer()
    assert not model.power["Utah"].is_integer()
    assert model.component("room") is not None
    assert set(model.component("room")) == {"Iowa", "Utah"}
    assert model.component("work >= 3") is not None
    pyo.SolverFactory("appsi_highs").solve(model)
    # 3 servers in Iowa: 9 USD, 6 kW at 0.1: 0.6.
    assert pyo.value(model.objective) == pytest.approx(9.6)
    assert answer.objective.value == pytest.approx(9.6)


def test_a_written_file_is_read_by_another_program(problem: CoupledProblem, tmp_path: Path) -> None:
    import highspy

    answer = optimize(problem, constraints=["work >= 3"])
    assert answer.task is not None
    for name in ("plan.lp", "plan.mps"):
        written = answer.task.write(tmp_path / name)
        assert "servers(Iowa)" in written.read_text()
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.readModel(str(written))
        solver.run()
        assert solver.getInfo().objective_function_value == pytest.approx(9.6)
    with pytest.raises(InputError, match="neither an LP nor an MPS"):
        answer.task.write(tmp_path / "plan.txt")
    with pytest.raises(FileError, match="cannot be written: there is no folder"):
        answer.task.write(tmp_path / "none" / "plan.lp")


def test_what_no_file_can_hold_is_not_written(problem: CoupledProblem, tmp_path: Path) -> None:
    # 3 servers in Iowa do 3 work for 9.6 USD, 4 there do 4 for 12.8: always 3.2 USD each. The numerator alone is 9.6.
    with pytest.raises(InputError, match="cost / work is a ratio") as told:
        task(problem, objective="cost / work").write(tmp_path / "ratio.lp")
    assert "'numerator - q * divisor'" in str(told.value)
    with pytest.raises(InputError, match="one objective, and 2 are asked for") as told:
        task(problem, objective=["min_cost", "min_peak"]).write(tmp_path / "two.lp")
    assert "write min_cost alone; for min_peak" in str(told.value)
    assert not list(tmp_path.iterdir())
    # what the hint says instead: nothing is below the best ratio, and the best plan is at it
    held = optimize(problem, objective="cost - 3.2 USD * work")
    assert held.objective.value == pytest.approx(0, abs=1e-12)
    assert held.status == "optimal"
    held.verify()


def test_designs_are_written_as_the_rows_that_solvers_see(tmp_path: Path) -> None:
    import highspy

    made = Problem("square")
    side, kind = made.choose("side", [1, 2, 3]), made.choose("kind", [1, 10])
    made.measure("area", side * side * kind)
    made.default_objective = "min_area"
    asked = task(made, constraints=["area >= 5"])  # 3 * 3 * 1 is the least of 9, 10, 40, 90
    written = asked.write(tmp_path / "square.mps")
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.readModel(str(written))
    solver.run()
    assert solver.getInfo().objective_function_value == 9
    with pytest.raises(InputError, match="no design keeps all limits"):
        task(made, constraints=["area >= 500"]).write(tmp_path / "none.lp")
    with pytest.raises(InputError, match="one objective"):
        task(made, objective=["min_area", "max_area"]).write(tmp_path / "two.lp")


def test_cpsat_finds_what_highs_finds() -> None:
    dice = np.random.default_rng(5)
    made = CoupledProblem("whole")
    job, way = made.choose("job", range(12)), made.choose("way", range(6))
    run = made.picks("run", [job, way], for_each=[job])
    slots = made.amounts("slots", [way], whole=True)  # without a bound of their own: the limit below implies one
    made.require("room", run * made.table("load", [job, way], dice.uniform(1, 3, (12, 6))) <= slots * 4, each=[way])
    made.require("slots", slots <= 9)
    made.measure("cost", run * made.table("cost", [job, way], dice.uniform(-1, 5, (12, 6))) + slots * 0.7)
    answers = [optimize(made, objective="min_cost", backend=name, prune=prune)
               for name in ("milp", "cpsat") for prune in (True, False)]  # fmt: skip
    assert len({round(item.objective.si, 9) for item in answers}) == 1
    for item in answers:
        assert item.status == "optimal"
        item.verify()


def test_an_earlier_plan_may_be_begun_with(problem: CoupledProblem) -> None:
    first = optimize(problem, constraints=["work >= 3"])
    for backend in ("milp", "cpsat"):
        if backend == "cpsat":
            problem = CoupledProblem("whole")
            size = problem.choose("size", [1, 2])
            run = problem.picks("run", [size])
            problem.measure("cost", run * size)
            first = optimize(problem, objective="min_cost")
        again = optimize(problem, objective="min_cost", start=first, backend=backend)
        assert again.status == "optimal"
        assert again.objective.si <= first.objective.si


def test_a_large_program_is_solved_over_few_of_its_columns() -> None:
    # 40,000 tuples: two jobs over a hundred places and two hundred sizes; the best of each is known.
    dice = np.random.default_rng(2)
    cost = dice.uniform(1, 2, (2, 100, 200))
    made = CoupledProblem("large")
    job, place, size = made.choose("job", range(2)), made.choose("place", range(100)), made.choose("size", range(200))
    run = made.picks("run", [job, place, size], for_each=[job])
    made.require("one at a place", run <= 1, each=[place])
    made.measure("cost", run * made.table("cost", [job, place, size], cost))
    answer = optimize(made, objective="min_cost", prune=False)
    least = cost.min(axis=2)
    pairs = least[0][:, None] + least[1][None, :] + 9.0 * np.eye(100)
    assert answer.objective.value == pytest.approx(pairs.min(), rel=1e-9)
    assert answer.certificate.details["branched_over"] < 5_000


def test_names_in_a_file_are_those_of_the_problem_each_once_and_legal(tmp_path: Path) -> None:
    # two jobs whose names are one in an LP file, whose words and numbers may be no names; families like words of the
    # format; a name that is too long for it: other programs read the file all the same, and find the same optimum
    import highspy

    made = CoupledProblem("names")
    job, place = made.choose("job", ["chat-eu", "chat_eu", "chat eu", "é"]), made.choose("place", ["x", "y"])
    run = made.picks("run", [job, place], for_each=[job])
    few = [made.amounts(name, [], high=3) for name in ("free", "end", "e1", "2nd", "a" * 300)]
    made.require("b" * 300, sum(few[1:], few[0].total()) >= 4)
    made.require("b" * 300 + "!", sum(few[1:], few[0].total()) <= 9)
    cost = made.table("cost", [job, place], [[1, 2], [2, 1], [3, 5], [4, 4]], "USD")
    made.measure("cost", sum((one * f"{at + 1} USD" for at, one in enumerate(few)), run * cost), unit="USD")
    answer = optimize(made, objective="min_cost")
    # 1 + 1 + 3 + 4 for the jobs, and 3 at 1 USD with 1 at 2 USD
    assert answer.objective.value == 9 + 3 + 2
    assert answer.task is not None
    for name in ("names.lp", "names.mps"):
        written = answer.task.write(tmp_path / name)
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        assert solver.readModel(str(written)) == highspy.HighsStatus.kOk
        solver.run()
        assert solver.getInfo().objective_function_value == pytest.approx(14)
        names = list(solver.getLp().col_names_)
        assert len(set(names)) == len(names) == 4 * 2 + len(few)
        assert "run(chat_eu_x)" in names
