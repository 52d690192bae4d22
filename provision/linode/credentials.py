"""Where the token comes from, and where the API is."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provision.base import CloudError

API_URL = "https://api.linode.com"
VERSION = "/v4"
VARIABLES = ("LINODE_TOKEN", "LINODE_CLI_TOKEN")
CLI_CONFIGS = (".config/linode-cli", ".linode-cli")


@dataclass(frozen=True)
class Credentials:
    """A token and the API that it is for; `source` says where the token was found."""

    token: str = field(repr=False)
    url: str
    source: str


def find_credentials(environ: Mapping[str, str] = os.environ) -> Credentials:
    """LINODE_TOKEN, LINODE_CLI_TOKEN, or what linode-cli's own configuration file has.

    LINODE_URL is another base of the API, as for Linode's other tools.

    Raises:
        CloudError: there is none.
    """
    url = environ.get("LINODE_URL", API_URL).rstrip("/")
    url = url if url.endswith(("/v4", "/v4beta")) else url + VERSION
    for name in VARIABLES:
        if token := environ.get(name, "").strip():
            return Credentials(token, url, name)
    home = Path(environ.get("HOME") or Path.home())
    named = environ.get("LINODE_CLI_CONFIG")
    for path in [Path(named)] if named else [home / name for name in CLI_CONFIGS]:
        if token := _read_cli_token(path):
            return Credentials(token, url, str(path))
    raise CloudError(
        "There is no token for Linode.",
        fix="Make one at cloud.linode.com/profile/tokens (Linodes, Volumes, Firewalls and Account: "
        "read and write) and set LINODE_TOKEN.",
    )


def _read_cli_token(path: Path) -> str:
    """The default user's token, in the file that linode-cli writes."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
        user = parser.get("DEFAULT", "default-user", fallback="DEFAULT")
        return parser.get(user, "token", fallback="").strip()
    except (configparser.Error, OSError, UnicodeDecodeError):
        return ""
