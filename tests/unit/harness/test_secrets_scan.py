# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A leak must be found in each form, and clean data must stay clean."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.harness.secrets_scan import find_secrets

PLAIN = "Zk3VtYq0sWn8RbX2mLd7"
AWKWARD = 'p"q\\r s/t+ü&%=Q7w'
SECRETS = ["another-secret-1", PLAIN, AWKWARD]

ENCODERS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "url": lambda secret: quote(secret, safe="").encode(),
    "url-plus": lambda secret: quote_plus(secret).encode(),
    "json": lambda secret: json.dumps({"k": secret}, ensure_ascii=False).encode(),
    "json-ascii": lambda secret: json.dumps({"k": secret}).encode(),
    "json-twice": lambda secret: json.dumps(json.dumps({"k": secret})).encode(),
    "base64": lambda secret: base64.b64encode(secret.encode()),
    "base64, in a text": lambda secret: base64.b64encode(f"user:{secret}@host".encode()),
    "base64url": lambda secret: base64.urlsafe_b64encode(f"{secret}>>".encode()),
    "hex": lambda secret: secret.encode().hex().encode(),
    "hex-upper": lambda secret: secret.encode().hex().upper().encode(),
}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_found_in_each_form_at_any_offset(encoder: str, number: int) -> None:
    texts = [b"." * before + b"\n" + ENCODERS[encoder](SECRETS[number]) + b"\nmore" for before in range(17)]
    hits = find_secrets(texts, SECRETS)
    assert [hit.secret for hit in hits] == [number] * 17
    assert {hit.where for hit in hits} == {f"haystack {before}" for before in range(17)}


@pytest.mark.parametrize("shift", range(3))
def test_found_in_base64_at_each_alignment(shift: int) -> None:
    data = base64.b64encode(b"x" * shift + PLAIN.encode() + b"\xffyz")
    assert [(hit.secret, hit.form) for hit in find_secrets(data, SECRETS)] == [(1, f"base64-{shift}")]


def test_every_place_is_reported_and_the_secret_is_not() -> None:
    hits = find_secrets([f"{PLAIN} {PLAIN}", b"", PLAIN], SECRETS)
    assert [(hit.where, hit.offset) for hit in hits] == [
        ("haystack 0", 0),
        ("haystack 0", len(PLAIN) + 1),
        ("haystack 2", 0),
    ]
    assert PLAIN not in repr(hits)


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "clean").write_text("nothing", encoding="utf-8")
    leak = tmp_path / "deep" / "leak.json"
    leak.write_text(json.dumps({"psk": PLAIN}), encoding="utf-8")
    assert [hit.where for hit in find_secrets(tmp_path, SECRETS)] == [str(leak)]
    assert [hit.where for hit in find_secrets([leak], SECRETS)] == [str(leak)]


def test_nothing_in_clean_data() -> None:
    cut = PLAIN[:-1] + "\n" + PLAIN[1:] + "\n" + base64.b64encode(PLAIN[:-2].encode()).decode()
    assert find_secrets([cut, b"short", b""], SECRETS) == []
    assert find_secrets(cut, []) == []


def test_a_secret_too_short_to_search_for_is_refused() -> None:
    with pytest.raises(ValueError, match="secret 1 has fewer than 8 bytes"):
        find_secrets("text", [PLAIN, "short"])


def test_a_thousand_secrets_in_megabytes_take_a_moment() -> None:
    rng = random.Random(1)
    secrets = ["".join(rng.choices(string.ascii_letters + string.digits, k=48)) for _ in range(1000)]
    data = bytearray(base64.b64encode(rng.randbytes(3_000_000)))
    data[2_000_001 : 2_000_001 + 48] = secrets[700].encode()
    started = time.process_time()
    assert [(hit.secret, hit.offset) for hit in find_secrets(bytes(data), secrets)] == [(700, 2_000_001)]
    assert time.process_time() - started < 5
