"""segaway, with the clouds that only tests have.

python -m tests.fakes.segaway ARGUMENTS...
"""

from cli.main import main
from tests.fakes.clouds import add_clouds

if __name__ == "__main__":
    add_clouds()
    main()
