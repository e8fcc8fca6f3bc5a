"""The contract of all attribution methods: the request, the result, and the one place where a request is checked.

All methods act on x, the embedding block's output, and explain F, a class's logit or log-probability.
Maps are those of the network in eval mode: a network in training mode is run through a twin that shares
its weights, so neither its mode, its gradients nor its hooks are touched, and threads may share it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_core.attribution.baselines import baseline_embeddings
from distill_core.attribution.reduce import word_groups
from distill_core.config.attribution_methods import check_output, find_attribution_method
from distill_core.errors import AttributionError, ConfigError
from distill_core.models.encoder import LoadedModel, embed, logits_from_embeddings
from distill_core.models.tokenization import Inputs

TOKENS_PER_PASS = 4096  # rows × tokens of one pass: bounds memory, and is enough to keep a CPU busy


@dataclass(frozen=True)
class Attribution:
    """The maps of B examples, one class per example; on the CPU, detached from the graph.

    `scores`: one number per token, in units of F, exactly 0 on padding. `baseline`: the baseline used. `gap`:
    |Σ scores − (F(x) − F(x'))|; `relative_gap`: the gap over Σ|scores|. `converged`: whether the map is within the
    method's tolerance. `nodes`: how often the network was evaluated. `sampling_error`: the sum of the scores' standard
    errors over Σ|scores|. A field is None where the method does not define it.
    """

    scores: Float[Tensor, "batch token"]
    mask: Bool[Tensor, "batch token"]
    target: Int[Tensor, " batch"]
    baseline: str | None = None
    gap: Float[Tensor, " batch"] | None = None
    relative_gap: Float[Tensor, " batch"] | None = None
    converged: Bool[Tensor, " batch"] | None = None
    nodes: Int[Tensor, " batch"] | None = None
    sampling_error: Float[Tensor, " batch"] | None = None


@dataclass(frozen=True)
class AttributionRequest:
    """A checked request: B examples, K target classes each (K maps come from shared forward passes).

    `reference` is x', None for methods without a baseline. `words[b, t]`: number of the whole word that
    piece t belongs to, -1 at special tokens and padding. `seed`: for methods that sample.
    """

    network: PreTrainedModel
    inputs: Inputs
    targets: Int[Tensor, "batch target"]
    output: str
    embeddings: Float[Tensor, "batch token width"]
    baseline: str | None
    reference: Float[Tensor, "batch token width"] | None
    words: Int[Tensor, "batch token"] | None
    seed: int = 0

    def outputs(self, x: Float[Tensor, "row token width"], rows: Int[Tensor, " row"]) -> Float[Tensor, "row target"]:
        """Return F of every target class at the points `x`, which belong to the examples `rows`."""
        rows = rows.to(self.targets.device)
        chosen = self.inputs.select(rows)
        logits = logits_from_embeddings(self.network, x[:, : chosen.input_ids.shape[1]], chosen)
        values = logits if self.output == "logit" else torch.log_softmax(logits, dim=-1)
        return values.gather(1, self.targets[rows])

    def gradients(
        self, x: Float[Tensor, "row token width"], rows: Int[Tensor, " row"]
    ) -> Float[Tensor, "row target token width"]:
        """Return ∂F/∂x of every target class at the points `x`: one forward pass, one backward pass per class."""
        with torch.enable_grad():
            points = x.detach().requires_grad_()
            values = self.outputs(points, rows)  # (R, K)
            last = values.shape[1] - 1
            columns = [
                torch.autograd.grad(values[:, index].sum(), points, retain_graph=index < last)[0]
                for index in range(last + 1)
            ]
        return torch.stack(columns, dim=1)

    @property
    def replaceable(self) -> Bool[Tensor, "batch token"]:
        """True at tokens whose baseline differs from them, False at padding; on the CPU."""
        if self.reference is None:
            raise AttributionError(
                "Masking needs a baseline, but the method of this request has none; give its entry a default baseline."
            )
        differs = (self.embeddings != self.reference).any(dim=-1)  # (B, T)
        return (differs & self.inputs.mask).cpu()

    def replaceable_words(self, special: bool = True) -> tuple[Int[Tensor, " group"], Bool[Tensor, "group token"]]:
        """Return every word with a replaceable token: its example, and True at its tokens; on the CPU.

        A special token is a word of its own, left out unless `special`. AttributionError where the request has no
        word numbers.
        """
        if self.words is None:
            raise AttributionError(
                "A method that scores whole words needs the number of each token's word; pass `words`."
            )
        replaceable, examples, groups = self.replaceable, list[int](), list[Tensor]()
        for example, words in enumerate(self.words.tolist()):
            for positions in word_groups([None if word < 0 else word for word in words]):
                is_special = words[positions[0]] < 0
                if bool(replaceable[example, positions].any()) and (special or not is_special):
                    examples.append(example)
                    groups.append(torch.zeros_like(replaceable[example]).index_fill_(0, torch.tensor(positions), True))
        if not groups:
            return torch.zeros(0, dtype=torch.long), replaceable[:0]
        return torch.tensor(examples), torch.stack(groups)

    @torch.no_grad()
    def masked_outputs(self, keep: Bool[Tensor, "row token"], rows: Int[Tensor, " row"]) -> Float[Tensor, "row target"]:
        """Return F of the examples `rows` where every token outside `keep` is replaced by the baseline's.

        Runs in passes of bounded size; `keep`, `rows` and the result are on the CPU. AttributionError for a method
        without a baseline.
        """
        if self.reference is None:
            raise AttributionError(
                "Masking needs a baseline, but the method of this request has none; give its entry a default baseline."
            )
        result = torch.zeros(len(rows), self.targets.shape[1])
        for part in self.passes(rows):
            chosen = rows[part]
            visible = keep[part].to(self.targets.device)[:, :, None]  # (R, T, 1)
            x = torch.where(visible, self.embeddings[chosen], self.reference[chosen])  # (R, T, D)
            result[part] = self.outputs(x, chosen).cpu()
        return result

    def passes(self, rows: Int[Tensor, " row"]) -> Iterator[Int[Tensor, " part"]]:
        """Split the work items `rows` (item i belongs to example rows[i]; on the CPU) into passes of bounded size.

        Yields positions in `rows`; items of similar length share a pass, so that little padding is computed.
        """
        lengths = self.inputs.attention_mask.sum(dim=1).cpu()[rows]
        order = lengths.argsort(stable=True)
        start = 0
        while start < len(order):
            # lengths ascend: shrink the slice until its longest row fits the budget
            count = max(1, TOKENS_PER_PASS // int(lengths[order[start]]))
            part = order[start : start + count]
            count = max(1, TOKENS_PER_PASS // int(lengths[part[-1]]))
            yield part[:count]
            start += min(count, len(part))


class AttributionMethod(Protocol):
    """One attribution method; its settings are the fields of a frozen dataclass.

    `key`: its entry in `config.attribution_methods`, which holds its title, its description and its settings.
    """

    @property
    def key(self) -> str: ...

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return one Attribution per target class, in the order of `request.targets`."""
        ...


def build_request(
    method: AttributionMethod,
    model: LoadedModel,
    inputs: Inputs,
    targets: Int[Tensor, "batch target"],
    *,
    baseline: str | None = None,
    output: str = "logit",
    words: Int[Tensor, "batch token"] | None = None,
    seed: int = 0,
) -> AttributionRequest:
    """Check everything a method is given and compute x and x', on the model's device.

    `baseline`: one of BASELINES, None for the method's own; a method without a baseline ignores it and returns None as
    `Attribution.baseline`. Raises ConfigError for unknown names and classes, AttributionError for tensors whose shapes
    do not match.
    """
    used = find_attribution_method(method.key).baseline(baseline)
    check_output(output, len(model.labels))
    _check_shapes(inputs, targets, words)
    classes = len(model.labels)
    if targets.min() < 0 or targets.max() >= classes:
        raise ConfigError(
            f"Target classes {targets.min()} to {targets.max()} were requested, but the model has 0 to {classes - 1}; "
            "choose among these."
        )
    inputs = inputs.to(model.device)
    network = evaluation_view(model.network)
    with torch.no_grad():
        embeddings = embed(network, inputs)
        reference = None if used is None else baseline_embeddings(network, model.tokenizer, inputs, used)
    words = None if words is None else words.to(model.device)
    return AttributionRequest(
        network, inputs, targets.to(model.device), output, embeddings, used, reference, words, seed
    )


def to_attributions(
    request: AttributionRequest,
    scores: Float[Tensor, "batch target token"],
    *,
    gap: Float[Tensor, "batch target"] | None = None,
    relative_gap: Float[Tensor, "batch target"] | None = None,
    converged: Bool[Tensor, "batch target"] | None = None,
    nodes: Int[Tensor, "batch target"] | None = None,
    sampling_error: Float[Tensor, "batch target"] | None = None,
) -> list[Attribution]:
    """Wrap a method's numbers, one Attribution per target; AttributionError when a score is not finite."""
    mask, scores = request.inputs.mask.cpu(), scores.cpu()
    if not bool(torch.isfinite(scores).all()):
        raise AttributionError(
            "A score is not finite: the network's output or gradient overflows on this input; check its weights."
        )
    scores = scores.masked_fill(~mask[:, None], 0.0)
    return [
        Attribution(
            scores=scores[:, index],
            mask=mask,
            target=request.targets[:, index].cpu(),
            baseline=request.baseline,
            gap=None if gap is None else gap[:, index].cpu(),
            relative_gap=None if relative_gap is None else relative_gap[:, index].cpu(),
            converged=None if converged is None else converged[:, index].cpu(),
            nodes=None if nodes is None else nodes[:, index].cpu(),
            sampling_error=None if sampling_error is None else sampling_error[:, index].cpu(),
        )
        for index in range(scores.shape[1])
    ]


def evaluation_view(network: PreTrainedModel) -> PreTrainedModel:
    """Return the network if it is in eval mode, else a twin in eval mode that shares every weight."""
    if not any(module.training for module in network.modules()):
        return network
    return cast(PreTrainedModel, _eval_twin(network))


def _eval_twin(module: nn.Module) -> nn.Module:
    twin = copy.copy(module)
    twin._modules = {name: None if child is None else _eval_twin(child) for name, child in module._modules.items()}
    twin.training = False
    return twin


def _check_shapes(inputs: Inputs, targets: Tensor, words: Tensor | None) -> None:
    shape = tuple(inputs.input_ids.shape)
    if len(shape) != 2 or 0 in shape:
        raise AttributionError(f"Inputs have shape {shape}; pass at least one example of at least one token.")
    if not bool(inputs.mask.any(dim=1).all()):
        raise AttributionError("An example has no token outside the padding; pass a text of at least one token.")
    if bool((~inputs.mask[:, :-1] & inputs.mask[:, 1:]).any()):
        raise AttributionError("An example is padded on the left or in the middle; pad on the right only.")
    if targets.ndim != 2 or targets.shape[0] != shape[0] or targets.shape[1] == 0:
        raise AttributionError(
            f"Targets have shape {tuple(targets.shape)}; pass ({shape[0]}, number of classes to explain)."
        )
    if words is not None and tuple(words.shape) != shape:
        raise AttributionError(f"Words have shape {tuple(words.shape)}; pass the shape of the tokens, {shape}.")
