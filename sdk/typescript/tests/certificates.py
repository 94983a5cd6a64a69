"""Makes a certificate authority, and certificates for 127.0.0.1 that it has signed."""

from __future__ import annotations

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def main(folder: Path) -> None:
    """Writes ca.pem, server.pem and client.pem with their keys, and other.pem, an authority that has signed none."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(
        name: str, signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
    ) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, signing = signer or (subject, key)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(signing, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
        return key

    authority = certificate("ca", None)
    signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]), authority)
    certificate("server", signer)
    certificate("client", signer)
    certificate("other", None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
