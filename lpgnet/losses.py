"""The loss of LPGNet, sections 3.5 and 3.6: Eqs. (17), (19)-(22).

M is the number of scored utterances of a batch, C the number of classes; logits are (M, C), labels (M,).
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

UNSCORED = -1  # the label of an utterance that counts in no mean (Reading R19)


def cross_entropy(logits: Tensor, labels: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood, Eqs. (17) and (20).

    Reading R11: the mean runs over the real utterances of the batch; with `class_weight` (C,) it is
    the weighted mean that SDT's published code takes.
    """
    return F.cross_entropy(logits, labels, weight=class_weight, ignore_index=UNSCORED)


def distillation(
    student: Tensor,
    teacher: Tensor,
    tau: float,
    first: str = "student",
    detach: bool = True,
    scored: Tensor | None = None,
) -> Tensor:
    """KL at temperature tau, Eqs. (19) and (21), averaged over utterances.  scored: (M,), those that count.

    Reading R10: the student stands first, KL(student || teacher), as Eq. (21) prints it; most
    distillation code (SDT's too) has the teacher first.  No gradient reaches the teacher unless
    `detach` is off, and there is no tau^2 factor.
    """
    log_student = F.log_softmax(student / tau, dim=-1)  # Eq. (19)
    log_teacher = F.log_softmax((teacher.detach() if detach else teacher) / tau, dim=-1)
    log_p, log_q = (log_student, log_teacher) if first == "student" else (log_teacher, log_student)
    divergence = (log_p.exp() * (log_p - log_q)).sum(dim=-1)  # KL(p || q)
    return divergence.mean() if scored is None else (divergence * scored).sum() / scored.sum()


def total(
    logits: Tensor,
    students: Mapping[str, Tensor],
    labels: Tensor,
    config,
    class_weight: Tensor | None = None,
) -> Tensor:
    """L of Eq. (22).  config: a `LossConfig`.  Utterances labelled -1 are not scored (Reading R19)."""
    scored = labels != UNSCORED
    loss = config.task * cross_entropy(logits, labels, class_weight)
    for student in students.values():
        hard = cross_entropy(student, labels, class_weight)
        soft = distillation(student, logits, config.tau, config.first, config.detach, scored)
        loss = loss + config.ce * hard + config.kl * soft
    return loss
