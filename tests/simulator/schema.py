# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What request bodies may hold. Everything is strict; no error ever repeats a value of the request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError

from .answers import Problem, error
from .assumptions import Assumptions
from .description import plain_fields

INVALID = 1022
REQUIRED = ("name", "cloudflare_endpoint", "interface_address")
_INSIDE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.240.0/20")))
_ASN_MAX = {"uint32": 4294967295, "int32": 2147483647}
_CHARSETS = {"any": r".+", "printable_ascii": r"[\x20-\x7e]+", "alphanumeric": r"[A-Za-z0-9]+"}


def _refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("refused", message)


def _ip(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        raise _refuse("must be an IP address") from None
    return value


def _ip_or_empty(value: str) -> str:
    return value and _ip(value)


def _prefix(value: str) -> str:
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise _refuse("must be an IP prefix in CIDR notation") from None
    if "/" not in value:
        raise _refuse("must be an IP prefix in CIDR notation")
    return value


def _inside4(value: str) -> str:
    try:
        interface = IPv4Interface(value)
    except ValueError:
        raise _refuse("must be an IPv4 address in CIDR notation") from None
    network = interface.network
    if "/" not in value or network.prefixlen not in (30, 31):
        raise _refuse("must have a 31 bit prefix (30 is allowed)")
    if not any(network.subnet_of(allowed) for allowed in _INSIDE):
        raise _refuse("must be private (RFC 1918) or in 169.254.240.0/20")
    if network.prefixlen == 30 and interface.ip not in list(network.hosts()):
        raise _refuse("must be a usable host of its /30")
    return value


def _inside6(value: str) -> str:
    try:
        interface = IPv6Interface(value)
    except ValueError:
        raise _refuse("must be an IPv6 address in CIDR notation") from None
    if "/" not in value or interface.network.prefixlen != 127:
        raise _refuse("must have a 127 bit prefix")
    if interface.ip != interface.network.network_address:
        raise _refuse("must be the first address of its subnet")
    return value


def _md5_key(value: str) -> str:
    if not re.fullmatch(r"[ !#-\x3e@-~]+", value):
        raise _refuse("must be printable ASCII without quotation mark and question mark, and not empty")
    return value


Ip = Annotated[str, AfterValidator(_ip)]
Target = Annotated[str, AfterValidator(_ip_or_empty)]
Prefix = Annotated[str, AfterValidator(_prefix)]


class Strict(BaseModel):
    """No conversion, no unknown field. Optional fields may be missing; null is refused before (see _nulls)."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class Bgp(Strict):
    customer_asn: int = Field(ge=0, le=4294967295)
    extra_prefixes: list[Prefix] | None = None
    md5_key: Annotated[str, AfterValidator(_md5_key)] | None = None
    import_filter_id: str | None = None
    export_filter_id: str | None = None


class CustomRemoteIdentities(Strict):
    fqdn_id: str | None = None


class TargetObject(Strict):
    saved: Target = ""
    effective: str | None = None  # read only, ignored


class _HealthCheck(Strict):
    enabled: bool | None = None
    rate: Literal["low", "mid", "high"] | None = None
    type: Literal["reply", "request"] | None = None
    direction: Literal["unidirectional", "bidirectional"] | None = None
    probe_interval: int | None = None


class HealthCheckWithObject(_HealthCheck):
    target: TargetObject | None = None


class HealthCheckWithString(_HealthCheck):
    target: Target | None = None


class TunnelBody(Strict):
    """TunnelRequest without the health check; which fields are required depends on the operation."""

    traffic_class: str | None = None
    name: str | None = Field(default=None, min_length=1)
    cloudflare_endpoint: Ip | None = None
    interface_address: Annotated[str, AfterValidator(_inside4)] | None = None
    interface_address6: Annotated[str, AfterValidator(_inside6)] | None = None
    customer_endpoint: Ip | None = None
    description: str | None = None
    psk: str | None = None
    replay_protection: bool | None = None
    automatic_return_routing: bool | None = None
    bgp: Bgp | None = None
    custom_remote_identities: CustomRemoteIdentities | None = None


PLAIN_FIELDS = plain_fields({*TunnelBody.model_fields, "health_check"})
_PlainBody: type[TunnelBody] = create_model(  # type: ignore[call-overload]
    "_PlainBody", __base__=TunnelBody, **{name: (kind | None, None) for name, kind in PLAIN_FIELDS.items()}
)


class TunnelBodyNew(_PlainBody):  # type: ignore[misc,valid-type]
    health_check: HealthCheckWithObject | None = None


class TunnelBodyOld(_PlainBody):  # type: ignore[misc,valid-type]
    health_check: HealthCheckWithString | None = None


class PskEntry(Strict):
    id: str = Field(min_length=1, max_length=32)
    psk: str


class PskBody(Strict):
    psks: list[PskEntry]


class BulkId(Strict):
    """The id beside the tunnel fields in an entry of a bulk PUT."""

    model_config = ConfigDict(extra="ignore")
    id: str = Field(min_length=1, max_length=32)


def parse_json(raw: bytes, content_type: str) -> Any:
    """The body as JSON without any null in it."""
    if content_type != "application/json":
        raise Problem.single(400, INVALID, "Invalid Request: the content type must be application/json", "")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Problem.single(400, INVALID, "Invalid Request: error parsing request body: not JSON", "") from None
    nulls = list(_nulls(body, ""))
    if nulls:
        message = "Invalid Request: error parsing request body: the value is not permitted to be null"
        raise Problem(400, [error(INVALID, message, pointer) for pointer in nulls])
    return body


def check_tunnel(body: Any, assumptions: Assumptions, *, new_target: bool, whole: bool, at: str = "") -> TunnelBody:
    """A TunnelRequest; `whole` demands the required fields, `at` is where it stands in the request."""
    model: type[TunnelBody] = TunnelBodyNew if new_target else TunnelBodyOld
    checked = _check(model, body, at)
    errors = []
    if whole:
        missing = [name for name in REQUIRED if name not in checked.model_fields_set]
        errors = [invalid("the field is required", f"{at}/{name}") for name in missing]
    errors += _unknown_errors(checked, assumptions, at)
    if checked.bgp is not None and checked.bgp.customer_asn > _ASN_MAX[assumptions.customer_asn]:
        errors.append(invalid("the value must fit into an int32", f"{at}/bgp/customer_asn"))
    if checked.automatic_return_routing and not assumptions.coupler_integration:
        errors.append(invalid("the account lacks the coupler_integration flag", f"{at}/automatic_return_routing"))
    if checked.psk is not None:
        errors += _psk_errors(checked.psk, assumptions, f"{at}/psk")
    if errors:
        raise Problem(400, errors)
    return checked


def check_bulk(body: Any, assumptions: Assumptions, *, new_target: bool) -> list[tuple[str, TunnelBody, str]]:
    """The entries of a bulk PUT as (id, body, pointer)."""
    at = ""
    if assumptions.bulk_put_body == "ipsec_tunnels":
        if not isinstance(body, dict) or set(body) != {"ipsec_tunnels"}:
            raise Problem(400, [invalid("expected an object that holds ipsec_tunnels and nothing else", "")])
        body, at = body["ipsec_tunnels"], "/ipsec_tunnels"
    if not isinstance(body, list) or not all(isinstance(entry, dict) for entry in body):
        raise Problem(400, [invalid("expected a list of objects", at)])
    entries = []
    for index, entry in enumerate(body):
        here = f"{at}/{index}"
        tunnel_id = _check(BulkId, entry, here).id
        rest = {name: value for name, value in entry.items() if name != "id"}
        whole = not assumptions.partial_put
        entries.append((tunnel_id, check_tunnel(rest, assumptions, new_target=new_target, whole=whole, at=here), here))
    return entries


def check_psks(body: Any, assumptions: Assumptions) -> list[PskEntry]:
    """The entries of POST /psk; one malformed entry refuses them all."""
    entries = _check(PskBody, body, "").psks
    if assumptions.max_psks is not None and len(entries) > assumptions.max_psks:
        raise Problem(400, [invalid(f"at most {assumptions.max_psks} entries are allowed", "/psks")])
    errors = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        errors += _psk_errors(entry.psk, assumptions, f"/psks/{index}/psk")
        if entry.id in seen and assumptions.duplicate_psk_ids == "refuse":
            errors.append(invalid("the tunnel is named twice", f"/psks/{index}/id"))
        seen.add(entry.id)
    if errors:
        raise Problem(400, errors)
    return entries


def is_custom_fqdn(value: str, accounts: Sequence[str]) -> bool:
    """Whether this is a custom IKE id of one of these accounts."""
    label, account = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", "|".join(map(re.escape, accounts))
    return bool(re.fullmatch(rf"{label}\.({account})\.custom\.ipsec\.cloudflare\.com", value))


def invalid(message: str, pointer: str) -> dict[str, Any]:
    return error(INVALID, f"Invalid Request: {message}", pointer)


def _check[M: Strict](model: type[M], body: Any, at: str) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=False, include_input=False)
        raise Problem(400, [invalid(_message(d["loc"], d["msg"]), at + _pointer(d["loc"])) for d in details]) from None


def _message(where: Sequence[int | str], message: str) -> str:
    if tuple(where) == ("health_check", "target"):
        return f"{message}: the form of the target follows the header x-magic-new-hc-target"
    return message


def _pointer(where: Sequence[int | str]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in where)


def _unknown_errors(checked: TunnelBody, assumptions: Assumptions, at: str) -> list[dict[str, Any]]:
    """Refusals of the fields that the schema does not know, in the words of the others that it does not know."""
    if assumptions.unknown_fields == "writable":
        return []
    health = getattr(checked, "health_check", None)
    given = [("/traffic_class", "traffic_class" in checked.model_fields_set)]
    given.append(("/health_check/probe_interval", health is not None and "probe_interval" in health.model_fields_set))
    return [invalid("Extra inputs are not permitted", at + pointer) for pointer, is_given in given if is_given]


def _psk_errors(psk: str, assumptions: Assumptions, pointer: str) -> list[dict[str, Any]]:
    if len(psk) < assumptions.psk_min_length:
        return [invalid(f"the PSK must have at least {assumptions.psk_min_length} characters", pointer)]
    if assumptions.psk_max_length is not None and len(psk) > assumptions.psk_max_length:
        return [invalid(f"the PSK must have at most {assumptions.psk_max_length} characters", pointer)]
    if not re.fullmatch(_CHARSETS[assumptions.psk_charset], psk, re.DOTALL):
        return [invalid(f"the PSK must consist of {assumptions.psk_charset} characters", pointer)]
    return []


def _nulls(value: Any, pointer: str) -> Iterator[str]:
    if value is None:
        yield pointer
    elif isinstance(value, dict):
        for name, item in value.items():
            if item is None or isinstance(item, (dict, list)):
                yield from _nulls(item, pointer + _pointer((name,)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if item is None or isinstance(item, (dict, list)):
                yield from _nulls(item, f"{pointer}/{index}")
