"""How the bundled dermoscopy model is made.

    make model DATA=FOLDER

or, step by step, from the repository's root, with PyTorch installed (requirements/recipe.txt):

    python -m recipes.dermoscopy FOLDER RUN                    # packs, trains and writes RUN/bundle
    python -m recipes.dermoscopy.claims RUN FOLDER RUN/claims  # measures it on held-out images

FOLDER holds the sets that `data.SETS` names (HAM10000, ISIC 2017, the ISIC Archive sample, the nine-class
set), `data.BARCELONA` and `labels/`. The networks are two teachers and the student, which learns from both
and is what is bundled. Run it again to resume after an interruption.

To train on another machine, one with a GPU, interrupt it once RUN holds `photographs.tar` and `imagenet.npz`,
copy these two there, and run

    python -m recipes.dermoscopy.train RUN

which needs PyTorch, the extra `audit` and no TensorFlow. Copy `RUN/student` back and run the first command
again: it goes on with the bundle. One H100 took 9 minutes for the teachers, both at once, and 14 for the
student, whose 2.1 million views it saw at 2,588 a second, both teachers included. One core of an AMD EPYC
takes 12.0 views a second for the first teacher, which trains all layers, 17.7 for the second and 14.7 for the
student (`Options(size=224)` with batches of 32, per second of processor time): a day and a half on two cores.

Expect, on lesions of HAM10000 that training never saw, a melanoma AUROC of 0.930 (0.903-0.950) and a
balanced accuracy of 0.750 (0.667-0.795); `MODEL_CARD.md` has every figure.
"""
