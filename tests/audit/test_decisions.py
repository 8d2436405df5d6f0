"""Decisions on photographs: read from the page's table, obeyed by a split."""

from __future__ import annotations

from pathlib import Path

import pytest

from dermsentry.audit.decisions import Decision, read_decisions
from dermsentry.audit.duplicates import Duplicates
from dermsentry.collection.groups import DuplicateGroup
from dermsentry.errors import InputError
from dermsentry.split import make_split
from tables import table_collection


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_the_page_or_of_a_hand_is_read(tmp_path: Path) -> None:
    table = written(
        tmp_path / "decisions.csv",
        'path,image_id,decision,diagnosis,given,found\n"a,b.jpg",a,relabel,MEL,NV,label\nc.jpg,c,keep,,NV,label\n'
        "d.jpg,d,leave out,,NV,no lesion\ne.jpg,e,,,NV,label\n",
    )
    assert read_decisions(table) == {
        "a,b.jpg": Decision("relabel", "MEL"),
        "c.jpg": Decision("keep"),
        "d.jpg": Decision("leave out"),
    }
    by_hand = written(
        tmp_path / "hand.csv", "path;decision;diagnosis\na.jpg;Leave_Out;\nb.jpg;relabel;mole\n"
    )
    assert read_decisions(by_hand) == {"a.jpg": Decision("leave out"), "b.jpg": Decision("relabel", "NV")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,decision\na,keep\n", "expected path, decision and diagnosis"),
        ("path,decision\na.jpg,perhaps\n", "expected keep, relabel, leave out"),
        ("path,decision,diagnosis\na.jpg,relabel,\n", "expected one of the nine"),
        ("path,decision,diagnosis\na.jpg,relabel,wart\n", "expected one of the nine"),
        ("path,decision\na.jpg,keep\na.jpg,leave out\n", "in two ways"),
        ("path,decision\nz.jpg,keep\n", "1 photograph not in"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, told: str) -> None:
    collection = table_collection([{"path": "a.jpg", "diagnosis": "MEL"}])
    with pytest.raises(InputError, match=told):
        read_decisions(written(tmp_path / "decisions.csv", text), collection)


def test_a_split_obeys_and_says_why() -> None:
    rows = [{"diagnosis": "NV" if i % 2 else "MEL"} for i in range(40)]
    collection = table_collection(rows)
    paths = list(collection.table["path"])
    pairs = (tuple(paths[:2]), tuple(paths[2:4]))
    copies = Duplicates(tuple(DuplicateGroup("identical", pair) for pair in pairs), {})
    before = make_split(collection, duplicates=copies).table.set_index("path")
    assert set(before.loc[paths[:4], "part"]) == {"quarantined"}  # each pair is a conflict
    decisions = {
        paths[0]: Decision("relabel", "SK"),  # and so its copy
        paths[2]: Decision("leave out"),  # and its copy contradicts nothing any more
        paths[5]: Decision("keep"),
    }
    made = make_split(collection, duplicates=copies, decisions=decisions).table.set_index("path")
    assert list(made.loc[paths[:2], "diagnosis"]) == ["SK", "SK"]
    assert made.loc[paths[0], "reason"] == "decision: SK, not MEL"
    assert "quarantined" not in set(made.loc[paths[:2], "part"])
    assert (made.loc[paths[2], "part"], made.loc[paths[2], "reason"]) == ("quarantined", "decision: left out")
    assert made.loc[paths[3], "part"] != "quarantined"
    assert made.loc[paths[5], "reason"] == before.loc[paths[5], "reason"]


def test_a_copys_own_decision_holds() -> None:
    collection = table_collection([{"diagnosis": "NV"} for _ in range(30)])
    paths = list(collection.table["path"])
    copies = Duplicates((DuplicateGroup("near", (paths[0], paths[1])),), {})
    decisions = {paths[0]: Decision("relabel", "MEL"), paths[1]: Decision("keep")}
    made = make_split(collection, duplicates=copies, decisions=decisions).table.set_index("path")
    assert list(made.loc[paths[:2], "diagnosis"]) == ["MEL", "NV"]
    assert set(made.loc[paths[:2], "part"]) == {"quarantined"}  # which is now a conflict, and said
