"""What a run wants of its cloud."""

from cli.session import Session
from provision.base import Order
from provision.plan import read_choice


def make_order(session: Session) -> Order:
    """What the run wants of its cloud, as things are now."""
    record = session.record
    choice = read_choice(record["plan"])
    return Order(
        run=session.run.id,
        offer=choice.offer,
        volume_label=session.volume["label"],
        volume_gib=choice.volume_gib,
        deadline_s=session.run.deadline_s,
        idle_s=session.settings.idle_minutes * 60,
        is_volume_kept=session.volume["kept"],
        admit=session.settings.admitted,
    )
