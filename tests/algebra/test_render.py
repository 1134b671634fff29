"""Texts and LaTeX: few parentheses, exact numbers, shared parts once."""

from __future__ import annotations

import pytest

from mlsysim_opt.algebra import (
    Choice,
    Constant,
    Expression,
    Symbol,
    argmax_label,
    ceil,
    ceildiv,
    divides,
    equation,
    equations_latex,
    equations_text,
    exp,
    latex,
    log,
    lookup,
    maximum,
    where,
)
from mlsysim_opt.algebra.expression import expression
from mlsysim_opt.algebra.parse import parse
from mlsysim_opt.algebra.render import render
from mlsysim_opt.units import BANDWIDTH, BYTE, TIME, Unit, parse_unit

a, b, c = Symbol("a"), Symbol("b"), Symbol("c")
n = Symbol("n", integer=True)
weights = Symbol("model.weights", BYTE)
bandwidth = Symbol("hardware.memory.bandwidth", BANDWIDTH)
t, s = Symbol("t", TIME), Symbol("s", TIME)
gpu = Choice("gpu", ["a100", "h100"])
tp = Choice("tp_size", [1, 2])


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (a + b + c, "a + b + c"),
        (a + (b + c), "a + (b + c)"),
        (a - (b - c), "a - (b - c)"),
        (a * (b + c), "a * (b + c)"),
        (a * b + c, "a * b + c"),
        (a / (b * c), "a / (b * c)"),
        (a / b / c, "a / b / c"),
        (a / (b / c), "a / (b / c)"),
        ((a + b) ** 2, "(a + b)^2"),
        ((a**2) ** 3, "(a^2)^3"),
        (a**-1, "a^(-1)"),
        (a**0.5, "a^0.5"),
        (-(a**2), "-a^2"),
        ((-a) ** 2, "(-a)^2"),
        (-(a * b), "-(a * b)"),
        (-a * b, "-a * b"),
        (a - Constant(-5), "a - -5"),
        (Constant(-5) * a, "-5 * a"),
        (a * Constant(-5), "a * -5"),
        (Constant(-5) ** 2, "(-5)^2"),
        (expression("30 ms") ** 2, "(30 ms)^2"),
        (t / expression("30 ms"), "t / 30 ms"),
        (expression("-30 ms") + t, "-30 ms + t"),
        (expression("3 GB/s") * t, "3 GB/s * t"),
        (expression("3 GB/s") * s, "3 [GB/s] * s"),
        (expression("3 GB") / s, "3 GB / s"),
        (Constant(3, parse_unit("USD / (GB * h)")), "3 [USD/(GB*h)]"),
        (Constant(3, parse_unit("byte^2")), "3 byte^2"),
        (Constant(1e22), "1e+22"),
        (Constant(0.1), "0.1"),
        (maximum(a, b, c), "max(a, b, c)"),
        (maximum(a, maximum(b, c)), "max(a, max(b, c))"),
        (a <= b, "a <= b"),
        (a >= b, "b <= a"),
        ((a <= b) & ((b <= c) | (a < c)), "a <= b and (b <= c or a < c)"),
        (~((a <= b) & (b <= c)), "not (a <= b and b <= c)"),
        (~(a <= b) & (b <= c), "not a <= b and b <= c"),
        (where(a <= b, a, b + 1), "where(a <= b, a, b + 1)"),
        (ceildiv(n, 2) * a, "ceildiv(n, 2) * a"),
        (abs(a) + ceil(b), "abs(a) + ceil(b)"),
        (gpu == "h100", 'gpu == "h100"'),
        (Choice("k", ['a "b"\n', "c"]) == 'a "b"\n', r'k == "a \"b\"\n"'),
        (Symbol("weird name-1") + Symbol("max"), "`weird name-1` + `max`"),
        (Symbol("a`b\\c"), r"`a\`b\\c`"),
        (argmax_label(compute=a, memory=b), "argmax_label(compute: a, memory: b)"),
        (
            lookup(gpu, {"a100": None, "h100": 989}, unit="TFLOP/s", reasons={"a100": "no FP8"}, title="peak"),
            'lookup(gpu, "a100": none "no FP8", "h100": 989 TFLOP/s, title="peak")',
        ),
        (
            lookup(tp, {1: None, 2: None}, unit="USD", reasons={"1": "no price"}),
            'lookup(tp_size, 1: none "no price", 2: none, unit="USD")',
        ),
    ],
)
def test_texts(node: Expression, text: str) -> None:
    assert render(node) == text
    names = {item.name: item for item in _leaves(node)}
    assert parse(text, names) is node


def _leaves(node: Expression) -> list[Symbol | Choice]:
    from mlsysim_opt.algebra.evaluate import leaves

    return leaves([node])


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (weights / bandwidth, r"\frac{\mathrm{model.weights}}{\mathrm{hardware.memory.bandwidth}}"),
        (a * (b + c), r"\mathrm{a} \cdot \left(\mathrm{b} + \mathrm{c}\right)"),
        ((a / b) ** 2, r"{\left(\frac{\mathrm{a}}{\mathrm{b}}\right)}^{2}"),
        (a / (b + c), r"\frac{\mathrm{a}}{\mathrm{b} + \mathrm{c}}"),
        (expression("30 ms"), r"30\,\mathrm{ms}"),
        (Constant(3, parse_unit("W*h/s^2")), r"3\,\mathrm{W \cdot h/s^{2}}"),
        (Constant(1.5e30), r"1.5 \times 10^{30}"),
        (Constant(1e30), r"10^{30}"),
        (tp * a, r"\mathrm{tp\_size} \cdot \mathrm{a}"),
        (divides(tp, n), r"\mathrm{tp\_size} \mid \mathrm{n}"),
        (ceildiv(n, tp), r"\left\lceil \frac{\mathrm{n}}{\mathrm{tp\_size}} \right\rceil"),
        (n % 2 + n, r"\mathrm{n} \bmod 2 + \mathrm{n}"),
        (exp(a + 1), r"e^{\mathrm{a} + 1}"),
        (log(a), r"\ln\left(\mathrm{a}\right)"),
        (maximum(a, b, c), r"\max\left(\mathrm{a}, \mathrm{b}, \mathrm{c}\right)"),
        (~(a <= b), r"\lnot \mathrm{a} \le \mathrm{b}"),
        (gpu == "h100", r"\mathrm{gpu} = \text{h100}"),
    ],
)
def test_latex(node: Expression, text: str) -> None:
    assert latex(node) == text


def test_latex_names_are_replaced() -> None:
    assert latex(weights / bandwidth, {"model.weights": "W"}) == r"\frac{W}{\mathrm{hardware.memory.bandwidth}}"


def test_where_is_set_as_cases() -> None:
    cases = latex(where(a <= b, a, b) + 1)
    assert cases.startswith(r"\left(\begin{cases} \mathrm{a} & \text{if } \mathrm{a} \le \mathrm{b} \\")


def test_a_limit_cuts_the_text() -> None:
    assert render(a + b + c, limit=5) == "a ..."
    assert render(a + b + c, limit=9) == "a + b + c"


def test_equations_name_what_is_used_twice() -> None:
    step = weights / bandwidth + 2 * t
    assert equation("price", step * step) == (
        "price = x1 * x1\nwhere\n  x1 = model.weights / hardware.memory.bandwidth + 2 * t"
    )
    assert equations_text({"step": step, "run": step * 10}) == (
        "step = model.weights / hardware.memory.bandwidth + 2 * t\nrun = step * 10"
    )
    assert equations_text({"one": step, "other": step}).endswith("\nother = one")
    assert equations_text({"bare": t}) == "bare = t"


def test_short_names_do_not_clash_with_leaves() -> None:
    taken = Symbol("x1")
    part = taken + 2 * a
    assert equation("y", part * part) == "y = x2 * x2\nwhere\n  x2 = x1 + 2 * a"


def test_equations_show_look_ups_by_title() -> None:
    peak = lookup(gpu, {"a100": 312, "h100": 989}, unit="TFLOP/s", title="hardware.peak")
    assert equation("y", peak * t) == "y = hardware.peak(gpu) * t"


def test_equations_in_latex() -> None:
    part = a + 2 * b
    assert equations_latex({"y_1": part * part, "z": part}, {"a": "A"}) == (
        "\\begin{align*}\n"
        "  \\mathrm{y\\_1} &= \\mathrm{z} \\cdot \\mathrm{z} \\\\\n"
        "  \\mathrm{z} &= A + 2 \\cdot \\mathrm{b}\n"
        "\\end{align*}"
    )
    assert "x_{1} &=" in equations_latex({"y": part * part})


def test_a_unit_of_a_fractional_power_reads_back() -> None:
    node = Constant(2, Unit("byte^(1/2)", 1.0, (weights**0.5).dimension))
    assert parse(render(node), {}) is node
