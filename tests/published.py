"""Every published layout, tiny: the folders, files and columns as they unpack, around made-up pictures.

Each function writes one into a folder: `LESIONS` of each of three diagnoses, melanomas first. Every third
lesion has two photographs.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from dermsentry.diagnoses import CODES, name_of
from pictures import skin

LESIONS = 12
KINDS = ("MEL", "NV", "BCC")
Write = Callable[[Path], None]


@cache
def picture(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    skin(seed, (96, 72)).save(buffer, kind)
    return buffer.getvalue()


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(seed, {".png": "PNG", ".bmp": "BMP"}.get(path.suffix, "JPEG")))


def table(path: Path, header: str, rows: list[list[object]] | list[str], separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else separator.join(map(str, row)) for row in rows]
    path.write_text("\n".join([header.replace(",", separator), *lines]) + "\n", encoding="utf-8")


def lesions(kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[int, str]]:
    """Number and diagnosis of each lesion."""
    for place, kind in enumerate(kinds):
        for i in range(LESIONS):
            yield place * LESIONS + i, kind


def images(kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[str, int, str]]:
    """ISIC id, lesion and diagnosis of each photograph; every third lesion has two."""
    for lesion, kind in lesions(kinds):
        for view in range(2 if lesion % 3 == 0 else 1):
            yield f"ISIC_{7000000 + 10 * lesion + view:07d}", lesion, kind


def hot(kind: str, columns: str) -> str:
    return ",".join("1.0" if column == kind else "0.0" for column in columns.split(","))


def seed_of(image: str) -> int:
    return int(image[-7:])


def part_of(lesion: int) -> str:
    return ("Training", "Training", "Validation", "Test")[lesion % 4]


def nine_class(root: Path) -> None:
    top = root / "Skin cancer ISIC The International Skin Imaging Collaboration"
    for i, code in enumerate(CODES):
        for n in range(8):
            where = top / ("Test" if n == 7 else "Train") / name_of(code)
            photograph(where / f"ISIC_{7100000 + 10 * i + n:07d}.jpg", 500 + 10 * i + n)


def ham10000_kaggle(root: Path) -> None:
    rows = []
    for n, (image, lesion, kind) in enumerate(images()):
        photograph(root / f"HAM10000_images_part_{1 + n % 2}" / f"{image}.jpg", seed_of(image))
        rows.append([f"HAM_{lesion:07d}", image, kind.lower(), "histo", "55.0", "male", "back"])
    table(root / "HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age,sex,localization", rows)
    for name in ("hmnist_28_28_L.csv", "hmnist_8_8_RGB.csv"):
        table(root / name, "pixel0000,label", ["12,1"])


def ham10000_dataverse(root: Path) -> None:
    rows, tests = [], []
    for image, lesion, kind in images():
        held = lesion % 4 == 3
        place = "ISIC2018_Task3_Test_Images" if held else f"HAM10000_images_part_{1 + lesion % 2}"
        photograph(root / place / f"{image}.jpg", seed_of(image))
        words = [f"HAM_{lesion:07d}", image, kind.lower(), "follow_up", "55.0", "female", "back", "rosendahl"]
        (tests if held else rows).append("\t".join(f'"{word}"' for word in words))
        photograph(root / "HAM10000_segmentations_lesion_tschandl" / f"{image}_segmentation.png", 1)
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    table(root / "HAM10000_metadata.tab", header, rows, "\t")
    table(root / "ISIC2018_Task3_Test_GroundTruth.tab", header, tests, "\t")


def isic2016(root: Path) -> None:
    rows: dict[str, list[str]] = {"Training": [], "Test": []}
    for image, lesion, kind in images():
        part = "Test" if lesion % 4 == 3 else "Training"
        photograph(root / f"ISBI2016_ISIC_Part3_{part}_Data" / f"{image}.jpg", seed_of(image))
        words = {True: ("malignant", "1.0"), False: ("benign", "0.0")}[kind == "MEL"]
        rows[part].append(f"{image},{words[part == 'Test']}")
    for part, lines in rows.items():
        table(root / f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv", lines[0], lines[1:])


def isic2017(root: Path) -> None:
    names = {"Training": "Training", "Validation": "Validation", "Test": "Test_v2"}
    rows: dict[str, list[str]] = {part: [] for part in names}
    people: dict[str, list[str]] = {part: [] for part in names}
    for image, lesion, kind in images(("MEL", "SK", "NV")):
        part = part_of(lesion)
        folder = root / f"ISIC-2017_{names[part]}_Data"
        photograph(folder / f"{image}.jpg", seed_of(image))
        photograph(folder / f"{image}_superpixels.png", 2)
        rows[part].append(f"{image},{float(kind == 'MEL')},{float(kind == 'SK')}")
        people[part].append(f"{image},{'unknown' if lesion % 5 == 0 else 45},female")
    for part, name in names.items():
        header = "image_id,melanoma,seborrheic_keratosis"
        table(root / f"ISIC-2017_{name}_Part3_GroundTruth.csv", header, rows[part])
        where = root / f"ISIC-2017_{name}_Data" / f"ISIC-2017_{name}_Data_metadata.csv"
        table(where, "image_id,age_approximate,sex", people[part])


def isic2018(root: Path) -> None:
    columns = "MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    rows: dict[str, list[str]] = {"Training": [], "Validation": [], "Test": []}
    groups = []
    for image, lesion, kind in images():
        part = part_of(lesion)
        photograph(root / f"ISIC2018_Task3_{part}_Input" / f"{image}.jpg", seed_of(image))
        rows[part].append(f"{image},{hot(kind, columns)}")
        groups.append(f"{image},HAM_{lesion:07d},histopathology")
    for part, lines in rows.items():
        name = f"ISIC2018_Task3_{part}_GroundTruth"
        table(root / name / f"{name}.csv", f"image,{columns}", lines)
        (root / f"ISIC2018_Task3_{part}_Input" / "LICENSE.txt").write_text("CC BY-NC 4.0")
    name = "ISIC2018_Task3_Training_LesionGroupings.csv"
    table(root / name, "image,lesion_id,diagnosis_confirm_type", groups)


def isic2019(root: Path) -> None:
    columns = "MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    truth, people, test, test_people = [], [], [], []
    for image, lesion, kind in images():
        name = f"{image}_downsampled" if lesion % 2 else image
        if lesion % 4 == 3:
            photograph(root / "ISIC_2019_Test_Input" / f"{name}.jpg", seed_of(image))
            test.append(f"{name},{hot(kind, columns)},1.0,1.0")
            test_people.append(f"{name},55,anterior torso,male")
            continue
        photograph(
            root / "ISIC_2019_Training_Input" / "ISIC_2019_Training_Input" / f"{name}.jpg", seed_of(image)
        )
        truth.append(f"{name},{hot(kind, columns)}")
        people.append(f"{image},55.0,anterior torso,BCN_{lesion:07d},female")
    table(root / "ISIC_2019_Training_GroundTruth.csv", f"image,{columns}", truth)
    header = "image,age_approx,anatom_site_general,lesion_id,sex"
    table(root / "ISIC_2019_Training_Metadata.csv", header, people)
    table(root / "ISIC_2019_Test_GroundTruth.csv", f"image,{columns},score_weight,validation_weight", test)
    table(root / "ISIC_2019_Test_Metadata.csv", "image,age_approx,anatom_site_general,sex", test_people)


def isic2020_kaggle(root: Path) -> None:
    rows, tests = [], []
    for n, (image, lesion, kind) in enumerate(images(("MEL", "NV", "SK"))):
        name = {"MEL": "melanoma", "NV": "unknown" if n % 2 else "nevus", "SK": "seborrheic keratosis"}[kind]
        name = "lentigo NOS" if lesion == 25 else name
        bad = "malignant,1" if kind == "MEL" else "benign,0"
        photograph(root / "jpeg" / "train" / f"{image}.jpg", seed_of(image))
        rows.append(f"{image},IP_{lesion:07d},female,55.0,torso,{name},{bad}")
    for n in range(4):
        photograph(root / "jpeg" / "test" / f"ISIC_{7900000 + n}.jpg", 900 + n)
        tests.append(f"ISIC_{7900000 + n},IP_900,male,60.0,torso")
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge"
    table(root / "train.csv", f"{header},diagnosis,benign_malignant,target", rows)
    table(root / "test.csv", header, tests)
    table(root / "sample_submission.csv", "image_name,target", ["ISIC_7900000,0"])


def isic2020(root: Path) -> None:
    first, second = [], []
    for image, lesion, kind in images(("MEL", "NV", "SK")):
        name = {"MEL": "melanoma", "NV": "nevus", "SK": "unknown"}[kind]
        bad = "malignant,1" if kind == "MEL" else "benign,0"
        photograph(root / "train" / f"{image}.jpg", seed_of(image))
        person = f"female,55.0,torso,{name},{bad}"
        first.append(f"{image},IP_{lesion:07d},{person}")
        second.append(f"{image},IP_{lesion:07d},IL_{lesion:07d},{person}")
    photograph(root / "test" / "ISIC_7900000.jpg", 900)
    photograph(root / "test" / "ISIC_7900001.jpg", 901)
    rest = "sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    table(root / "ISIC_2020_Training_GroundTruth.csv", f"image_name,patient_id,{rest}", first)
    table(root / "ISIC_2020_Training_GroundTruth_v2.csv", f"image_name,patient_id,lesion_id,{rest}", second)
    table(
        root / "ISIC_2020_Training_Duplicates.csv", "image_name_1,image_name_2", ["ISIC_7900000,ISIC_7900001"]
    )
    header = "image,patient,anatom_site_general,sex,age_approx"
    lines = ["ISIC_7900000,IP_1,torso,male,60", "ISIC_7900001,IP_2,torso,male,60"]
    table(root / "ISIC_2020_Test_Metadata.csv", header, lines)


def isic2024_kaggle(root: Path) -> None:
    import h5py

    names = {
        "MEL": "1,Malignant::M,Malignant,Malignant melanocytic proliferations (Melanoma),Melanoma Invasive,,",
        "NV": "0,Benign,Benign,,,,",
        "BCC": "1,x,Malignant,Malignant adnexal epithelial proliferations - Follicular,Basal cell carcinoma,"
        '"Basal cell carcinoma, Nodular",',
    }
    rows = []
    with h5py.File(root / "train-image.hdf5", "w") as file:
        for image, lesion, kind in images():
            file.create_dataset(
                image, data=memoryview(picture(seed_of(image))).cast("B").tolist(), dtype="u1"
            )
            person = f"IP_{lesion:07d},55.0,male,torso,TBP tile: close-up,0.9,Somebody,CC-BY,IL_{lesion:07d}"
            rows.append(f"{image},{person},{names[kind]}")
    header = "isic_id,patient_id,age_approx,sex,anatom_site_general,image_type,tbp_lv_A,attribution"
    levels = "copyright_license,lesion_id,target,iddx_full,iddx_1,iddx_2,iddx_3,iddx_4,iddx_5"
    table(root / "train-metadata.csv", f"{header},{levels}", rows)
    table(root / "test-metadata.csv", "isic_id,patient_id", ["ISIC_0015657,IP_6074337"])
    table(root / "sample_submission.csv", "isic_id,target", ["ISIC_0015657,0.3"])


def isic2024(root: Path) -> None:
    rows, more = [], []
    for image, lesion, kind in images():
        photograph(root / "ISIC_2024_Training_Input" / f"{image}.jpg", seed_of(image))
        rows.append(f"{image},{float(kind != 'NV')}")
        level = {
            "MEL": "Malignant,x,Melanoma in situ",
            "NV": "Benign,,",
            "BCC": "Malignant,x,Basal cell carcinoma",
        }
        more.append(f"{image},Somebody,CC-0,IL_{lesion:07d},{level[kind]}")
    table(root / "ISIC_2024_Training_GroundTruth.csv", "isic_id,malignant", rows)
    header = "isic_id,attribution,copyright_license,lesion_id,iddx_1,iddx_2,iddx_3"
    table(root / "ISIC_2024_Training_Supplement.csv", header, more)


def milk10k(root: Path) -> None:
    columns = "AKIEC,BCC,BEN_OTH,BKL,DF,INF,MAL_OTH,MEL,NV,SCCKA,VASC"
    truth, rows = [], []
    for lesion, kind in lesions():
        name = f"IL_{lesion:07d}"
        truth.append(
            f"{name},{hot('BEN_OTH' if lesion == 30 else 'MAL_OTH' if lesion == 31 else kind, columns)}"
        )
        for n, view in enumerate(("clinical: close-up", "dermoscopic")):
            image = f"ISIC_{7000000 + 10 * lesion + n:07d}"
            photograph(root / "MILK10k_Training_Input" / name / f"{image}.jpg", seed_of(image))
            rows.append(f"{name},{view},{image},MILK study team,CC-BY-NC,instrument only,55,male,3,trunk,0.1")
    table(root / "MILK10k_Training_GroundTruth.csv", f"lesion_id,{columns}", truth)
    header = "lesion_id,image_type,isic_id,attribution,copyright_license,image_manipulation,age_approx,sex"
    table(root / "MILK10k_Training_Metadata.csv", f"{header},skin_tone_class,site,MONET_hair", rows)


def bcn20000(root: Path) -> None:
    rows = []
    for image, lesion, kind in images():
        name = f"BCN_{seed_of(image):010d}.jpg"
        photograph(root / "BCN_20k_train" / "bcn_20k_train" / name, seed_of(image))
        rows.append(f"{name},55.0,anterior torso,{kind},BCN_{lesion:07d},2012-04-16,male,train")
    photograph(root / "BCN_20k_test" / "BCN_0000009999.jpg", 999)
    header = "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split"
    table(root / "bcn_20k_train.csv", header, rows)
    header = "bcn_filename,age_approx,anatom_site_general,lesion_id,sex"
    table(root / "bcn_20k_test.csv", header, ["BCN_0000009999.jpg,60,torso,BCN_9,male"])


def isic_archive(root: Path) -> None:
    names = {
        "MEL": 'Malignant,Malignant melanocytic proliferations (Melanoma),"Melanoma, NOS",,',
        "NV": 'Benign,Benign melanocytic proliferations,Nevus,"Nevus, Spitz",',
        "BCC": "Malignant,Malignant adnexal epithelial proliferations - Follicular,Basal cell carcinoma,,",
    }
    rows = []
    for image, lesion, kind in images():
        photograph(root / f"{image}.jpg", seed_of(image))
        name = "Benign,Benign - Other,Neurofibroma,," if lesion == 13 else names[kind]
        licence = "CC-0" if lesion % 2 else "CC-BY-NC"
        rows.append(
            f'{image},"Somebody, Somewhere",{licence},55.0,lower extremity,{name},histopathology,II,'
            f"dermoscopic,IL_{lesion:07d},IP_{lesion:07d},male"
        )
    levels = ",".join(f"diagnosis_{level}" for level in range(1, 6))
    header = f"isic_id,attribution,copyright_license,age_approx,anatom_site_general,{levels}"
    rest = "diagnosis_confirm_type,fitzpatrick_skin_type,image_type,lesion_id,patient_id,sex"
    table(root / "metadata.csv", f"{header},{rest}", rows)
    (root / "attribution.txt").write_text("Somebody")
    (root / "licenses").mkdir()
    (root / "licenses" / "CC-0.txt").write_text("CC-0")


def pad_ufes_20(root: Path) -> None:
    rows = []
    for n, (image, lesion, kind) in enumerate(images(("MEL", "NV", "AK"))):
        name = f"PAT_{lesion}_{1000 + lesion}_{n}.png"
        photograph(root / f"imgs_part_{1 + n % 3}" / f"imgs_part_{1 + n % 3}" / name, seed_of(image))
        word = {"MEL": "MEL", "NV": "NEV", "AK": "ACK"}[kind]
        person = f"PAT_{lesion},{1000 + lesion},False,POMERANIA,55,FEMALE,3.0,NECK,6.0"
        rows.append(f"{person},{word},True,{name},{n % 2 == 0}")
    header = "patient_id,lesion_id,smoke,background_father,age,gender,fitspatrick,region,diameter_1"
    table(root / "metadata.csv", f"{header},diagnostic,itch,img_id,biopsed", rows)


def derm7pt(root: Path) -> None:
    words = {"MEL": "melanoma (less than 0.76 mm)", "NV": "clark nevus", "SK": "seborrheic keratosis"}
    rows = []
    top = root / "release_v0"
    for lesion, kind in lesions(("MEL", "NV", "SK")):
        derm, clinic = f"NEL/Nel{lesion:03d}.jpg", f"NEL/Nal{lesion:03d}.jpg"
        photograph(top / "images" / derm, 1000 + lesion)
        photograph(top / "images" / clinic, 2000 + lesion)
        word = "lentigo" if lesion == 30 else words[kind]
        rows.append(f"{lesion + 1},{word},3,low,flat,back,female,excision,{clinic},{derm},,")
    header = "case_num,diagnosis,seven_point_score,level_of_diagnostic_difficulty,elevation,location,sex"
    table(top / "meta" / "meta.csv", f"{header},management,clinic,derm,case_id,notes", rows)
    for place, name in enumerate(("train", "valid", "test")):
        wanted = [str(i) for i in range(len(rows)) if (0, 0, 1, 2)[i % 4] == place]
        table(top / "meta" / f"{name}_indexes.csv", "indexes", wanted)


def ph2(root: Path) -> None:
    top = root / "PH2Dataset"
    rows = [["PH² dataset", *[""] * 4], *[[""] * 5 for _ in range(11)]]
    rows.append(["Image Name", "Histological Diagnosis", "Common Nevus", "Atypical Nevus", "Melanoma"])
    for lesion, kind in lesions(("MEL", "NV")):
        name = f"IMD{lesion:03d}"
        folder = top / "PH2 Dataset images" / name
        photograph(folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp", 3000 + lesion)
        photograph(folder / f"{name}_lesion" / f"{name}_lesion.bmp", 3)
        photograph(folder / f"{name}_roi" / f"{name}_R1_Label4.bmp", 4)
        marks = ["", "", "X"] if kind == "MEL" else ["X", "", ""] if lesion % 2 else ["", "X", ""]
        rows.append([name, "Melanoma" if kind == "MEL" else "", *marks])
    pd.DataFrame(rows).to_excel(top / "PH2_dataset.xlsx", header=False, index=False)


def fitzpatrick17k(root: Path) -> None:
    words = {"MEL": "melanoma,malignant melanoma,malignant", "NV": "nevocytic nevus,benign melanocyte,benign",
             "BCC": "basal cell carcinoma,malignant epidermal,malignant"}  # fmt: skip
    rows = []
    for image, lesion, kind in images():
        name = f"{seed_of(image):032x}"
        photograph(root / "data" / "finalfitz17k" / f"{name}.jpg", seed_of(image))
        word = {14: "lipoma,benign dermal,benign", 15: "psoriasis,inflammatory,non-neoplastic"}.get(
            lesion, words[kind]
        )
        rows.append(f"{name},{lesion % 6 + 1},3,{word},,https://example.org/{name},{name}.jpg")
    header = "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label"
    table(root / "fitzpatrick17k.csv", f"{header},qc,url,url_alphanum", rows)


def ddi(root: Path) -> None:
    words = {"MEL": "melanoma-in-situ", "NV": "melanocytic-nevi", "BCC": "basal-cell-carcinoma-nodular"}
    rows = []
    for n, (image, lesion, kind) in enumerate(images()):
        photograph(root / "images" / f"{n:06d}.png", seed_of(image))
        word = "folliculitis" if lesion == 14 else words[kind]
        rows.append(f"{n},{n},{n:06d}.png,{(12, 34, 56)[n % 3]},{kind != 'NV'},{word}")
    table(root / "ddi_metadata.csv", ",DDI_ID,DDI_file,skin_tone,malignant,disease", rows)


def melanoma_10000(root: Path) -> None:
    for lesion, kind in lesions(("MEL", "NV")):
        part = "test" if lesion % 4 == 3 else "train"
        name = "malignant" if kind == "MEL" else "benign"
        photograph(root / "melanoma_cancer_dataset" / part / name / f"melanoma_{lesion}.jpg", 4000 + lesion)


def benign_malignant(root: Path) -> None:
    for lesion, kind in lesions(("MEL", "NV")):
        part = "test" if lesion % 4 == 3 else "train"
        photograph(
            root / "data" / part / ("malignant" if kind == "MEL" else "benign") / f"{lesion}.jpg",
            5000 + lesion,
        )


def label_table(root: Path) -> None:
    rows = []
    for image, lesion, kind in images():
        photograph(root / "photos" / f"{image}.jpg", seed_of(image))
        rows.append(f"photos/{image}.JPG;{name_of(kind)};L{lesion};45,5")
    (root / "labels.csv").write_text("image;diagnosis;lesion_id;age\n" + "\n".join(rows) + "\n")


LAYOUTS: dict[str, Write] = {
    write.__name__: write
    for write in (
        nine_class, ham10000_kaggle, ham10000_dataverse, isic2016, isic2017, isic2018, isic2019,
        isic2020_kaggle, isic2020, isic2024_kaggle, isic2024, milk10k, bcn20000, isic_archive, pad_ufes_20,
        derm7pt, ph2, fitzpatrick17k, ddi, melanoma_10000, benign_malignant, label_table,
    )
}  # fmt: skip
