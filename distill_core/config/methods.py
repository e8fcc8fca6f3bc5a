"""The distillation methods by name: their terms, formulas and what a run sets for them; the mathematics is elsewhere.

The one list: `objectives.make_method` builds what is named here, form, charts and command line say what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Term:
    """One term of the loss: its name in metrics, what its curve is called, its symbol and formula in LaTeX, in words.

    `formula`: the lines of an aligned block, `\\\\ &` between them. `weight`: the setting that weighs it, empty for the
    two every method has. `score_…`: for a regression, where it differs.
    """

    name: str
    title: str
    symbol: str
    formula: str
    words: str
    weight: str = ""
    score_symbol: str = ""
    score_formula: str = ""
    score_words: str = ""

    def of_scores(self) -> "Term":
        """Return the term as a regression has it."""
        symbol, formula = self.score_symbol or self.symbol, self.score_formula or self.formula
        return Term(self.name, self.title, symbol, formula, self.score_words or self.words, self.weight)


@dataclass(frozen=True)
class DistillationMethod:
    """A method: its name, what is taught in a sentence or two, and the terms it adds to the two of plain KD.

    `settings`: those only some methods read. `dropout`: whether its authors leave the student's dropout on.
    `cost`: seconds of a step in those of plain KD, on a CPU (benchmarks/method_steps.py).
    `erases`: whether its tokenizer must have a [MASK] to erase with.
    `compared_weight`: the method weight of docs/comparison.md, at which its terms have about a tenth to a half of the
    gradient on SST-2; None for methods that have none.
    `same_width`: whether it needs a student as wide as its teacher, `compares_embeddings`: one with embeddings as wide.
    """

    title: str
    words: str
    score_words: str
    terms: tuple[Term, ...] = ()
    settings: tuple[str, ...] = ()
    dropout: bool = True
    same_width: bool = False
    compares_embeddings: bool = False
    erases: bool = False
    cost: float = 1.0
    compared_weight: float | None = None


LABELS = Term(
    "ce",
    "Labels",
    r"\mathrm{CE}",
    r"-\log p_s(y)",
    "Cross-entropy with the gold label *y*.",
    score_symbol=r"\mathrm{SE}",
    score_formula=r"(s_s - y)^2",
    score_words="Squared error with the gold score *y*.",
)
ANSWERS = Term(
    "kd",
    "Teacher’s answers (KD)",
    r"\mathrm{KD}_{\tau}",
    r"-\textstyle\sum_c p_t(c)\,\log p_s(c)",
    "Soft cross-entropy with the teacher’s probabilities, both softened by the temperature τ (Hinton et al. 2015).",
    score_formula=r"\left(\frac{s_t - s_s}{\tau}\right)^2",
    score_words="Squared error with the teacher’s score, both divided by the temperature τ.",
)
_DIVERGENCE = replace(
    ANSWERS,
    formula=r"\tfrac{\tau^2}{C} \textstyle\sum_c p_t(c) \log \frac{p_t(c)}{p_s(c)}",
    words="KL divergence from the teacher’s probabilities, both softened by the temperature τ, times τ² and averaged "
    "over the classes, as GKD’s code has it.",
    score_formula="(s_t - s_s)^2",
    score_words="Squared error with the teacher’s score.",
)
_MAPS = Term(
    "ad_kd",
    "Attribution maps (AD-KD)",
    r"\mathrm{AD}",
    r"\textstyle\sum_v \tfrac1n \sum_i d\bigl(\bar a_t(i),\, \bar a_s(i)\bigr),"
    r" \\ & a(i) = \bigl\lVert E_i \odot \tfrac1m \textstyle\sum_k \nabla_{\!E_i}\,v\bigl(\tfrac km E\bigr)"
    r" \bigr\rVert_2",
    "Distance *d* of teacher’s and student’s attribution maps, each scaled to norm 1. A map is the mean gradient of "
    "the view *v* at *m* points on the path from 0 to *E*, the embedding block’s output, times *E*; *k* = 1 … *m* (Wu "
    "et al., ACL 2023).",
    weight="method_weight",
)
_GRADIENTS = Term(
    "gkd",
    "Input gradients (GKD)",
    r"\mathrm{GKD}",
    r"\tfrac1n \textstyle\sum_i \lVert \bar g_t(i) - \bar g_s(i) \rVert_2^2,"
    r" \\ & g(i) = \nabla_{\!E_i}\max_c p(c)",
    "Distance of the two gradients of the predicted class’ probability at every token, each scaled to length 1; *E* is "
    "the embedding block’s output (Wang et al. 2022).",
    weight="method_weight",
    score_formula=r"\tfrac1n \textstyle\sum_i \lVert \bar g_t(i) - \bar g_s(i) \rVert_2^2,"
    r" \\ & g(i) = \nabla_{\!E_i}s",
    score_words="Distance of the two gradients of the score at every token, each scaled to length 1; *E* is the "
    "embedding block’s output (Wang et al. 2022; for scores ours).",
)
_STATES = Term(
    "pkd",
    "[CLS] states (PKD)",
    r"\mathrm{PKD}",
    r"\tfrac1{LD} \textstyle\sum_l \lVert \bar h_t(l) - \bar h_s(l) \rVert_2^2",
    "Mean squared difference of the [CLS] states *h* after each matched layer, each scaled to length 1 (Sun et al. "
    "2019).",
    weight="pkd_weight",
)
_CLS_GRADIENTS = Term(
    "gkd_cls",
    "Gradients at [CLS] (GKD-CLS)",
    r"\mathrm{GKD}_{\mathrm{CLS}}",
    r"\textstyle\sum_l \lVert \bar g_t(l) - \bar g_s(l) \rVert_2^2,"
    r" \\ & g(l) = \nabla_{\!h(l)}\max_c p(c)",
    "The same distance at the [CLS] state *h* after each matched layer, added up over the layers (Wang et al. 2022).",
    weight="method_weight",
    score_formula=r"\textstyle\sum_l \lVert \bar g_t(l) - \bar g_s(l) \rVert_2^2,"
    r" \\ & g(l) = \nabla_{\!h(l)}s",
)
_YANG = "(EGKD, Yang et al. 2024; this formula is ours)."
_SIGNED_MAPS = Term(
    "egkd_gradient",
    "Signed maps (EGKD)",
    r"\mathrm{EG}_{\nabla}",
    r"\tfrac1n \textstyle\sum_i \left(\bar a_t(i) - \bar a_s(i)\right)^2,"
    r" \\ & a(i) = \nabla_{\!E_i}p(c_t) \cdot E_i",
    "Distance of the signed gradient × input maps of the class the teacher predicts, each scaled to length 1; *E* is "
    f"the embedding block’s output {_YANG}",
    weight="method_weight",
    score_formula=r"\tfrac1n \textstyle\sum_i \left(\bar a_t(i) - \bar a_s(i)\right)^2,"
    r" \\ & a(i) = \nabla_{\!E_i}s \cdot E_i",
    score_words=f"Distance of the signed gradient × input maps of the score, each scaled to length 1 {_YANG}",
)
_CHANGES = Term(
    "egkd_perturbation",
    "Changes without tokens (EGKD)",
    r"\mathrm{EG}_{\setminus}",
    r"\textstyle\sum_c \left(\Delta p_t(c) - \Delta p_s(c)\right)^2, \\ & \Delta p = p(x \setminus S) - p(x)",
    "Squared difference of how the two models’ probabilities change when [MASK] takes the place of a drawn set *S* of "
    f"tokens {_YANG}",
    weight="method_weight",
    score_formula=r"\left(\Delta s_t - \Delta s_s\right)^2, \\ & \Delta s = s(x \setminus S) - s(x)",
    score_words="Squared difference of how the two models’ scores change when [MASK] takes the place of a drawn set "
    f"*S* of tokens {_YANG}",
)
_RATIONALES = Term(
    "egkd_feature_selection",
    "Rationales (EGKD)",
    r"\mathrm{EG}_{R}",
    r"\textstyle\sum_c \bigl[\left(p_t(c\,|\,R) - p_s(c\,|\,R)\right)^2"
    r" \\ & \qquad + \left(\Delta p_t(c) - \Delta p_s(c)\right)^2\bigr],"
    r" \\ & \Delta p = p(x \setminus R) - p(x)",
    "*R*, the rationale, are the tokens with the teacher’s largest gradient × input. Squared differences of the "
    f"answers from *R* alone and of the changes without it {_YANG}",
    weight="method_weight",
    score_formula=r"\left(s_t(R) - s_s(R)\right)^2 + \left(\Delta s_t - \Delta s_s\right)^2,"
    r" \\ & \Delta s = s(x \setminus R) - s(x)",
)
_WARM_UP = ("method_delay", "method_ramp", "method_every")
DISTILLATION_METHODS: dict[str, DistillationMethod] = {
    "kd": DistillationMethod(
        "Plain KD",
        "The student learns the labels and, more so, the teacher’s softened answers, which also tell how sure the "
        "teacher is. What the teacher looks at is not taught.",
        "The student learns the gold scores and, more so, the teacher’s. What the teacher looks at is not taught.",
    ),
    "ad_kd": DistillationMethod(
        "AD-KD",
        "The student learns the labels, the teacher’s softened answers, and to weigh the same tokens: its attribution "
        "map is pulled towards the teacher’s.",
        "The student learns the gold scores, the teacher’s, and to weigh the same tokens: its attribution map is "
        "pulled towards the teacher’s.",
        (_MAPS,),
        ("method_weight", "top_k", "attribution_steps", "map_norm", "map_distance", *_WARM_UP),
        cost=1.9,
        compared_weight=1.0,
    ),
    "gkd": DistillationMethod(
        "GKD",
        "The student learns the labels, the teacher’s softened answers, and to be moved the same way: the direction in "
        "which a change of a token changes the answer is pulled towards the teacher’s.",
        "The student learns the gold scores, the teacher’s, and to be moved the same way: the direction in which a "
        "change of a token changes the score is pulled towards the teacher’s.",
        (_GRADIENTS,),
        ("method_weight", *_WARM_UP),
        dropout=False,
        same_width=True,
        compares_embeddings=True,
        cost=1.9,
        compared_weight=0.1,
    ),
    "gkd_cls": DistillationMethod(
        "GKD-CLS",
        "As GKD, and inside the models too: after each matched layer the state at [CLS] and the direction in which it "
        "moves the answer are pulled towards the teacher’s.",
        "As GKD, and inside the models too: after each matched layer the state at [CLS] and the direction in which it "
        "moves the score are pulled towards the teacher’s.",
        (_GRADIENTS, _CLS_GRADIENTS, _STATES),
        ("method_weight", "pkd_weight", "matching", *_WARM_UP),
        dropout=False,
        same_width=True,
        compares_embeddings=True,
        cost=1.9,
        compared_weight=0.05,
    ),
    "pkd": DistillationMethod(
        "PKD",
        "The student learns the labels, the teacher’s softened answers, and to think in the same steps: its [CLS] "
        "state after each inner layer is pulled towards a matched layer’s of the teacher.",
        "The student learns the gold scores, the teacher’s, and to think in the same steps: its [CLS] state after each "
        "inner layer is pulled towards a matched layer’s of the teacher.",
        (_STATES,),
        ("pkd_weight", "matching", *_WARM_UP),
        same_width=True,
    ),
    "egkd_gradient": DistillationMethod(
        "EGKD (gradient)",
        "The student learns the labels, the teacher’s softened answers, and which tokens speak for and against: its "
        "signed map of the teacher’s answer is pulled towards the teacher’s.",
        "The student learns the gold scores, the teacher’s, and which tokens raise and lower the score: its signed map "
        "is pulled towards the teacher’s.",
        (_SIGNED_MAPS,),
        ("method_weight", *_WARM_UP),
        cost=2.0,
        compared_weight=0.3,
    ),
    "egkd_perturbation": DistillationMethod(
        "EGKD (perturbation)",
        "The student learns the labels, the teacher’s softened answers, and to change its mind as the teacher does "
        "when tokens are taken away.",
        "The student learns the gold scores, the teacher’s, and to change its score as the teacher does when tokens "
        "are taken away.",
        (_CHANGES,),
        ("method_weight", "erasures", "erasures_each_step", *_WARM_UP),
        erases=True,
        cost=1.9,
        compared_weight=1.0,
    ),
    "egkd_feature_selection": DistillationMethod(
        "EGKD (selection)",
        "The student learns the labels, the teacher’s softened answers, and to answer as the teacher does from its few "
        "deciding tokens alone, and without them.",
        "The student learns the gold scores, the teacher’s, and to score as the teacher does from its few deciding "
        "tokens alone, and without them.",
        (_RATIONALES,),
        ("method_weight", "rationale_share", *_WARM_UP),
        erases=True,
        cost=2.7,
        compared_weight=0.3,
    ),
}


def readers(setting: str) -> tuple[str, ...]:
    """Return the methods that read a setting which is only some methods' own; none for one that all may read."""
    return tuple(name for name, method in DISTILLATION_METHODS.items() if setting in method.settings)


def terms_of(method: str, scores: bool = False, kd_form: str = "cross_entropy") -> tuple[Term, ...]:
    """Return all terms of a method's loss; `scores`: as a regression has them, `kd_form`: as a run sets it."""
    found = (LABELS, _DIVERGENCE if kd_form == "kl" else ANSWERS, *DISTILLATION_METHODS[method].terms)
    return tuple(term.of_scores() for term in found) if scores else found


def as_set(method: str, settings: Mapping[str, object], classes: int) -> str:
    """Say how a run sets what the formula of its method leaves open; empty where it leaves nothing open.

    `settings`: by the names in `DistillationMethod.settings`; `classes`: of the task, 1 for a regression.
    """
    read, parts = DISTILLATION_METHODS[method].settings, []
    if "attribution_steps" in read:
        points, kept = settings["attribution_steps"], settings["top_k"]
        parts += [f"*m* = {points} point{'s' * (points != 1)}"]
        parts += ["all dimensions" if kept is None else f"the teacher’s {kept} largest dimensions at each token"]
        parts += [f"maps scaled by {str(settings['map_norm']).upper()}", _DISTANCES[str(settings["map_distance"])]]
        views = {1: "the squared error", 2: "the cross-entropy with the gold label"}
        parts += [f"*v* is {views.get(classes, '−log *p*(*c*) for every class *c*, one view each')}"]
    if "matching" in read:
        even = settings["matching"] == "skip"
        parts += ["the teacher’s layers matched are " + ("evenly spaced" if even else "its last ones")]
    if "erasures" in read:
        looked = min(int(str(settings["erasures_each_step"])), int(str(settings["erasures"])))
        parts += [f"each step looks at {looked} of the {settings['erasures']} sets drawn for an example"]
    if "rationale_share" in read:
        parts += [f"*R* is {100 * float(str(settings['rationale_share'])):.3g} % of a text’s tokens"]
    return f"As set: {', '.join(parts)}." if parts else ""


_DISTANCES = {"l2": "squared differences", "l1": "absolute differences", "smooth_l1": "smooth L1 differences"}
