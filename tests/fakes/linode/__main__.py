"""The Linode API, emulated, as a process of its own.

python -m tests.fakes.linode [--port N] [--nodes none|local|netns] ...

The first line on stdout is the base of its URLs. SIGTERM ends it, and all that it runs.
"""

import argparse
import signal
import tempfile
import threading
from pathlib import Path

from tests.fakes.linode.emulator import KINDS, TOKEN, serve
from tests.fakes.linode.state import Options


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0, help="0 is any")
    parser.add_argument("--host", default="", help="the address to listen on")
    parser.add_argument("--nodes", choices=KINDS, default="none")
    parser.add_argument("--folder", type=Path, help="where nodes and volumes lie")
    parser.add_argument("--faults", type=Path, help="a JSON list of what goes wrong")
    parser.add_argument("--seed", type=int, default=0, help="of faults that come by chance")
    parser.add_argument("--record", type=Path, help="where each request is written down")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--scopes", default="*")
    parser.add_argument("--no-rate-limits", dest="rate_limits", action="store_false")
    parser.add_argument("--restricted", action="store_true", help="the user has grants only")
    parser.add_argument("--hide-nvidia", action="store_true", help="no image with the driver")
    parser.add_argument("--delay-s", type=float, default=Options.delay_s, help="of each step")
    parser.add_argument("--driver-delay-s", type=float, default=0.0)
    parser.add_argument("--event-lag-s", type=float, default=0.0)
    parser.add_argument("--volume-mib", type=int, default=0, help="the size of each volume's file")
    parser.add_argument("--reuse-addresses", action="store_true")
    parser.add_argument("--interfaces-for-new-linodes", default=Options.interfaces_for_new_linodes)
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = read_arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    options = Options(
        delay_s=arguments.delay_s,
        restricted=arguments.restricted,
        hide_nvidia=arguments.hide_nvidia,
        interfaces_for_new_linodes=arguments.interfaces_for_new_linodes,
        driver_delay_s=arguments.driver_delay_s,
        volume_mib=arguments.volume_mib,
        reuse_addresses=arguments.reuse_addresses,
        event_lag_s=arguments.event_lag_s,
    )
    with (
        tempfile.TemporaryDirectory(prefix="segaway-linode-") as spare,
        serve(
            arguments.folder or Path(spare),
            nodes=arguments.nodes,
            host=arguments.host,
            port=arguments.port,
            token=arguments.token,
            scopes=arguments.scopes,
            faults=arguments.faults,
            seed=arguments.seed,
            record=arguments.record,
            rate_limits=arguments.rate_limits,
            options=options,
        ) as emulator,
    ):
        print(emulator.url, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
