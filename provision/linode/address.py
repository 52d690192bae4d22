"""The address that this machine has on the internet."""

import ipaddress

import requests

from provision.base import CloudError

# Linode's API does not tell it. This one, of Amazon's, answers with the address and a newline:
# https://checkip.amazonaws.com
URL = "https://checkip.amazonaws.com"
TIMEOUT_S = 10.0


def find_own_network(url: str = URL) -> str:
    """The network, in CIDR, that has this machine and no other.

    Raises:
        CloudError: nobody tells.
    """
    try:
        answer = requests.get(url, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return str(ipaddress.ip_network(answer.text.strip()))
    except (requests.RequestException, ValueError) as error:
        raise CloudError(
            f"The address of this machine, which alone is to reach the node, is unknown: {url} "
            "does not tell it.",
            fix="Give it, or the network that you will work from: --ssh-from 203.0.113.7/32.",
        ) from error
