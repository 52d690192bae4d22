"""The test bed's network: a bridge, and for each node a namespace on a cable of its own.

The laptop's side is the host's own network. Numbers are given out for the whole machine, one after
the other, so that tests in several processes never share an address, nor reuse one while the old
one is remembered.
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from tests.fakes.volumes import free_devices

STATE = Path("/run/segaway-bed")
BRIDGE = "segaway0"
GATEWAY, PREFIX = "10.213.0.1", 16
NUMBERS = 200 * 250
BURST_KIB = 32
LATENCY_MS = 200


@contextlib.contextmanager
def lock_machine() -> Iterator[None]:
    """One process at a time, of all on this machine."""
    STATE.mkdir(exist_ok=True)
    with FileLock(STATE / "lock"):
        yield


def find_address(number: int) -> str:
    """The address that belongs to a number."""
    return f"10.213.{number // 250 + 1}.{number % 250 + 2}"


def find_local_address(number: int) -> str:
    """The loopback address that belongs to a number."""
    return f"127.{find_address(number).partition('.')[2]}"


def name_space(number: int) -> str:
    """The network namespace of the node with that number."""
    return f"segaway-{number}"


def take_number(owner: Path, wanted: int | None = None) -> int:
    """A number that nobody has. It is free again when the folder `owner` is gone.

    It is the one that is wanted, where that is free.
    """
    with lock_machine():
        _free_orphans()
        if wanted is not None and not (STATE / f"{wanted}.json").exists():
            (STATE / f"{wanted}.json").write_text(json.dumps(str(owner)))
            return wanted
        path = STATE / "last"
        number = int(path.read_text()) if path.exists() else 0
        taken = True
        while taken:
            number = (number + 1) % NUMBERS
            taken = (STATE / f"{number}.json").exists()
        (STATE / f"{number}.json").write_text(json.dumps(str(owner)))
        path.write_text(str(number))
        return number


@contextlib.contextmanager
def hold_bridge(owner: Path) -> Iterator[str]:
    """The laptop's side is there, also while there is no node: its address, as the nodes see it."""
    number = take_number(owner)
    with lock_machine():
        _make_bridge()
    try:
        yield GATEWAY
    finally:
        free_number(number)
        drop_bridge()


def _make_bridge() -> None:
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        ip(f"link add {BRIDGE} type bridge", f"addr add {GATEWAY}/{PREFIX} dev {BRIDGE}")
        ip(f"link set {BRIDGE} up")


def make_link(number: int) -> None:
    """The namespace, joined to the bridge."""
    with lock_machine():
        _make_bridge()
    space, near = name_space(number), name_near(number)
    mac = f"02:5e:9a:00:{number // 256:02x}:{number % 256:02x}"
    ip(f"netns add {space}")
    ip(
        f"link add {near} type veth peer name eth0 netns {space} address {mac}",
        f"link set {near} master {BRIDGE} up",
    )
    ip("link set lo up", "link set eth0 up", space=space)
    give_address(number, number)


def give_address(number: int, address: int) -> None:
    """Node `number` has the address of the number `address`, and no other."""
    ip(
        "addr flush dev eth0",
        f"addr add {find_address(address)}/{PREFIX} dev eth0",
        f"route add default via {GATEWAY}",
        space=name_space(number),
    )


def destroy_link(number: int, address: int) -> None:
    """Both ends, the namespace and the numbers. Already gone is success."""
    # Of a number that was taken for a node that never was, there is nothing but the number.
    if Path(f"/run/netns/{name_space(number)}").exists():
        lose_packets(number, 0)
    for words in (["link", "del", name_near(number)], ["netns", "del", name_space(number)]):
        subprocess.run(["ip", *words], capture_output=True, check=False)
    for taken in {number, address}:
        free_number(taken)


def free_number(number: int) -> None:
    """Another node may have it."""
    (STATE / f"{number}.json").unlink(missing_ok=True)


def free_numbers(folder: Path) -> None:
    """Those whose owner lies in the folder."""
    with lock_machine():
        for record in STATE.glob("*.json"):
            if folder in Path(json.loads(record.read_text())).parents:
                free_number(int(record.stem))


def set_link(number: int, up: bool) -> None:
    """Plug the cable in, or pull it out."""
    ip(f"link set {name_near(number)} {'up' if up else 'down'}")


def limit_rate(number: int, mbit: float) -> None:
    """At most that much, each way; 0 is no limit."""
    for dev, space in ((name_near(number), ""), ("eth0", name_space(number))):
        head = ["tc", *(["-n", space] if space else []), "qdisc"]
        if mbit:
            shape = f"rate {mbit}mbit burst {BURST_KIB}kb latency {LATENCY_MS}ms".split()
            _call([*head, "replace", "dev", dev, "root", "tbf", *shape])
        else:
            subprocess.run([*head, "del", "dev", dev, "root"], capture_output=True, check=False)


def lose_packets(number: int, share: float) -> None:
    """Each packet that arrives at either end is lost with that probability; 0 loses none.

    Where it arrives, because a sender is told of what it drops itself.
    """
    mac = f"02:5e:9a:00:{number // 256:02x}:{number % 256:02x}"
    enter = ["nsenter", f"--net=/run/netns/{name_space(number)}"]
    ends: list[tuple[list[str], list[str]]] = [
        ([], ["-m", "mac", "--mac-source", mac]),
        (enter, ["-i", "eth0"]),
    ]
    for head, match in ends:
        table = [*head, "iptables", "-w", "-t", "raw"]
        comment = ["-m", "comment", "--comment", f"segaway-{number}"]
        for rule in _call([*table, "-S", "PREROUTING"]).splitlines():
            if rule.startswith("-A") and f"segaway-{number} " in rule.replace('"', "") + " ":
                _call([*table, "-D", *rule.replace('"', "").split()[1:]])
        if share:
            chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
            _call([*table, "-A", "PREROUTING", *match, *comment, *chance, "-j", "DROP"])


def name_near(number: int) -> str:
    """The end of the cable that is on the laptop's side."""
    return f"segaway-{number}"


def ip(*lines: str, space: str = "") -> None:
    """Commands for ip(8), in one go."""
    head = ["ip", *(["-n", space] if space else []), "-batch", "-"]
    _call(head, "\n".join(lines))


def _call(argv: list[str], text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)} {text}: {done.stderr.strip()}")
    return done.stdout


def drop_bridge() -> None:
    """Nothing of the test bed is left on the machine, where no node is."""
    with lock_machine():
        if not list(STATE.glob("*.json")):
            subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)


def _free_orphans() -> None:
    """A run of the tests that was killed leaves links behind: they go when its folders have."""
    for record in STATE.glob("*.json"):
        owner = Path(json.loads(record.read_text()))
        if not owner.exists():
            number = int(record.stem)
            destroy_link(number, number)
            free_devices(owner.parent.parent)
