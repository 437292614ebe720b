"""The spellings of an Ed25519 key: hexadecimal digits, as evenstream writes them, and PEM, as cert-manager does.

A private key in PEM is PKCS#8 without a password. Its 32 bytes are the same secret that hexadecimal digits spell, so
one may be written for the other. A public key in PEM stands alone or in a certificate; of a certificate nothing but
the key is looked at, since keys are pinned and no authority is asked.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from secure_agg.errors import KeyFileError

_PEM = b"-----BEGIN "
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def private_bytes(content: bytes, name: object) -> bytes:
    """The 32 bytes of a private key, or of a state secret.

    Args:
        name: the file's, for errors.

    Raises:
        KeyFileError: it is neither spelling; nothing of the content is said.
    """
    if content.lstrip().startswith(_PEM):
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(
                f"{name} is PEM, expected an Ed25519 private key in PKCS#8 without a password (cert-manager: "
                "privateKey: {algorithm: Ed25519, encoding: PKCS8})"
            ) from None
        return key.private_bytes_raw()
    try:
        secret = bytes.fromhex(content.decode("ascii", "replace").strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise KeyFileError(
            f"{name} must hold 32 bytes as 64 hexadecimal digits, or an Ed25519 private key in PEM (PKCS#8)"
        )
    return secret


def public_key(content: bytes, name: object) -> Ed25519PublicKey:
    """The key of a PEM certificate (of a chain: the first) or a PEM public key, or :class:`KeyFileError`."""
    try:
        key = (
            load_pem_x509_certificate(content).public_key()
            if content.lstrip().startswith(_CERTIFICATE)
            else load_pem_public_key(content)
        )
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(
            f"{name} must be a PEM certificate or a PEM public key, of an Ed25519 key (cert-manager: privateKey: "
            "{algorithm: Ed25519, encoding: PKCS8})"
        ) from None
    return key
