"""Occlusion: how much F falls when one token, or one whole word, is replaced; signed, without gradients."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.attribution.reduce import word_groups
from distill_core.errors import AttributionError


@dataclass(frozen=True)
class Occlusion:
    """F(x) − F(x with a token's embedding replaced by the baseline's) (Zeiler & Fergus 2014, on pixels).

    With `by_word`, all pieces of a word are replaced together and each gets an equal share of the word's
    score, so that pieces sum to the word. A token whose baseline is its own embedding (a special token
    under [PAD] or [MASK]) scores exactly 0.
    """

    by_word: bool = False
    signed = True
    default_baseline = "mask"

    @property
    def title(self) -> str:
        """Name for people."""
        return "Occlusion by word" if self.by_word else "Occlusion"

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; one forward pass a token or word serves all targets."""
        rows, replaced = self._replacements(request)
        everyone = torch.arange(len(request.targets))
        whole = _outputs(request, everyone, torch.zeros_like(request.inputs.mask, device="cpu"))  # (B, K)
        drop = whole[rows] - _outputs(request, rows, replaced)  # (G, K)
        shares = replaced / replaced.sum(dim=1, keepdim=True).clamp(min=1)  # (G, T)
        scores = torch.zeros(*request.targets.shape, replaced.shape[1])  # (B, K, T)
        return to_attributions(request, scores.index_add_(0, rows, drop[:, :, None] * shares[:, None]))

    def _replacements(self, request: AttributionRequest) -> tuple[Int[Tensor, " group"], Bool[Tensor, "group token"]]:
        """Return, for every replacement to make, its example and the tokens it replaces; on the CPU."""
        assert request.reference is not None
        differs = (request.embeddings != request.reference).any(dim=-1)
        differs = (differs & request.inputs.mask).cpu()  # (B, T)
        if not self.by_word:
            rows, positions = differs.nonzero(as_tuple=True)
            return rows, torch.nn.functional.one_hot(positions, differs.shape[1]).bool()
        if request.words is None:
            raise AttributionError("Occlusion by word needs the words' numbers (`words`); none were given.")
        found = [
            (row, torch.zeros_like(differs[row]).index_fill_(0, torch.tensor(group), True))
            for row, words in enumerate(request.words.tolist())
            for group in word_groups([None if word < 0 else word for word in words])
            if bool(differs[row, group].any())
        ]
        if not found:
            return torch.zeros(0, dtype=torch.long), differs[:0]
        return torch.tensor([row for row, _ in found]), torch.stack([tokens for _, tokens in found])


@torch.no_grad()
def _outputs(
    request: AttributionRequest, rows: Int[Tensor, " row"], replaced: Bool[Tensor, "row token"]
) -> Float[Tensor, "row target"]:
    """Return F of the examples `rows` with the tokens `replaced` taken from the baseline; on the CPU."""
    assert request.reference is not None
    result = torch.zeros(len(rows), request.targets.shape[1])
    for part in request.passes(rows):
        chosen, swap = rows[part], replaced[part].to(request.targets.device)[:, :, None]
        x = torch.where(swap, request.reference[chosen], request.embeddings[chosen])
        result[part] = request.outputs(x, chosen).cpu()
    return result
