# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ipsec_tunnels
short_description: The devices at the customer's end of IPsec tunnels, out of the account
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Makes a host of each device that terminates IPsec tunnels of a Cloudflare Magic WAN account, and tells it by
    C(psk_rotation_tunnels) which these are, so that P(magicwan.cloudflare.psk_rotation#role) can run on it.
  - A device is recognised by the tunnels' C(customer_endpoint), or by a part of their names.
  - Every device is in the group C(magicwan), for variables of your own in C(group_vars/magicwan.yml).
  - One request to the API. No PSK and no other secret is in the inventory or in its cache.
  - The name of the file must end in C(ipsec_tunnels.yml) or C(ipsec_tunnels.yaml).
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - constructed
  - inventory_cache
options:
  plugin:
    description: Must be V(magicwan.cloudflare.ipsec_tunnels).
    type: str
    required: true
    choices: [magicwan.cloudflare.ipsec_tunnels]
  account_id:
    env:
      - name: CLOUDFLARE_ACCOUNT_ID
  api_token:
    env:
      - name: CLOUDFLARE_API_TOKEN
  api_email:
    env:
      - name: CLOUDFLARE_EMAIL
  api_key:
    env:
      - name: CLOUDFLARE_API_KEY
  base_url:
    env:
      - name: CLOUDFLARE_BASE_URL
  tunnels:
    description:
      - Which tunnels to take, by identifiers, exact names, or globs over names.
      - V(all) and V(*) take all, even where a tunnel has that name, with a warning.
    type: list
    elements: str
    default: [all]
  name_pattern:
    description:
      - Regular expression that is searched for in the name of each tunnel.
      - Its group named C(device) is the name of the host. Without that group the C(customer_endpoint) is.
      - Its group named C(site) is the device's site.
    type: str
  unassigned:
    description:
      - What becomes of a tunnel that O(name_pattern) does not match, or that has no C(customer_endpoint).
      - V(warn) leaves it out and names it in a warning, V(fail) ends with an error, and V(alone) makes it a device of
        its own, named after the tunnel.
    type: str
    choices: [warn, fail, alone]
    default: warn
  psk_ages:
    description:
      - The ages that separate the age groups, in ascending order. Numbers with V(s), V(m), V(h), V(d) or V(w).
    type: list
    elements: str
    default: [30d, 90d, 365d]
notes:
  - O(account_id), O(api_token), O(api_email), O(api_key), O(base_url) and O(ca_path) may be templates, so that a secret
    can come from a lookup or an encrypted extra variable. Of variables, such a template sees the extra ones only.
  - Groups by age are C(psk_age_up_to_30d), C(psk_age_up_to_90d), C(psk_age_up_to_365d), C(psk_age_over_365d) and so on
    as O(psk_ages) says, by the oldest PSK of a device, and C(psk_age_none) for devices with a tunnel that has no PSK.
    All of them exist, also the empty ones.
  - Groups by site are named C(site_) and the site, if O(name_pattern) has the group C(site).
  - The variables of a host are C(psk_rotation_tunnels) (identifiers), C(ipsec_tunnels) (what is known of each tunnel),
    C(ipsec_tunnels_site) and C(ipsec_tunnels_psk_age_days) (of the oldest PSK, null without one). C(ansible_host) is
    not set, because the endpoint of a tunnel is seldom the address by which its device is managed; set it by
    O(compose), or in C(host_vars).
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel_info
  - name: The role psk_rotation
    description: Rotates the PSKs of the tunnels of these hosts, P(magicwan.cloudflare.psk_rotation#role).
    link: https://github.com/magicwan/cloudflare/tree/main/roles/psk_rotation
"""

EXAMPLES = r"""
# ipsec_tunnels.yml: account and token come from the environment. One host a customer endpoint.
plugin: magicwan.cloudflare.ipsec_tunnels

# branches.ipsec_tunnels.yml: tunnels are named like ber-0001-a, and devices are managed by name.
# plugin: magicwan.cloudflare.ipsec_tunnels
# name_pattern: ^(?P<device>(?P<site>[a-z]+)-\d+)-[ab]$
# unassigned: fail
# psk_ages: [90d]
# compose:
#   ansible_host: inventory_hostname ~ '.mgmt.example.com'
# keyed_groups:
#   - key: ipsec_tunnels | map(attribute='cloudflare_endpoint') | unique
#     prefix: endpoint
# # A template of this file sees extra variables, and may look secrets up.
# api_token: "{{ lookup('ansible.builtin.env', 'MAGIC_WAN_TOKEN') }}"
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_connection: ~/.cache/ipsec_tunnels
# cache_timeout: 3600
"""

import time
import typing as t

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import connection_of, connection_spec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import (
    REQUESTS_IMPORT_ERROR,
    Client,
    Connection,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    InputError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import hidden_names, select
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._devices import (
    Device,
    Tunnel,
    age_groups,
    devices,
    parse_ages,
    parse_pattern,
    without_secrets,
)

try:
    from ansible.template import trust_as_template  # ansible-core 2.19+
except ImportError:

    def trust_as_template(value: str) -> str:
        """Older cores trust whatever is not wrapped."""
        return value


GROUP = "magicwan"
TEMPLATED = ("account_id", "api_token", "api_email", "api_key", "base_url", "ca_path")
_TEMPLATE_MARKS = ("{{", "{%", "{#")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """One listing of the account, or what the cache holds of it; the rest is recomputed each time."""

    NAME = "magicwan.cloudflare.ipsec_tunnels"

    def verify_file(self, path: str) -> bool:
        """Whether this is a file for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(("ipsec_tunnels.yml", "ipsec_tunnels.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Fill the inventory; an error leaves as one line without a secret."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            self._fill(path, cache)
        except AnsibleParserError:
            raise
        except CloudflareError as exc:
            raise AnsibleParserError(f"ipsec_tunnels: {exc.message}") from None
        except Exception as exc:
            raise AnsibleParserError(f"ipsec_tunnels: {internal_error(exc).message}") from None

    def _fill(self, path: str, cache: bool) -> None:
        pattern, ages = parse_pattern(self.get_option("name_pattern")), parse_ages(self.get_option("psk_ages"))
        listed, wanted = self._tunnels(path, cache), self.get_option("tunnels")
        hidden = hidden_names(listed, wanted)
        if hidden:
            self.display.warning(f"ipsec_tunnels: {hidden}")
        tunnels = select(listed, wanted)
        unassigned = self.get_option("unassigned")
        found, left = devices(
            [dict(x) for x in tunnels], pattern=pattern, ages=ages, alone=unassigned == "alone", now=time.time_ns()
        )
        if left:
            named = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
            message = f"{len(left)} of {len(tunnels)} tunnels belong to no device: {named}"
            if unassigned == "fail":
                raise InputError(f"{message}; set name_pattern, or unassigned")
            self.display.warning(f"ipsec_tunnels: {message}")
        for group in (GROUP, *age_groups(ages)):
            self.inventory.add_group(group)
        for device in found:
            self._add(device)

    def _connection(self) -> Connection:
        """The connection that the options describe. Where they are templates, extra variables are what these see."""
        given = {name: self.get_option(name) for name in connection_spec().options}
        self.templar.available_variables = self._vars
        for name in TEMPLATED:
            try:
                value = self.templar.template(given[name])
            except AnsibleError as exc:
                # The text of the error may hold what the template is made of.
                raise InputError(f"{name} is a template that fails ({type(exc).__name__})") from None
            given[name] = None if value is None else str(value)
        connection = connection_of(given)
        mark_as_secret([x for x in (connection.api_token, connection.api_key) if x])
        return connection

    def _tunnels(self, path: str, cache: bool) -> list[Tunnel]:
        """The account's tunnels without secrets, out of the cache if it is to be used and holds this account's."""
        connection = self._connection()
        source = f"{connection.base_url} {connection.account_id}"
        use_cache = self.get_option("cache")
        key = self.get_cache_key(path)
        if cache and use_cache:
            cached = self._cache.get(key) or {}
            if cached.get("source") == source:
                return t.cast(list[Tunnel], cached["tunnels"])
        if REQUESTS_IMPORT_ERROR:
            raise InputError("the Python library requests is missing on the controller: install it with pip")
        tunnels = [without_secrets(x) for x in Client(connection).list_tunnels()]
        if use_cache:
            self._cache[key] = {"source": source, "tunnels": tunnels}
        return tunnels

    def _add(self, device: Device) -> None:
        host = self.inventory.add_host(device.name)
        variables = _as_text(
            {
                "psk_rotation_tunnels": [x["id"] for x in device.tunnels],
                "ipsec_tunnels": device.tunnels,
                "ipsec_tunnels_site": device.site,
                "ipsec_tunnels_psk_age_days": device.psk_age_days,
            }
        )
        for name, value in variables.items():
            self.inventory.set_variable(host, name, value)
        groups = [GROUP, device.age_group]
        if device.site:
            groups.append(self.inventory.add_group(self._sanitize_group_name(f"site_{device.site}")))
        for group in groups:
            self.inventory.add_child(group, host)
        variables = self.inventory.get_host(host).get_vars()
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)


def _as_text(value: t.Any) -> t.Any:
    """Names and descriptions are what somebody typed into the dashboard: whatever could be a template stays text.

    All else is said to be harmless, or ansible-inventory would print, and AWX show, each text as a dictionary that
    marks it as unsafe.
    """
    if isinstance(value, dict):
        return {key: _as_text(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_as_text(x) for x in value]
    if not isinstance(value, str):
        return value
    return wrap_var(value) if any(mark in value for mark in _TEMPLATE_MARKS) else trust_as_template(value)
