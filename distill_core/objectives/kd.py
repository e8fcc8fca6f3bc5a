"""Plain knowledge distillation: hard labels and the teacher's softened probabilities.

Source: Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*, 2015, arXiv 1503.02531.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class SoftTargets:
    """How the answers of student and teacher are compared: temperature τ, form (`KD_FORMS`), and annealing.

    If annealed, τ falls linearly from its value at the first step to 1 at the last (AD-KD's code: at the last epoch).
    """

    temperature: float = 2.0
    form: str = "cross_entropy"
    annealed: bool = False

    def temperature_at(self, step: int, steps: int) -> float:
        """Return τ at a step, counted from 1."""
        passed = (step - 1) / max(1, steps - 1) if self.annealed else 0.0
        return self.temperature + (1.0 - self.temperature) * passed

    def loss(
        self, student: Float[Tensor, "batch class"], teacher: Float[Tensor, "batch class"], step: int, steps: int
    ) -> Float[Tensor, ""]:
        """Return the term for a batch's logits at a step."""
        form = soft_divergence if self.form == "kl" else soft_cross_entropy
        return form(student, teacher, self.temperature_at(step, steps))


def soft_cross_entropy(
    student_logits: Float[Tensor, "batch class"], teacher_logits: Float[Tensor, "batch class"], temperature: float
) -> Float[Tensor, ""]:
    """Return −Σ_c p_teacher(τ) log p_student(τ), averaged over the batch, in nats.

    The form of AD-KD's published code: soft cross-entropy without the factor τ². Its gradient is that of the KL
    divergence at τ; its value at a perfect match is the teacher's entropy, not zero. For a regression, as in that code:
    the mean squared error of the two scores, each divided by τ.
    """
    if student_logits.shape[1] == 1:
        return F.mse_loss(student_logits / temperature, teacher_logits / temperature)
    teacher = torch.softmax(teacher_logits / temperature, dim=-1)
    student = torch.log_softmax(student_logits / temperature, dim=-1)
    return -(teacher * student).sum(dim=-1).mean()


def soft_divergence(
    student_logits: Float[Tensor, "batch class"], teacher_logits: Float[Tensor, "batch class"], temperature: float
) -> Float[Tensor, ""]:
    """Return τ² Σ_c p_teacher(τ) (log p_teacher(τ) − log p_student(τ)), averaged over batch and classes, in nats.

    The form of GKD's published code; 0 at a perfect match. For a regression, which that code does not cover: the
    squared error of the two scores, each divided by τ, times τ² (ours).
    """
    if student_logits.shape[1] == 1:
        return F.mse_loss(student_logits, teacher_logits)
    teacher = torch.log_softmax(teacher_logits / temperature, dim=-1)
    student = torch.log_softmax(student_logits / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).mean()
