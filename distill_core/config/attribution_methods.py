"""The attribution methods: one entry per method, with its description, its settings and the class that computes it.

`distill_core.attribution` builds methods from this list; page, legend, command line and docs/attribution.md read
the descriptions. It needs no torch: `builder` names a class that is imported when the first map is computed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from distill_core.errors import ConfigError

BASELINES = ("zero", "pad", "mask")
OUTPUTS = ("logit", "log_probability")


@dataclass(frozen=True)
class AttributionMethodSpec:
    """One attribution method; all texts are plain text, without markup.

    `idea`: one sentence. `formula`: the score of token t; F is the explained output, x the token embeddings, x′ the
    baseline's. `limits`: what the method cannot tell. `source`: the paper.
    `builder`: "module:Class", called with `settings`. `cache_key`: part of the key of every cached map, so change it
    whenever the method's numbers change.
    `signed`: scores may be negative. `by_word`: only whole words have scores of their own, a piece's is a share of
    one. `default_baseline`: x′ where none is requested, None for a method without a baseline. `seeded`: the map
    depends on the request's seed. `evaluations`: what `Attribution.nodes` counts, empty where it is None.
    """

    key: str
    title: str
    idea: str
    formula: str
    limits: str
    source: str
    builder: str
    cache_key: str
    settings: Mapping[str, object] = field(default_factory=dict)
    signed: bool = True
    by_word: bool = False
    default_baseline: str | None = None
    seeded: bool = False
    evaluations: str = ""

    def baseline(self, wanted: str | None) -> str | None:
        """Return the baseline the method uses when `wanted` is requested; ConfigError naming the valid ones."""
        if wanted is not None and wanted not in BASELINES:
            raise ConfigError(f"Unknown baseline {wanted!r}; choose one of: {', '.join(BASELINES)}.")
        return None if self.default_baseline is None else wanted or self.default_baseline


# The cache keys of the first five are the settings their maps were made with in version 0.1: its caches stay valid.
_SPECS = (
    AttributionMethodSpec(
        key="integrated_gradients",
        title="Integrated gradients",
        idea="Adds up the gradient along the straight path from the baseline to the text.",
        formula="Σ over the width of (x − x′) ⊙ ∫₀¹ ∂F/∂x (x′ + α(x − x′)) dα",
        limits="The points on the path are not texts, and the map depends on the baseline.",
        source="Sundararajan, Taly & Yan 2017, arXiv 1703.01365",
        builder="distill_core.attribution.integrated_gradients:IntegratedGradients",
        cache_key="IntegratedGradients(tolerance=0.01, nodes=None, max_nodes=400, pieces=4, nodes_per_piece=5)",
        default_baseline="pad",
        evaluations="path points",
    ),
    AttributionMethodSpec(
        key="gradient",
        title="Gradient",
        idea="Measures how strongly the output reacts to a small change of the token’s embedding.",
        formula="L2 norm over the width of ∂F/∂x",
        limits="It is local and unsigned: it does not say whether a token speaks for or against the class.",
        source="Simonyan, Vedaldi & Zisserman 2014, arXiv 1312.6034",
        builder="distill_core.attribution.gradient:Gradient",
        cache_key="Gradient()",
        signed=False,
    ),
    AttributionMethodSpec(
        key="gradient_x_input",
        title="Gradient × input",
        idea="Takes each token’s first-order share of the output: its embedding times the gradient.",
        formula="Σ over the width of x ⊙ ∂F/∂x",
        limits="It is a linear approximation at one point: where the output saturates, a decisive token may score 0.",
        source="Shrikumar et al. 2016, arXiv 1605.01713",
        builder="distill_core.attribution.gradient_x_input:GradientXInput",
        cache_key="GradientXInput()",
    ),
    AttributionMethodSpec(
        key="occlusion",
        title="Occlusion",
        idea="Replaces one token at a time and measures how far the output falls.",
        formula="F(x) − F(x with token t replaced by the baseline’s)",
        limits="It changes one token at a time: two tokens that can stand in for each other both score low.",
        source="Zeiler & Fergus 2014, arXiv 1311.2901",
        builder="distill_core.attribution.occlusion:Occlusion",
        cache_key="Occlusion(by_word=False)",
        default_baseline="mask",
    ),
    AttributionMethodSpec(
        key="occlusion_word",
        title="Occlusion by word",
        idea="Replaces one whole word at a time and measures how far the output falls.",
        formula="F(x) − F(x with the word’s tokens replaced by the baseline’s), shared equally among its tokens",
        limits="It changes one word at a time: two words that can stand in for each other both score low.",
        source="Zeiler & Fergus 2014, arXiv 1311.2901; extended to whole words here",
        builder="distill_core.attribution.occlusion:Occlusion",
        settings={"by_word": True},
        cache_key="Occlusion(by_word=True)",
        by_word=True,
        default_baseline="mask",
    ),
    AttributionMethodSpec(
        key="shap",
        title="SHAP by word",
        idea="Averages a word’s effect on the output over the orders in which the erased words are put back.",
        formula="Shapley value of the word: the mean over orders of F(words before it and it) − F(words before it), "
        "shared equally among its tokens",
        limits="Texts with erased words are unlike real ones; above eight words the orders are sampled, so small "
        "differences may be chance. Slow on long texts: W words take up to 32 (W − 1) + 2 forward passes.",
        source="Lundberg & Lee 2017, arXiv 1705.07874; sampling: Castro, Gómez & Tejada 2009; "
        "extended to whole words here",
        builder="distill_core.attribution.shap:Shap",
        cache_key="shap, version 2",
        by_word=True,
        default_baseline="mask",
        seeded=True,
        evaluations="masked texts",
    ),
)
ATTRIBUTION_METHODS: dict[str, AttributionMethodSpec] = {spec.key: spec for spec in _SPECS}


def find_attribution_method(key: str) -> AttributionMethodSpec:
    """Return the entry of this key; ConfigError naming the valid keys."""
    if key not in ATTRIBUTION_METHODS:
        raise ConfigError(f"Unknown attribution method {key!r}; choose one of: {', '.join(ATTRIBUTION_METHODS)}.")
    return ATTRIBUTION_METHODS[key]


def check_output(output: str, classes: int) -> None:
    """Raise ConfigError unless a model with this many classes (1: a regression) has the output."""
    if output not in OUTPUTS:
        raise ConfigError(f"Unknown output {output!r}; choose one of: {', '.join(OUTPUTS)}.")
    if classes == 1 and output != OUTPUTS[0]:
        raise ConfigError(f"A regression model has no {output.replace('_', ' ')}; choose {OUTPUTS[0]}.")


def methods_table(specs: Iterable[AttributionMethodSpec]) -> str:
    """Return the table of docs/attribution.md as Markdown, one row per method."""
    lines = ["| key | idea | score | baseline | what it cannot tell | source |", "|---|---|---|---|---|---|"]
    for spec in specs:
        kind = f"{'signed' if spec.signed else 'unsigned'}, by {'word' if spec.by_word else 'token'}"
        kind += ", depends on the seed" if spec.seeded else ""
        cells = (
            f"**{spec.title}** `{spec.key}`",
            spec.idea,
            f"{spec.formula} ({kind})",
            spec.default_baseline or "none",
            spec.limits,
            spec.source,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
