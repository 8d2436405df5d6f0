"""Have a model look at a collection: what shows no lesion, is of poor quality, or is probably labelled wrong.

A probability says something of a label only where it was not learned from that label. The bundle's hashes
tell which photographs its network learned from. Those, and photographs unlike them, are judged by a linear
probe on the embeddings, each photograph by one that was fitted without its group. What the network has seen
may still lean towards the label that it saw: such findings say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermsentry.audit import Audit
from dermsentry.audit.content import KINDS, Content, ContentFinding, Kind, far_out, label_issues
from dermsentry.audit.workplace import EngineName, Workplace, workplace
from dermsentry.collection import Collection
from dermsentry.collection.groups import connected_groups
from dermsentry.diagnoses import CODES, codes_of, label_space, name_of
from dermsentry.errors import require_type
from dermsentry.evaluation.contamination import find_learned
from dermsentry.evaluation.looking import Seen, distances, look_over
from dermsentry.model import Bundle, open_bundle
from dermsentry.screening import quality
from dermsentry.screening.triage import NO_LESION_LIMIT, OUT_OF_DISTRIBUTION_LIMIT
from dermsentry.split.make import assign
from dermsentry.stats.logistic import out_of_fold
from dermsentry.stats.numbers import percent

FOLDS = 5
_KIND_OF: dict[str, Kind] = {
    quality.NO_LESION: "no lesion",
    quality.DRAWN: "no lesion",
    quality.BLURRED: "out of focus",
    quality.TOO_DARK: "light",
    quality.TOO_BRIGHT: "light",
    quality.WASHED_OUT: "light",
    quality.FALSE_COLOURS: "false colours",
}
_NO_LESION = "not recognised as an image of a skin lesion"


def audit_content(
    audit: Audit,
    collection: Collection,
    bundle: Bundle | str | Path = "dermoscopy",
    *,
    index: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    quiet: bool = True,
) -> Audit:
    """Add to an audit what a model sees on the photographs.

    Photographs without a lesion, out of focus, dark or in false colours, photographs unlike all others, and
    labels that are probably wrong by probabilities that were not learned from them (confident learning,
    Northcutt, Jiang and Chuang, JAIR 70, 2021). Every photograph is looked at once, and 5 KB of each are kept
    on disk.

    Parameters
    ----------
    audit
        From `audit_collection`.
    collection
        The collection that was audited.
    bundle
        The model, or its folder; by default the bundled one. On a cluster every machine has to see that.
    index
        A folder that keeps what the model saw, such as that of the audit: what was ended is resumed, and only
        photographs that are new or changed since are looked at.
    seed
        Random seed of the folds.
    workers
        Photographs looked at at the same time, or actors of a cluster; one per core by default.
    engine, address
        `ray`: on a Ray cluster at this address, or begun here, whose machines all see the photographs and
        `index`. The result is the same.
    quiet
        Show no progress on stderr.

    Returns
    -------
    Audit
        The same audit with `content`.

    Raises
    ------
    InputError
        `audit` or `collection` is something else, `index` is damaged, or there is no such cluster.
    BundleError
        The bundle is not valid, or its network fails.
    OutputError
        `index` cannot be written or is in use, or the cluster failed.

    Examples
    --------
    >>> import dermsentry
    >>> collection = dermsentry.read_collection("photographs")
    >>> audit = dermsentry.audit_collection(collection)
    >>> seen = dermsentry.audit_content(audit, collection).content
    >>> seen.photographs
    74
    """
    require_type("audit", audit, Audit, "audit_collection")
    require_type("collection", collection, Collection, "read_collection")
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    # An opened bundle says how many threads it is meant for.
    threads = workers or (opened.threads if engine == "local" else None)
    with workplace(index, engine=engine, address=address, threads=threads, quiet=quiet) as place:
        seen = look_over(opened, collection, {file.path for file in audit.unreadable}, place)
        return replace(audit, content=_judged(audit, collection, opened, seen, seed, place))


def _judged(
    audit: Audit, collection: Collection, bundle: Bundle, seen: Seen, seed: int, place: Workplace
) -> Content:
    """What follows from what the model saw."""
    table = collection.table.iloc[seen.rows].reset_index(drop=True)
    if not len(table):
        return Content(bundle.name, 0, None if bundle.learned_from is None else 0, 0, 0, 0, 0, ())
    paths, diagnoses = list(table["path"]), list(table["diagnosis"])
    groups = connected_groups(table, audit.duplicates)
    learned = np.zeros(len(table), np.bool_)
    if bundle.learned_from is not None:
        by_id, by_look = find_learned(bundle.learned_from, table, seen.looks)
        learned = by_id | by_look
    findings: list[ContentFinding] = []
    for i, path in enumerate(paths):
        problem = _problem(seen.problems.get(path, ()), float(seen.no_lesion[i]))
        if problem is not None:
            findings.append(ContentFinding(path, diagnoses[i], *problem, learned=bool(learned[i])))
    poor = {finding.path for finding in findings}
    unlike = seen.unlike > OUT_OF_DISTRIBUTION_LIMIT
    shown = np.array([i for i, path in enumerate(paths) if path not in poor], dtype=np.int64)
    issues, by_model, by_probe, agreeing = _labels(
        seen, diagnoses, groups, shown, ~learned & ~unlike & (bundle.learned_from is not None), seed
    )
    for i, suggested, own, other in issues:
        told = f"{percent(other)} {name_of(suggested)}, {percent(own)} {name_of(diagnoses[i])}"
        findings.append(
            ContentFinding(paths[i], diagnoses[i], "label", told, suggested, own, other, bool(learned[i]))
        )
    away = distances(seen.embeddings.among(shown), [groups[i] for i in shown], seed, place)
    for i in shown[far_out(away)].tolist():
        told = "further from its nearest neighbours than the others"
        findings.append(ContentFinding(paths[i], diagnoses[i], "outlier", told, learned=bool(learned[i])))
    order = list(KINDS)
    return Content(
        model=bundle.name,
        photographs=len(table),
        learned=None if bundle.learned_from is None else int(learned.sum()),
        by_model=by_model,
        by_probe=by_probe,
        agreeing=agreeing,
        unlike=int(unlike.sum()),
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
    )


def _problem(problems: Sequence[str], no_lesion: float) -> tuple[Kind, str] | None:
    """The first thing that is wrong with what a photograph shows, and in words; None where nothing is."""
    for text in problems:
        kind = "too small" if text.startswith("too small") else _KIND_OF.get(text)
        if kind is not None:
            return kind, text.partition(":")[0]
    return ("no lesion", _NO_LESION) if no_lesion > NO_LESION_LIMIT else None


def _labels(
    seen: Seen,
    diagnoses: Sequence[str],
    groups: Sequence[str],
    shown: NDArray[np.int64],
    unseen: NDArray[np.bool_],
    seed: int,
) -> tuple[list[tuple[int, str, float, float]], int, int, int]:
    """Probably wrong labels, the surest first: row, suggested label, probabilities of its own and of that.

    Also how many labels were compared with the model's probabilities, how many with a probe's, and how many
    of both agree.
    """
    space = _space(diagnoses)
    sets = [set(codes_of(label)) for label in space]
    allowed = np.array([[bool(own & set(codes_of(text))) for own in sets] for text in diagnoses], np.bool_)
    known = shown[allowed[shown].any(axis=1)] if len(space) > 1 else shown[:0]
    # What the labels of a collection do not name is not to be found in it.
    columns = np.array([[code in own for own in sets] for code in CODES], np.float64)
    shares = seen.probability @ columns.reshape(len(CODES), len(space))
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    probe = ~unseen
    if probe[known].any() and len({groups[i] for i in known}) >= 2 * FOLDS:
        members: dict[str, list[str]] = {}
        for i in known:
            members.setdefault(groups[i], []).append(diagnoses[i])
        fold_of = assign(members, {str(fold): 1.0 for fold in range(FOLDS)}, seed)
        labels = np.where(allowed[known].sum(axis=1) == 1, allowed[known].argmax(axis=1), -1)
        folds = [int(fold_of[groups[i]]) for i in known]
        probed = out_of_fold(seen.embeddings.among(known), labels.tolist(), folds, len(space))
        shares[known] = np.where(probe[known][:, None], probed, shares[known])
    else:  # too few groups to leave some out
        known = known[unseen[known]]
    issues: list[tuple[int, str, float, float]] = []
    for rows in (known[unseen[known]], known[probe[known]]):
        for at, suggested in label_issues(shares[rows], allowed[rows]):
            i = int(rows[at])
            own = float(shares[i][allowed[i]].sum())
            issues.append((i, space[suggested], own, float(shares[i, suggested])))
    issues.sort(key=lambda issue: issue[2] - issue[3])
    agreeing = int(allowed[known, shares[known].argmax(axis=1)].sum()) if len(known) else 0
    return issues, int(unseen[known].sum()), int(probe[known].sum()), agreeing


def _space(diagnoses: Sequence[str]) -> tuple[str, ...]:
    """The classes to compare in: the finest of the fine labels, where most are; else of all labels.

    A few photographs that are only known to be benign do not make one class of all that is benign.
    """
    labels = [text for text in diagnoses if text]
    fine = [text for text in labels if len(codes_of(text)) <= 2]
    space = label_space(fine)
    return space if len(space) > 1 and 2 * len(fine) >= len(labels) else label_space(labels)
