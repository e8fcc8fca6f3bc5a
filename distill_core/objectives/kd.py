"""Plain knowledge distillation: hard labels and the teacher's softened probabilities.

Source: Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*, 2015, arXiv 1503.02531.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F


def label_loss(logits: Float[Tensor, "batch class"], labels: Shaped[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy with the gold classes (int64), in nats.

    A regression has one logit, its score: the mean squared error with the gold scores (float32).
    """
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels.to(logits.dtype))
    return F.cross_entropy(logits, labels)


def soft_target_loss(
    student_logits: Float[Tensor, "batch class"],
    teacher_logits: Float[Tensor, "batch class"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Return −Σ_c p_teacher(τ) log p_student(τ), averaged over the batch, in nats.

    The form of AD-KD's published code: soft cross-entropy without the factor τ². Its gradient is that
    of the KL divergence at τ; its value at a perfect match is the teacher's entropy, not zero. For a
    regression, as there: the mean squared error of the two scores, each divided by τ.
    """
    if student_logits.shape[1] == 1:
        return F.mse_loss(student_logits / temperature, teacher_logits / temperature)
    teacher = torch.softmax(teacher_logits / temperature, dim=-1)
    student = torch.log_softmax(student_logits / temperature, dim=-1)
    return -(teacher * student).sum(dim=-1).mean()
