"""How busy the node is, from the rows of its telemetry.csv as they come."""

import csv
from dataclasses import dataclass, field

IDLE_PCT = 5.0
IDLE_S = 300.0


@dataclass
class Meter:
    """The newest row of telemetry, and how long no GPU has done anything by then."""

    _columns: list[str] = field(default_factory=list)
    _row: dict[str, str] = field(default_factory=dict)
    _rest: str = ""
    _idle_since: float | None = None
    _told_s: float = IDLE_S

    def feed(self, content: bytes) -> list[str]:
        """Bytes of telemetry.csv, cut anywhere; what somebody should be told."""
        *lines, self._rest = (self._rest + content.decode(errors="replace")).split("\n")
        return [text for line in lines if (text := self._take(line))]

    @property
    def text(self) -> str:
        """The newest row in a few words; empty where there is none."""
        gpus = self._gpu_cells("util_pct")
        if gpus:
            memory = " ".join(f"{cell:.1f}" for cell in self._gpu_cells("memory_used_gib"))
            return f"GPU {' '.join(f'{cell:.0f}' for cell in gpus)} %, {memory} GiB"
        cpu = self._row.get("cpu_pct", "")
        return f"CPU {float(cpu):.0f} %" if cpu else ""

    def _take(self, line: str) -> str:
        cells = next(csv.reader([line]), [])
        if cells[:1] == ["at"]:
            self._columns = cells
        elif len(cells) == len(self._columns):
            self._row = dict(zip(self._columns, cells, strict=True))
            return self._check_idle()
        return ""

    def _check_idle(self) -> str:
        """Said at five minutes, and whenever it has doubled since."""
        gpus = self._gpu_cells("util_pct")
        if not gpus or max(gpus) >= IDLE_PCT:
            self._idle_since, self._told_s = None, IDLE_S
            return ""
        at = float(self._row["at"])
        self._idle_since = at if self._idle_since is None else self._idle_since
        if at - self._idle_since < self._told_s:
            return ""
        self._told_s = 2 * (at - self._idle_since)
        minutes = (at - self._idle_since) / 60
        return (
            f"The GPU has been idle for {minutes:.0f} minutes, and bills all the same; the CPU is "
            f"at {float(self._row['cpu_pct']):.0f} %."
        )

    def _gpu_cells(self, name: str) -> list[float]:
        found = (self._row.get(f"gpu{n}_{name}", "") for n in range(len(self._columns)))
        return [float(cell) for cell in found if cell]
