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
  - Reads the PSKs of IPsec tunnels from the escrow that P(magicwan.cloudflare.psk_rotation#role) keeps. Cloudflare
    itself never shows a PSK again, so this is where a later job finds it.
  - Returns secrets. A task that uses them must set C(no_log).
extends_documentation_fragment:
  - magicwan.cloudflare._escrow
options:
  _terms:
    description:
      - Identifiers or exact names of tunnels. Names are those that the last run has seen; an identifier is always
        right.
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
  - module: magicwan.cloudflare.psk_escrow_info
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

- name: Read from Vault, with address and token from the environment
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
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import internal_error
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, parse_time
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import psk_of, without
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Store, find
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._stores import make_store

display = Display()

# A record that was written so much earlier than the newest one, in nanoseconds, was not in the last run.
OUTDATED = 86400 * NANO


class LookupModule(LookupBase):
    """One load for all terms; names need all records."""

    def run(self, terms: list[str], variables: Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """The PSKs; an error leaves as one line without a secret."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            store = make_store(
                self.get_option("escrow"),
                self.get_option("account_id"),
                self._loader._vault.secrets,
                os.environ,
                self._loader,
            )
            if store is None:
                raise EscrowError("escrow.backend is none, which keeps nothing")
            try:
                psks = [_psk(store, str(x), self.get_option("which")) for x in terms]
            finally:
                store.close()
        except EscrowError as exc:
            raise AnsibleError(f"ipsec_psk: {exc}") from None
        except Exception as exc:
            raise AnsibleError(f"ipsec_psk: {internal_error(exc).message}") from None
        mark_as_secret(psks)
        return psks


def _psk(store: Store, term: str, which: str) -> str:
    ((tunnel_id, stored),) = find(store, [term]).items()
    record = stored.record
    if tunnel_id != term:
        _warn_if_outdated(store, term, record)
    psk = psk_of(record, which)
    if not psk:
        raise EscrowError(without(term, record, which))
    return psk


def _warn_if_outdated(store: Store, name: str, record: Record) -> None:
    """Each run brings the names of its tunnels up to date; of others nobody knows if they still have theirs."""
    newest = max((_written(x.record) for x in store.load().values()), default=0)
    if newest - _written(record) > OUTDATED:
        display.warning(
            f"ipsec_psk: the record of {name!r} was not written when others were, so the tunnel may have another"
            " name by now; give its id to be sure"
        )


def _written(record: Record) -> int:
    return parse_time(record.history[-1].get("on")) or 0 if record.history else 0
