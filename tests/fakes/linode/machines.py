"""What an instance is made of: nothing, or a node of the test bed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.linode.state import Instance


class Machines:
    """Records only: instances have an address, and nothing answers there."""

    def __init__(self) -> None:
        self._given = 0
        self.complaints: list[str] = []  # what no client should have done, or caused

    def take_address(self, label: str, reuse: bool) -> str:
        """The address of an instance that is about to be made."""
        if not reuse or not self._given:
            self._given += 1
        return f"198.{18 + self._given // 62500}.{self._given // 250 % 250}.{self._given % 250 + 2}"

    def prepare(self, instance: Instance) -> None:
        """Begin what has to be done before its first boot."""

    def is_prepared(self, instance: Instance) -> bool:
        """Whether it can boot by now."""
        return True

    def boot(self, instance: Instance, volumes: list[str]) -> None:
        """Power on, with these volumes."""

    def shut_down(self, instance: Instance) -> None:
        """Power off; its disk stays."""

    def destroy(self, instance: Instance) -> None:
        """Nothing of it is left, but its volumes."""

    def make_volume(self, label: str, size_mib: int) -> None:
        """A blank disk."""

    def destroy_volume(self, label: str) -> None:
        """Its data is gone."""

    def attach(self, instance: Instance, volume: str) -> None:
        """The volume appears in the instance."""

    def detach(self, instance: Instance, volume: str) -> None:
        """It vanishes there."""

    def find_end(self, instance: Instance) -> str:
        """Why it no longer runs, though nobody asked the cloud: poweroff, reboot or died."""
        return ""

    def clear(self) -> None:
        """Everything goes."""
