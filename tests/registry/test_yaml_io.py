"""Class E: files that are hostile, broken or merely not what was meant."""

from __future__ import annotations

import math
import os
import pickle
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlsysim_opt.errors import CatalogError, InputError
from mlsysim_opt.registry import yaml_io
from mlsysim_opt.registry.yaml_io import MAX_BYTES, parse_yaml, read_yaml


def refused(content: str | bytes, **place: int) -> str:
    with pytest.raises(InputError) as caught:
        parse_yaml(content, label="plan.yaml")
    assert "plan.yaml" in str(caught.value)
    for name, value in place.items():
        assert getattr(caught.value, name) == value, str(caught.value)
    return str(caught.value)


def test_E01_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "\ufeff"])
def test_E02_empty_file(text: str) -> None:
    if text.startswith("#"):
        assert "is empty" in refused(text)
    assert "is empty" in refused(text)


def test_E04_tab_indent_gives_the_place_and_a_hint() -> None:
    assert "spaces, not with tabs" in refused("a:\n\tb: 1\n", line=2)


def test_E04_syntax_error_gives_the_place() -> None:
    assert "not valid YAML" in refused("a: [1, 2\nb: 3\n", line=2)


def test_E05_python_tag_is_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    assert "tag" in refused(f"a: !!python/object/apply:os.system ['touch {witness}']\n", line=1)
    assert not witness.exists()


@pytest.mark.parametrize("text", ["a: !!str 5", "a: !mine x", "a: ! x", "!!map {a: 1}"])
def test_E05_no_tag_of_any_kind(text: str) -> None:
    assert "tag" in refused(text)


def test_E06_billion_laughs_is_refused_with_little_memory() -> None:
    lines = ["a0: &a0 [lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    tracemalloc.start()
    assert "&a0" in refused("\n".join(lines), line=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_E06_alias_alone_is_refused() -> None:
    assert "not allowed" in refused("a: *b\n")


@pytest.mark.parametrize("text", ["[" * 20000, "{a: " * 20000, "- " * 5000 + "x", "a: " + "[" * 20000 + "]" * 20000])
def test_E07_deep_nesting(text: str) -> None:
    start = time.perf_counter()
    assert "nested deeper" in refused(text)
    assert time.perf_counter() - start < 5


def test_E08_duplicate_key_names_both_lines() -> None:
    message = refused("batch_size: 1\nother: 2\nbatch_size: 3\n", line=3, column=1)
    assert "'batch_size' stands twice (first on line 1)" in message


def test_E09_not_utf8() -> None:
    assert "not UTF-8: byte 0xff" in refused(b"a: 1\nb: \xff\n", line=2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_E10_utf16(encoding: str) -> None:
    message = refused(("" if encoding != "utf-16-be" else "\ufeff").encode(encoding) + "a: 1".encode(encoding))
    assert "UTF-8 is expected" in message


def test_E10_utf8_byte_order_mark_is_fine() -> None:
    assert parse_yaml(b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


def test_E11_nul_bytes() -> None:
    assert "NUL" in refused(b"a: 1\nb: \x00\x01\n", line=2)


@pytest.mark.parametrize("byte", [b"\x01", b"\x1b", b"\x7f"])
def test_E11_control_characters(byte: bytes) -> None:
    refused(b"a: '" + byte + b"'\n")


def test_E11_half_a_surrogate_pair() -> None:
    assert "not valid YAML" in refused("a: \ud800\n")


def test_the_pure_python_parser_gives_the_same_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_io, "_Loader", yaml.SafeLoader)
    assert parse_yaml("a: [1, {b: NO}]\n").data == {"a": [1, {"b": "NO"}]}
    for text in (
        "[" * 20000,
        "a: *b",
        "a: &b 1",
        "a: !!python/none",
        "a: 1\n---\nb: 2\n",
        "a: 1\na: 2\n",
        "[",
        "\ud800",
    ):
        refused(text)


def test_E12_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_yaml(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_E13_unreadable_file(tmp_path: Path) -> None:
    link = tmp_path / "mem.yaml"
    link.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(link)


def test_E14_large_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(200 * 2**20)
    with pytest.raises(InputError, match="larger than the limit of 5 MiB"):
        read_yaml(path)
    assert "limit" in refused("a" * (MAX_BYTES + 1))


def test_E15_several_documents() -> None:
    assert "more than one document" in refused("a: 1\n---\nb: 2\n", line=2)


@pytest.mark.parametrize("text", ["NO", "yes", "on", "Off", "y", "n", "1:30", "12:30:45", "1_000", "2024-05-31", "0b1"])
def test_E16_yaml_1_1_traps_stay_text(text: str) -> None:
    assert parse_yaml(f"a: {text}").data == {"a": text}


def test_E17_sexagesimal_is_not_a_number() -> None:
    assert parse_yaml("a: 1:30").data == {"a": "1:30"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("1e3", 1000.0), ("1.5E-3", 0.0015), (".5", 0.5), ("4.", 4.0),
     ("true", True), ("False", False), ("null", None), ("~", None), ("", None), (".inf", math.inf),
     ("-.INF", -math.inf), ("'64'", "64"), ('"true"', "true")],
)  # fmt: skip
def test_core_schema_scalars(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_read_as_nan_and_left_to_the_field() -> None:
    assert math.isnan(parse_yaml("a: .nan").data["a"])


def test_number_of_many_digits() -> None:
    assert "not sensible" in refused("a: " + "9" * 10000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_E21_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "pipe.yaml"
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        read_yaml(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_E21_endless_file_does_not_hang() -> None:
    with pytest.raises(InputError, match="not a regular file"):
        read_yaml("/dev/zero")


@pytest.mark.parametrize("text", ["{[a]: 1}", "? [a, b]\n: 1", "{{a: 1}: 2}", "'': 1", "? \n: 1"])
def test_keys_are_plain_text(text: str) -> None:
    assert "key" in refused(text)


def test_keys_stay_text_whatever_they_look_like() -> None:
    assert list(parse_yaml("1: a\ntrue: b\nnull: c\n").data) == ["1", "true", "null"]


def test_places_of_values_and_keys() -> None:
    document = parse_yaml("a:\n  b: 5\n  c: [1, 2]\n")
    assert document.place(("a", "b")) == (2, 6)
    assert document.place(("a", "b"), key=True) == (2, 3)
    assert document.place(("a", "c", 1)) == (3, 10)
    assert document.place(("a", "gone", "further")) == (2, 3)


def test_caller_chooses_the_error() -> None:
    with pytest.raises(CatalogError):
        parse_yaml("[", error=CatalogError)


def test_errors_pickle() -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml("a: *b\n", label="x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_politely(text: str) -> None:
    with suppress(InputError):
        parse_yaml(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_politely(content: bytes) -> None:
    with suppress(InputError):
        parse_yaml(content)
