"""An instance's life: each step takes its time, and while one runs the instance is busy."""

from collections.abc import Callable

from tests.fakes.linode.state import Instance, Row, State, point_at

PREPARED_POLL_S = 0.02


def create(state: State, instance: Instance, boots: bool) -> None:
    """Provision it, and boot it where that is asked for."""
    image = instance.view["image"]
    secondary = point_at("image", image, image) if image else None
    event = state.add_event("linode_create", _point(instance), secondary, "scheduled")
    instance.jobs += 1
    boot_event = _announce(state, instance, "linode_boot") if boots else 0
    state.machines.prepare(instance)

    def provisioned() -> None:
        if not state.machines.is_prepared(instance):
            state.after(PREPARED_POLL_S, provisioned)
            return
        state.set_event(event, "finished")
        instance.jobs -= 1
        if boots:
            _boot(state, instance, boot_event)
        else:
            _set_status(state, instance, "offline")

    state.after(state.options.delay_s / 2, lambda: state.set_event(event, "started"))
    state.soon(provisioned)


def boot(state: State, instance: Instance) -> None:
    """Power it on."""
    _boot(state, instance, _announce(state, instance, "linode_boot"))


def reboot(state: State, instance: Instance) -> None:
    """Off and on; its disk stays."""
    event = _announce(state, instance, "linode_reboot")
    _set_status(state, instance, "rebooting")
    state.machines.shut_down(instance)

    def back() -> None:
        _power_on(state, instance)
        _set_status(state, instance, "running")

    _run_job(state, instance, event, back)


def shut_down(state: State, instance: Instance) -> None:
    """Power it off."""
    event = _announce(state, instance, "linode_shutdown")
    _set_status(state, instance, "shutting_down")

    def off() -> None:
        state.machines.shut_down(instance)
        _set_status(state, instance, "offline")

    _run_job(state, instance, event, off)


def delete(state: State, instance: Instance) -> None:
    """It is gone after a while. Its volumes are detached, its firewalls know it no more."""
    event = state.add_event("linode_delete", _point(instance), status="started")
    _set_status(state, instance, "deleting")

    def gone() -> None:
        state.machines.destroy(instance)
        for volume in state.attached_volumes(instance.id):
            release_volume(state, volume)
        for devices in state.devices.values():
            for number, device in list(devices.items()):
                parent = device["entity"]["parent_entity"] or {}
                if instance.id in (device["entity"]["id"], parent.get("id")):
                    del devices[number]
        state.instances.pop(instance.id, None)

    _run_job(state, instance, event, gone)


def notice_ends(state: State) -> None:
    """What has ended by itself is started again by whoever is there to do it, or is offline."""
    for instance in list(state.instances.values()):
        if instance.jobs or instance.view["status"] != "running":
            continue
        end = state.machines.find_end(instance)
        if not end:
            continue
        if end == "reboot":
            _power_on(state, instance)
            continue
        _set_status(state, instance, "offline")
        if end == "poweroff" and instance.view["watchdog_enabled"]:
            _boot(state, instance, _announce(state, instance, "lassie_reboot"))


def release_volume(state: State, volume: Row) -> None:
    """The volume belongs to no instance."""
    volume.update(linode_id=None, linode_label=None, io_ready=False, updated=state.now())


def _point(instance: Instance) -> Row:
    return point_at("linode", instance.id, instance.label)


def _announce(state: State, instance: Instance, action: str) -> int:
    config = instance.configs[0] if instance.configs else None
    secondary = None
    if config:
        url = f"/v4/linode/instances/{instance.id}/configs/{config['id']}"
        secondary = {
            **{"id": config["id"], "type": "linode_config", "label": config["label"]},
            "url": url,
        }
    return state.add_event(action, _point(instance), secondary, "scheduled")


def _set_status(state: State, instance: Instance, status: str) -> None:
    instance.view["status"] = status
    instance.view["updated"] = state.now()


def _run_job(state: State, instance: Instance, event: int, ends: Callable[[], None]) -> None:
    instance.jobs += 1
    state.set_event(event, "started")

    def finish() -> None:
        ends()
        instance.jobs -= 1
        state.set_event(event, "finished")

    state.soon(finish)


def _boot(state: State, instance: Instance, event: int) -> None:
    _set_status(state, instance, "booting")
    if instance.never_boots:
        state.set_event(event, "started")
        return
    _power_on(state, instance)
    _run_job(state, instance, event, lambda: _set_status(state, instance, "running"))


def _power_on(state: State, instance: Instance) -> None:
    labels = [volume["label"] for volume in state.attached_volumes(instance.id)]
    state.machines.boot(instance, labels)
