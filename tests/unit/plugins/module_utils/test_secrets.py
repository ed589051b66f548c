# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PSKs: what is made, what is accepted, and how they are kept out of texts."""

from __future__ import annotations

import html
import json
import shlex
import string
import urllib.parse
from collections import Counter

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _secrets
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import (
    censor,
    check_psk,
    generate_psk,
    psks_in,
    redact,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = "Zk3VtYq0sWn8RbX2mLd7"


def test_a_generated_psk_has_48_letters_and_digits_and_begins_with_a_letter() -> None:
    made = [generate_psk() for _number in range(500)]
    assert {len(psk) for psk in made} == {48}
    assert set("".join(made)) <= set(string.ascii_letters + string.digits)
    assert all(psk[0] in string.ascii_letters for psk in made)


def test_generated_psks_differ() -> None:
    assert len({generate_psk() for _number in range(1000)}) == 1000


def test_each_character_is_as_likely_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of each byte once, each character comes four times, and the bytes that are too many never."""
    monkeypatch.setattr(_secrets.secrets, "token_bytes", lambda count: bytes(range(256)))
    assert set(Counter(generate_psk(1 + 248)[1:]).values()) == {4}
    assert set(Counter(_secrets._drawn(string.ascii_letters, 208)).values()) == {4}


def test_bytes_are_drawn_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([b"\xff" * 2, b"\x00" * 2, b"\xff" * 38 + b"\x01", *[b"\x01" * 5] * 4])
    monkeypatch.setattr(_secrets.secrets, "token_bytes", lambda count: next(drawn))
    assert generate_psk(20) == "a" + "b" * 19


@given(st.integers(min_value=20, max_value=64))
def test_what_is_generated_is_accepted(length: int) -> None:
    psk = generate_psk(length)
    assert len(psk) == length
    check_psk(psk, "psk")


@pytest.mark.parametrize(
    ("psk", "why"),
    [
        (GOOD[:-1], "has 19 characters; 20 to 64"),
        ("", "has 0 characters; 20 to 64"),
        (GOOD * 4, "has 80 characters; 20 to 64"),
        (GOOD + "?", r"mangle: \?"),
        (GOOD + '"', 'mangle: "'),
        (GOOD + " x", "mangle: blank"),
        (GOOD + "$!#", r"mangle: ! # \$"),
        (GOOD + "\\", "mangle"),
        (GOOD + "\n", "not printable ASCII"),
        (GOOD + "\0", "not printable ASCII"),
        (GOOD + "ü", "not printable ASCII"),
        ("0x" + GOOD, "starts with 0"),
        ("0s" + GOOD, "starts with 0"),
        ("abcabcabcabcabcabcabcabc", "fewer than 8 different"),
    ],
)
def test_a_psk_that_a_device_would_mangle_is_refused_without_showing_it(psk: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_psk(psk, "psks[3] (berlin-1)")
    assert str(caught.value).startswith("psks[3] (berlin-1): ")
    assert not psk or psk not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("psk", [GOOD + "?", GOOD + " x", "0x" + GOOD, "aaaaaaaa", GOOD * 6])
def test_charset_any_accepts_what_is_printable_and_not_too_short(psk: str) -> None:
    check_psk(psk, "psk", "any")


@pytest.mark.parametrize("psk", ["aaaaaaa", "a" * 129, GOOD + "\t", GOOD + "é"])
def test_charset_any_still_has_its_limits(psk: str) -> None:
    with pytest.raises(InputError):
        check_psk(psk, "psk", "any")


@given(st.text(max_size=70), st.sampled_from(["safe", "any"]))
def test_no_refusal_shows_the_psk(psk: str, charset: str) -> None:
    try:
        check_psk(psk, "here", charset)
    except InputError as exc:
        assert len(psk) < 8 or psk not in str(exc)
        assert "\n" not in str(exc)


def test_a_longer_secret_is_redacted_before_one_that_it_contains() -> None:
    assert redact("key abcdef-long", ["abcdef", "abcdef-long"]) == "key ********"


@given(st.lists(st.text(alphabet="abcXYZ019", min_size=8), max_size=5), st.text())
def test_no_secret_is_left_after_redaction(values: list[str], text: str) -> None:
    told = redact(text.join(["", *values, ""]), values)
    assert not any(value in told for value in values)


ODD = "a'b\"c\\d<e>&f g/h%i+j"


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(ODD),
        json.dumps(json.dumps({"psk": ODD})),
        repr({"psk": ODD}),
        html.escape(ODD),
        html.escape(json.dumps(ODD)),
        urllib.parse.quote(ODD),
        urllib.parse.urlencode({"psk": ODD}),
        shlex.join(["set", "psk", ODD]),
    ],
)
def test_a_secret_is_redacted_however_it_is_written(written: str) -> None:
    told = redact(f"refused: {written}", [ODD])
    assert "********" in told
    assert not any(part in told for part in ("a'b", "c\\", "f g", "f+g", "f%20g", "j"))


def test_empty_values_redact_nothing() -> None:
    assert redact("text", ["", "x"]) == "te********t"
    assert redact("text", [""]) == "text"


def test_psks_in_skips_what_has_none() -> None:
    assert psks_in([{"psk": "a"}, {"psk": None}, {}, {"psk": ""}]) == ["a"]


@given(st.lists(st.text("ab", min_size=2, max_size=4), max_size=3), st.text("abc", max_size=12))
def test_censoring_leaves_no_secret_and_touches_no_text_without_one(secrets: list[str], text: str) -> None:
    (clean,) = censor({"text": [text]}, secrets)["text"]
    assert not any(secret in clean for secret in secrets)
    assert (clean == text) is not any(secret in text for secret in secrets)


def test_censoring_keeps_keys_numbers_and_shape() -> None:
    data = {GOOD: [1, None, True, {"a": f"x{GOOD}y"}, (GOOD,)]}
    assert censor(data, [GOOD]) == {GOOD: [1, None, True, {"a": "x********y"}, ["********"]]}


def test_censoring_without_secrets_gives_the_data_itself() -> None:
    data = {"a": [GOOD]}
    assert censor(data, []) is data
