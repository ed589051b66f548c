# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What every module does around its work: the AnsibleModule, the client, and one safe way out for each error."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import (
    REQUESTS_IMPORT_ERROR,
    Client,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    internal_error,
)

Result = dict[str, t.Any]


class PartialFailure(CloudflareError):
    """Some items failed. ``result`` holds what is known of all, to be returned with the error."""

    def __init__(self, message: str, result: Result, cause: CloudflareError | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.cause = cause

    @property
    def failure(self) -> dict[str, t.Any]:
        """The parts of the error behind it, where there is one."""
        return super().failure if self.cause is None else self.cause.failure


def run(spec: ArgumentSpec, work: t.Callable[[AnsibleModule, Client], Result]) -> None:
    """Runs a module: reads its options, hands ``work`` a client, exits with its result or with one clear error.

    Nothing leaves but through here. An exception that reached Ansible would be printed with its text, no_log or not.
    """
    module = AnsibleModule(supports_check_mode=True, **connection_spec().merge(spec).to_kwargs())
    if REQUESTS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("requests"), exception=REQUESTS_IMPORT_ERROR)
    try:
        result = work(module, Client(connection_of(module.params)))
    except PartialFailure as exc:
        module.fail_json(msg=exc.message, failure=exc.failure, **exc.result)
    except CloudflareError as exc:
        module.fail_json(msg=exc.message, failure=exc.failure)
    except Exception as exc:  # pylint: disable=broad-exception-caught
        error = internal_error(exc)
        module.fail_json(msg=error.message, failure=error.failure)
    module.exit_json(**result)
