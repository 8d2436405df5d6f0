"""How far photographs are from others is measured in partitions, and none of these twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dermsentry.audit.content import Neighbours
from dermsentry.audit.kept import partition_path, write_partition
from dermsentry.audit.workplace import workplace
from dermsentry.evaluation import looking
from dermsentry.evaluation.looking import SEEN, Embeddings, distances


def test_distances_are_resumed_and_those_of_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = np.random.default_rng(3).normal(0, 1, (70, 6)).astype(np.float32)
    for number, rows in ((1, slice(0, 40)), (2, slice(40, 70))):
        contents = [own.tobytes() for own in made[rows]]
        keys = [(f"{number}-{i}", 1, 1) for i in range(len(contents))]
        path = partition_path(tmp_path / "content", number)
        write_partition(path, SEEN, keys, np.zeros(len(contents), SEEN.dtype), {}, contents)
    # Out of order, as a collection may be that has grown.
    order = np.random.default_rng(4).permutation(70)
    located = np.array([(1, i) if i < 40 else (2, i - 40) for i in order], np.int32)
    embeddings = Embeddings(tmp_path / "content", located)
    assert np.array_equal(embeddings[5:60], made[order[5:60]])
    groups = [str(i // 2) for i in range(70)]
    expected = Neighbours(made[order], np.arange(70) // 2, seed=1).distances(0, 70)

    monkeypatch.setattr(looking, "COMPARED_AT_ONCE", 16)
    with workplace(tmp_path) as place:
        assert np.allclose(distances(embeddings, groups, 1, place), expected)
        parts = sorted((tmp_path / "content" / "neighbours").glob("*/*.npy"))
        assert len(parts) == 5
        parts[2].unlink()
        before = {path: path.stat().st_mtime_ns for path in parts if path != parts[2]}
        assert np.allclose(distances(embeddings, groups, 1, place), expected)
        now = {path: path.stat().st_mtime_ns for path in (tmp_path / "content").glob("neighbours/*/*.npy")}
        assert before.items() < now.items()
        few = distances(embeddings.among(np.arange(65)), groups[:65], 1, place)
        assert len(few) == 65
        kept = list((tmp_path / "content" / "neighbours").glob("*"))
        assert len(kept) == 1  # those of other photographs are gone
        assert not distances(embeddings.among(np.arange(5)), groups[:5], 1, place).any()
