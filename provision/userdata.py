"""What cloud-init is told at a node's first boot: the dead-man switch, the keys, the programs.

It is JSON, which is YAML too. Where the plan is to be shown, the secrets in it are holes.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
READY = "/var/lib/segaway/ready"
LIMIT_BYTES = 16_000  # what the strictest cloud takes
HOLES = {"host_key": "{host_key}", "token": "{token}"}
# The end of a document within a shell script; a line of what we write is never this.
END = "SEGAWAY"

SERVICE = """\
[Unit]
Description=segaway: destroys this machine in time
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=$python /etc/segaway/guard.py tick
TimeoutStartSec=600
OOMScoreAdjust=-1000
"""
TIMER = """\
[Unit]
Description=segaway: looks whether it is time

[Timer]
OnActiveSec=0
OnUnitActiveSec=20
AccuracySec=1

[Install]
WantedBy=timers.target
"""
# The metadata service hands out what is built here, secrets and all, to whoever asks from this
# machine. https://techdocs.akamai.com/cloud-computing/docs/metadata-service-api
CLOSE_METADATA = """\
close() {
  rule="OUTPUT -d $2 -m owner ! --uid-owner 0 -j REJECT"
  command -v $1 >/dev/null && { $1 -w -C $rule 2>/dev/null || $1 -w -I $rule; }
}
close iptables 169.254.169.254
close ip6tables fd00:a9fe:a9fe::1
exit 0
"""
# Whatever fails is told in the file that says that all was tried.
PODMAN = """\
export DEBIAN_FRONTEND=noninteractive
failed=
try() { for pause in 5 20 0; do "$@" && return 0; sleep $pause; done; return 1; }
apt() { apt-get -q -y -o DPkg::Lock::Timeout=300 -o APT::Update::Error-Mode=any "$@"; }
get() { apt install --no-install-recommends "$@"; }
try apt update
for name in podman iptables netavark aardvark-dns; do
  try get $name || failed="$failed $name"
done
sh /etc/segaway/close-metadata
"""
# Modules that are built for the running kernel where Ubuntu has them, else they are built here:
# `ubuntu-drivers install --gpgpu` may take those of a newer kernel, which a reboot would have to
# start first. Blackwell needs the open ones.
# https://documentation.ubuntu.com/server/how-to/graphics/install-nvidia-drivers/
DRIVER = """\
driver=580-server kernel=$(uname -r)
get linux-modules-nvidia-$driver-open-$kernel nvidia-headless-no-dkms-$driver-open \\
  nvidia-utils-$driver ||
try get dkms build-essential linux-headers-$kernel nvidia-headless-$driver-open \\
  nvidia-utils-$driver || failed="$failed nvidia-driver"
rmmod nouveau 2>/dev/null
modprobe nvidia && modprobe nvidia-uvm
"""
# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
TOOLKIT = """\
if ! command -v nvidia-ctk >/dev/null; then
  from=https://nvidia.github.io/libnvidia-container name=nvidia-container-toolkit
  key=/usr/share/keyrings/$name.asc list=/etc/apt/sources.list.d/$name.list
  try get ca-certificates curl
  try curl -fsSL -o $key $from/gpgkey
  try curl -fsSL -o $list $from/stable/deb/$name.list
  sed -i "s#^deb https://#deb [signed-by=$key] https://#" $list
  try apt update
  try get $name || failed="$failed $name"
fi
nvidia-smi
mkdir -p /etc/cdi
nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml || failed="$failed cdi"
"""


@dataclass(frozen=True)
class Guard:
    """The dead-man switch's settings. `api_url` ends with the version; `root` is the volume's."""

    run: str
    label: str
    api_url: str
    deadline_s: float
    idle_s: float
    root: str


def build_user_data(
    guard: Guard,
    host_key: str,
    host_key_public: str,
    client_key: str,
    token: str,
    gpus: int,
    has_driver: bool,
) -> str:
    """The user data of a node. Pure; for HOLES as the secrets, `fill_user_data` puts those in.

    `host_key` is the private key's file as it is, with its last newline. Without a token the node
    ends its job in time, but cannot destroy itself.
    """
    content = {
        "bootcmd": [_install_guard(guard, token)],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": host_key_public},
        "disable_root": False,
        "ssh_pwauth": False,
        "users": [{"name": "root", "ssh_authorized_keys": [client_key]}],
        "package_update": False,
        "runcmd": [_install_programs(gpus, has_driver)],
    }
    return f"#cloud-config\n{json.dumps(content, indent=1)}\n"


def fill_user_data(text: str, secrets: Mapping[str, str]) -> str:
    """The user data with these secrets in its holes: what would have been built of them."""
    pattern = "|".join(re.escape(f"{{{name}}}") for name in secrets)
    return re.sub(pattern, lambda hole: json.dumps(secrets[hole[0][1:-1]])[1:-1], text)


def _install_guard(guard: Guard, token: str) -> str:
    """Runs at each boot, before sshd. What is there stays: its deadline may have been moved.

    guard.json comes last: where something else failed, the next boot begins again.
    """
    packed = base64.b64encode(gzip.compress(GUARD.read_bytes(), mtime=0)).decode()
    units = "/etc/systemd/system/segaway-guard"
    script = [
        "(umask 077",
        "if [ ! -e /etc/segaway/guard.json ]; then",
        "set -e",
        "mkdir -p /etc/segaway /var/lib/segaway",
        "python=$(command -v python3 || echo /usr/bin/python3)",
        f"base64 -d <<'{END}' | gunzip > /etc/segaway/guard.py\n{packed}\n{END}",
        *([_write("/etc/segaway/token", token)] if token else []),
        _write("/etc/segaway/close-metadata", CLOSE_METADATA.rstrip()),
        _write(f"{units}.timer", TIMER.rstrip()),
        f"cat > {units}.service <<{END}\n{SERVICE}{END}",
        f"chmod 644 {units}.timer {units}.service",
        _write("/etc/segaway/guard.new", json.dumps(asdict(guard))),
        "mv /etc/segaway/guard.new /etc/segaway/guard.json",
        "set +e",
        "systemctl daemon-reload",
        "fi",
        # Not waited for: it starts when cloud-init, which runs this, has gone on.
        "systemctl enable --now --no-block segaway-guard.timer",
        "sh /etc/segaway/close-metadata)",
    ]
    return "\n".join(script)


def _write(path: str, text: str) -> str:
    """Without a secret in an argument: those of a process can be seen."""
    return f"cat > {path} <<'{END}'\n{text}\n{END}"


def _install_programs(gpus: int, has_driver: bool) -> str:
    """Runs once, when the node is up."""
    driver = DRIVER if gpus and not has_driver else ""
    toolkit = TOOLKIT if gpus else ""
    return f'{PODMAN}{driver}{toolkit}mkdir -p /var/lib/segaway\necho "$failed" > {READY}\n'
