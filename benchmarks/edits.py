"""What people do to photographs: edits after which a copy is still that photograph."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Edit = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom))))


def turn(image: Image.Image, degrees: float, cut: float = 0.0) -> Image.Image:
    """Rotated; black corners are left unless `cut` of each side is cut off."""
    return crop(image.rotate(degrees, Image.Resampling.BICUBIC), cut, cut, cut, cut)


def flip(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def hue(image: Image.Image, degrees: float) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    h = h.point(lambda value: (value + round(degrees / 360 * 256)) % 256)
    return Image.merge("HSV", (h, s, v)).convert("RGB")


def watermark(image: Image.Image) -> Image.Image:
    image = image.copy()
    pen, (w, h) = ImageDraw.Draw(image, "RGBA"), image.size
    font = ImageFont.load_default(size=max(10, h // 8))
    pen.text((w * 0.1, h * 0.42), "© CLINIC 2021", font=font, fill=(255, 255, 255, 160))
    return image


def ruler(image: Image.Image) -> Image.Image:
    image = image.copy()
    pen, (w, h) = ImageDraw.Draw(image), image.size
    high = round(h * 0.12)
    pen.rectangle((0, h - high, w, h), fill=(245, 245, 240))
    for k in range(40):
        pen.line((w * k / 40, h - high, w * k / 40, h - high * (0.3 if k % 10 == 0 else 0.65)), (10, 10, 10))
    return image


def hairs(image: Image.Image) -> Image.Image:
    """Twelve dark hairs across the picture."""
    rng = np.random.default_rng(int(np.asarray(image, np.int64).sum()))
    (w, h), times = image.size, 3
    large = image.resize((w * times, h * times), Image.Resampling.BICUBIC)
    pen, along = ImageDraw.Draw(large), np.linspace(0, 1, 40)[:, None]
    for _ in range(12):
        one, middle, other = rng.uniform(0, 1, (3, 2)) * [w * times, h * times]
        curve = (1 - along) ** 2 * one + 2 * along * (1 - along) * middle + along**2 * other
        pen.line([tuple(point) for point in curve.tolist()], (35, 25, 20), max(2, round(times * h / 120)))
    return large.resize((w, h), Image.Resampling.LANCZOS)


def letterbox(image: Image.Image, colour: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    w, h = image.size
    square = Image.new("RGB", (max(w, h),) * 2, colour)
    square.paste(image, ((max(w, h) - w) // 2, (max(w, h) - h) // 2))
    return square


def round_frame(image: Image.Image, colour: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """What a dermatoscope's round opening leaves."""
    w, h = image.size
    opening = Image.new("L", (2 * w, 2 * h))
    ImageDraw.Draw(opening).ellipse((w - h, 0, w + h, 2 * h), fill=255)
    return Image.composite(image, Image.new("RGB", image.size, colour), opening.resize((w, h)))


def centre_square(image: Image.Image) -> Image.Image:
    w, h = image.size
    side = min(w, h)
    return image.crop(((w - side) // 2, (h - side) // 2, (w + side) // 2, (h + side) // 2))


EDITS: dict[str, Edit] = {
    "JPEG quality 50": lambda i: jpeg(i, 50),
    "JPEG quality 20": lambda i: jpeg(i, 20),
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "a third of the size, JPEG 75": lambda i: jpeg(i.resize((i.width // 3, i.height // 3)), 75),
    "twice the size": lambda i: i.resize((i.width * 2, i.height * 2)),
    "squashed to a square": lambda i: i.resize((180, 180)),
    "brightness +20 %, clipped": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "contrast +20 %": lambda i: ImageEnhance.Contrast(i).enhance(1.2),
    "colour −40 %": lambda i: ImageEnhance.Color(i).enhance(0.6),
    "grey": lambda i: i.convert("L").convert("RGB"),
    "hue shift of 20°": lambda i: hue(i, 20),
    "hue shift of −20°": lambda i: hue(i, -20),
    "hue shift of 60°": lambda i: hue(i, 60),
    "blurred": lambda i: i.filter(ImageFilter.GaussianBlur(1)),
    "text watermark": watermark,
    "ruler strip": ruler,
    "hair drawn": hairs,
    "letterboxed black": letterbox,
    "letterboxed white": lambda i: letterbox(i, (255, 255, 255)),
    "round black frame": round_frame,
    "crop of 5 % a side": lambda i: crop(i, 0.05, 0.05, 0.05, 0.05),
    "crop of 10 % a side": lambda i: crop(i, 0.1, 0.1, 0.1, 0.1),
    "crop of 20 % a side": lambda i: crop(i, 0.2, 0.2, 0.2, 0.2),
    "crop of 8 % on one side": lambda i: crop(i, 0.08, 0, 0, 0),
    "crop of 15 % on one side": lambda i: crop(i, 0, 0, 0.15, 0),
    "crop of 20 % on one side": lambda i: crop(i, 0, 0.2, 0, 0),
    "crop of 20 % at a corner": lambda i: crop(i, 0, 0, 0.2, 0.2),
    "centre square": centre_square,
    "rotated by 7°, black rim": lambda i: turn(i, 7),
    "rotated by 7°": lambda i: turn(i, 7, 0.08),
    "rotated by 15°": lambda i: turn(i, 15, 0.12),
    "rotated by 30°": lambda i: turn(i, 30, 0.17),
    "rotated by 137°, black rim": lambda i: turn(i, 137),
    "rotated by 90°": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "rotated by 180°, JPEG 50": lambda i: jpeg(i.transpose(Image.Transpose.ROTATE_180), 50),
    "mirrored": flip,
    "mirrored, crop of 10 % a side": lambda i: crop(flip(i), 0.1, 0.1, 0.1, 0.1),
    "mirrored, rotated by 20°, cropped": lambda i: turn(flip(i), 20, 0.14),
    "crop of 3 %, +10 %, 150×150, JPEG 60": lambda i: jpeg(
        ImageEnhance.Brightness(crop(i, 0.03, 0.03, 0.03, 0.03)).enhance(1.1).resize((150, 150)), 60
    ),
}
