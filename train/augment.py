"""Windows of packed pixels -> what a model is fed, in batches, on the device."""

from collections.abc import Sequence

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


def to_input(
    images_NHWC: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> Tensor:
    """Model input of uint8 images: N x 3 x H x W floats, channels last in memory.

    What is `mean` from 0 to 1 becomes 0; a deviation of `std`, 1.
    """
    return _normalise(_to_planes(images_NHWC), mean, std)


def augment(
    windows_NHWC: Tensor, draws_NK: Tensor, sides_N: Tensor, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Input and truth of a batch: windows zoomed, mirrored and discoloured as was drawn.

    Shape:
        windows N x W x W x 4, uint8, of which the upper left `sides` squares are meant; draws
        N x len(DRAWS) -> images N x 3 x crop x crop, floats; truth N x crop x crop, uint8.
    """
    crops_NHWC = windows_NHWC
    if config.scale_min != 1 or config.scale_max != 1:
        crops_NHWC = zoom(crops_NHWC, sides_N, config.crop)
    if config.flip:
        crops_NHWC = mirror(crops_NHWC, draws_NK[:, DRAWS.index("flip")] < 0.5)
    images_NCHW, truth_NHW = _to_planes(crops_NHWC[..., :3]), crops_NHWC[..., 3].contiguous()
    if config.jitter:
        images_NCHW = discolour(images_NCHW, draws_NK, config.jitter)
    return _normalise(images_NCHW, MEAN, STD), truth_NHW


def zoom(windows_NHWC: Tensor, sides_N: Tensor, crop: int) -> Tensor:
    """The upper left `sides` squares scaled to `crop`: images bilinearly, truth to the nearest.

    Pixel centres are where they are in torch's `align_corners=False`.

    Shape:
        N x W x W x 4 -> N x crop x crop x 4, uint8.
    """
    if windows_NHWC.device.type == "cpu":
        return _scale_each(windows_NHWC, sides_N.tolist(), crop)
    return _scale_all(windows_NHWC, find_centres(sides_N, crop))


def find_centres(sides_N: Tensor, crop: int) -> Tensor:
    """Where in squares of those sides the centres of a crop's pixels lie: N x crop, in pixels."""
    sides_N1 = sides_N.float().view(-1, 1)
    centres_NS = (torch.arange(crop, device=sides_N.device) + 0.5) * (sides_N1 / crop)
    # Beyond the last pixel's centre there is nothing to interpolate with: not even by rounding.
    return torch.minimum(centres_NS, sides_N1 - 0.5 - ROUNDING).clamp(min=0.5)


def mirror(crops_NHWC: Tensor, mirrored_N: Tensor) -> Tensor:
    """The crops, with left and right exchanged in those that are to be mirrored."""
    # As one number a pixel: four times as quick as byte by byte.
    pixels_NHW1 = crops_NHWC.view(torch.int32)
    pixels_NHW1 = torch.where(mirrored_N.view(-1, 1, 1, 1), pixels_NHW1.flip(2), pixels_NHW1)
    return pixels_NHW1.view(torch.uint8)


def discolour(images_NCHW: Tensor, draws_NK: Tensor, jitter: float) -> Tensor:
    """Brightness, saturation and contrast changed, each by a factor of 1 - jitter to 1 + jitter.

    From 0 to 255, floats. One after the other they come to a multiple of the pixel, plus one of
    its grey, plus one of the image's mean grey.
    """

    def draw(name: str) -> Tensor:
        return (1 + jitter * (2 * draws_NK[:, DRAWS.index(name)] - 1)).view(-1, 1, 1, 1)

    brightness, contrast, saturation = map(draw, ("brightness", "contrast", "saturation"))
    red_NHW, green_NHW, blue_NHW = images_NCHW.unbind(1)
    grey_NHW = (red_NHW * LUMA[0]).add_(green_NHW, alpha=LUMA[1]).add_(blue_NHW, alpha=LUMA[2])
    grey_N1HW = grey_NHW.unsqueeze(1)
    mean_N111 = (brightness * (1 - contrast)) * grey_N1HW.mean(dim=(2, 3), keepdim=True)
    flat_N1HW = torch.addcmul(mean_N111, grey_N1HW, brightness * contrast * (1 - saturation))
    kept_N111 = brightness * contrast * saturation
    return torch.addcmul(flat_N1HW, images_NCHW, kept_N111).clamp_(0, 255)


def _to_planes(images_NHWC: Tensor) -> Tensor:
    """Floats from 0 to 255, a plane a channel: on a CPU what follows is twice as quick so."""
    planes_NCHW = images_NHWC.permute(0, 3, 1, 2)
    return planes_NCHW.to(torch.float32, memory_format=torch.contiguous_format)


def _normalise(images_NCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    scale = [1 / (255 * deviation) for deviation in std]
    offset = [-middle / deviation for middle, deviation in zip(mean, std, strict=True)]
    scale_C11, offset_C11 = torch.tensor([scale, offset], device=images_NCHW.device)[
        ..., None, None
    ]
    normal_NCHW = torch.addcmul(offset_C11, images_NCHW, scale_C11)
    return normal_NCHW.contiguous(memory_format=torch.channels_last)


def _scale_each(windows_NHWC: Tensor, sides: Sequence[int], crop: int) -> Tensor:
    """Image by image, in whole numbers: on a CPU three times as quick as `_scale_all`."""
    scaled_NHWC = windows_NHWC.new_empty((len(sides), crop, crop, windows_NHWC.shape[3]))
    for number, side in enumerate(sides):
        square_1CHW = windows_NHWC[number, None, :side, :side].permute(0, 3, 1, 2)
        for channels, mode in ((slice(0, 4), "bilinear"), (slice(3, 4), "nearest-exact")):
            scaled_1CHW = functional.interpolate(square_1CHW[:, channels], (crop, crop), mode=mode)
            scaled_NHWC[number, ..., channels] = scaled_1CHW[0].permute(1, 2, 0)
    return scaled_NHWC


def _scale_all(windows_NHWC: Tensor, centres_NS: Tensor) -> Tensor:
    """All at once: what a GPU does in one go."""
    crop = centres_NS.shape[1]
    grid_NS = centres_NS * (2 / windows_NHWC.shape[1]) - 1
    columns_NSS = grid_NS.unsqueeze(1).expand(-1, crop, -1)
    rows_NSS = grid_NS.unsqueeze(2).expand(-1, -1, crop)
    scaled_NCHW = functional.grid_sample(
        windows_NHWC.permute(0, 3, 1, 2).float(),
        torch.stack([columns_NSS, rows_NSS], dim=3),
        padding_mode="border",
        align_corners=False,
    )
    scaled_NHWC = scaled_NCHW.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()
    rows_NS1, columns_N1S = centres_NS.long().unsqueeze(2), centres_NS.long().unsqueeze(1)
    numbers_N11 = torch.arange(len(windows_NHWC), device=windows_NHWC.device).view(-1, 1, 1)
    scaled_NHWC[..., 3] = windows_NHWC[numbers_N11, rows_NS1, columns_N1S, 3]
    return scaled_NHWC
