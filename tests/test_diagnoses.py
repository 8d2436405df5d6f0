"""Labels are found in any spelling, and what cannot be told apart is never made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermsentry.diagnoses import (
    BENIGN,
    CANDIDATES,
    CODES,
    DIAGNOSES,
    MALIGNANT,
    NOT_MELANOMA,
    agree,
    codes_of,
    diagnosis,
    find_label,
    join_codes,
    label_space,
    name_of,
    narrow,
    says_unknown,
)
from dermsentry.errors import InputError

LABELS = st.one_of(
    st.just(""), st.sets(st.sampled_from(CODES), min_size=1, max_size=3).map(lambda codes: join_codes(codes))
)


def test_nine_diagnoses_in_the_order_of_the_challenge_file() -> None:
    assert ",".join(CODES) == "AK,BCC,DF,MEL,NV,PBK,SCC,SK,VASC"
    assert [d.code for d in DIAGNOSES if d.urgency == "urgent"] == ["MEL"]


@pytest.mark.parametrize("entry", DIAGNOSES, ids=lambda d: d.code)
def test_every_name_finds_its_code(entry) -> None:  # type: ignore[no-untyped-def]
    for word in (entry.code, entry.name, *entry.aliases):
        for spelling in (
            word,
            word.upper(),
            word.title(),
            word.replace(" ", "_"),
            f"  {word.replace(' ', '-')} ",
        ):
            assert find_label(spelling) == entry.code


def test_no_word_names_two_diagnoses() -> None:
    words = [w.casefold() for d in DIAGNOSES for w in (d.code, d.name, *d.aliases)] + list(CANDIDATES)
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("bkl", "PBK|SK"),
        ("AKIEC", "AK|SCC"),
        ("SK|PBK", "PBK|SK"),
        ("nevus|bkl", "NV|PBK|SK"),
        ("unknown", None),
        ("", None),
        ("|", None),
        ("MEL|", None),
        ("MEL|wart", None),
    ],
)
def test_candidates_and_unknown_words(text: str, label: str | None) -> None:
    assert find_label(text) == label


@given(st.text(max_size=40))
def test_any_text_has_a_label_or_none(text: str) -> None:
    label = find_label(text)
    assert label is None or (label and set(codes_of(label)) <= set(CODES))


@given(LABELS, LABELS)
def test_agreeing_labels_can_be_narrowed(first: str, second: str) -> None:
    assert agree(first, second) == agree(second, first)
    if agree(first, second):
        both = narrow(first, second)
        assert both == narrow(second, first)
        assert agree(both, first)
        assert agree(both, second)
    else:
        with pytest.raises(ValueError, match="in common"):
            narrow(first, second)


@given(st.lists(LABELS, max_size=12))
def test_the_label_space_parts_the_codes(labels: list[str]) -> None:
    space = label_space(labels)
    codes = [code for label in space for code in codes_of(label)]
    assert len(codes) == len(set(codes))
    assert set(codes) == {code for label in labels for code in codes_of(label)}
    for label in labels:
        if label:
            assert sum(set(codes_of(label)) <= set(codes_of(one)) for one in space) == 1
    assert label_space(reversed(labels)) == space


def test_names_for_people() -> None:
    assert name_of("MEL") == "melanoma"
    assert name_of("PBK|SK") == "pigmented benign keratosis or seborrheic keratosis"
    assert name_of("") == "unknown"
    with pytest.raises(InputError, match="Received the code 'mel'"):
        diagnosis("mel")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Melanoma, NOS", "MEL"),
        ("Melanoma in situ, Lentigo maligna type", "MEL"),
        ("melanoma (0.76 to 1.5 mm)", "MEL"),
        ("Malignant:Malignant melanocytic proliferations (Melanoma):Melanoma metastasis", "MEL"),
        ("Benign::Benign melanocytic proliferations::Nevus::Nevus, Spitz", "NV"),
        ("Clark nevus", "NV"),
        ("NEV", "NV"),
        ("Solar or actinic keratosis", "AK"),
        ("ACK", "AK"),
        ("SEK", "SK"),
        ("Bowen's disease", "AK|SCC"),
        ("Bowen’s disease", "AK|SCC"),
        ("Squamous cell carcinoma in situ, Bowens disease", "AK|SCC"),
        ("solar lentigo", "PBK|SK"),
        ("Hemangioma, Cherry", "VASC"),
        ("SCT:254701007", "BCC"),
        ("SNOMED-CT: 93655004", "MEL"),
        ("372244006", "MEL"),
        ("benign", "|".join(BENIGN)),
        ("Malignant", "|".join(MALIGNANT)),
        ("NotMelanoma", "|".join(NOT_MELANOMA)),
        ("Benign:Cysts:Epidermal cyst", "|".join(BENIGN)),
        ("Malignant:Merkel cell proliferation:Merkel cell carcinoma", None),
        ("Indeterminate:Indeterminate melanocytic proliferations:Atypical Spitz tumor", None),
        ("lentigo NOS", None),
        ("nevus sebaceus", None),
    ],
)
def test_the_names_of_other_sets(text: str, label: str | None) -> None:
    assert find_label(text) == label


@pytest.mark.parametrize("text", ["", " ", "unknown", "UNK", "N/A", "nan", "Indeterminate", "?"])
def test_words_for_unknown(text: str) -> None:
    assert says_unknown(text)
    assert find_label(text) is None


def test_sets_of_diagnoses_have_a_name_of_their_own() -> None:
    assert name_of("|".join(BENIGN)) == "any benign diagnosis"
    assert all(
        find_label(name_of("|".join(codes))) == "|".join(codes) for codes in (BENIGN, MALIGNANT, NOT_MELANOMA)
    )
    assert set(BENIGN) | set(MALIGNANT) == set(CODES)
    assert not set(BENIGN) & set(MALIGNANT)
