"""What the live view says of how busy the node is."""

from cli.meter import Meter

HEADER = "at,cpu_pct,memory_used_gib,memory_pct,disk_free_gib"
GPU = ",gpu0_util_pct,gpu0_memory_used_gib,gpu0_memory_total_gib,gpu0_temperature_c,gpu0_power_w"


def feed(meter: Meter, *rows: tuple[float, float, float]) -> list[str]:
    """Rows of time, CPU and GPU; what was said of them."""
    lines = "".join(f"{at},{cpu},1,10,20,{gpu},11.25,24,50,200\n" for at, cpu, gpu in rows)
    return meter.feed(lines.encode())


def test_a_node_without_a_gpu_shows_its_cpu() -> None:
    meter = Meter()
    assert meter.text == ""
    meter.feed(f"{HEADER}\n1.0,87.6,1,10,20\n".encode())
    assert meter.text == "CPU 88 %"


def test_a_row_may_come_in_pieces() -> None:
    meter = Meter()
    for byte in f"{HEADER}{GPU}\n1,2,3,4,5,93,11.25,24,50,200\n".encode():
        meter.feed(bytes([byte]))
    assert meter.text == "GPU 93 %, 11.2 GiB"


def test_a_gpu_that_idles_is_said_at_five_minutes_and_when_that_has_doubled() -> None:
    meter = Meter()
    meter.feed(f"{HEADER}{GPU}\n".encode())
    assert feed(meter, (0, 50, 90), (5, 50, 0), (300, 50, 1)) == []
    (told,) = feed(meter, (305, 98, 0))
    assert told == (
        "The GPU has been idle for 5 minutes, and bills all the same; the CPU is at 98 %."
    )
    assert feed(meter, (600, 98, 0)) == []
    assert len(feed(meter, (605, 98, 0), (606, 98, 0))) == 1


def test_a_gpu_that_works_again_is_idle_anew() -> None:
    meter = Meter()
    meter.feed(f"{HEADER}{GPU}\n".encode())
    assert len(feed(meter, (0, 1, 0), (300, 1, 0))) == 1
    assert feed(meter, (310, 1, 80), (320, 1, 0), (600, 1, 0)) == []
    assert len(feed(meter, (620, 1, 0))) == 1


def test_a_torn_row_is_passed_over() -> None:
    meter = Meter()
    meter.feed(f"{HEADER}\n1,2\n3,4,5,6,7\n".encode())
    assert meter.text == "CPU 4 %"
