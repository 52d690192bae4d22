"""What can be bought, and where."""

from typing import Any

from tests.fakes.linode import catalogue, rules
from tests.fakes.linode.filters import Collection
from tests.fakes.linode.routes import ANY, Call, route

TYPE_FIELDS = (
    *("class", "gpus", "label", "memory", "vcpus", "disk", "transfer", "network_out"),
    "accelerated_devices",
)
IMAGE_FIELDS = ("label", "is_public", "deprecated", "size", "status", "tags", "type", "vendor")
EVENT_FIELDS = ("action", "created", "id", "entity.id", "entity.type")
ADDS = (
    *("linodes", "volumes", "firewalls", "images", "stackscripts", "nodebalancers", "domains"),
    *("databases", "longview", "vpcs"),
)
PLACES = (200, 60)


@route("GET", "/linode/types", public=True, limit=PLACES)
def list_types(call: Call) -> Any:
    """The plans and what they cost."""
    return Collection(list(call.state.types.values()), TYPE_FIELDS)


@route("GET", "/linode/types/{type}", public=True)
def get_type(call: Call) -> Any:
    """One plan."""
    return rules.pick(call.state.types, call.args["type"])


@route("GET", "/volumes/types", public=True, limit=PLACES)
def list_volume_types(call: Call) -> Any:
    """What volumes cost."""
    return Collection(catalogue.list_volume_types(), ("label",))


@route("GET", "/regions", public=True, limit=PLACES)
def list_regions(call: Call) -> Any:
    """The data centers."""
    return Collection(list(call.state.regions.values()), ("country", "site_type"))


@route("GET", "/regions/availability", public=True, limit=PLACES)
def list_availability(call: Call) -> Any:
    """Where which limited plan can be had."""
    return Collection(call.state.availability, ("plan", "region", "available"))


@route("GET", "/regions/{region}", public=True)
def get_region(call: Call) -> Any:
    """One data center."""
    return rules.pick(call.state.regions, call.args["region"])


@route("GET", "/regions/{region}/availability", public=True)
def get_region_availability(call: Call) -> Any:
    """Which limited plan can be had there: a bare list."""
    rules.pick(call.state.regions, call.args["region"])
    return [row for row in call.state.availability if row["region"] == call.args["region"]]


@route("GET", "/images", public=True, limit=(20, 60))
def list_images(call: Call) -> Any:
    """The public images."""
    return Collection(list(call.state.images.values()), IMAGE_FIELDS)


@route("GET", "/images/{image}", public=True)
def get_image(call: Call) -> Any:
    """One image."""
    return rules.pick(call.state.images, call.args["image"])


@route("GET", "/maintenance/policies", ANY)
def list_policies(call: Call) -> Any:
    """What can be done with instances whose host needs work."""
    rows = [
        {
            **{"slug": f"linode/{kind}", "type": kind, "label": label, "description": label},
            **{"is_default": kind == "migrate", "notification_period_sec": 259200},
        }
        for kind, label in (("migrate", "Migrate"), ("power_off_on", "Power Off / Power On"))
    ]
    return Collection(rows, ())
