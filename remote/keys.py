"""ed25519 key pairs: one for the node to prove itself, one for the laptop to get in."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeyPair:
    """A key on disk. `public` is one line; the private half stays in `path`."""

    path: Path
    public: str

    @property
    def private(self) -> str:
        """The private half as OpenSSH's PEM text. For the machine that it belongs to alone."""
        return self.path.read_text()


def ensure_key(path: Path) -> KeyPair:
    """The key pair at `path`, made (0600) where there is none. Safe to repeat."""
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        _write_key(path, public)
    return KeyPair(path, public.read_text().strip())


def remove_key(path: Path) -> None:
    """Forget the key pair at `path`. Safe to repeat."""
    for half in (path, path.with_name(path.name + ".pub")):
        half.unlink(missing_ok=True)


def _write_key(path: Path, public: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private_bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public_bytes = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as writer:
        writer.write(private_bytes)
    # The public half is written last: where it is, the pair is whole.
    public.write_bytes(public_bytes + b"\n")
