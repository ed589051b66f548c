# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A strongSwan device without strongSwan: a swanctl that keeps what it is called with, and speaks like a daemon.

Its peer accepts every PSK. It proves what the role asks of swanctl and where its files go, not what a daemon does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SWANCTL = r"""#!/bin/sh
here=$(dirname "$0")
uri=default name= previous=
for word in "$@"; do
    case $previous in
        --uri) uri=$word ;;
        --ike) name=$word ;;
    esac
    previous=$word
done
echo "$SWANCTL_DIR|$uri|$*" >> "$here/calls"
authenticate() {
    number=$(($(cat "$here/number.$name" 2> /dev/null || echo 0) + 1))
    echo "$number" > "$here/number.$name"
    echo "log event {level=1 ikesa-name=$name ikesa-uniqueid=$number" \
        "msg=authentication of '203.0.113.1' with pre-shared key successful}" >> "$here/log"
    echo "$1 completed successfully"
}
case $1 in
    --log)
        exec tail -n +1 -f "$here/log" ;;
    --load-creds)
        for file in "$SWANCTL_DIR"/conf.d/*.key.conf; do
            id=$(sed -n 's/^  \(ike[^ ]*\) {.*/\1/p' "$file")
            echo "loaded ike secret '$id'"
            echo "log event {msg=loaded IKE shared key with id '$id' for: x}" >> "$here/log"
        done ;;
    --load-all)
        for file in "$SWANCTL_DIR"/conf.d/*.conf; do
            echo "loaded connection '$(basename "$file" .conf)'"
        done ;;
    --list-conns)
        printf '%s: IKEv2, rekeying every 86400s\n' cf-fedcba98
        printf '  local:  %%any\n  remote: 203.0.113.1\n  %s: TUNNEL\n' cf-fedcba98 ;;
    --initiate) authenticate initiate ;;
    --rekey) authenticate rekey ;;
    --list-sas)
        [ ! -e "$here/number.$name" ] || echo "list-sa event {$name {uniqueid=$(cat "$here/number.$name")" \
            "state=ESTABLISHED child-sas {$name-1 {state=INSTALLED}}}}" ;;
esac
"""


@dataclass(frozen=True)
class Call:
    """One call of swanctl."""

    directory: str
    uri: str
    words: list[str]


class StrongSwan:
    """The device; its folders are under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self.directory = folder / "swanctl"
        self.settings_directory = folder / "strongswan.d"
        for made in (self._bin, self.directory / "conf.d", self.settings_directory):
            made.mkdir(parents=True)
        (self._bin / "log").touch()
        self.command = self._bin / "swanctl"
        self.command.write_text(SWANCTL, encoding="utf-8")
        self.command.chmod(0o700)

    def calls(self) -> list[Call]:
        """Every call of swanctl so far, oldest first."""
        lines = (self._bin / "calls").read_text(encoding="utf-8").splitlines()
        parts = [line.split("|") for line in lines]
        return [Call(directory, uri, words.split()) for directory, uri, words in parts]

    def asked(self) -> set[str]:
        """The commands that swanctl was given."""
        return {call.words[0] for call in self.calls()}

    def forget(self) -> None:
        """Begin the list of calls anew."""
        (self._bin / "calls").unlink()
