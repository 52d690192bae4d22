"""The emulated cloud as a whole: a server, its state, its faults, and the nodes that it runs."""

import contextlib
import dataclasses
import http.server
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fakes import links
from tests.fakes.bed import Bed
from tests.fakes.linode import account, instances, market, networking, power, profile, volumes
from tests.fakes.linode.bedmachines import BedMachines
from tests.fakes.linode.faults import Fault, FaultPlan
from tests.fakes.linode.gate import RateLimits
from tests.fakes.linode.machines import Machines
from tests.fakes.linode.server import Handler, Request
from tests.fakes.linode.state import Options, State
from tests.fakes.nodes import BedNode

# They register their routes.
ENDPOINTS = (account, instances, market, networking, profile, volumes)
TICK_S = 0.02
TOKEN = "test-token"
KINDS = ("none", "local", "netns")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle of a word is what is tested, and no failure of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Emulator:
    """A running cloud.

    `url` is the base that clients want, `node_url` what it is on a node; `token` the first token.
    """

    def __init__(
        self, state: State, token: str, plan: FaultPlan, record: Path | None, has_limits: bool
    ) -> None:
        self.state, self.token = state, token
        self.requests: list[Request] = []
        self.limits = RateLimits(state.clock, has_limits)
        self.url = self.node_url = ""
        self._plan, self._record = plan, record
        self._lock = threading.Lock()

    @property
    def bed(self) -> Bed:
        """The bed that the instances are nodes of, where they are."""
        assert isinstance(self.state.machines, BedMachines)
        return self.state.machines.bed

    def find_node(self, label: str) -> BedNode:
        """The node of the instance with that label."""
        machines = self.state.machines
        assert isinstance(machines, BedMachines)
        with self.state.lock:
            found = [one for one in self.state.instances.values() if one.label == label]
            return machines.find_node(found[0])

    def inject(self, fault: Fault) -> None:
        """Something goes wrong from here on, as `faults` says."""
        self._plan.inject(fault)

    def clear_faults(self) -> None:
        """Nothing that was injected goes wrong any more."""
        self._plan.clear()

    def find_requests(self, method: str, path: str) -> list[Request]:
        """Those with that method whose path ends so."""
        return [one for one in self.requests if one.method == method and one.path.endswith(path)]

    def note_request(self, request: Request) -> tuple[Request, list[Fault]]:
        """It has arrived: count it, write it down; what goes wrong with it."""
        with self._lock:
            request.call = len(self.requests)
            self.requests.append(request)
            if self._record:
                entry = dataclasses.asdict(request)
                entry.pop("status")
                with self._record.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        return request, self._plan.find(request.call, request.method, request.path)


@contextlib.contextmanager
def serve(
    folder: Path,
    *,
    nodes: str = "none",
    host: str = "",
    port: int = 0,
    token: str = TOKEN,
    scopes: str = "*",
    faults: Path | None = None,
    seed: int = 0,
    record: Path | None = None,
    rate_limits: bool = True,
    options: Options | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Emulator]:
    """The cloud, until the context ends; then nothing of its nodes and volumes is left.

    Args:
        folder: where its nodes and volumes lie.
        nodes: what an instance is: "none", a record; "netns", a node of the test bed; "local", the
            same in this machine's own network.
        host: the address to listen on; empty is the loopback, or all where nodes are to reach it.
        port: 0 is any.
        token: the first token; `scopes` is what it may do.
        faults: a file with faults; more can be injected.
        seed: of the faults that come by chance and name none.
        record: a file that each request is appended to as a line of JSON, when it arrives.
        rate_limits: whether the limits on requests are kept.
        options: how the cloud and its account are.
        clock: what time it is, in seconds since the epoch.
    """
    options = options or Options()
    state = State(options, _make_machines(nodes, folder, options), clock)
    state.add_token("first", scopes, secret=token)
    emulator = Emulator(state, token, FaultPlan(faults, seed), record, rate_limits)
    handler: Any = type("BoundHandler", (Handler,), {"emulator": emulator})
    server = _Server((host or ("0.0.0.0" if nodes == "netns" else "127.0.0.1"), port), handler)
    near = "127.0.0.1" if host in ("", "0.0.0.0") else host
    emulator.url = f"http://{near}:{server.server_port}/v4"
    far = links.GATEWAY if nodes == "netns" else near
    emulator.node_url = f"http://{far}:{server.server_port}/v4"
    stop = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
        threading.Thread(target=_tick, args=(state, stop), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield emulator
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()
        state.machines.clear()


def _tick(state: State, stop: threading.Event) -> None:
    """What is due happens, whether anybody asks or not."""
    while not stop.wait(TICK_S):
        with state.lock:
            state.advance()
            power.notice_ends(state)


def _make_machines(nodes: str, folder: Path, options: Options) -> Machines:
    if nodes == "none":
        return Machines()
    if nodes in KINDS:
        return BedMachines(folder, options, is_local=nodes == "local")
    raise ValueError(f"there are no such nodes: {nodes}; {', '.join(KINDS)}")
