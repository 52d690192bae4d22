"""A residual UNet: encoder and decoder with skip connections, made of residual blocks.

Sources: Ronneberger et al. 2015 (UNet), He et al. 2016 (pre-activation residual blocks),
Zhang et al. 2018 (both together, "Deep Residual U-Net"), Lee et al. 2015 (deep supervision).
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.config import TrainConfig
from train.models._padding import pad_images

WEIGHTS = ()
HEADS = ("head.", "sides.")


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each after normalisation and ReLU, added to the input."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.norm1(x)))
        y = self.conv2(functional.relu(self.norm2(y)))
        total: Tensor = y + self.shortcut(x)
        return total


class ResUNet(nn.Module):
    """`depth` halvings from `width` channels; the decoder mirrors the encoder.

    With `deep_supervision` the result is a tuple in train mode: after the main logits those of the
    coarser levels of the decoder, from fine to coarse; none at depth 1.

    Shape:
        N x 3 x H x W -> N x classes x H x W; any H and W (padded inside to a multiple of 2**depth).
    """

    def __init__(
        self, classes: int, width: int, depth: int, deep_supervision: bool = False
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.first = ResidualBlock(width, width)
        self.down = nn.ModuleList(
            ResidualBlock(fine, coarse, stride=2) for fine, coarse in itertools.pairwise(channels)
        )
        pairs = list(itertools.pairwise(channels))[::-1]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs
        )
        self.merge = nn.ModuleList(ResidualBlock(2 * fine, fine) for fine, _ in pairs)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, classes, 1)
        # Last, so that the same seed gives the other weights the same values without them.
        coarse = [fine for fine, _ in pairs[:-1]] if deep_supervision else []
        self.sides = nn.ModuleList(make_head(channels, classes) for channels in coarse)
        self.deep_supervision = deep_supervision

    def forward(self, images_NCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        height, width = images_NCHW.shape[-2:]
        x = pad_images(images_NCHW, self.stride)
        skips = [self.first(self.stem(x))]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        deep = self.training and self.deep_supervision
        levels = []
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], dim=1))
            if deep:
                levels.append(x)
        logits_NCHW: Tensor = self.head(functional.relu(self.norm(x)))
        if not deep:
            return logits_NCHW[..., :height, :width]
        results = [logits_NCHW]
        for side, level in zip(reversed(self.sides), reversed(levels[:-1]), strict=True):
            results.append(enlarge(side(level), logits_NCHW.shape[-2:]))
        return tuple(result[..., :height, :width] for result in results)


def make_head(channels: int, classes: int) -> nn.Module:
    """What makes logits of a block's result; it has no normalisation of its own."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, classes, 1))


def enlarge(logits_NCHW: Tensor, size: torch.Size) -> Tensor:
    """The logits of a coarser level at a size of full resolution, H x W."""
    return functional.interpolate(
        logits_NCHW, size=tuple(size), mode="bilinear", align_corners=False
    )


def build(classes: int, config: TrainConfig) -> nn.Module:
    """A ResUNet of the configured width and depth."""
    return ResUNet(classes, config.width, config.depth, config.deep_supervision)
