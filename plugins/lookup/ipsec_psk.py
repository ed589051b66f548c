# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ipsec_psk
short_description: The pre-shared key of a tunnel, out of the PSK escrow
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Reads the PSKs of IPsec tunnels out of the escrow that P(magicwan.cloudflare.psk_rotation#role) keeps. Cloudflare
    itself never shows a PSK again, so this is where a later job finds it.
  - Returns secrets. A task that uses them must set C(no_log).
extends_documentation_fragment:
  - magicwan.cloudflare._escrow
options:
  _terms:
    description: Identifiers or exact names of tunnels.
    type: list
    elements: str
    required: true
  account_id:
    description: Identifier of the Cloudflare account.
    type: str
    env:
      - name: CLOUDFLARE_ACCOUNT_ID
  which:
    description:
      - V(device) is the PSK that the tunnel's device should have, as Cloudflare has it as far as this is known. During
        a rotation that is the new PSK as soon as Cloudflare has it.
      - V(current) is the PSK of the last rotation that was finished, V(pending) the one of an unfinished rotation, and
        V(previous) the one before V(current).
    type: str
    choices: [device, current, pending, previous]
    default: device
notes:
  - With the backend V(file) the file is opened with the run's own vault secrets, or O(escrow.vault_password_file).
seealso:
  - module: magicwan.cloudflare.psk_escrow
"""

EXAMPLES = r"""
- name: Configure the device
  ansible.builtin.template:
    src: ipsec.secrets.j2
    dest: /etc/ipsec.d/cloudflare.secrets
    mode: "0600"
  vars:
    psk: >-
      {{ lookup('magicwan.cloudflare.ipsec_psk', 'berlin-1', account_id=cloudflare_account_id,
         escrow={'backend': 'file', 'path': 'psks.vault.yml'}) }}
  no_log: true

- name: Ask Vault, with the address and the token out of the environment
  ansible.builtin.set_fact:
    psk_before: >-
      {{ lookup('magicwan.cloudflare.ipsec_psk', 'c4a7362d577a6c3019a474fd6f485821', which='previous',
         escrow={'backend': 'vault_kv2'}) }}
  no_log: true
"""

RETURN = r"""
_raw:
  description: The PSK of each tunnel, in the same order.
  type: list
  elements: str
"""

import os
import re
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import internal_error
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._backends import make_backend
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import psk_of_device
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import (
    Backend,
    EscrowError,
    Stored,
)


class LookupModule(LookupBase):
    """One load for all terms; names need all records."""

    def run(self, terms: list[str], variables: Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """The PSKs; an error leaves as one line without a secret."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            backend = make_backend(
                self.get_option("escrow"),
                self.get_option("account_id"),
                self._loader._vault.secrets,
                os.environ,
                self._loader,
            )
            psks = _psks(backend, [str(x) for x in terms], self.get_option("which"))
        except EscrowError as exc:
            raise AnsibleError(f"ipsec_psk: {exc}") from None
        except Exception as exc:
            raise AnsibleError(f"ipsec_psk: {internal_error(exc).message}") from None
        mark_as_secret(psks)
        return psks


def _psks(backend: Backend, terms: list[str], which: str) -> list[str]:
    ids = [x for x in terms if re.fullmatch(r"[0-9a-f]{32}", x)]
    records = backend.load(ids) if ids else {}
    if set(terms) - set(records):
        records = backend.load()
    return [_psk(records, term, which) for term in terms]


def _psk(records: Mapping[str, Stored], term: str, which: str) -> str:
    named = [i for i, stored in records.items() if stored.record["name"] == term]
    if term not in records and len(named) != 1:
        why = "of this id or name" if not named else f"of this name only: there are {len(named)}, so give the id"
        raise EscrowError(f"the escrow has no tunnel {term!r} {why}" if not named else f"{term!r} is not {why}")
    record = records[term if term in records else named[0]].record
    psk = psk_of_device(record) if which == "device" else (record[which] or {}).get("psk")
    if not psk:
        kind = "PSK that its device should have" if which == "device" else f"{which} PSK"
        raise EscrowError(f"the escrow knows no {kind} of tunnel {term!r}, which is {record['state']}")
    return t.cast(str, psk)
