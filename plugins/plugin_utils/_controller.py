# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the actions share that work on the controller, in Ansible's own process.

A module would cost a start of Python each time, leave a file with PSKs behind when it is killed, and want its
libraries in whatever Python is discovered for localhost.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Iterator, Mapping

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    InputError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import lives, this_run
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import load_for_forks
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import LONGEST_LEASE, Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import rotation_id
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._stores import make_store

Arguments = dict[str, t.Any]
Result = dict[str, t.Any]

DEFAULT_LEASE = 900

# Ansible imports an action before it forks for its tasks.
load_for_forks()


def check_lease(lease: int) -> None:
    """Raises InputError unless a lease may be as long, in seconds."""
    if not 1 <= lease <= LONGEST_LEASE:
        raise InputError(f"psk_rotation_lease must be 1 to {LONGEST_LEASE:.0f} seconds, not {lease}")


def printable(text: str) -> str:
    """The text with what a terminal would obey, such as in a tunnel's name, shown as an escape."""
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode("ascii") for x in text)


class ControllerAction(ActionBase):
    """A result is censored, since most hold PSKs, unless the action says that it has none; an error leaves as one line
    without a secret.
    """

    holds_psks = True
    _supports_check_mode = True
    _requires_connection = False
    variables: Mapping[str, t.Any]

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Does the work with the task's validated arguments."""
        result: Result = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        self._take_environment()
        dummy, arguments = self.validate_argument_spec(**self.spec().to_kwargs())
        try:
            result.update(self.work(arguments))
        except CloudflareError as exc:
            result.update(failed=True, msg=printable(self.about(exc.message, arguments)), failure=exc.failure)
        except (EscrowError, AnsibleError) as exc:
            result.update(failed=True, msg=printable(self.about(str(exc), arguments)))
        except Exception as exc:  # pylint: disable=broad-exception-caught
            result.update(failed=True, msg=self.about(internal_error(exc).message, arguments))
        else:
            if self.holds_psks:
                result.setdefault("_ansible_no_log", True)
        return result

    def spec(self) -> ArgumentSpec:
        """The arguments of the task."""
        raise NotImplementedError

    def work(self, arguments: Arguments) -> Result:
        """Does it. Raises CloudflareError, EscrowError."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Shows a line of progress."""
        self._display.display(printable(line))

    def say_at_once(self, line: str) -> None:
        """Shows a line before a pause. On stderr, since stdout is held back where it goes to a file or a pipe."""
        self._display.display(printable(line), stderr=True)

    def about(self, message: str, arguments: Arguments) -> str:
        """An error message as the user sees it."""
        return message

    @contextlib.contextmanager
    def store(self, arguments: Arguments, written: Mapping[str, t.Any] | None = None) -> Iterator[Store]:
        """The escrow that the arguments describe. Raises EscrowError.

        In a check run, and where there is no escrow, all writes stay in memory; ``written`` are those of earlier steps.
        """
        base = make_store(
            arguments["escrow"], arguments["account_id"], self._loader._vault.secrets, os.environ, self._loader
        )
        store = OverlayStore(base, written) if base is None or self._task.check_mode else base
        try:
            yield store
        finally:
            store.close()

    def claim(self, rotation_id: str, lease: float) -> Claim:
        """This run's claim as of now. Raises EscrowError if the run has ended and left this process behind."""
        owner = self.owner()
        now = time.time()
        return Claim(rotation_id=rotation_id, owner=owner, now=now, until=now + lease, lives=lives)

    def rotation_id(self) -> str:
        """The id that this run's rotation has in all its tasks. Raises EscrowError."""
        return rotation_id(C.DEFAULT_LOCAL_TMP, self.owner())

    def owner(self) -> str:
        """Who this run is to others. Raises EscrowError if the run has ended."""
        owner = this_run()
        if owner is None:
            raise EscrowError("the run that asked for this has ended")
        return owner

    def _take_environment(self) -> None:
        """Takes over the keyword ``environment`` of task and play. This process does nothing but this task."""
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        os.environ.update({key: str(value) for key, value in environment.items()})
