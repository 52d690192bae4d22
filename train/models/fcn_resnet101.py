"""FCN on a ResNet-101, from torchvision."""

from train.models import _fcn

WEIGHTS = _fcn.WEIGHTS
HEADS = _fcn.HEADS
build = _fcn.build_fcn
