"""CVAT for images: boxes, polygons and runs, out of order but for their z_order."""

from pathlib import Path
from xml.etree import ElementTree

from tests.train.layouts import COLORS, NAMES, Box, Scene, Written, save


def write(folder: Path, scenes: list[Scene]) -> Written:
    root = ElementTree.Element("annotations")
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name, color in list(zip(NAMES, COLORS, strict=True))[1:]:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*color)
    for number, scene in enumerate(scenes):
        save(folder / "images" / f"{scene.key}.png", scene.image)
        width, height = (str(side) for side in scene.size)
        image = ElementTree.SubElement(
            root, "image", id=str(number), name=f"{scene.key}.png", width=width, height=height
        )
        for order, box in reversed(list(enumerate(scene.boxes))):
            add(image, order, box)
    ElementTree.ElementTree(root).write(folder / "annotations.xml", encoding="utf-8")
    return Written(folder, {scene.key: scene.ids for scene in scenes})


def add(image: ElementTree.Element, order: int, box: Box) -> None:
    class_id, left, top, right, bottom = box
    shared = {"label": NAMES[class_id], "z_order": str(order), "occluded": "0"}
    if order % 3 == 0:
        corners = [(left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1)]
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
        ElementTree.SubElement(image, "polygon", {"points": points} | shared)
    elif order % 3 == 1:
        edges = {"xtl": left, "ytl": top, "xbr": right, "ybr": bottom}
        ElementTree.SubElement(image, "box", {k: f"{v:.2f}" for k, v in edges.items()} | shared)
    else:
        width, height = right - left, bottom - top
        place = {"left": left, "top": top, "width": width, "height": height}
        runs = {"rle": f"0, {width * height}"}
        ElementTree.SubElement(image, "mask", {k: str(v) for k, v in place.items()} | runs | shared)
