"""A broker that demands TLS, a login, or both, and one who knows its way in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shared.process.settings import KafkaSettings
from tests.support.apache_kafka import Cluster

USER, PASSWORD = "shop", "opensesame"
STRANGER = "stranger"  # logs in with the same password, and is allowed nothing
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")


def secured_cluster(distribution: Path, folder: Path) -> Cluster:
    """A broker with a listener for each protocol but the plain one; whom a client may trust is in `ca.pem`."""
    _make_certificates(folder)
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The broker itself is anonymous inside, as is who comes by TLS alone.
        "super.users": f"User:{USER};User:ANONYMOUS",
    }
    known = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, STRANGER))
    for listener in ("sasl_plaintext", "sasl_ssl"):
        for mechanism, module, options in (
            ("plain", "plain.PlainLoginModule", f" {known}"),
            ("scram-sha-256", "scram.ScramLoginModule", ""),
            ("scram-sha-512", "scram.ScramLoginModule", ""),
        ):
            login = f"org.apache.kafka.common.security.{module} required{options};"
            settings[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = login
    users = [f"{mechanism}=[name={USER},password={PASSWORD}]" for mechanism in MECHANISMS if mechanism != "PLAIN"]
    return Cluster(
        distribution,
        folder,
        protocols=PROTOCOLS,
        settings=settings,
        format_options=[option for user in users for option in ("--add-scram", user)],
    )


def settings_for(
    cluster: Cluster, folder: Path, protocol: str, mechanism: str = "PLAIN", *, prefix: str, user: str = USER
) -> KafkaSettings:
    """How to come in by one of its listeners."""
    password_file = folder / "password"
    password_file.write_text(f"{PASSWORD}\n")
    return KafkaSettings(
        bootstrap_servers=cluster.addresses(protocol),
        topic_prefix=prefix,
        partitions=3,
        security_protocol=protocol,
        sasl_mechanism=mechanism,
        sasl_username=user if "SASL" in protocol else "",
        sasl_password_file=password_file if "SASL" in protocol else None,
        ssl_ca_file=folder / "ca.pem" if "SSL" in protocol else None,
    )


def _make_certificates(folder: Path) -> None:
    """`ca.pem`, and `broker.pem`: a key with a certificate for 127.0.0.1 that it has signed."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True, timeout=60)

    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=A test's own CA")
    openssl(*new, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker")
    openssl(
        "x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-out", "broker.crt", "-days", "2", "-extfile", "names",
    )  # fmt: skip
    (folder / "broker.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.crt").read_text())
