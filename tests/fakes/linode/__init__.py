"""The Linode API, emulated: a whole cloud on this machine, to be broken at will.

with serve(folder, nodes="netns") as emulator:
    emulator.url, emulator.token
"""

from tests.fakes.linode.emulator import Emulator, serve
from tests.fakes.linode.state import Options

__all__ = ["Emulator", "Options", "serve"]
