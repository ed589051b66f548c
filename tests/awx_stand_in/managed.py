# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some of the credential types that AWX brings, with the fields that matter here."""

from __future__ import annotations

from .rules import Fields

# For a job that calls AWX; AWX's interface has this name, too.
CONTROLLER: Fields = {
    "name": "Red Hat Ansible Automation Platform",
    "kind": "cloud",
    "managed": True,
    "inputs": {
        "fields": [
            {"id": "host", "label": "Red Hat Ansible Automation Platform"},
            {"id": "username", "label": "Username"},
            {"id": "password", "label": "Password", "secret": True},
            {"id": "oauth_token", "label": "OAuth Token", "secret": True},
            {"id": "verify_ssl", "label": "Verify SSL", "type": "boolean"},
        ],
        "required": ["host"],
    },
    "injectors": {
        "env": {
            "CONTROLLER_HOST": "{{ host }}",
            "CONTROLLER_USERNAME": "{{ username }}",
            "CONTROLLER_PASSWORD": "{{ password }}",
            "CONTROLLER_OAUTH_TOKEN": "{{ oauth_token }}",
            "CONTROLLER_VERIFY_SSL": "{{ verify_ssl }}",
        }
    },
}
SOURCE_CONTROL: Fields = {
    "name": "Source Control",
    "kind": "scm",
    "managed": True,
    "inputs": {
        "fields": [
            {"id": "username", "label": "Username"},
            {"id": "password", "label": "Password", "secret": True},
        ]
    },
}
CONTAINER_REGISTRY: Fields = {
    "name": "Container Registry",
    "kind": "registry",
    "managed": True,
    "inputs": {
        "fields": [
            {"id": "host", "label": "Authentication URL"},
            {"id": "username", "label": "Username"},
            {"id": "password", "label": "Password or Token", "secret": True},
        ],
        "required": ["host"],
    },
}
MANAGED = (CONTROLLER, SOURCE_CONTROL, CONTAINER_REGISTRY)
