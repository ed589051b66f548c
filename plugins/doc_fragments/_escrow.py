# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations


class ModuleDocFragment:
    """The option that says where PSKs are kept; ``plugin_utils/_stores`` is its argument spec."""

    DOCUMENTATION = r"""
requirements:
  - hvac >= 2.0 on the controller, for the backend V(vault_kv2)
options:
  escrow:
    description:
      - Where the PSKs are kept. A backend takes its own options only; the others are refused.
    type: dict
    required: true
    suboptions:
      backend:
        description:
          - V(file) is one file an account, encrypted by C(ansible-vault); C(ansible-vault view) shows it, and
            C(ansible-vault edit) may change it.
          - V(vault_kv2) is the KV secrets engine, version 2, of HashiCorp Vault or OpenBao, with one secret a tunnel at
            C(<path>/<account_id>/<tunnel id>).
          - V(none) keeps nothing, so that a crash loses keys. It is meant for rehearsals.
        type: str
        choices: [file, vault_kv2, none]
        required: true
      path:
        description:
          - With V(file), the file. Its folder is made if it is missing. Beside it are kept C(<path>.lock), and a copy
            of what was written last, C(<path>.previous), out of which records are taken that an edit has lost. Edit it
            with C(flock <path>.lock ansible-vault edit <path>). Mode and group of a file that is there are kept.
          - With V(vault_kv2), the path of the records below the secrets engine, V(magicwan) if not set.
        type: str
      persistent:
        description:
          - With V(file) on AWX, where a job's disk is gone after the job, says that O(escrow.path) is on a volume that
            stays. Without that the backend is refused there (if E(AWX_HOST) or E(JOB_ID) is set).
        type: bool
        default: false
      vault_id:
        description:
          - With V(file), which of the run's vault secrets encrypts a new file. By default that is the one that
            E(ANSIBLE_VAULT_ENCRYPT_IDENTITY) or its setting in C(ansible.cfg) names, else the first one. A file that is
            there already is encrypted again by the secret that has opened it.
        type: str
      vault_password_file:
        description: With V(file), a file with the vault password, or a script that prints it, instead of the run's own.
        type: path
      lock_timeout:
        description: With V(file), how many seconds to wait for another process that writes the file.
        type: float
        default: 60.0
      url:
        description:
          - With V(vault_kv2), the address of the server. Plain C(http) is accepted for an address of the same machine
            only, or with O(escrow.validate_certs=false).
          - If not set, the environment variable E(BAO_ADDR) or E(VAULT_ADDR) is used.
        type: str
      mount:
        description: With V(vault_kv2), the path at which the secrets engine is mounted.
        type: str
        default: secret
      namespace:
        description:
          - With V(vault_kv2), the namespace.
          - If not set, the environment variable E(BAO_NAMESPACE) or E(VAULT_NAMESPACE) is used.
        type: str
      token:
        description:
          - With V(vault_kv2), the token. Its policy must allow C(create), C(read) and C(update) on
            C(<mount>/data/<path>/<account_id>/*), C(list) on C(<mount>/metadata/<path>/<account_id>), and, so that the
            secrets get a readable custom metadata, C(create) and C(update) on
            C(<mount>/metadata/<path>/<account_id>/*). With C(read) on C(<mount>/config) it is checked that the engine
            does not delete records after a time; without, a warning says that this was not checked.
          - If neither this nor O(escrow.role_id) is set, the environment variable E(BAO_TOKEN) or E(VAULT_TOKEN) is
            used.
        type: str
      role_id:
        description:
          - With V(vault_kv2), the role for a login by AppRole, once in each task. The token is revoked at its end.
            Excludes O(escrow.token).
          - If not set, the environment variable E(BAO_ROLE_ID) or E(VAULT_ROLE_ID) is used.
        type: str
      secret_id:
        description:
          - With V(vault_kv2), the secret of O(escrow.role_id).
          - If not set, the environment variable E(BAO_SECRET_ID) or E(VAULT_SECRET_ID) is used.
        type: str
      auth_mount:
        description: With V(vault_kv2), the path at which AppRole is mounted.
        type: str
        default: approle
      ca_path:
        description:
          - With V(vault_kv2), a file or a folder with the CA certificates to trust, in PEM format. No others are
            trusted then.
          - If not set, E(BAO_CACERT), E(VAULT_CACERT), E(BAO_CAPATH) or E(VAULT_CAPATH) is used, and if these are not
            set either, the certificates that Cloudflare's API is checked with by default are trusted.
        type: path
      validate_certs:
        description:
          - With V(vault_kv2), whether the server's certificate is checked. Never set this to V(false) outside a
            laboratory.
          - If not set, E(BAO_SKIP_VERIFY) or E(VAULT_SKIP_VERIFY) decides, and V(true) if that is not set either.
        type: bool
      timeout:
        description:
          - With V(vault_kv2), the seconds that a request may wait for the next piece of its answer.
        type: float
        default: 30.0
      retries:
        description:
          - With V(vault_kv2), how often a request is repeated after a failed connection, HTTP 408, 412, 429 or 5xx. A
            repeated write is harmless because it names the version that it replaces.
        type: int
        default: 4
      workers:
        description: With V(vault_kv2), how many requests may be on their way at once.
        type: int
        default: 8
"""
