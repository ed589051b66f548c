# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons with a command ipsec, on what strongSwan 5.9.8 and Libreswan 4.10 print, with other names in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import (
    _device_ipsec,
    _device_on_libreswan,
    _device_on_strongswan_stroke,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import Tunnel, Unreadable, load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_proof import watched

OUTPUTS = Path(__file__).parent / "device_outputs" / "golden"
ENDPOINT = "203.0.113.1"
ID = "aaaa.33145236.ipsec.cloudflare.com"
PLATFORMS = ("strongswan_stroke", "libreswan")
DAEMONS = {"strongswan_stroke": _device_on_strongswan_stroke.DAEMON, "libreswan": _device_on_libreswan.DAEMON}
STATUS = {"strongswan_stroke": "strongswan_stroke_statusall", "libreswan": "libreswan_status"}
MAIN = "/etc/ipsec.secrets"
INCLUDE = f"== {MAIN}\ninclude /etc/ipsec.d/*.secrets\n"
OWN = f'== /etc/ipsec.d/cf-a.secrets\n@{ID} {ENDPOINT} : PSK "the-psk"\n'


def tunnel(**changes: str) -> Tunnel:
    names = {"object": changes.get("object", "cf-a"), "secret": changes.get("secret", "cf-a.secrets")}
    return Tunnel(
        id="t1",
        name="site-a",
        status="applied",
        psk="the-psk",
        names=names,
        number=7,
        ike_id_type="fqdn",
        ike_id=changes.get("ike_id", ID),
        endpoint=changes.get("endpoint", ENDPOINT),
    )


def said(name: str) -> str:
    return (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8")


def judged(platform: str, text: str) -> str:
    return _device_ipsec.proof(DAEMONS[platform], tunnel(), text, 20)


def without(text: str, step: str) -> str:
    return re.sub(rf"^== {step} .*\n(?:(?!==).*\n)*", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_peer_that_authenticated_while_it_was_brought_up_is_a_proof(platform: str) -> None:
    assert judged(platform, said(f"{platform}_right")) == ""


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("strongswan_stroke_wrong", "received AUTHENTICATION_FAILED notify error"),
        ("strongswan_stroke_no_secret", f"no shared key found for '{ID}' - '{ENDPOINT}'"),
        ("strongswan_stroke_silent", "timeout: no new IKE_AUTH within 20 s, the daemon last said: "),
        ("libreswan_wrong", "IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"),
        (
            "libreswan_no_secret",
            f"authentication failed: no PSK found for '@{ID}'; it did not understand /etc/ipsec.d/x.secrets line 1",
        ),
        ("libreswan_silent", "timeout: no new IKE_AUTH within 20 s, the daemon last said: "),
    ],
)
def test_a_failure_has_the_daemons_own_reason(output: str, reason: str) -> None:
    assert judged(output.rpartition("_")[0].removesuffix("_no"), said(output)).startswith(reason)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("before", "the device said nothing"),
        ("between", "the device's SAs could not be read after they were cleared"),
        ("up", "its SA is older"),
        ("after", "the device's SAs could not be read after the authentication"),
    ],
)
def test_without_a_step_there_is_no_proof(platform: str, step: str, reason: str) -> None:
    assert reason in judged(platform, without(said(f"{platform}_right"), step))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("before", "could not be read before the authentication was forced"),
        ("down", "the device did not clear its SA"),
        ("between", "could not be read after they were cleared"),
        ("after", "could not be read after the authentication"),
    ],
)
def test_a_step_that_failed_is_no_proof(platform: str, step: str, reason: str) -> None:
    assert reason in judged(platform, said(f"{platform}_right").replace(f"== {step} cf-a 0", f"== {step} cf-a 1"))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("rc", ["1", "124"])
def test_a_daemon_that_did_not_read_its_secrets_has_proven_the_old_one(platform: str, rc: str) -> None:
    text = said(f"{platform}_right").replace("== reread - 0", f"== reread - {rc}")
    assert judged(platform, text) == "the daemon did not read its secrets"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_daemon_of_which_nobody_knows_that_it_read_its_secrets_has_proven_nothing(platform: str) -> None:
    assert judged(platform, without(said(f"{platform}_right"), "reread")) == "the daemon did not read its secrets"


def test_an_up_that_failed_is_no_proof() -> None:
    assert judged("libreswan", said("libreswan_right").replace("== up cf-a 0", "== up cf-a 36"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_connection_that_was_not_seen_to_be_down_is_no_proof(platform: str) -> None:
    right = said(f"{platform}_right")
    shown = re.search(r"^== before .*\n((?:(?!==).*\n)*)", right, re.MULTILINE)
    assert shown is not None
    text = re.sub(r"(^== between .*\n)(?:(?!==).*\n)*", lambda x: x[1] + shown[1], right, flags=re.MULTILINE)
    assert judged(platform, text).endswith("its SA is older")


def test_an_sa_that_was_there_before_is_no_proof() -> None:
    strongswan = said("strongswan_stroke_right").replace("cf-a[21]: ESTABLISHED", "cf-a[22]: ESTABLISHED")
    assert judged("strongswan_stroke", strongswan)
    libreswan = said("libreswan_right").replace('#26: "cf-a"', '#30: "cf-a"')
    assert judged("libreswan", libreswan)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_sa_whose_peer_was_not_said_to_have_authenticated_is_no_proof(platform: str) -> None:
    text = said(f"{platform}_right")
    for words in (f"authentication of '{ENDPOINT}' with pre-shared key successful\n", "authenticated peer using"):
        text = text.replace(words, "")
    assert judged(platform, text)


def test_the_own_authentication_is_not_the_peers() -> None:
    text = said("strongswan_stroke_right")
    text = text.replace(f"authentication of '{ENDPOINT}' with pre-shared key successful\n", "")
    assert f"authentication of '{ID}' (myself) with pre-shared key" in text
    assert judged("strongswan_stroke", text)


def test_another_connections_authentication_is_no_proof() -> None:
    text = said("strongswan_stroke_right").replace("IKE_SA cf-a[22] established", "IKE_SA cf-b[22] established")
    assert judged("strongswan_stroke", text)
    text = said("libreswan_right").replace(
        '"cf-a" #30: initiator established IKE', '"cf-b" #30: initiator established IKE'
    )
    assert judged("libreswan", text)


def test_a_peer_that_authenticated_is_no_proof_without_a_child_sa() -> None:
    text = said("strongswan_stroke_right").replace("cf-a{21}:  INSTALLED", "cf-a{21}:  DELETED")
    assert "there is no child SA" in judged("strongswan_stroke", text)
    text = re.sub(r"^000 #31: .*\n", "", said("libreswan_right"), flags=re.MULTILINE)
    assert "there is no child SA" in judged("libreswan", text)


def test_the_child_of_another_ike_sa_does_not_count() -> None:
    text = said("strongswan_stroke_right")
    before, _, after = text.rpartition("        cf-a[22]: ESTABLISHED")
    moved = before + "        cf-a[22]: ESTABLISHED 0 seconds ago\n        cf-a[9]: DELETING" + after
    assert "there is no child SA" in judged("strongswan_stroke", moved)
    assert "there is no child SA" in judged(
        "libreswan", said("libreswan_right").replace("IKE SA #30; idle", "IKE SA #9; idle")
    )


def test_the_last_round_counts() -> None:
    right = said("strongswan_stroke_right")
    again = right + "== down cf-a 0\n\n== between cf-a 0\n\n"
    assert judged("strongswan_stroke", again).endswith("its SA is older")
    start = right.index("== down")
    duplicate = "== down cf-a 0\n\n== between cf-a 0\n\n== up cf-a 0\nestablishing connection 'cf-a' failed\n\n"
    assert judged("strongswan_stroke", right[:start] + duplicate + right[start:]) == ""


def test_a_peer_that_does_not_answer_the_delete_may_authenticate_later() -> None:
    assert (
        judged("strongswan_stroke", said("strongswan_stroke_right").replace("== down cf-a 0", "== down cf-a 124")) == ""
    )


@pytest.mark.parametrize("text", ["", "nonsense", "== reread - 0\n"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_silence_is_no_proof(platform: str, text: str) -> None:
    assert judged(platform, text) == "the device said nothing"


def test_another_form_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        judged("libreswan", "== up cf-a\n")


@pytest.mark.parametrize("platform", [*PLATFORMS, "strongswan"])
def test_a_script_that_failed_is_no_proof(platform: str) -> None:
    judge = load(platform).watch
    assert judge is not None
    answer = {"rc": 1, "stdout": said("libreswan_right"), "stderr": "no space left"}
    verdict = watched(judge, tunnel(), answer, 20)
    assert (verdict.status, verdict.reason) == ("failed", "the device's log could not be watched: no space left")
    assert watched(judge, tunnel(), None, 20).status == "failed"
    assert watched(judge, tunnel(), {"rc": 0, "stdout": "== up\n"}, 20).status == "failed"


def looked(platform: str, secrets: str, of: Tunnel | None = None, entry: str = "reach") -> tuple[str, str]:
    """What stands against changing the tunnel, and how its key compares."""
    answers = [{"rc": 0, "stdout": said(STATUS[platform])}, {"rc": 0, "stdout": f"writable yes\n{secrets}"}]
    found = load(platform).inspect(answers, of or tunnel(), entry)
    return found.problem, found.key


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_connection_with_its_secret_can_be_changed(platform: str) -> None:
    assert looked(platform, INCLUDE + OWN) == ("", "match")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_secret_that_is_not_there_yet_needs_a_file_that_is_read(platform: str) -> None:
    assert looked(platform, INCLUDE) == ("", "not shown")
    assert "does not include /etc/ipsec.d/cf-a.secrets" in looked(platform, f"== {MAIN}\ninclude other/*\n")[0]
    assert looked(platform, f"== {MAIN}\ninclude ipsec.d/*.secrets\n")[0] == ""
    assert looked(platform, "")[0] == "the device has no ipsec.secrets"
    assert looked(platform, "", entry="main")[0] == ""


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    "line",
    [
        f'@{ID} {ENDPOINT} : PSK "another"',
        f"{ID} : PSK another",
        f"%any  fqdn:{ID}: PSK 'another'",
        f'@{ID}\n   {ENDPOINT} : PSK "another"',
    ],
)
def test_another_secret_of_the_same_identity_is_found(platform: str, line: str) -> None:
    problem = looked(platform, f"{INCLUDE}{line}\n{OWN}")[0]
    assert problem == f"an entry in {MAIN} has a secret for the same identity, and may take precedence (option secret)"
    problem = looked(platform, f"{INCLUDE}{OWN}{line}\n")[0]
    assert (
        problem == "/etc/ipsec.d/cf-a.secrets has 2 entries with a secret for the same identity, and either may be used"
    )


@pytest.mark.parametrize("platform", PLATFORMS)
def test_secrets_of_others_are_left_alone(platform: str) -> None:
    others = f'# @{ID} : PSK "x"\n@bbbb.example {ENDPOINT} : PSK "x"\n: PSK "x"\n@{ID} : RSA key.pem\n'
    assert looked(platform, f"{INCLUDE}{others}{OWN}") == ("", "match")


def test_the_user_may_name_ipsec_secrets_itself() -> None:
    text = f'== {MAIN}\n@{ID} {ENDPOINT} : PSK "old-psk"\n'
    assert looked("strongswan_stroke", text, tunnel(secret="ipsec.secrets")) == ("", "mismatch")
    assert "may take precedence (option secret)" in looked("strongswan_stroke", text)[0]


def test_an_entry_of_several_lines_is_not_replaced() -> None:
    text = f'{INCLUDE}== /etc/ipsec.d/cf-a.secrets\n@{ID}\n  {ENDPOINT} : PSK "the-psk"\n'
    assert "has several lines" in looked("libreswan", text)[0]
    assert looked("libreswan", text, entry="compare") == ("", "match")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"object": "cf-z"}, "the daemon has no connection cf-z"),
        ({"endpoint": "203.0.113.2"}, "the connection cf-a does not go to 203.0.113.2"),
        ({"ike_id": "cccc.example"}, "the connection cf-a does not present the identity cccc.example (ike_id: fqdn)"),
    ],
)
def test_another_connection_than_the_tunnels_is_refused(platform: str, changes: dict[str, str], reason: str) -> None:
    assert looked(platform, INCLUDE, tunnel(**changes))[0] == reason


@pytest.mark.parametrize(
    ("platform", "old", "new"),
    [
        ("strongswan_stroke", "] uses pre-shared key", "] uses public key"),
        ("libreswan", "our auth:secret, their", "our auth:rsasig, their"),
    ],
)
def test_a_connection_without_a_psk_is_refused(platform: str, old: str, new: str) -> None:
    text = said(STATUS[platform]).replace(old, new)
    answers = [{"rc": 0, "stdout": text}, {"rc": 0, "stdout": f"writable yes\n{INCLUDE}"}]
    assert load(platform).inspect(answers, tunnel(), "reach").problem.endswith("does not authenticate by a PSK")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_daemon_that_does_not_answer_is_no_device_to_change(platform: str) -> None:
    denied = {"rc": 1, "stdout": "", "stderr": "Permission denied"}
    readable = {"rc": 0, "stdout": said(STATUS[platform])}
    assert load(platform).ready([denied, {"rc": 0, "stdout": "writable yes\n"}], "reach").endswith("Permission denied")
    assert load(platform).ready([readable, {"rc": 0, "stdout": "writable no\n"}], "reach")
    assert load(platform).ready([readable, {"rc": 0, "stdout": "writable yes\n"}], "reach") == ""
    assert load(platform).ready([readable, {"rc": 0, "stdout": "writable no\n"}], "compare") == ""


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        (f"@{ID}", ID),
        (f"fqdn:{ID}", ID),
        ("ipsec@a.example", "ipsec@a.example"),
        ("keyid:33145236_aa", "33145236_aa"),
        ("@[33145236_aa]", "33145236_aa"),
        ("@#0x33333134353233365f6161", "33145236_aa"),
        ("@#33333134353233365f6161", "33145236_aa"),
        ("@#zz", "#zz"),
        ("email.example", "email.example"),
    ],
)
def test_an_identity_is_known_in_each_of_its_forms(written: str, identity: str) -> None:
    assert _device_ipsec.plain(written) == identity
