# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What each tunnel is on its device, and why the device must not be touched."""

from __future__ import annotations

import re
import typing as t
import zlib
from collections.abc import Iterator, Mapping, Sequence

from ansible import constants as C
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import Platform, Tunnel

# The interfaces' numbers. Every platform takes these.
FIRST_NUMBER, NUMBERS = 1000, 9000
COMMON_OPTIONS = ("object", "number", "ike_id", "wan_interface", "local_address")
IKE_IDS = ("fqdn", "user_fqdn", "key_id", "custom_fqdn")
# What a tunnel may be while its PSK waits for the device's proof. A later run finds an unproven key by it.
UNPROVEN = _status.ACTING | {_status.IN_DOUBT, _status.WAITING}
_PARAMETERS = ("ike_cipher", "ike_prf", "ike_group", "ike_lifetime", "esp_cipher", "esp_group", "esp_lifetime")
_LIMITS = {"ike_lifetime": (1800, 86400), "esp_lifetime": (1800, 28800)}

Entry = Mapping[str, t.Any]


def parameters(platform: Platform, settings: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The parameters of IKE and ESP: what the user says, and where that is empty what the platform's table says."""
    chosen = {name: settings.get(name) or platform.table.get(name) for name in _PARAMETERS}
    for name in ("ike_group", "esp_group", "ike_lifetime", "esp_lifetime"):
        chosen[name] = _number(chosen[name], f"customer_device_{name}")
    return chosen


def number_of(tunnel_id: str) -> int:
    """The number of a tunnel's interface: it depends on nothing but the tunnel."""
    return FIRST_NUMBER + zlib.crc32(tunnel_id.encode()) % NUMBERS


def plan(
    platform: Platform, title: str, tunnels: Sequence[Entry], settings: Mapping[str, t.Any], check_mode: bool
) -> list[dict[str, t.Any]]:
    """Each tunnel with what the device needs to know of it.

    Raises:
        InputError: an option of a tunnel is unknown or of the wrong type.
    """
    options = settings.get("tunnel_options") or {}
    if not isinstance(options, Mapping):
        raise InputError("customer_device_tunnel_options is a mapping of tunnels to their options")
    return [_planned(platform, title, x, _options_of(options, x), settings, check_mode) for x in tunnels]


def _options_of(options: Mapping[str, t.Any], tunnel: Entry) -> Mapping[str, t.Any]:
    found = options.get(tunnel["id"], options.get(tunnel["name"], {}))
    if not isinstance(found, Mapping):
        raise InputError(f"customer_device_tunnel_options of {tunnel['name']} is no mapping")
    return found


def _planned(
    platform: Platform,
    title: str,
    tunnel: Entry,
    options: Mapping[str, t.Any],
    settings: Mapping[str, t.Any],
    check_mode: bool,
) -> dict[str, t.Any]:
    where = f"customer_device_tunnel_options of {tunnel['name']}"
    known = (*COMMON_OPTIONS, *platform.names)
    unknown = sorted(set(map(str, options)) - set(known))
    if unknown:
        raise InputError(f"{where}: {', '.join(unknown)} is unknown to {title}, which takes {', '.join(known)}")
    for name, value in options.items():
        if name != "number" and not (isinstance(value, str) and value):
            raise InputError(f"{where}: {name} is a text")
    made = str(options.get("object", f"cf-{tunnel['id'][:8]}"))
    names = {name: str(options.get(name, default.format(object=made))) for name, default in platform.names.items()}
    form = str(options.get("ike_id", settings["ike_id"]))
    if form not in IKE_IDS:
        raise InputError(f"{where}: ike_id {form} is none of {', '.join(IKE_IDS)}")
    replay = {"on": True, "off": False}.get(str(settings["anti_replay"]), bool(tunnel.get("replay_protection")))
    return {
        **tunnel,
        "psk": tunnel.get("psk") or ("planned" if check_mode else ""),
        "names": {"object": made, **names},
        "object": made,
        **names,
        **platform.derive(tunnel["id"]),
        "number": _number(options.get("number", number_of(tunnel["id"])), f"{where}: number"),
        "ike_id_type": form,
        "ike_id": (tunnel.get("ike_ids") or {}).get(form) or "",
        "local_address": options.get("local_address", ""),
        "wan_interface": options.get("wan_interface", settings.get("wan_interface") or ""),
        "anti_replay": replay,
        "unproven": tunnel.get("status") in UNPROVEN,
    }


def problems(
    platform: Platform,
    title: str,
    entry: str,
    planned: Sequence[Entry],
    others: Sequence[str],
    settings: Mapping[str, t.Any],
) -> str:
    """Why the device must not be touched, in one line; empty: nothing.

    `others` are the identifiers of all tunnels that end at the device.
    """
    found: list[str] = []
    wanted = parameters(platform, settings)
    if platform.logger and entry != "compare" and C.DEFAULT_LOG_PATH and platform.logger not in C.DEFAULT_LOG_FILTER:
        found.append(
            f"Ansible has a log_path, into which {platform.logger} writes the PSKs that it sends: leave it out with "
            f"log_filter = {platform.logger} (ANSIBLE_LOG_FILTER)"
        )
    for tunnel in planned:
        found += _problems_of(platform, title, entry, tunnel, settings)
        if entry == "main":
            found += [f"{x} of {tunnel['name']}" for x in platform.limits(tunnel, {**settings, **wanted})]
    if len({x["object"] for x in planned}) < len(planned):
        found.append("two tunnels have one name on the device")
    if entry == "main":
        found += _numbers(planned, others)
        found += _words(platform, title, wanted)
    return "; ".join(dict.fromkeys(found))


def _problems_of(
    platform: Platform, title: str, entry: str, tunnel: Entry, settings: Mapping[str, t.Any]
) -> Iterator[str]:
    name, psk, rule = tunnel["name"], str(tunnel["psk"]), platform.psk
    if entry != "reach" and not psk:
        yield (f"{name} ({tunnel.get('status')}) has no PSK: remove it from customer_device_tunnels or rotate it")
    if entry not in ("reach", "compare") and psk:
        if len(psk) < rule.min_length:
            yield f"the PSK of {name} has fewer than {rule.min_length} characters"
        elif len(psk) > rule.max_length:
            yield f"the PSK of {name} has {len(psk)} characters, {title} takes {rule.max_length}"
        if re.search(rule.refused, psk):
            yield f"the PSK of {name} cannot be given to {title}: {rule.because}"
    if not tunnel["ike_id"]:
        yield f"{name} has no identity of the type {tunnel['ike_id_type']}"
    for option, value in tunnel["names"].items():
        if not re.fullmatch(platform.name_pattern, value) or len(value) > platform.name_length:
            yield (
                f"the name {value} ({option}) of {name} does not fit: {title} takes at most {platform.name_length} "
                f"characters of the form {platform.name_pattern}"
            )
    if entry == "main" and platform.needs_wan_interface and not tunnel["wan_interface"]:
        yield f"{title} needs customer_device_wan_interface"


def _numbers(planned: Sequence[Entry], others: Sequence[str]) -> Iterator[str]:
    taken: dict[int, str] = {number_of(x): x for x in others if x not in {y["id"] for y in planned}}
    for tunnel in planned:
        other = taken.setdefault(tunnel["number"], tunnel["id"])
        if other != tunnel["id"]:
            yield (
                f"{tunnel['name']} and the tunnel {other} would have the interface number {tunnel['number']}, give one "
                "of them another by customer_device_tunnel_options"
            )


def _words(platform: Platform, title: str, wanted: Mapping[str, t.Any]) -> Iterator[str]:
    for parameter, words in platform.words.items():
        if str(wanted[parameter]) not in words:
            value = wanted[parameter]
            yield f"customer_device_{parameter} {value} is unknown to {title}, which takes {', '.join(words)}"
    for parameter, (low, high) in _LIMITS.items():
        if not low <= wanted[parameter] <= high:
            yield f"customer_device_{parameter} {wanted[parameter]} is not within {low} to {high} seconds"


def tunnel_of(planned: Entry) -> Tunnel:
    """The typed form of an entry of the plan."""
    return Tunnel(
        id=planned["id"],
        name=planned["name"],
        status=str(planned.get("status")),
        psk=str(planned.get("psk") or ""),
        names=dict(planned["names"]),
        number=int(planned["number"]),
        ike_id_type=planned["ike_id_type"],
        ike_id=planned["ike_id"],
        endpoint=str(planned["cloudflare_endpoint"]),
        wan_interface=planned["wan_interface"],
        unproven=bool(planned["unproven"]),
    )


def _number(value: t.Any, what: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise InputError(f"{what} is a number") from None
    if number < 0:
        raise InputError(f"{what} is a number, 0 or more")
    return number
