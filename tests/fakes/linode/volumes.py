"""Volumes: disks that outlive the instances that they are attached to."""

from typing import Any

from tests.fakes.linode import rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.power import release_volume
from tests.fakes.linode.routes import Call, route
from tests.fakes.linode.rules import ApiError, refuse
from tests.fakes.linode.state import Instance, Row, State, point_at

READ, WRITE, BOTH = "volumes:read_only", "volumes:read_write", "linodes:read_write"
SIZES, DEFAULT_SIZE = (10, 10240), 20
FIELDS = ("config_id", "encryption", "label", "linode_id", "region", "size", "tags")
MAX_VOLUMES, MAX_PERSISTENT = 64, 8


@route("POST", "/volumes", WRITE, limit=(100, 60))
def post_volume(call: Call) -> Any:
    """A new one, which is being created; attached at once where a Linode is named."""
    state, body = call.state, call.body
    rules.check_known(body, FIELDS)
    _check_label(state, body.get("label"))
    size = rules.check_integer(body, "size", DEFAULT_SIZE)
    if not SIZES[0] <= size <= SIZES[1]:
        raise refuse("size", f"Size must be {SIZES[0]}-{SIZES[1]} GB")
    instance = None
    if body.get("linode_id") is not None:
        instance = _find_target(state, body)
    region = body.get("region") or (instance and instance.view["region"])
    if region is None:
        raise refuse("region", "Must provide a region or a Linode ID")
    if region not in state.regions or (instance and instance.view["region"] != region):
        raise refuse("region")
    if "Block Storage" not in state.regions[region]["capabilities"]:
        raise refuse("region", "Block Storage is not supported in this region")
    volume = _make_view(call, str(region), size)
    state.machines.make_volume(volume["label"], size * 1024)
    state.volumes[volume["id"]] = volume
    event = state.add_event("volume_create", _point(volume), status="started")

    def created() -> None:
        volume["status"] = "active"
        state.set_event(event, "finished")

    state.soon(created)
    if instance:
        attach_volume(state, volume, instance)
    return volume


@route("GET", "/volumes", READ, limit=(200, 60))
def list_volumes(call: Call) -> Any:
    """All."""
    return Collection(list(call.state.volumes.values()), ("label", "tags"))


@route("GET", "/volumes/{id}", READ)
def get_volume(call: Call) -> Any:
    """One."""
    return _find(call)


@route("PUT", "/volumes/{id}", WRITE)
def put_volume(call: Call) -> Any:
    """Its label and tags."""
    volume, state = _find(call), call.state
    rules.check_known(call.body, ("label", "tags"))
    if "label" in call.body:
        volume["label"] = _check_label(state, call.body["label"], volume["id"])
        volume["filesystem_path"] = find_path(volume["label"])
    if "tags" in call.body:
        volume["tags"] = call.read_tags()
    volume["updated"] = state.now()
    state.add_event("volume_update", _point(volume), status="notification")
    return volume


@route("DELETE", "/volumes/{id}", WRITE)
def delete_volume(call: Call) -> Any:
    """Its data is gone."""
    volume, state = _find(call), call.state
    if volume["linode_id"] is not None:
        raise ApiError(400, "Volume must be detached before it can be deleted.")
    del state.volumes[volume["id"]]
    state.machines.destroy_volume(volume["label"])
    state.add_event("volume_delete", _point(volume))
    return {}


@route("POST", "/volumes/{id}/attach", WRITE, BOTH)
def post_attach(call: Call) -> Any:
    """It belongs to the instance at once, and can be used there a little later."""
    volume, state, body = _find(call), call.state, call.body
    rules.check_known(body, ("linode_id", "config_id", "persist_across_boots"))
    rules.check_integer(body, "linode_id")
    if volume["linode_id"] is not None:
        raise ApiError(400, f"Volume {volume['id']} is already attached")
    instance = _find_target(state, body)
    if instance.view["region"] != volume["region"]:
        raise refuse("linode_id", "The Linode and the volume must be in the same region")
    held = len(state.attached_volumes(instance.id)) + len(instance.disks)
    memory_gib = instance.view["specs"]["memory"] // 1024
    most = min(MAX_VOLUMES, max(MAX_PERSISTENT, memory_gib))
    if held >= (MAX_PERSISTENT if body.get("persist_across_boots", True) else most):
        raise ApiError(400, "The maximum number of volumes is attached to this Linode")
    attach_volume(state, volume, instance)
    return volume


@route("POST", "/volumes/{id}/detach", WRITE, BOTH)
def post_detach(call: Call) -> Any:
    """It belongs to nobody a little later."""
    volume, state = _find(call), call.state
    if volume["linode_id"] is None:
        raise ApiError(400, "Volume is not attached")
    instance = state.instance(volume["linode_id"])
    instance.check_free()
    event = state.add_event("volume_detach", _point(volume), _linode(instance), "started")
    instance.jobs += 1
    volume["io_ready"] = False

    def detached() -> None:
        instance.jobs -= 1
        state.machines.detach(instance, volume["label"])
        release_volume(state, volume)
        for config in instance.configs:
            for name, slot in config["devices"].items():
                if slot and slot["volume_id"] == volume["id"]:
                    config["devices"][name] = None
        state.set_event(event, "finished")

    state.soon(detached)
    return {}


@route("POST", "/volumes/{id}/resize", WRITE)
def post_resize(call: Call) -> Any:
    """Only ever more."""
    volume, state = _find(call), call.state
    size = rules.check_integer(call.body, "size")
    if size <= volume["size"] or size > SIZES[1]:
        raise refuse("size", "Storage volumes can only be resized up")
    if volume["status"] != "active":
        raise ApiError(400, "Volume must be active to be resized")
    volume.update(size=size, status="resizing", updated=state.now())
    event = state.add_event("volume_resize", _point(volume), status="started")

    def resized() -> None:
        volume["status"] = "active"
        state.set_event(event, "finished")

    state.soon(resized)
    return volume


def attach_volume(state: State, volume: Row, instance: Instance) -> None:
    """Begin to attach it."""
    volume.update(linode_id=instance.id, linode_label=instance.label, updated=state.now())
    event = state.add_event("volume_attach", _point(volume), _linode(instance), "started")
    instance.jobs += 1
    for config in instance.configs[:1]:
        free = [name for name, slot in config["devices"].items() if slot is None]
        for name in free[:1]:
            config["devices"][name] = {"disk_id": None, "volume_id": volume["id"]}

    def attached() -> None:
        instance.jobs -= 1
        state.machines.attach(instance, volume["label"])
        volume.update(status="active", io_ready=True, updated=state.now())
        state.set_event(event, "finished")

    state.soon(attached)


def find_path(label: str) -> str:
    """Where an instance has the volume with that label."""
    return f"/dev/disk/by-id/scsi-0Linode_Volume_{label}"


def _find(call: Call) -> Row:
    volume = call.state.volumes.get(call.number())
    if volume is None:
        raise rules.not_found()
    return volume


def _find_target(state: State, body: dict[str, Any]) -> Instance:
    instance = state.instances.get(rules.check_integer(body, "linode_id"))
    if instance is None:
        raise refuse("linode_id")
    instance.check_free()
    config = body.get("config_id")
    if config is not None and config not in [row["id"] for row in instance.configs]:
        raise refuse("config_id")
    return instance


def _check_label(state: State, label: object, own: int = 0) -> str:
    text = rules.check_label(label, rules.VOLUME_LABEL, 1, 32)
    if any(row["label"] == text and row["id"] != own for row in state.volumes.values()):
        raise refuse("label", "Label must be unique among your volumes")
    return text


def _make_view(call: Call, region: str, size: int) -> Row:
    body, now = call.body, call.state.now()
    label = str(body["label"])
    return {
        **{"id": call.state.make_id(), "label": label, "size": size, "region": region},
        **{"status": "creating", "linode_id": None, "linode_label": None, "io_ready": False},
        **{"created": now, "updated": now, "tags": call.read_tags(), "hardware_type": "nvme"},
        **{"encryption": body.get("encryption") or "disabled", "filesystem_path": find_path(label)},
    }


def _point(volume: Row) -> Row:
    return point_at("volume", volume["id"], volume["label"])


def _linode(instance: Instance) -> Row:
    return point_at("linode", instance.id, instance.label)
