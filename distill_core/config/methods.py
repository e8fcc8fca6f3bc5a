"""The distillation methods: one entry each. Form, command line, charts, model card and docs read them from here.

A new method is one entry here, one file in `distill_core/objectives` and one page in `docs/methods`. The mathematics is
in the objective, which an entry names and does not import: this package stays free of torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distill_core.config.layer_mapping import RELATION_HEADS
from distill_core.config.method_spec import DistillationMethod, Paper, Term

LABELS = Term(
    name="ce",
    title="Labels",
    color="#0f9488",
    symbol=r"\mathrm{CE}",
    formula=r"-\log p_s(y)",
    words="Cross-entropy with the gold label *y*.",
    score_symbol=r"\mathrm{SE}",
    score_formula=r"(s_s - y)^2",
    score_words="Squared error with the gold score *y*.",
)
ANSWERS = Term(
    name="kd",
    title="Teacher’s answers (KD)",
    color="#b0508f",
    symbol=r"\mathrm{KD}_{\tau}",
    formula=r"-\textstyle\sum_c p_t(c)\,\log p_s(c)",
    words="Soft cross-entropy with the teacher’s probabilities, both softened by the temperature τ "
    "(Hinton et al. 2015).",
    score_formula=r"\left(\frac{s_t - s_s}{\tau}\right)^2",
    score_words="Squared error with the teacher’s score, both divided by the temperature τ.",
)
_DIVERGENCE = replace(
    ANSWERS,
    formula=r"\tfrac{\tau^2}{C} \textstyle\sum_c p_t(c) \log \frac{p_t(c)}{p_s(c)}",
    words="KL divergence from the teacher’s probabilities, both softened by the temperature τ, times τ² and averaged "
    "over the classes, as in GKD’s code.",
    score_formula="(s_t - s_s)^2",
    score_words="Squared error with the teacher’s score.",
)

_HINTON = Paper("Hinton, Vinyals, Dean", "Distilling the Knowledge in a Neural Network", "2015", "arXiv 1503.02531")
_SUN = Paper(
    "Sun et al.", "Patient Knowledge Distillation for BERT Model Compression", "EMNLP 2019", "arXiv 1908.09355"
)
_WANG = Paper(
    "Wang, Li, Sun",
    "Gradient Knowledge Distillation for Pre-trained Language Models",
    "NeurIPS ENLSP 2022",
    "arXiv 2211.01071",
)
_YANG = Paper(
    "Yang et al.",
    "Explanation Guided Knowledge Distillation for Pre-trained Language Model Compression",
    "ACM TALLIP 23(2), 2024",
    "doi 10.1145/3639364",
    note="for the idea, not the formula: ",
)
_WU = Paper(
    "Wu et al.",
    "AD-KD: Attribution-Driven Knowledge Distillation for Language Model Compression",
    "ACL 2023",
    "arXiv 2305.10010",
)
_WANG_2020 = Paper(
    "Wang et al.",
    "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers",
    "NeurIPS 2020",
    "arXiv 2002.10957",
)
_WANG_2021 = Paper(
    "Wang et al.",
    "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers",
    "ACL Findings 2021",
    "arXiv 2012.15828",
)
_OUR_FORMULA = "(EGKD, Yang et al. 2024; this formula is ours)."


def _describe_ad_kd(settings: Mapping[str, Any], classes: int) -> list[str]:
    points, top_k = settings["attribution_steps"], settings["top_k"]
    distances = {"l2": "squared differences", "l1": "absolute differences", "smooth_l1": "smooth L1 differences"}
    views = {1: "the squared error", 2: "the cross-entropy with the gold label"}
    return [
        f"*m* = {points} point{'s' * (points != 1)}",
        "all dimensions" if top_k is None else f"the teacher’s {top_k} largest dimensions at each token",
        f"maps scaled by {settings['map_norm'].upper()}",
        distances[settings["map_distance"]],
        f"*v* is {views.get(classes, '−log *p*(*c*) for every class *c*, one view each')}",
    ]


def _describe_matching(settings: Mapping[str, Any], _: int) -> list[str]:
    which = "evenly spaced" if settings["matching"] == "skip" else "its last ones"
    return [f"the teacher’s matched layers are {which}"]


def _describe_erasures(settings: Mapping[str, Any], _: int) -> list[str]:
    used = min(settings["erasures_each_step"], settings["erasures"])
    return [f"each step uses {used} of the {settings['erasures']} sets drawn for an example"]


def _describe_rationale(settings: Mapping[str, Any], _: int) -> list[str]:
    return [f"*R* is {100 * settings['rationale_share']:.3g} % of a text’s tokens"]


def _describe_relations(settings: Mapping[str, Any], _: int) -> list[str]:
    heads, layer = settings["relation_heads"], settings["relation_layer"]
    return [
        f"up to {RELATION_HEADS} relation heads" if heads is None else f"{heads} relation head{'s' * (heads != 1)}",
        "the teacher’s last layer (of a deep one, at 7/8)" if layer is None else f"the teacher’s layer {layer}",
    ]


_MAPS = Term(
    name="ad_kd",
    title="Attribution maps (AD-KD)",
    color="#a8841c",
    symbol=r"\mathrm{AD}",
    formula=r"\textstyle\sum_v \tfrac1n \sum_i d\bigl(\bar a_t(i),\, \bar a_s(i)\bigr),"
    r" \\ & a(i) = \bigl\lVert E_i \odot \tfrac1m \textstyle\sum_k \nabla_{\!E_i}\,v\bigl(\tfrac km E\bigr)"
    r" \bigr\rVert_2",
    words="Distance *d* between the attribution maps of teacher and student, each scaled to norm 1. A map is the mean "
    "gradient of the view *v* at *m* points on the path from 0 to *E*, the output of the embedding block, times *E*; "
    "*k* = 1 … *m* (Wu et al., ACL 2023).",
    weight="method_weight",
)
_GRADIENTS = Term(
    name="gkd",
    title="Input gradients (GKD)",
    color="#7d6bb8",
    symbol=r"\mathrm{GKD}",
    formula=r"\tfrac1n \textstyle\sum_i \lVert \bar g_t(i) - \bar g_s(i) \rVert_2^2,"
    r" \\ & g(i) = \nabla_{\!E_i}\max_c p(c)",
    words="Distance between the two gradients of the predicted class’s probability at every token, each scaled to "
    "length 1; *E* is the output of the embedding block (Wang et al. 2022).",
    weight="method_weight",
    score_formula=r"\tfrac1n \textstyle\sum_i \lVert \bar g_t(i) - \bar g_s(i) \rVert_2^2,"
    r" \\ & g(i) = \nabla_{\!E_i}s",
    score_words="Distance between the two gradients of the score at every token, each scaled to length 1; *E* is the "
    "output of the embedding block (Wang et al. 2022; the form for scores is ours).",
)
_STATES = Term(
    name="pkd",
    title="[CLS] states (PKD)",
    color="#c24848",
    symbol=r"\mathrm{PKD}",
    formula=r"\tfrac1{LD} \textstyle\sum_l \lVert \bar h_t(l) - \bar h_s(l) \rVert_2^2",
    words="Mean squared difference of the [CLS] states *h* after each matched layer, each scaled to length 1 (Sun et "
    "al. 2019).",
    weight="pkd_weight",
)
_CLS_GRADIENTS = Term(
    name="gkd_cls",
    title="Gradients at [CLS] (GKD-CLS)",
    color="#5b8f3a",
    symbol=r"\mathrm{GKD}_{\mathrm{CLS}}",
    formula=r"\textstyle\sum_l \lVert \bar g_t(l) - \bar g_s(l) \rVert_2^2,"
    r" \\ & g(l) = \nabla_{\!h(l)}\max_c p(c)",
    words="The same distance at the [CLS] state *h* after each matched layer, summed over the layers (Wang et al. "
    "2022).",
    weight="method_weight",
    score_formula=r"\textstyle\sum_l \lVert \bar g_t(l) - \bar g_s(l) \rVert_2^2,"
    r" \\ & g(l) = \nabla_{\!h(l)}s",
)
_SIGNED_MAPS = Term(
    name="egkd_gradient",
    title="Signed maps (EGKD)",
    color="#9a6a2a",
    symbol=r"\mathrm{EG}_{\nabla}",
    formula=r"\tfrac1n \textstyle\sum_i \left(\bar a_t(i) - \bar a_s(i)\right)^2,"
    r" \\ & a(i) = \nabla_{\!E_i}p(c_t) \cdot E_i",
    words="Distance between the signed gradient × input maps of the class that the teacher predicts, each scaled to "
    f"length 1; *E* is the output of the embedding block {_OUR_FORMULA}",
    weight="method_weight",
    score_formula=r"\tfrac1n \textstyle\sum_i \left(\bar a_t(i) - \bar a_s(i)\right)^2,"
    r" \\ & a(i) = \nabla_{\!E_i}s \cdot E_i",
    score_words="Distance between the signed gradient × input maps of the score, each scaled to length 1 "
    f"{_OUR_FORMULA}",
)
_CHANGES = Term(
    name="egkd_perturbation",
    title="Changes without tokens (EGKD)",
    color="#8a4fd8",
    symbol=r"\mathrm{EG}_{\setminus}",
    formula=r"\textstyle\sum_c \left(\Delta p_t(c) - \Delta p_s(c)\right)^2, \\ & \Delta p = p(x \setminus S) - p(x)",
    words="Squared difference between the changes of the two models’ probabilities when [MASK] replaces a random set "
    f"*S* of tokens {_OUR_FORMULA}",
    weight="method_weight",
    score_formula=r"\left(\Delta s_t - \Delta s_s\right)^2, \\ & \Delta s = s(x \setminus S) - s(x)",
    score_words="Squared difference between the changes of the two models’ scores when [MASK] replaces a random set "
    f"*S* of tokens {_OUR_FORMULA}",
)
_RATIONALES = Term(
    name="egkd_feature_selection",
    title="Rationales (EGKD)",
    color="#c04fc8",
    symbol=r"\mathrm{EG}_{R}",
    formula=r"\textstyle\sum_c \bigl[\left(p_t(c\,|\,R) - p_s(c\,|\,R)\right)^2"
    r" \\ & \qquad + \left(\Delta p_t(c) - \Delta p_s(c)\right)^2\bigr],"
    r" \\ & \Delta p = p(x \setminus R) - p(x)",
    words="The rationale *R* consists of the tokens with the teacher’s largest gradient × input. Squared differences "
    f"of the answers from *R* alone and of the changes without *R* {_OUR_FORMULA}",
    weight="method_weight",
    score_formula=r"\left(s_t(R) - s_s(R)\right)^2 + \left(\Delta s_t - \Delta s_s\right)^2,"
    r" \\ & \Delta s = s(x \setminus R) - s(x)",
)

_RELATIONS = Term(
    name="minilm",
    title="Relations (MiniLM)",
    color="#407050",
    symbol=r"\mathrm{ML}",
    formula=r"\tfrac1{HT} \textstyle\sum_{A \in \{Q, K, V\}} \sum_{h,i}"
    r" \mathrm{KL}\bigl(R_t(h,i) \,\Vert\, R_s(h,i)\bigr),"
    r" \\ & R(h) = \mathrm{softmax}\bigl(\tfrac{1}{\sqrt d} A_h A_h^{\top}\bigr)",
    words="KL divergence between the relations of teacher and student: scaled dot products of the queries, keys and "
    "values of all *T* tokens with each other, in *H* heads of *d* dimensions, of one teacher layer and the student’s "
    "last layer (Wang et al. 2021).",
    weight="method_weight",
)

_BASE = "The student learns the labels, the teacher’s softened answers, and"
_SCORE_BASE = "The student learns the gold scores, the teacher’s scores, and"
DISTILLATION_METHODS: dict[str, DistillationMethod] = {
    method.key: method
    for method in (
        DistillationMethod(
            key="kd",
            title="Plain KD",
            words="The student learns the labels and the teacher’s softened answers, which also show how certain the "
            "teacher is. It does not learn the teacher’s reasons.",
            score_words="The student learns the gold scores and the teacher’s scores. It does not learn the teacher’s "
            "reasons.",
            compares="answers",
            papers=(_HINTON,),
        ),
        DistillationMethod(
            key="ad_kd",
            title="AD-KD",
            words=f"{_BASE} how much each token matters: its attribution map is pulled towards the teacher’s.",
            score_words=f"{_SCORE_BASE} how much each token matters: its attribution map is pulled towards the "
            "teacher’s.",
            compares="size of each token's attribution",
            papers=(_WU,),
            terms=(_MAPS,),
            objective="distill_core.objectives.ad_kd:AdKd",
            arguments=(
                ("top_k", "top_k"),
                ("steps", "attribution_steps"),
                ("norm", "map_norm"),
                ("distance", "map_distance"),
            ),
            own_settings=("attribution_steps", "top_k", "map_norm", "map_distance"),
            describe=_describe_ad_kd,
            cost=1.9,
            cost_settings=("attribution_steps",),
            compared_weight=1.0,
            second_derivative=True,
        ),
        DistillationMethod(
            key="gkd",
            title="GKD",
            words=f"{_BASE} the teacher’s sensitivity: the direction in which a change of a token changes the answer "
            "is pulled towards the teacher’s.",
            score_words=f"{_SCORE_BASE} the teacher’s sensitivity: the direction in which a change of a token changes "
            "the score is pulled towards the teacher’s.",
            compares="direction of the gradient at each token",
            papers=(_WANG,),
            terms=(_GRADIENTS,),
            objective="distill_core.objectives.gkd:Gkd",
            cost=1.9,
            compared_weight=0.1,
            dropout=False,
            second_derivative=True,
            same_width=True,
            same_embedding_width=True,
        ),
        DistillationMethod(
            key="gkd_cls",
            title="GKD-CLS",
            words="As GKD, and in the inner layers as well: after each matched layer, the [CLS] state and the "
            "direction in which it moves the answer are pulled towards the teacher’s.",
            score_words="As GKD, and in the inner layers as well: after each matched layer, the [CLS] state and the "
            "direction in which it moves the score are pulled towards the teacher’s.",
            compares="the same, and at [CLS] in inner layers; with `pkd`",
            papers=(_WANG, _SUN),
            terms=(_GRADIENTS, _CLS_GRADIENTS, _STATES),
            objective="distill_core.objectives.gkd_cls:GkdCls",
            own_settings=("matching",),
            describe=_describe_matching,
            cost=1.9,
            compared_weight=0.05,
            dropout=False,
            second_derivative=True,
            same_width=True,
            same_embedding_width=True,
        ),
        DistillationMethod(
            key="pkd",
            title="PKD",
            words=f"{_BASE} the teacher’s intermediate steps: its [CLS] state after each inner layer is pulled towards "
            "that of a matched layer of the teacher.",
            score_words=f"{_SCORE_BASE} the teacher’s intermediate steps: its [CLS] state after each inner layer is "
            "pulled towards that of a matched layer of the teacher.",
            compares="[CLS] states of matched layers",
            papers=(_SUN,),
            terms=(_STATES,),
            objective="distill_core.objectives.pkd:Pkd",
            own_settings=("matching",),
            describe=_describe_matching,
            same_width=True,
        ),
        DistillationMethod(
            key="minilm",
            title="MiniLM",
            words=f"{_BASE} how the tokens relate to each other in the teacher’s self-attention, in a layer near its "
            "end.",
            score_words=f"{_SCORE_BASE} how the tokens relate to each other in the teacher’s self-attention, in a "
            "layer near its end.",
            compares="relations between tokens in one attention layer",
            papers=(_WANG_2020, _WANG_2021),
            terms=(_RELATIONS,),
            objective="distill_core.objectives.minilm:MiniLm",
            arguments=(("heads", "relation_heads"), ("layer", "relation_layer")),
            own_settings=("relation_heads", "relation_layer"),
            describe=_describe_relations,
            cost=1.1,
        ),
        DistillationMethod(
            key="egkd_gradient",
            title="EGKD (gradient)",
            words=f"{_BASE} which tokens speak for and against the answer: its signed map of the teacher’s answer is "
            "pulled towards the teacher’s.",
            score_words=f"{_SCORE_BASE} which tokens raise and lower the score: its signed map is pulled towards the "
            "teacher’s.",
            compares="sign and size of each token's attribution",
            papers=(_YANG,),
            terms=(_SIGNED_MAPS,),
            objective="distill_core.objectives.egkd_gradient:EgkdGradient",
            cost=2.0,
            compared_weight=0.3,
            second_derivative=True,
        ),
        DistillationMethod(
            key="egkd_perturbation",
            title="EGKD (perturbation)",
            words=f"{_BASE} how the teacher’s answer changes when tokens are removed.",
            score_words=f"{_SCORE_BASE} how the teacher’s score changes when tokens are removed.",
            compares="changes of the answer without some tokens",
            papers=(_YANG,),
            terms=(_CHANGES,),
            objective="distill_core.objectives.egkd_perturbation:EgkdPerturbation",
            arguments=(("erasures", "erasures"), ("each_step", "erasures_each_step")),
            own_settings=("erasures", "erasures_each_step"),
            describe=_describe_erasures,
            cost=1.9,
            cost_settings=("erasures_each_step", "erasures"),
            compared_weight=1.0,
            erases=True,
        ),
        DistillationMethod(
            key="egkd_feature_selection",
            title="EGKD (selection)",
            words=f"{_BASE} what the teacher answers from its few deciding tokens alone, and without them.",
            score_words=f"{_SCORE_BASE} the teacher’s scores from its few deciding tokens alone, and without them.",
            compares="answers from the deciding tokens, and without them",
            papers=(_YANG,),
            terms=(_RATIONALES,),
            objective="distill_core.objectives.egkd_feature_selection:EgkdFeatureSelection",
            arguments=(("share", "rationale_share"),),
            own_settings=("rationale_share",),
            describe=_describe_rationale,
            cost=2.7,
            compared_weight=0.3,
            erases=True,
        ),
    )
}


def methods_reading(setting: str) -> tuple[str, ...]:
    """Return the methods that read a setting; empty for a setting that every method reads."""
    return tuple(key for key, method in DISTILLATION_METHODS.items() if setting in method.settings)


def terms_of(method: str, scores: bool = False, kd_form: str = "cross_entropy") -> tuple[Term, ...]:
    """Return all terms of a method's loss; `scores`: for a regression, `kd_form`: the run's setting."""
    terms = (LABELS, _DIVERGENCE if kd_form == "kl" else ANSWERS, *DISTILLATION_METHODS[method].terms)
    return tuple(term.for_scores() for term in terms) if scores else terms


def all_terms() -> dict[str, Term]:
    """Return the terms of all methods by name."""
    return {term.name: term for method in DISTILLATION_METHODS for term in terms_of(method)}


def describe_settings(method: str, settings: Mapping[str, Any], classes: int) -> str:
    """Return a sentence with the settings that the method's formulas leave open; empty if there are none.

    `settings`: all settings of the run by name; `classes`: of the task, 1 for a regression.
    """
    parts = DISTILLATION_METHODS[method].describe(settings, classes)
    return f"As set: {', '.join(parts)}." if parts else ""


def methods_table() -> str:
    """Return the table of docs/methods/README.md as Markdown; a test compares the page with it."""
    rows = [
        (
            f"[`{key}`]({key}.md)",
            method.compares,
            "yes" if method.second_derivative else "no",
            "the teacher's" if method.same_width else "any",
        )
        for key, method in DISTILLATION_METHODS.items()
    ]
    head = ("method", "compares", "second derivative", "width of the student")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
