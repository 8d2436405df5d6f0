"""The folders that the dermoscopy recipe reads, small, with drawn lesions in place of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from dermsentry.phantoms.drawing import draw_phantom
from pictures import save

HAM = {"MEL": "mel", "NV": "nv", "BCC": "bcc", "AK": "akiec", "SK": "bkl", "DF": "df", "VASC": "vasc"}
FOLDERS = {"MEL": "melanoma", "NV": "nevus", "PBK": "pigmented benign keratosis"}
ISIC2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def lesion(code: str, number: int) -> Image.Image:
    return Image.fromarray(draw_phantom(code, number, (120, 90)))


def mask() -> Image.Image:
    """A lesion in the middle of a frame."""
    image = Image.new("L", (120, 90))
    ImageDraw.Draw(image).ellipse((35, 20, 85, 70), fill=255)
    return image


def draw_sets(root: Path, per_class: int = 24) -> Path:
    """HAM10000 (a lesion taken twice, a crop of some), BCN20000, ISIC 2017, the archive, nine classes.

    ISIC 2019's labels too.

    Of the nine-class Test, `ISIC_0100001` is HAM10000's photograph of that id, whose lesion `ISIC_0100000` is
    of too; ISIC 2017's test has a copy of `ISIC_0100002`, and its validation one of `ISIC_0100004`.
    """
    ham, number = [], 100_000
    for code, dx in HAM.items():
        for i in range(per_class):
            name, lesion_id = f"ISIC_{number:07}", f"HAM_{(number - i % 2):07}"
            save(lesion(code, number), root / "ham10000" / "images" / f"{name}.jpg")
            save(mask(), root / "ham10000" / "masks" / f"{name}_segmentation.png")
            if i % 3 == 0:
                save(lesion(code, number).crop((15, 0, 105, 90)), root / f"ham10000/crops224/{name}.jpg")
            ham.append(f"{lesion_id},{name},{dx},histo,50,male,back")
            number += 1
    table(root / "ham10000/metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization", ham)
    _isic2017(root / "isic2017")
    barcelona = []
    for i, (code, dx) in enumerate([("MEL", "MEL"), ("NV", "NV"), ("BCC", "BCC")] * 12):
        save(lesion(code, 5000 + i).resize((84, 84)), root / "isic2019-84/images" / f"ISIC_{5000 + i:07}.jpg")
        barcelona.append(f"ISIC_{5000 + i:07},{dx},BCN_{5000 + i // 2:07},BCN")
    table(root / "isic2019-84/labels.csv", "image_id,dx,lesion_id,source", barcelona)
    archive = []
    for i, code in enumerate(("MEL", "NV") * 4):
        save(lesion(code, 3000 + i), root / "isic-archive" / "images" / f"ISIC_{3000 + i:07}.jpg")
        archive.append(f"ISIC_{3000 + i:07},{FOLDERS[code]}")
    table(root / "isic-archive/labels.csv", "image_id,diagnosis", archive)
    for i, (code, folder) in enumerate(list(FOLDERS.items()) * 2):
        save(lesion(code, 4000 + i), root / "isic9" / "Train" / folder / f"ISIC_{4000 + i:07}.jpg")
    save(lesion("MEL", 100_001), root / "isic9" / "Test" / "melanoma" / "ISIC_0100001.jpg")
    known = [f"ISIC_4000002,{one_hot('BKL')}", f"ISIC_0100000,{one_hot('MEL')}"]
    table(root / "labels/ISIC_2019_Training_GroundTruth.csv", "image," + ",".join(ISIC2019), known)
    table(
        root / "labels/ISIC_2019_Training_Metadata.csv",
        "image,age_approx,lesion_id,sex",
        ["ISIC_0003000,40,X,", "ISIC_0002901,50,Y,"],
    )
    return root


def one_hot(code: str) -> str:
    return ",".join("1.0" if own == code else "0.0" for own in ISIC2019)


def _isic2017(root: Path) -> None:
    rows = []
    for i, code in enumerate(("MEL", "NV", "SK") * 4):
        name = f"ISIC_{2000 + i:07}"
        save(lesion(code, 2000 + i).resize((96, 96)), root / "train" / f"{name}.jpg")
        rows.append(f"{name},train,{int(code == 'MEL')},{int(code == 'SK')}")
    for split, name, number in (("val", "ISIC_0002900", 100_004), ("test", "ISIC_0002901", 100_002)):
        save(lesion("MEL", number).resize((96, 96)), root / split / f"{name}.jpg")
        rows.append(f"{name},{split},1,0")
    table(root / "labels.csv", "image_id,split,melanoma,seborrheic_keratosis", rows)


def table(path: Path, header: str, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
