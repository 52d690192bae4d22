"""What the demo would have cost on a rented GPU."""

import math

# Linode's smallest GPU plan, as third parties quoted it until September 2026; a figure to compare
# with, never one to bill by.
PLAN = "g2-gpu-rtx4000a1-s"
USD_PER_HOUR = 0.52
BOOT_S = 180.0


def describe_reference_cost(seconds: float) -> str:
    """A sentence with the cost of as much time on that plan."""
    hours = math.ceil((seconds + BOOT_S) / 3600)
    return (
        f"On a Linode {PLAN} this would have cost about {hours * USD_PER_HOUR:.2f} USD "
        f"({hours} started hour{'s' if hours > 1 else ''} at {USD_PER_HOUR:.2f}; prices change). "
        "Here it cost nothing."
    )
