"""A certificate authority for tests: roots, and certificates of every kind a test may want, in seconds-old files.

Elliptic keys, because they are made in a millisecond. `cryptography` makes them; the pooler itself never sees it.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pgpool_py.testing.process import Account, child_account

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in files of their own."""

    cert: Path
    key: Path


class Authority:
    """One root, which signs what it is asked to; everything it makes lies in *folder* and belongs to *owner*."""

    def __init__(self, folder: Path, name: str = "test root", owner: Account | None = None) -> None:
        self.folder = folder
        self._owner = owner or child_account()
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._made = 0
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            _builder(self._name, self._name, self._key, now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name.replace(' ', '-')}.crt"
        self._write(self.file, certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, common_name: str, names: Sequence[str] = (), addresses: Sequence[str] = (), *, expired: bool = False
    ) -> Identity:
        """A new certificate for *common_name*, with these names and addresses beside it."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        begin, end = (now - 2 * DAY, now - DAY) if expired else (now - DAY, now + DAY)
        builder = _builder(_name(common_name), self._name, key, begin, end)
        others: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        others += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        self._made += 1
        stem = self.folder / f"{self.file.stem}-{self._made}"
        identity = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        certificate = builder.sign(self._key, hashes.SHA256())
        self._write(identity.cert, certificate.public_bytes(serialization.Encoding.PEM))
        clear = serialization.NoEncryption()
        self._write(
            identity.key, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, clear)
        )
        return identity

    def _write(self, path: Path, data: bytes) -> None:
        """For its owner only: PostgreSQL and libpq take no key that others may read."""
        path.touch(mode=0o600)
        path.write_bytes(data)
        self._owner.own(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
