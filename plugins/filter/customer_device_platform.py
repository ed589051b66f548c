# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: customer_device_platform
short_description: What a platform of the role customer_device needs
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - The vendor's collections and words of a platform. For the role P(magicwan.cloudflare.customer_device#role).
options:
  _input:
    description: The platform's name.
    type: str
    required: true
"""

EXAMPLES = r"""
junos: "{{ 'junos' | magicwan.cloudflare.customer_device_platform }}"
"""

RETURN = r"""
_value:
  description:
    - C(title), C(collections), their C(successor), C(probe), C(table) of default parameters, and the vendor's C(words)
      for the neutral ones.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"customer_device_platform": customer_device_platform}


@one_line_errors
def customer_device_platform(name: t.Any) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    platform = load(str(name))
    return {
        "title": platform.title,
        "collections": list(platform.collections),
        "probe": dict(platform.probe),
        "successor": platform.successor,
        "table": dict(platform.table),
        "words": {parameter: dict(words) for parameter, words in platform.words.items()},
    }
