"""How the bundled dermoscopy model is made.

    make model DATA=FOLDER

or, step by step, from the repository's root:

    python -m recipes.dermoscopy FOLDER RUN                    # trains and writes RUN/bundle
    python -m recipes.dermoscopy.claims RUN FOLDER RUN/claims  # measures it on held-out images

FOLDER holds the sets that `data.SETS` names (HAM10000, ISIC 2017, the ISIC Archive sample, the nine-class
set) and `labels/`. The 26 epochs take three hours on two cores; run it again to resume after an interruption.
Expect, on lesions of HAM10000 that training never saw, a melanoma AUROC of 0.925 (0.899-0.947) and a balanced
accuracy of 0.776 (0.724-0.828); `MODEL_CARD.md` has every figure.
"""
