"""A directory for tests: Debian's slapd as a process of the run, with three entries, thrown away at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from pgpool_py.testing.process import (
    Watchdog,
    child_account,
    free_port,
    private_directory,
    remove_tree,
    start_child,
    write_private,
)
from tests.tls.pki import Authority

PROGRAM = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/lib/openldap:/usr/bin")
SCHEMA = Path("/etc/ldap/schema")
MODULES = next(iter(sorted(Path("/usr/lib").glob("**/ldap/back_mdb.so"))), Path("/usr/lib/ldap/back_mdb.so")).parent
INSTALLED = PROGRAM is not None and SCHEMA.is_dir()

BASE = "dc=example,dc=net"
_CONF = """\
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
pidfile {directory}/slapd.pid
TLSCertificateFile {directory}/server.crt
TLSCertificateKeyFile {directory}/server.key
database mdb
maxsize 10485760
suffix "dc=example,dc=net"
rootdn "cn=admin,dc=example,dc=net"
rootpw root-secret
directory {directory}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="uid=finder,dc=example,dc=net" read by users read
"""
_ENTRY = "dn: {dn}\nobjectClass: inetOrgPerson\ncn: {uid}\nsn: {uid}\nuid: {uid}\nuserPassword: {password}\nmail: {mail}\n\n"


class Directory:
    """A running slapd on 127.0.0.1, with TLS as "localhost"; the users are those given, and a second twin."""

    host = "127.0.0.1"

    def __init__(self, **passwords: str) -> None:
        self._passwords = passwords
        self._account = child_account()
        self.port = 0
        self.tls_port = 0
        self.roots = Path()  # what its certificate is checked by

    def __enter__(self) -> Self:
        self.directory = private_directory("pgpool_py-ldap-", self._account)
        self._watchdog = Watchdog(self._account, remove=self.directory)
        authority = Authority(self.directory, "directory root")
        identity = authority.issue("localhost", ["localhost"])
        identity.cert.rename(self.directory / "server.crt")
        identity.key.rename(self.directory / "server.key")
        self.roots = authority.file
        conf = _CONF.format(schema=SCHEMA, modules=MODULES, directory=self.directory)
        self._conf = write_private(self.directory / "slapd.conf", conf, self._account)
        ldif = write_private(self.directory / "entries.ldif", self._entries(), self._account)
        subprocess.run(
            [str(PROGRAM), "-T", "add", "-f", self._conf, "-l", ldif],
            check=True,
            capture_output=True,
            timeout=60,
            **self._account.popen_options,
        )
        for _ in range(5):
            self.port, self.tls_port = free_port(), free_port()
            if self._start():
                return self
        self.__exit__()
        raise RuntimeError("slapd did not start\n" + (self.directory / "log").read_text())

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        remove_tree(self.directory)
        self._watchdog.dismiss()

    def _entries(self) -> str:
        entries = f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: example\n\n"
        entries += f"dn: ou=two,{BASE}\nobjectClass: organizationalUnit\nou: two\n\n"
        for uid, password in self._passwords.items():
            entries += _ENTRY.format(dn=f"uid={uid},{BASE}", uid=uid, password=password, mail=f"{uid}@example.net")
        return entries + _ENTRY.format(dn=f"uid=twin,ou=two,{BASE}", uid="twin", password="x", mail="twin@example.net")

    def _start(self) -> bool:
        with open(self.directory / "log", "wb") as log:
            where = f"ldap://{self.host}:{self.port} ldaps://{self.host}:{self.tls_port}"
            command: list[str | os.PathLike[str]] = [str(PROGRAM), "-d", "0", "-h", where, "-f", self._conf]
            self._process = start_child(command, self._account, home=self.directory, output=log)
        self._watchdog.announce(self._process.pid, "TERM")
        give_up = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < give_up:
            try:
                for port in (self.port, self.tls_port):
                    socket.create_connection((self.host, port), timeout=1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False
