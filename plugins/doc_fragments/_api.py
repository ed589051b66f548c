# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations


class ModuleDocFragment:
    """The connection options of every module; ``_argspec.connection_spec`` is their argument spec."""

    DOCUMENTATION = r"""
requirements:
  - requests >= 2.28 on the host that runs the module, which is the controller in most plays
options:
  account_id:
    description:
      - Identifier of the Cloudflare account.
      - If not set, the environment variable E(CLOUDFLARE_ACCOUNT_ID) is used.
    type: str
  api_token:
    description:
      - API token. It needs the permission C(Magic WAN Write) on the account, or C(Magic WAN Read) for modules that
        only read.
      - If not set, the environment variable E(CLOUDFLARE_API_TOKEN) is used.
      - Excludes O(api_email) and O(api_key). Where both schemes come from the environment, the token is used.
    type: str
  api_email:
    description:
      - E-mail address that belongs to O(api_key).
      - If not set, the environment variable E(CLOUDFLARE_EMAIL) is used.
    type: str
  api_key:
    description:
      - Global API key. Prefer O(api_token), which can be limited to what is needed.
      - If not set, the environment variable E(CLOUDFLARE_API_KEY) is used.
    type: str
  base_url:
    description:
      - Address of the API. Plain C(http) is accepted for an address of the same machine only.
      - If not set, the environment variable E(CLOUDFLARE_BASE_URL) is used.
    type: str
    default: https://api.cloudflare.com/client/v4
  timeout:
    description:
      - Seconds that a request may wait for the next piece of its answer.
      - A whole answer may take four times as long, and may have 64 MiB.
    type: float
    default: 60.0
  retries:
    description:
      - How often a request is repeated after a failed connection, HTTP 408, 409, 429 or 5xx. The pause grows with each
        try, and a C(Retry-After) of up to an hour is honoured.
      - After too many requests (HTTP 429, or code 971) without a C(Retry-After), the pause is five minutes, as long
        as Cloudflare's block.
      - A request that must not happen twice, such as the creation of a tunnel, is repeated only if the API itself has
        said that it was one too many, or if there was no connection.
    type: int
    default: 6
  ca_path:
    description:
      - File, or folder as made by C(openssl rehash), with the CA certificates to trust, in PEM format. No others are
        trusted then.
      - If not set, the file or folder that E(REQUESTS_CA_BUNDLE) or E(CURL_CA_BUNDLE) names is trusted, and no others.
      - If these are not set either, the system's certificates are trusted as OpenSSL finds them, with those of
        E(SSL_CERT_FILE) and E(SSL_CERT_DIR), and those of the Python library certifi.
    type: path
  validate_certs:
    description: Whether the API's certificate is checked. Never set this to V(false) outside a laboratory.
    type: bool
    default: true
notes:
  - HTTP, HTTPS and SOCKS proxies are taken from the environment (E(https_proxy), E(no_proxy)), but never for an address
    of the same machine. A SOCKS proxy needs the Python library PySocks.
  - Only the API's own answer proves the outcome of a change. That of something else, such as a firewall or a proxy,
    leaves it unknown, and the error's RV(ignore:failure.outcome_unknown) is true.
"""
