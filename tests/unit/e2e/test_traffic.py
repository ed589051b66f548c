# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as lost, in traffic and in SAs."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.traffic import read_loss

TUNNELS = {"a": "berlin", "x": "vienna", "b": "berlin", "y": "vienna"}


def test_a_site_is_dark_while_both_of_its_tunnels_are(tmp_path: Path) -> None:
    out = tmp_path / "traffic"
    out.write_text("99.950 00\n100.000 11\n100.050 01\n100.100 00\n100.150 10\n", encoding="utf-8")
    sas = {"x": [(90.0, True), (100.04, False)], "y": [(90.0, True), (99.0, False), (100.12, True)]}
    loss = read_loss(out, TUNNELS, sas, 100.0, 100.2)
    assert loss.slots == 4
    assert loss.dark_slots == {"berlin": 1, "vienna": 2}
    assert loss.gaps == {"a": 0.1, "b": 0.1, "x": 0.15, "y": 0.15}
    assert loss.longest_dark == 0.1


def test_a_tunnel_that_never_had_an_sa_was_down(tmp_path: Path) -> None:
    out = tmp_path / "traffic"
    out.write_text("100.000 11\n100.050 11\n", encoding="utf-8")
    loss = read_loss(out, TUNNELS, {"x": [], "y": []}, 100.0, 100.2)
    assert loss.dark_slots == {"berlin": 0, "vienna": 2}
