"""Networks layer by layer, as their papers print them: an independent count of weights, work and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise


@dataclass
class Net:
    """Counts while layers are added. `maps` x `height` x `width` is what the last layer left.

    Attributes:
        weights: numbers learned (scale and shift of a norm included). macs: multiply-adds of one sample.
        outputs: numbers that convolutions and linear layers write. layers: how many of them (and attention cores).
        normed: maps with a batch norm; Keras counts their running means and variances among the parameters.
    """

    maps: int
    height: int
    width: int
    weights: int = 0
    macs: int = 0
    outputs: int = 0
    layers: int = 0
    normed: int = 0

    def conv(
        self, maps: int, kernel: int | tuple[int, int] = 3, stride: int = 1, *, groups: int = 1, bias: bool = False,
        norm: bool = True, pad: bool = True, side: bool = False,
    ) -> Net:  # fmt: skip
        """A convolution, padded to keep the size; `side`: on a branch, the main path keeps its shape."""
        tall, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        high = -(-self.height // stride) if pad else (self.height - tall) // stride + 1
        broad = -(-self.width // stride) if pad else (self.width - wide) // stride + 1
        per_output = tall * wide * self.maps // groups
        self.weights += maps * (per_output + int(bias) + 2 * int(norm))
        self.macs += maps * high * broad * per_output
        self.outputs += maps * high * broad
        self.layers += 1
        self.normed += maps * int(norm)
        if not side:
            self.maps, self.height, self.width = maps, high, broad
        return self

    def pool(self, stride: int = 2, kernel: int | None = None) -> Net:
        """Pooling: with a kernel unpadded, else to the size divided by the stride, rounded up."""
        if kernel is None:
            self.height, self.width = -(-self.height // stride), -(-self.width // stride)
        else:
            self.height, self.width = (self.height - kernel) // stride + 1, (self.width - kernel) // stride + 1
        return self

    def linear(self, inputs: int, outputs: int, tokens: int = 1, *, bias: bool = True) -> Net:
        self.weights += inputs * outputs + int(bias) * outputs
        self.macs += inputs * outputs * tokens
        self.outputs += outputs * tokens
        self.layers += 1
        return self

    def core(self, queries: int, keys: int, width: int) -> Net:
        """Scores and weighted values of attention; its scores are not written."""
        self.macs += 2 * queries * keys * width
        self.layers += 1
        return self


def alexnet() -> Net:
    """Krizhevsky et al. 2012, as one tower (Krizhevsky 2014, the form of torchvision)."""
    net = Net(3, 224, 224)
    net.maps, net.height, net.width = 3, 227, 227  # padding of 2: (224 + 4 - 11) / 4 + 1 = 55
    net.conv(64, 11, 4, bias=True, norm=False, pad=False).pool(2, 3)
    net.conv(192, 5, bias=True, norm=False).pool(2, 3)
    for maps in (384, 256, 256):
        net.conv(maps, 3, bias=True, norm=False)
    net.pool(2, 3)
    return net.linear(256 * 6 * 6, 4096).linear(4096, 4096).linear(4096, 1000)


def vgg16() -> Net:
    """Simonyan and Zisserman 2014, configuration D."""
    net = Net(3, 224, 224)
    for maps, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            net.conv(maps, 3, bias=True, norm=False)
        net.pool()
    return net.linear(512 * 7 * 7, 4096).linear(4096, 4096).linear(4096, 1000)


def lenet1() -> Net:
    """LeCun et al. 1990: 28 x 28, 4 maps of 5 x 5, 12 maps each of two or all of 4 (taken as all), 10 outputs."""
    net = Net(1, 28, 28)
    net.conv(4, 5, bias=True, norm=False, pad=False).pool()
    net.conv(12, 5, bias=True, norm=False, pad=False).pool()
    return net.linear(12 * 4 * 4, 10)


def resnet(blocks: tuple[int, ...], bottleneck: bool, height: int = 224, width: int = 224, classes: int = 1000) -> Net:
    """He et al. 2015; the stride of a bottleneck stands at its 3 x 3 convolution (v1.5)."""
    net = Net(3, height, width)
    net.conv(64, 7, 2).pool()
    for stage, times in enumerate(blocks):
        inner = 64 * 2**stage
        outer = inner * 4 if bottleneck else inner
        for block in range(times):
            stride = 2 if stage and not block else 1
            if net.maps != outer or stride > 1:
                net.conv(outer, 1, stride, side=True)
            if bottleneck:
                net.conv(inner, 1).conv(inner, 3, stride).conv(outer, 1)
            else:
                net.conv(inner, 3, stride).conv(outer, 3)
    return net.linear(net.maps, classes) if classes else net


def mobilenet_v1(alpha: float = 1.0, size: int = 224, classes: int = 1000, bias: bool = False) -> Net:
    """Howard et al. 2017, table 1."""
    net = Net(3, size, size)
    net.conv(int(32 * alpha), 3, 2, bias=bias)
    rows = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
    for maps, stride in rows:
        net.conv(net.maps, 3, stride, groups=net.maps, bias=bias).conv(int(maps * alpha), 1, bias=bias)
    return net.linear(net.maps, classes)


def round_to_8(value: float) -> int:
    """The rounding of channels of MobileNets and EfficientNets: to a multiple of 8, never below nine tenths."""
    near = max(8, int(value + 4) // 8 * 8)
    return near + 8 if near < 0.9 * value else near


def inverted(net: Net, kernel: int, inner: int, maps: int, stride: int, squeeze: int = 0) -> None:
    """Expand, depthwise, squeeze and excite where there is one, project."""
    if inner != net.maps:
        net.conv(inner, 1)
    net.conv(inner, kernel, stride, groups=inner)
    if squeeze:
        net.linear(inner, squeeze).linear(squeeze, inner)
    net.conv(maps, 1)


def mobilenet_v2(alpha: float = 1.0, *, head: bool = True) -> Net:
    """Sandler et al. 2018, table 2."""
    net = Net(3, 224, 224)
    net.conv(round_to_8(32 * alpha), 3, 2)
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, maps, times, stride in rows:
        for block in range(times):
            inverted(net, 3, net.maps * expand, round_to_8(maps * alpha), stride if not block else 1)
    net.conv(1280, 1)
    return net.linear(1280, 1000) if head else net


def mobilenet_v3_large() -> Net:
    """Howard et al. 2019, table 1."""
    net = Net(3, 224, 224)
    net.conv(16, 3, 2)
    rows = (
        (3, 16, 16, 0, 1), (3, 64, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 1, 2), (5, 120, 40, 1, 1),
        (5, 120, 40, 1, 1), (3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1),
        (3, 480, 112, 1, 1), (3, 672, 112, 1, 1), (5, 672, 160, 1, 2), (5, 960, 160, 1, 1), (5, 960, 160, 1, 1),
    )  # fmt: skip
    for kernel, inner, maps, squeeze, stride in rows:
        inverted(net, kernel, inner, maps, stride, round_to_8(inner / 4) if squeeze else 0)
    return net.conv(960, 1).linear(960, 1280).linear(1280, 1000)


def efficientnet(wide: float, deep: float, size: int) -> Net:
    """Tan and Le 2019, table 1, scaled in width and depth."""
    net = Net(3, size, size)
    net.conv(round_to_8(32 * wide), 3, 2)
    rows = (
        (3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1), (5, 6, 192, 4, 2),
        (3, 6, 320, 1, 1),
    )  # fmt: skip
    for kernel, expand, maps, times, stride in rows:
        for block in range(-int(-times * deep // 1)):
            squeeze = net.maps // 4
            inverted(net, kernel, net.maps * expand, round_to_8(maps * wide), stride if not block else 1, squeeze)
    net.conv(round_to_8(1280 * wide), 1)
    return net.linear(net.maps, 1000)


def vit(width: int, depth: int, ffn: int, patch: int, size: int, classes: int = 1000) -> Net:
    """Dosovitskiy et al. 2020: patches and a class token through encoder layers with biases."""
    net = Net(3, size, size)
    net.conv(width, patch, patch, bias=True, norm=False)
    tokens = net.height * net.width + 1
    net.weights += width * (tokens + 1)
    for _ in range(depth):
        net.linear(width, 3 * width, tokens).core(tokens, tokens, width).linear(width, width, tokens)
        net.linear(width, ffn, tokens).linear(ffn, width, tokens)
        net.weights += 4 * width
    net.weights += 2 * width
    return net.linear(width, classes) if classes else net


def yolov8_nano(size: int = 640) -> Net:
    """Ultralytics yolov8n.yaml at depth 0.33, width 0.25: backbone, feature pyramid, three decoupled heads."""
    net = Net(3, size, size)

    def c2f(source: int, maps: int, times: int) -> None:
        net.maps = source
        half = maps // 2
        net.conv(maps, 1)
        for _ in range(times):
            net.maps = half
            net.conv(half, 3).conv(half, 3)
        net.maps = (2 + times) * half
        net.conv(maps, 1)

    def at(side: int, maps: int) -> None:
        net.maps, net.height, net.width = maps, side, side

    net.conv(16, 3, 2).conv(32, 3, 2)
    c2f(32, 32, 1)
    for maps, times in ((64, 2), (128, 2), (256, 1)):
        net.conv(maps, 3, 2)
        c2f(maps, maps, times)
    net.conv(128, 1)
    net.maps = 512
    net.conv(256, 1)
    sides = size // 8, size // 16, size // 32
    for side, source, maps in ((sides[1], 384, 128), (sides[0], 192, 64)):
        at(side, source)
        c2f(source, maps, 1)
    for side, before, source, maps in ((sides[0], 64, 192, 128), (sides[1], 128, 384, 256)):
        at(side, before)
        net.conv(before, 3, 2)
        c2f(source, maps, 1)
    for side, maps in zip(sides, (64, 128, 256), strict=True):
        at(side, maps)
        net.conv(64, 3).conv(64, 3).conv(64, 1, bias=True, norm=False)
        at(side, maps)
        net.conv(80, 3).conv(80, 3).conv(80, 1, bias=True, norm=False)
    net.weights += 16  # the fixed weights of the distribution over box edges
    return net


def stable_diffusion_unet(side: int = 64, text: int = 77) -> Net:
    """Rombach et al. 2022, the U-Net of v1: four levels of 320, 640, 1280, 1280 maps, text attention at three."""
    net = Net(4, side, side)

    def block(source: int, maps: int) -> None:
        net.maps = source
        if source != maps:
            net.conv(maps, 1, bias=True, norm=False, side=True)
        net.conv(maps, 3, bias=True, norm=False)
        net.linear(1280, maps)
        net.conv(maps, 3, bias=True, norm=False)
        net.weights += 2 * source + 2 * maps

    def attend(maps: int) -> None:
        tokens = net.height * net.width
        net.conv(maps, 1, bias=True, norm=True)
        for keys, width in ((tokens, maps), (text, 768)):
            net.linear(maps, maps, tokens, bias=False)
            net.linear(width, maps, keys, bias=False).linear(width, maps, keys, bias=False)
            net.core(tokens, keys, maps).linear(maps, maps, tokens)
        net.linear(maps, 8 * maps, tokens).linear(4 * maps, maps, tokens)
        net.weights += 6 * maps
        net.conv(maps, 1, bias=True, norm=False)

    net.linear(320, 1280).linear(1280, 1280)
    net.conv(320, 3, bias=True, norm=False)
    kept = [320]
    for level, maps in enumerate((320, 640, 1280, 1280)):
        for _ in range(2):
            block(net.maps, maps)
            if level < 3:
                attend(maps)
            kept.append(maps)
        if level < 3:
            net.conv(maps, 3, 2, bias=True, norm=False)
            kept.append(maps)
    block(1280, 1280)
    attend(1280)
    block(1280, 1280)
    for level, maps in enumerate((1280, 1280, 640, 320)):
        for _ in range(3):
            block(net.maps + kept.pop(), maps)
            if level > 0:
                attend(maps)
        if level < 3:
            net.height, net.width = 2 * net.height, 2 * net.width
            net.conv(maps, 3, bias=True, norm=False)
    net.weights += 2 * 320
    return net.conv(4, 3, bias=True, norm=False)


def dense_chain(*widths: int, norm: bool = False) -> Net:
    net = Net(1, 1, 1)
    for inputs, outputs in pairwise(widths):
        net.linear(inputs, outputs)
    if norm:
        net.weights += 4 * sum(widths[1:-1])  # scale, shift and running statistics, as Keras counts
    return net


def keras(net: Net) -> Net:
    net.weights += 2 * net.normed
    return net


def ds_cnn() -> Net:
    """Zhang et al. 2017, DS-CNN small, as MLPerf Tiny trains it: 49 x 10 features, 64 maps."""
    net = Net(1, 49, 10)
    net.conv(64, (10, 4), 2, bias=True)
    for _ in range(4):
        net.conv(64, 3, groups=64, bias=True).conv(64, 1, bias=True)
    return keras(net.linear(64, 12))


def mamba(width: int, depth: int, vocab: int = 50280, state: int = 16) -> Net:
    """Gu and Dao 2023, one token of a sequence: the state is updated and read."""
    net = Net(1, 1, 1)
    inner, rank = 2 * width, -(-width // 16)
    for _ in range(depth):
        net.linear(width, 2 * inner, bias=False).linear(inner, rank + 2 * state, bias=False).linear(rank, inner)
        net.linear(inner, width, bias=False)
        net.macs += 4 * inner + 3 * inner * state  # convolution; decay, input and output of the state
        net.weights += 5 * inner + inner * state + inner + width
        net.outputs += 2 * inner
        net.layers += 2
    net.weights += width + vocab * width
    net.macs += vocab * width
    net.outputs += vocab
    net.layers += 1
    return net


def diffusion_policy() -> Net:
    """Chi et al. 2023, one denoising step of 16 actions of Push-T: U-Net in time of 512, 1024, 2048 maps, kernel 5."""
    net = Net(2, 1, 16)
    condition = 128 + 2 * (64 + 2)  # the step, and two observations: key points of the image, position

    def block(source: int, maps: int) -> None:
        net.maps = source
        if source != maps:
            net.conv(maps, 1, bias=True, norm=False, side=True)
        net.conv(maps, (1, 5), bias=True)
        net.linear(condition, 2 * maps)
        net.conv(maps, (1, 5), bias=True)

    net.linear(128, 512).linear(512, 128)
    for source, maps in ((2, 512), (512, 1024), (1024, 2048)):
        block(source, maps)
        block(maps, maps)
        if maps < 2048:
            net.conv(maps, (1, 3), 2, bias=True, norm=False)
    for _ in range(2):
        block(2048, 2048)
    for source, maps in ((4096, 1024), (2048, 512)):
        block(source, maps)
        block(maps, maps)
        net.width *= 2
        net.conv(maps, (1, 2), bias=True, norm=False)  # a transposed one of kernel 4, stride 2: two inputs an output
        net.weights += 2 * maps * maps
    return net.conv(512, (1, 5), bias=True).conv(2, 1, bias=True, norm=False)


def encoder_layers(net: Net, depth: int, width: int, ffn: int, tokens: int) -> Net:
    for _ in range(depth):
        net.linear(width, 3 * width, tokens).core(tokens, tokens, width).linear(width, width, tokens)
        net.linear(width, ffn, tokens).linear(ffn, width, tokens)
        net.weights += 4 * width
    return net


def act() -> Net:
    """Zhao et al. 2023, one chunk of 100 actions from four images of 480 x 640 (a shared ResNet-18, 15 x 20 features
    each), 4 encoder and 7 decoder layers of 512; 4 more layers, of its autoencoder, run in training only."""
    net = Net(3, 1, 1)
    image = resnet((2, 2, 2, 2), False, 480, 640, 0)
    tokens = 4 * 15 * 20 + 2
    net.macs, net.outputs, net.layers, net.weights = 4 * image.macs, 4 * image.outputs, 4 * image.layers, image.weights
    net.linear(512, 512, 4 * 300)
    encoder_layers(net, 4, 512, 3200, tokens)
    for _ in range(7):
        net.linear(512, 1536, 100).core(100, 100, 512).linear(512, 512, 100)
        net.linear(512, 512, 100).linear(512, 1024, tokens).core(100, tokens, 512).linear(512, 512, 100)
        net.linear(512, 3200, 100).linear(3200, 512, 100)
        net.weights += 6 * 512
    net.linear(512, 14, 100)
    net.weights += encoder_layers(Net(1, 1, 1), 4, 512, 3200, 1).weights
    return net


def octo_base() -> Net:
    """Octo Model Team 2024: a ViT-B over 16 words and two times 256 + 64 patches and a readout."""
    return encoder_layers(Net(1, 1, 1), 12, 768, 3072, 16 + 2 * (256 + 64 + 1))


def openvla() -> Net:
    """Kim et al. 2024: DINOv2 ViT-L/14 and SigLIP So400M/14 at 224 x 224, a projector, Llama 2 7B that reads 256
    patches and about 30 words and writes 7 tokens, one action."""
    net = Net(3, 1, 1)
    for eye in (vit(1024, 24, 4096, 14, 224, 0), vit(1152, 27, 4304, 14, 224, 0)):
        net.weights += eye.weights
        net.macs += eye.macs
        net.outputs += eye.outputs
        net.layers += eye.layers
    net.linear(2176, 8704, 256).linear(8704, 4096, 256).linear(4096, 4096, 256)
    tokens = 256 + 30 + 6
    for _ in range(32):
        net.linear(4096, 3 * 4096, tokens, bias=False).core(tokens, tokens // 2, 4096)
        net.linear(4096, 4096, tokens, bias=False)
        net.linear(4096, 2 * 11008, tokens, bias=False).linear(11008, 4096, tokens, bias=False)
        net.weights += 2 * 4096
    net.weights += 32064 * 4096 + 4096
    return net.linear(4096, 32064, 7, bias=False)


def t5_11b(source: int = 512, target: int = 114) -> Net:
    """Raffel et al. 2019, table 2 and section 3.1.4: 24 + 24 layers of 1024, 128 heads of 128, inner 65536."""
    net = Net(1, 1, 1)

    def attend(queries: int, keys: int) -> None:
        net.linear(1024, 16384, queries, bias=False).linear(1024, 2 * 16384, keys, bias=False)
        net.core(queries, keys, 16384).linear(16384, 1024, queries, bias=False)

    for tokens, crossed in ((source, False), (target, True)):
        for _ in range(24):
            attend(tokens, tokens)
            if crossed:
                attend(target, source)
            net.linear(1024, 65536, tokens, bias=False).linear(65536, 1024, tokens, bias=False)
    net.weights += 32128 * 1024
    net.macs += 32128 * 1024 * target
    net.outputs += 32128 * target
    net.layers += 1
    return net


def dlrm() -> Net:
    """Naumov et al. 2019, as MLPerf runs it on Criteo 1TB: 26 tables of width 128, two multilayer perceptrons."""
    net = Net(1, 1, 1)
    for inputs, outputs in ((13, 512), (512, 256), (256, 128)):
        net.linear(inputs, outputs)
    net.macs += 27 * 27 * 128
    net.outputs += 27 * 26 // 2 + 26 * 128
    net.layers += 2
    for inputs, outputs in ((479, 1024), (1024, 1024), (1024, 512), (512, 256), (256, 1)):
        net.linear(inputs, outputs)
    return net


NETWORKS: dict[str, Callable[[], Net]] = {
    "AlexNet": alexnet,
    "VGG16": vgg16,
    "LeNet1": lenet1,
    "ResNet18": lambda: resnet((2, 2, 2, 2), False),
    "ResNet50": lambda: resnet((3, 4, 6, 3), True),
    "MobileNetV1": mobilenet_v1,
    "MobileNetV2": mobilenet_v2,
    "MobileNetV2_Alpha0_5": lambda: mobilenet_v2(0.5),
    "MobileNetV2_Alpha0_5FeatureExtractor": lambda: mobilenet_v2(0.5, head=False),
    "MobileNetV2_Alpha0_75": lambda: mobilenet_v2(0.75),
    "MobileNetV3_Large": mobilenet_v3_large,
    "EfficientNetB0": lambda: efficientnet(1.0, 1.0, 224),
    "EfficientNetB4": lambda: efficientnet(1.4, 1.8, 380),
    "ViT_Large": lambda: vit(1024, 24, 4096, 16, 224),
    "YOLOv8_Nano": yolov8_nano,
    "StableDiffusion_v1_5": stable_diffusion_unet,
    "AnomalyDetector": lambda: dense_chain(640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640, norm=True),
    "DS_CNN": ds_cnn,
    "WakeVision": lambda: keras(mobilenet_v1(0.25, 96, 2, bias=True)),
    "Mamba_130M": lambda: mamba(768, 24),
    "Mamba_2_8B": lambda: mamba(2560, 64),
    "DLRM": dlrm,
    "DiffusionPolicy_PushT": diffusion_policy,
    "ACT_ALOHA": act,
    "Octo_Base": octo_base,
    "OpenVLA_7B": openvla,
    "T5_11B": t5_11b,
}
"""Each network of the catalog that is counted here."""
