"""Windows of packed pixels -> what a model is fed, in batches, on the device."""

import torch
from torch import Tensor
from torch.nn import functional

from train.config import TrainConfig
from train.data.samples import DRAWS

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's images, as torchvision gives them: pre-trained weights expect them."""
ROUNDING = 1e-3
LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue weigh in grey (ITU-R BT.601)."""


def to_input(images_NHWC: Tensor) -> Tensor:
    """Model input of uint8 images: N x 3 x H x W floats, normalised, channels last in memory."""
    return normalise(_to_unit(images_NHWC))


def normalise(images_NCHW: Tensor) -> Tensor:
    """Of images from 0 to 1: mean 0 and deviation 1, as far as photographs have ImageNet's."""
    scale = _per_channel(images_NCHW, [1 / std for std in STD])
    offset = _per_channel(images_NCHW, [-mean / std for mean, std in zip(MEAN, STD, strict=True)])
    return torch.addcmul(offset, images_NCHW, scale)


def augment(
    windows_NHWC: Tensor, draws_NK: Tensor, sides_N: Tensor, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Input and truth of a batch: windows zoomed, mirrored and discoloured as was drawn.

    Shape:
        windows N x W x W x 4, uint8, of which the upper left `sides` squares are meant; draws
        N x len(DRAWS) -> images N x 3 x crop x crop, floats; truth N x crop x crop, uint8.
    """
    zooms = config.scale_min != 1 or config.scale_max != 1
    if zooms:
        images_NCHW, truth_NHW = zoom(windows_NHWC, sides_N, config.crop)
    else:
        images_NCHW, truth_NHW = _to_unit(windows_NHWC[..., :3]), windows_NHWC[..., 3]
    if config.flip:
        mirrored_N = draws_NK[:, DRAWS.index("flip")] < 0.5
        images_NCHW = torch.where(mirrored_N.view(-1, 1, 1, 1), images_NCHW.flip(3), images_NCHW)
        truth_NHW = torch.where(mirrored_N.view(-1, 1, 1), truth_NHW.flip(2), truth_NHW)
    if config.jitter:
        images_NCHW = discolour(images_NCHW, draws_NK, config.jitter)
    images_NCHW = normalise(images_NCHW).contiguous(memory_format=torch.channels_last)
    return images_NCHW, truth_NHW.contiguous()


def zoom(windows_NHWC: Tensor, sides_N: Tensor, crop: int) -> tuple[Tensor, Tensor]:
    """The upper left `sides` squares scaled to `crop`: images bilinearly, truth to the nearest.

    Pixel centres are where they are in torch's `align_corners=False`.
    """
    window = windows_NHWC.shape[1]
    sides_N1 = sides_N.float().view(-1, 1)
    centres_NS = (torch.arange(crop, device=windows_NHWC.device) + 0.5) * (sides_N1 / crop)
    # Beyond the last pixel's centre there is nothing to interpolate with: not even by rounding.
    centres_NS = torch.minimum(centres_NS, sides_N1 - 0.5 - ROUNDING).clamp(min=0.5)
    grid_NS = centres_NS * (2 / window) - 1
    grid_NHWC = torch.stack(
        [
            grid_NS.unsqueeze(1).expand(-1, crop, -1),
            grid_NS.unsqueeze(2).expand(-1, -1, crop),
        ],
        dim=3,
    )
    images_NCHW = _to_unit(windows_NHWC[..., :3])
    images_NCHW = functional.grid_sample(
        images_NCHW, grid_NHWC, padding_mode="border", align_corners=False
    )
    nearest_NS = centres_NS.long()
    numbers_N = torch.arange(len(windows_NHWC), device=windows_NHWC.device).view(-1, 1, 1)
    truth_NHW = windows_NHWC[numbers_N, nearest_NS.unsqueeze(2), nearest_NS.unsqueeze(1), 3]
    return images_NCHW, truth_NHW


def discolour(images_NCHW: Tensor, draws_NK: Tensor, jitter: float) -> Tensor:
    """Brightness, contrast and saturation changed, each by a factor of 1 - jitter to 1 + jitter."""

    def draw(name: str) -> Tensor:
        share_N = draws_NK[:, DRAWS.index(name)].to(images_NCHW.dtype)
        return (1 + jitter * (2 * share_N - 1)).view(-1, 1, 1, 1)

    luma = _per_channel(images_NCHW, list(LUMA))
    images_NCHW = images_NCHW * draw("brightness")
    grey_N1HW = (images_NCHW * luma).sum(1, keepdim=True)
    images_NCHW = torch.lerp(grey_N1HW, images_NCHW, draw("saturation"))
    mean_N111 = grey_N1HW.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean_N111, images_NCHW, draw("contrast")).clamp(0, 1)


def _to_unit(images_NHWC: Tensor) -> Tensor:
    images_NCHW = images_NHWC.permute(0, 3, 1, 2)
    return images_NCHW.to(torch.float32, memory_format=torch.channels_last) * (1 / 255)


def _per_channel(images_NCHW: Tensor, values: list[float]) -> Tensor:
    return torch.tensor(values, device=images_NCHW.device).view(1, 3, 1, 1)
