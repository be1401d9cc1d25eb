"""Label maps as palette images, the colour map of PASCAL VOC, and one for classes of one's own."""

from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

# The colour that VOC's own palette gives index 255, its void outline.
VOID_COLOR = (224, 224, 192)


def voc_palette(*, num_colors: int = 256) -> UInt8[np.ndarray, "{num_colors} 3"]:
    """Makes VOC's colours: bits 0, 1, 2 of the index feed red, green, blue, highest bit first."""
    palette = np.zeros((num_colors, 3), np.uint8)
    index = np.arange(num_colors)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


# Found by a search: 24 colours besides the grey whose smallest distance is as large as possible,
# then, for each of the others, the one of a grid of RGB that is farthest from all before it.
_CLASS_COLORS = (
    "5050504fff00aa3bbdd22200ffce910016ff8dc3c13100333b00799549ff246783c392689587ffd27286"
    "21366b6f00b9af87c17c6247c7ff719dbb495a1e1c7a1e04fe5f0048cdfeb4fffd4b2d4ba5693c00004b"
    "d21e96c3b496c369d2c3d2f078e13c785ae1781e964b1e2da51e2d5aa5f02d87695a00d22d0f965aa596"
    "2db400e1ff5aa5e169a5b4d2783c699669a596963cfffff02d0f4ba5e1d23c5a2dd24b695a0f00962dc3"
    "960fffff78a5ff2db4d2b478b4a5e1961e4b780f7887ffa51e0f1eb40000b4ff879669e1696978b49678"
    "b4c300782de13c0f007878ffffa5ff1e780fa52da5e1ffc3c3d2a5f0e15affff2d87b45a4b964b964b87"
    "693c1e5a3c3c4b2da5e1c3b478961e2d0f0f96782d96e1e13c00693c2d5a4b695a693cd21ed2785a3c87"
    "e1963ca57896691e2dd21e69c33cb44b002d2d96d278ffd2d2a5b4ff0f0f1e003c0000e12d78963c005a"
    "3c1e5affb43c78784b4bb496003c1e87c35ad287f096e187001e3c4b2d87e1e1ffc30f3cc300782d1e1e"
    "693cb4002d4b3c4bffd296c3a5c3d23c2d3ce1783cff00ff9678e1c35a87c3784b2d00b4a5d2693c1e3c"
    "b40f5a692d5a2d692df087874b5aa5e1a5a5c3e1a5c3f0e1fff04b691e0f0000698787785aa55ac3c3f0"
    "3cc3874b3c69b44b1ee1f0c35a0f788778c3ff782db4b4e13c0087d2f078c3c34b5a0f96b4c3e1d2d2ff"
    "871e3ce13ca5ff2dd2f0ffb44b0f4b875ad27887a54b1e87004b96784be187d2c3784b783ca54ba5a5d2"
    "1e1e2db4d296001e5a3c2db487f04b964b3ca50096a587692d4be11e001ee1e1003c693cc31e5affe1d2"
    "d24bc32d3c2dd269785a4b87d2e1f0b4e178694b0fb4695a5a78b4a578b469b4c3690069b45af096a5a5"
    "965a965a0fc34b0fa5b496e1a5a54be178b4a500a59600d269c3697878872d78c3960fb4f0c35a7800f0"
    "004b4b8796b4963c69e1b4b4f0787878f096c3c38787692df0ffe1d200d2c3875ac378e12d004b966978"
    "a5d2d25ab4ffe187962d2de13c3cc3e1f096d2f0b4e1d2c3b42d1ed2b42d874b4b4b7869a5b4f0782d78"
    "d269a54b5a1e003c4b"
)


def class_palette(*, num_colors: int) -> UInt8[np.ndarray, "{num_colors} 3"]:
    """Makes colours for classes that have none of their own, at most 255; the first is a dark grey.

    The first 25 lie 19.7 or more apart in CIELAB, for normal vision (20.8) and under simulated
    protanopia (19.8), deuteranopia (19.7) and tritanopia (19.7); black and the void colour are as
    far from all of them. (VOC's first 25: 8.8, 1.0, 1.5 and 2.1; its first is black.) The first 10
    lie 22.4 apart, 40 lie 11.4, 100 lie 6.8 and all 255 lie 4.5.

    Source: simulation by Machado et al. 2009 at full severity.
    """
    if num_colors > 255:
        raise ValueError(f"num_colors={num_colors}; there are 255 colours")
    table = np.frombuffer(bytes.fromhex("".join(_CLASS_COLORS)), np.uint8).reshape(-1, 3)
    return table[:num_colors].copy()


def full_palette(
    colors: Int[np.ndarray, "k 3"] | UInt8[np.ndarray, "k 3"],
) -> UInt8[np.ndarray, "256 3"]:
    """Extends class colours to 256 entries: VOC's colours after them, the void colour last."""
    palette = voc_palette()
    palette[: len(colors)] = colors
    palette[255] = VOID_COLOR
    return palette


def save_label_png(
    path: str | Path,
    label: Int[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"],
    colors: Int[np.ndarray, "k 3"] | UInt8[np.ndarray, "k 3"],
    *,
    orientation: int = 1,
) -> None:
    """Writes a label map as a palette PNG: the pixels are the labels, the palette shows them.

    Args:
        path: Where to.
        label: Class numbers.
        colors: Colours of the classes.
        orientation: EXIF's number for how a viewer has to turn the picture, 1 to 8; 1 is upright.
    """
    from PIL import Image  # here, because colours are asked for where no picture is written

    image = Image.fromarray(np.asarray(label, np.uint8), mode="P")
    image.putpalette(full_palette(colors).tobytes())
    exif = Image.Exif()
    if orientation != 1:
        exif[274] = orientation
    image.save(path, "PNG", exif=exif)
