"""segaway, with the clouds that only tests have.

python -m tests.fakes.segaway [--kill-after N] ARGUMENTS...

With N it is killed right after the N-th line of the run's history is on disk.
"""

import sys

from cli.main import main
from tests.fakes.clouds import add_clouds
from tests.fakes.killer import arm

if __name__ == "__main__":
    add_clouds()
    if sys.argv[1] == "--kill-after":
        arm(int(sys.argv[2]))
        del sys.argv[1:3]
    main()
