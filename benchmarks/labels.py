"""How many of planted wrong labels the audit of content finds, and how many of its findings are planted.

    python -m benchmarks.labels FOLDER [--share 0.05] [--seeds 3]

The labels of a share of the photographs in FOLDER are changed at random, each to another class in proportion
to the classes; those that the audit finds in a conflict are neither changed nor counted. What a collection's
own labels have wrong counts against precision: it is a lower bound.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import dermsentry
from dermsentry.audit import Audit
from dermsentry.collection import Collection
from dermsentry.evaluation.content import audit_content
from dermsentry.stats.intervals import exact_binomial
from dermsentry.stats.numbers import percent_interval


def flagged(audit: Audit, collection: Collection, seed: int) -> set[str]:
    """The paths whose labels are said to be probably wrong."""
    content = audit_content(audit, collection, seed=seed).content
    assert content is not None
    return {finding.path for finding in content.findings if finding.kind == "label"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Find planted wrong labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    collection = dermsentry.read_collection(given.folder)
    audit = dermsentry.audit_collection(collection, quiet=False)
    unsure = {photograph.path for conflict in audit.conflicts for photograph in conflict.photographs}
    table = collection.table
    usable = np.flatnonzero(~table["path"].isin(unsure) & (table["diagnosis"] != ""))
    labels = table["diagnosis"].to_numpy(dtype=object)
    as_given = flagged(audit, collection, 0) - unsure
    print(f"{len(usable)} photographs in no conflict; as given, {len(as_given)} are flagged", flush=True)
    for seed in range(given.seeds):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(usable, round(given.share * len(usable)), replace=False)
        wrong = labels.copy()
        for row in chosen:
            wrong[row] = rng.choice(labels[usable][labels[usable] != labels[row]])
        planted = set(table["path"].to_numpy()[chosen])
        found = flagged(audit, replace(collection, table=table.assign(diagnosis=wrong)), seed) - unsure
        hits = len(found & planted)
        print(
            f"seed {seed}: {len(planted)} planted, {len(planted & as_given)} flagged before; "
            f"{len(found)} flagged; precision {percent_interval(exact_binomial(hits, len(found)))}, "
            f"recall {percent_interval(exact_binomial(hits, len(planted)))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
