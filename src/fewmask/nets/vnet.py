"""The V-Net of UA-MT (Yu et al., MICCAI 2019, arXiv:1907.07034), the network of the left-atrium tables; 2-D and 3-D."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from fewmask.nets.blocks import CHANNEL_DROPOUT, CONVOLUTION, TRANSPOSED, conv_stages, crop, norm, pad_to_even
from fewmask.nets.segmenter import Segmenter

ENCODER_STAGES = (1, 2, 3, 3, 3)
DECODER_STAGES = (3, 3, 2, 1)
DROPOUT = 0.5
"""Rate for whole channels after the coarsest level and before the last convolution."""


class VNet(Segmenter):
    """Strided convolutions down, transposed ones up, skips added; 9.45 M parameters at width 16 in 3-D."""

    name = "vnet"

    def __init__(self, *, channels: int, classes: int, dims: int, width: int, dropout: float, normalisation: str):
        super().__init__(
            channels=channels, classes=classes, dims=dims, width=width, dropout=dropout, normalisation=normalisation
        )
        activation = partial(nn.ReLU, inplace=True)

        def stages(count: int, channels_in: int, channels_out: int) -> nn.Sequential:
            return conv_stages(
                count, dims, channels_in, channels_out, normalisation=normalisation, activation=activation
            )

        def halve(features: int) -> nn.Sequential:
            strided = CONVOLUTION[dims](features, 2 * features, 2, stride=2)
            return nn.Sequential(strided, norm(normalisation, dims, 2 * features), activation())

        def double(features: int) -> nn.Sequential:
            transposed = TRANSPOSED[dims](2 * features, features, 2, stride=2)
            return nn.Sequential(transposed, norm(normalisation, dims, features), activation())

        widths = self.encoder_channels
        self.encoder = nn.ModuleList(
            stages(count, features if level else channels, features)
            for level, (count, features) in enumerate(zip(ENCODER_STAGES, widths, strict=True))
        )
        self.down = nn.ModuleList(halve(features) for features in widths[:-1])
        self.up = nn.ModuleList(double(features) for features in self.decoder_channels)
        self.decoder = nn.ModuleList(
            stages(count, features, features)
            for count, features in zip(DECODER_STAGES, self.decoder_channels, strict=True)
        )
        self.dropout = CHANNEL_DROPOUT[dims](dropout * DROPOUT)
        self.head = CONVOLUTION[dims](width, classes, 1)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        pyramid = [self.encoder[0](image)]
        for down, level in zip(self.down, self.encoder[1:], strict=True):
            pyramid.append(level(down(pad_to_even(pyramid[-1]))))
        pyramid[-1] = self.dropout(pyramid[-1])
        return tuple(pyramid)

    def decode(self, pyramid: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        *skips, x = pyramid
        features = []
        for up, level, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = level(crop(up(x), skip.shape[2:]) + skip)
            features.append(x)
        return tuple(features)

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(self.dropout(embedding))
