"""Segmentation of a closed list of classes on SPAD-ViT (SPAD-Nets, Luo et al. 2023, section 5.3).

An adapter makes feature maps of four resolutions of what the backbone has after four of its blocks, a U-Net
decoder joins them, and two levels more bring the image's own resolution back. Names of parameters are the
published ones, in the layout of MONAI's convolutions, and recorded outputs of the published code are met. The
network is of one degree of anisotropy: volumes are resampled to the spacing that it was trained at.

Axes are (batch, channel, D, H, W) with the thick axis first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.networks.spad import Anisotropy, SpadTransposedConv, sum_pooled, with_input_channels
from vesal.networks.spad_vit import SPAD_VIT_B, SpadVit, SpadVitSizes, resampled, spad_vit_sizes_of

SLOPE = 0.01
WITHIN_SLICES = (1, 2, 2)
"""Strides of the two levels above the feature maps, as released."""
PATCHES = "patch_embed.proj.weight"
PATCH_WEIGHT = f"backbone.{PATCHES}"


@dataclass(frozen=True)
class SegmentationSizes:
    """Sizes of the network; the published ones are ``SPAD_BTCV`` and ``SPAD_CHAOS``."""

    backbone: SpadVitSizes
    after: tuple[int, int, int, int]
    """Blocks of the backbone, from 0, whose output is seen, the first for the finest resolution."""
    features: tuple[int, int, int, int]
    """Channels of the decoder at 1/4, 1/8, 1/16 and 1/32 of the plane."""
    full: tuple[int, int]
    """Channels at full resolution and at 1/2."""
    classes: int
    """With the background, which is the first."""
    degree: int = 2
    """Degree of anisotropy that it is run at: patches have 16 / 2^degree slices."""


def seen_blocks(layers: int) -> tuple[int, int, int, int]:
    """Blocks that the adapter sees, of so many: after a third, a half, two thirds and all of them.

    That is 3, 5, 7, 11 of B and 7, 11, 15, 23 of L, as released; of fewer than six the last four.
    """
    if layers < 6:
        return layers - 4, layers - 3, layers - 2, layers - 1
    return layers // 3 - 1, layers // 2 - 1, layers * 2 // 3 - 1, layers - 1


def published_sizes(channels: int, classes: int, positions_dhw: tuple[int, int, int]) -> SegmentationSizes:
    """Sizes of the released segmenters on SPAD-ViT-B."""
    backbone = replace(SPAD_VIT_B, channels=channels, positions_dhw=positions_dhw)
    return SegmentationSizes(backbone, seen_blocks(backbone.layers), (128, 256, 512, 512), (32, 64), classes)


SPAD_BTCV = published_sizes(1, 14, (12, 12, 12))
SPAD_CHAOS = published_sizes(2, 5, (8, 12, 12))


class InstanceNorm(nn.InstanceNorm3d):
    """As torch's, in training also for a map of one voxel, which small views have: it is its own mean."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, self.eps, torch.backends.cudnn.enabled
        )


class VitAdapter(SpadVit):
    """Backbone, and feature maps at 1/4, 1/8, 1/16 and where four are wanted 1/32 of the plane (section 5.3).

    ``after``: three or four blocks whose output is seen, one for each map.
    """

    def __init__(self, sizes: SpadVitSizes, after: Sequence[int]) -> None:
        super().__init__(sizes)
        width = sizes.width
        self.after = tuple(after)
        self.norms = nn.ModuleList(InstanceNorm(width, affine=True) for _ in self.after)
        twice = nn.ModuleList(
            [SpadTransposedConv(width, width, 2), InstanceNorm(width, affine=True)]
            + [nn.GELU(), SpadTransposedConv(width, width, 2)]
        )
        once, kept, pooled = SpadTransposedConv(width, width, 2), nn.Identity(), nn.Identity()
        self.fpn = nn.ModuleList([twice, once, kept, pooled])

    def pyramid(self, image: Tensor, at: Anisotropy) -> list[tuple[Tensor, Anisotropy]]:
        """image (B, C, D, H, W) -> feature maps (B, width, ...), finest first, and where each is.

        The depth of the finest is that of the image where the degree is 2 or more.
        """
        found, there = self.features(image, at, self.after)
        a, b, c, *d = (norm(x) for norm, x in zip(self.norms, found, strict=True))
        first, norm, act, second = cast(nn.ModuleList, self.fpn[0])
        a, a_at = first(a, there)
        a, a_at = second(act(norm(a)), a_at)
        b, b_at = self.fpn[1](b, there)
        strides = there.depth_stride_down(1), 2, 2
        coarsest = [(F.max_pool3d(x, strides), there.down(1)) for x in d]
        return [(a, a_at), (b, b_at), (c, there), *coarsest]


class ConvNorm(nn.Module):
    """Convolution, instance norm without weights, leaky ReLU."""

    def __init__(
        self, c_in: int, c_out: int, kernel: tuple[int, ...], stride: tuple[int, ...] | int = 1
    ) -> None:
        super().__init__()
        padding = tuple(side // 2 for side in kernel)
        self.conv = nn.Conv3d(c_in, c_out, kernel, stride, padding, bias=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D, H / stride, W / stride)."""
        return F.leaky_relu(F.instance_norm(self.conv(x)), SLOPE)


class TwoConvs(nn.Module):
    """Two convolutions, the first of which may stride; no shortcut."""

    def __init__(
        self, c_in: int, c_out: int, kernel: tuple[int, ...], stride: tuple[int, ...] | int = 1
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c_in, c_out, kernel, stride)
        self.conv2 = ConvNorm(c_out, c_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D, H / stride, W / stride)."""
        joined: Tensor = self.conv2(self.conv1(x))
        return joined


class Up(nn.Module):
    """Transposed convolution, joined with what was there at that resolution, two convolutions."""

    def __init__(self, c_in: int, c_out: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        kernel = tuple(3 if s > 1 else 1 for s in stride)
        self.upsample = nn.ConvTranspose3d(c_in, c_out, stride, stride)
        self.conv = TwoConvs(2 * c_out, c_out, kernel)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (B, C, d, h, w), skip (B, C', D, H, W) -> (B, C', D, H, W)."""
        joined: Tensor = self.conv(torch.cat([self.upsample(x), skip], 1))
        return joined


class PlainDecoder(nn.Module):
    """The U-Net decoder over the adapter's feature maps."""

    def __init__(self, width: int, features: Sequence[int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvNorm(width, c, (1, 1, 1)) for c in features)
        pairs = zip(features[1:], features[:-1], strict=True)
        self.layers = nn.ModuleList(Up(coarse, fine, (2, 2, 2)) for coarse, fine in pairs)

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps (B, width, ...), finest first -> decoded ones of all resolutions, finest first."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, pyramid, strict=True)]
        found = [levels[-1]]
        for layer, skip in zip(reversed(self.layers), levels[-2::-1], strict=True):
            found.insert(0, layer(found[0], skip))
        return found


class Blocks(nn.Module):
    """Only a level in the names."""

    def __init__(self, block: TwoConvs) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C', D, H / stride, W / stride), see ``TwoConvs``."""
        return self.blocks[0](x)


class FullResolution(nn.Module):
    """Two levels above the feature maps, with what convolutions see of the image itself."""

    def __init__(self, channels: int, width: int, features: Sequence[int], full: Sequence[int]) -> None:
        super().__init__()
        fine, half = full
        kernel = (1, 3, 3)
        self.inner = PlainDecoder(width, features)
        self.encode_layers = nn.ModuleList(
            [Blocks(TwoConvs(channels, fine, kernel)), Blocks(TwoConvs(fine, half, kernel, WITHIN_SLICES))]
        )
        self.decode_layers = nn.ModuleList(
            [Up(half, fine, WITHIN_SLICES), Up(features[0], half, WITHIN_SLICES)]
        )

    def forward(self, image: Tensor, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """image (B, C, D, H, W) and feature maps -> decoded maps of all resolutions, the image's first."""
        whole = self.encode_layers[0](image)
        half = self.encode_layers[1](whole)
        found = self.inner(pyramid)
        found.insert(0, self.decode_layers[1](found[0], half))
        found.insert(0, self.decode_layers[0](found[0], whole))
        return found


class SpadSegmentation(nn.Module):
    """See the module's docstring."""

    def __init__(self, sizes: SegmentationSizes = SPAD_BTCV) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.backbone.width
        self.backbone = VitAdapter(sizes.backbone, sizes.after)
        # Of one degree: its kernel holds the sums, as published.
        patches, depth = self.backbone.patch_embed.proj, sizes.backbone.patch_dhw(sizes.degree)[0]
        patches.weight = nn.Parameter(sum_pooled(patches.weight.detach(), depth))
        self.decoder = FullResolution(sizes.backbone.channels, width, sizes.features, sizes.full)
        # In training each resolution has a head; results come from the first.
        widths = (*sizes.full, *sizes.features[:2])
        self.seg_heads = nn.ModuleList(nn.Conv3d(c, sizes.classes, 1) for c in widths)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, D, H, W) -> logits (B, classes, D, H, W), the background first.

        Sides are multiples of 32 in plane, and of 32 / 2^degree along depth.
        """
        found: Tensor = self.seg_heads[0](self.maps(image)[0])
        return found

    def maps(self, image: Tensor) -> list[Tensor]:
        """image (B, C, D, H, W) -> decoded maps of all resolutions, the image's first."""
        pyramid = self.backbone.pyramid(image, Anisotropy(self.sizes.degree))
        maps: list[Tensor] = self.decoder(image, [x for x, _ in pyramid])
        return maps


def segmentation_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], after: Sequence[int] = (), heads: int | None = None
) -> SegmentationSizes:
    """Sizes of a network from the shapes of its tensors, named as in these modules or as published.

    Args:
        shapes: by name.
        after: blocks that the adapter sees, which no shape tells; empty: see ``seen_blocks``.
        heads: see ``spad_vit_sizes_of``.

    Raises:
        KeyError: a tensor that tells a size is not there.
        ValueError: patches are no cubes summed along depth.
    """
    width, channels, depth, side, _ = shapes[PATCH_WEIGHT]
    own = "backbone."
    inside = {name.removeprefix(own): shape for name, shape in shapes.items() if name.startswith(own)}
    inside["patch_embed.proj.weight"] = (width, channels, side, side, side)
    backbone = spad_vit_sizes_of(inside, heads)
    if side % depth or (side // depth) & (side // depth - 1):
        raise ValueError(f"patches are {depth}x{side}x{side} voxels; wanted is a depth of {side} / 2^degree.")
    layers = backbone.layers
    a, b, c, d = (shapes[f"decoder.inner.laterals.{n}.conv.weight"][0] for n in range(4))
    full = tuple(shapes[f"decoder.encode_layers.{n}.blocks.0.conv1.conv.weight"][0] for n in range(2))
    seen = tuple(after) or seen_blocks(layers)
    return SegmentationSizes(
        backbone=backbone,
        after=cast(tuple[int, int, int, int], seen),
        features=(a, b, c, d),
        full=cast(tuple[int, int], full),
        classes=shapes["seg_heads.0.weight"][0],
        degree=(side // depth).bit_length() - 1,
    )


def segmentation_of(tensors: Mapping[str, Tensor], after: Sequence[int] = ()) -> SpadSegmentation:
    """The network that published tensors belong to. Raises KeyError, ValueError, RuntimeError (names)."""
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    network = SpadSegmentation(segmentation_sizes_of(shapes, after))
    network.load_state_dict(dict(tensors))
    return network.eval()


def begun_from(backbone: Mapping[str, Tensor], sizes: SegmentationSizes) -> SpadSegmentation:
    """A segmenter to fine-tune, its backbone pre-trained, as released.

    The kernel of the patches is summed along depth and over its channels (a grey image came three times), the
    positions are resampled; adapter and decoder begin as they are.

    Raises:
        RuntimeError: tensors are missing or of another size; the message names them.
    """
    network = SpadSegmentation(sizes)
    kernel = with_input_channels(backbone[PATCHES], sizes.backbone.channels)
    fitted = {
        PATCHES: sum_pooled(kernel, sizes.backbone.patch_dhw(sizes.degree)[0]),
        "pos_embed": resampled(backbone["pos_embed"], sizes.backbone.positions_dhw),
    }
    state = network.backbone.state_dict()
    own = {name: value for name, value in state.items() if name.startswith(("fpn.", "norms."))}
    network.backbone.load_state_dict({**backbone, **fitted, **own})
    return network
