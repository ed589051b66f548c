# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA of a company, and certificates that it has signed."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Authority:
    """A CA, and a server's certificate with its key, as PEM files."""

    ca: Path
    server: Path
    expired: Path
    other_host: Path


PEM = serialization.Encoding.PEM


def make_authority(folder: Path, host_name: str) -> Authority:
    """A new CA in this folder, with certificates for a host of this name at 127.0.0.1."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the company's CA")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    usage = {
        "digital_signature": True,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "crl_sign": True,
        "encipher_only": False,
        "decipher_only": False,
    }
    issuer = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

    def certificate(key: Any, name: x509.Name, until: datetime.datetime, *, ca: bool, host: str) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * day)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=ca, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        if not ca:
            names = [x509.DNSName(host_name), x509.IPAddress(ipaddress.ip_address(host))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(ca_key, hashes.SHA256())

    def server(file: str, until: datetime.datetime, host: str = "127.0.0.1") -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host_name)])
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        made = certificate(key, name, until, ca=False, host=host)
        (folder / file).write_bytes(private + made.public_bytes(PEM))
        return folder / file

    ca_file = folder / "ca.pem"
    ca_file.write_bytes(certificate(ca_key, ca_name, now + day, ca=True, host="").public_bytes(PEM))
    return Authority(
        ca_file,
        server("server.pem", now + day),
        server("old.pem", now - day),
        server("other.pem", now + day, "192.0.2.1"),
    )
