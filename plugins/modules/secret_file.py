#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_file
short_description: Write a file that holds secrets, and leave no other copy of them
version_added: 2.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - M(ansible.builtin.copy) and M(ansible.builtin.template) put what they write into a temporary file on the controller
    and into another one on the target. Both stay there when the run is killed at that moment. This module gets the
    text through a pipe, and replaces the file at once.
  - Only the file's owner can read it. Where it was open to others, that ends before the new text is in it.
  - The new text is written beside the file first, under the file's name with a dot before and C(.new) after it. Should
    the module be killed at that moment, its next run replaces that file.
  - The role P(magicwan.cloudflare.customer_device#role) writes PSKs with it.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
    support: none
    details: A difference would show the secrets.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates
      no change.
    support: full
options:
  path:
    description: The file. Its folder must exist. A symbolic link is followed.
    type: path
    required: true
  content:
    description:
      - The whole text of the file.
      - Make it by a lookup, such as P(ansible.builtin.template#lookup), so that it is in no file before.
    type: str
    required: true
seealso:
  - module: ansible.builtin.copy
notes:
  - The connection must support pipelining, as P(ansible.builtin.ssh#connection) and P(ansible.builtin.local#connection)
    do; the module's action turns it on. Where it can't be had, such as with C(requiretty) in the target's sudoers or
    with C(ANSIBLE_KEEP_REMOTE_FILES), the module itself is a file on the target until it has ended, with the text in
    it, and the action warns of that if it can know.
"""

EXAMPLES = r"""
- name: Write the secrets of the tunnels
  magicwan.cloudflare.secret_file:
    path: /etc/swanctl/conf.d/cloudflare.secrets.conf
    content: "{{ lookup('ansible.builtin.template', 'secrets.conf.j2') }}"
  no_log: true
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /etc/swanctl/conf.d/cloudflare.secrets.conf
"""

import os

from ansible.module_utils.basic import AnsibleModule

OWNER_ONLY = 0o600


def replace(path: str, content: bytes) -> None:
    """Writes the text beside the file, durable, and puts it in the file's place. Raises OSError."""
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    # What a killed run has left there may be open to others, or be a link.
    if os.path.lexists(beside):
        os.unlink(beside)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as file:
        if os.path.exists(path):
            found = os.stat(path)
            os.fchown(file.fileno(), found.st_uid, found.st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    # Not by AnsibleModule.atomic_move, which opens a new file to others for a moment.
    os.replace(beside, path)


def holds(path: str, content: bytes) -> bool:
    """Whether the file has this text. Raises OSError when it can't be read."""
    with open(path, "rb") as file:
        return file.read() == content


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    path, content = os.path.realpath(module.params["path"]), module.params["content"].encode("utf-8", "surrogateescape")
    try:
        exists = os.path.exists(path)
        changed = exists and module.set_mode_if_different(path, OWNER_ONLY, False)
        if not exists or not holds(path, content):
            changed = True
            if not module.check_mode:
                replace(path, content)
                module.set_default_selinux_context(path, changed)
    except OSError as exc:
        module.fail_json(msg=f"{path} can't be written: {exc.strerror}")
    module.exit_json(changed=changed, path=path)


if __name__ == "__main__":
    main()
