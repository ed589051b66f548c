# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What all filters share."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError


def one_line_errors(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Turns the collection's errors into Ansible's, so that the user sees the message and no traceback."""

    @functools.wraps(function)
    def wrapped(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs)
        except CloudflareError as exc:
            raise AnsibleFilterError(exc.message) from None

    return wrapped
