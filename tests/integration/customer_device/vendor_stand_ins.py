# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of vendors that only keep what they are given: for what the real ones would send to a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The answer holds an SA that is new each time, in the words of PAN-OS, and all that the module was given: what of it
# is hidden, the role has hidden.
MODULE = """#!/usr/bin/python
# WANT_JSON
import json
import sys
import time

with open(sys.argv[1]) as arguments, open({calls!r}, "a") as calls:
    given = json.load(arguments)
    options = dict((name, given[name]) for name in given if not name.startswith("_ansible_"))
    calls.write(json.dumps([{name!r}, options]) + "\\n")
state = "Established %f" % time.time()
print(json.dumps({{"changed": True, "stdout_xml": state, "invocation": {{"module_args": options}}}}))
"""
# The role asks for an option of the vendor's connection plugin, to see that the collection is there.
CONNECTION = '''
DOCUMENTATION = """
name: {name}
short_description: A stand-in
description: [A stand-in.]
options:
  {option}: {{type: str, description: [None.], vars: [{{name: stand_in}}]}}
"""
from ansible.plugins.{kind} import {base}


class {class_name}({base}):
    pass
'''
PANOS = ("panos_op", "panos_config_element", "panos_commit_firewall")
VYOS = ("vyos_command", "vyos_config")


class VendorModules:
    """The stand-ins for paloaltonetworks.panos and vyos.vyos in a folder for ANSIBLE_COLLECTIONS_PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"
        httpapi = CONNECTION.format(
            name="panos", option="api_key", kind="httpapi", base="HttpApiBase", class_name="HttpApi"
        )
        cliconf = CONNECTION.format(
            name="vyos", option="config_commands", kind="cliconf", base="CliconfBase", class_name="Cliconf"
        )
        self._collection("paloaltonetworks/panos", PANOS, "httpapi/panos.py", httpapi)
        self._collection("vyos/vyos", VYOS, "cliconf/vyos.py", cliconf)

    def _collection(self, name: str, modules: tuple[str, ...], connection: str, text: str) -> None:
        plugins = self.folder / "ansible_collections" / name / "plugins"
        files = {connection: text}
        files |= {f"modules/{x}.py": MODULE.format(calls=str(self._calls), name=x) for x in modules}
        for path, content in files.items():
            (plugins / path).parent.mkdir(parents=True, exist_ok=True)
            (plugins / path).write_text(content, encoding="utf-8")

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Each call so far, oldest first: the module's name and its options."""
        lines = self._calls.read_text(encoding="utf-8").splitlines()
        return [(name, options) for name, options in map(json.loads, lines)]
