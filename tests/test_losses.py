"""Eqs. (17), (19)-(22) by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from lpgnet.config import LossConfig
from lpgnet.losses import cross_entropy, distillation, total

STUDENT = torch.tensor([[0.75, 0.25]]).log()
TEACHER = torch.tensor([[0.5, 0.5]]).log()
FORWARD = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # KL(student || teacher)
BACKWARD = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)


def test_eq17_is_the_mean_negative_log_likelihood():
    logits = torch.tensor([[0.75, 0.25], [0.1, 0.9], [0.5, 0.5]]).log()
    labels = torch.tensor([0, 0, 1])
    want = -(math.log(0.75) + math.log(0.1) + math.log(0.5)) / 3
    assert_close(cross_entropy(logits, labels).item(), want)


def test_reading_r11_weights_are_a_weighted_mean():
    logits = torch.tensor([[0.75, 0.25], [0.1, 0.9]]).log()
    labels, weight = torch.tensor([0, 1]), torch.tensor([1.0, 3.0])
    want = -(math.log(0.75) + 3 * math.log(0.9)) / 4
    assert_close(cross_entropy(logits, labels, weight).item(), want)


def test_eq21_has_the_student_first():
    assert_close(distillation(STUDENT, TEACHER, tau=1.0).item(), FORWARD)
    assert_close(distillation(STUDENT, TEACHER, tau=1.0, first="teacher").item(), BACKWARD)
    assert not math.isclose(FORWARD, BACKWARD, rel_tol=0.05)


def test_eq21_is_a_mean_over_utterances():
    two = torch.cat([STUDENT, TEACHER]), torch.cat([TEACHER, TEACHER])
    assert_close(distillation(*two, tau=1.0).item(), FORWARD / 2)


def test_eq19_divides_logits_by_tau_and_nothing_multiplies_the_loss():
    """At tau 2 the student's odds 3:1 become sqrt 3:1; no tau^2 factor."""
    p = math.sqrt(3) / (1 + math.sqrt(3))
    want = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    assert_close(distillation(STUDENT, TEACHER, tau=2.0).item(), want)
    moved = distillation(TEACHER, STUDENT, tau=2.0).item()  # the teacher's odds are softened too
    assert_close(moved, 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p)))


@pytest.mark.parametrize(("detach", "reached"), [(True, False), (False, True)])
def test_reading_r10_no_gradient_reaches_the_teacher(detach, reached):
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    distillation(student, teacher, 1.0, detach=detach).backward()
    assert student.grad.any()
    assert (teacher.grad is not None) is reached


def test_eq22_weighs_its_terms_and_sums_over_modalities():
    labels = torch.tensor([0])
    config = LossConfig(task=2.0, ce=3.0, kl=5.0)
    got = total(TEACHER, {"text": STUDENT, "audio": STUDENT}, labels, config)
    want = 2 * math.log(2) + 2 * (3 * -math.log(0.75) + 5 * FORWARD)
    assert_close(got.item(), want)
    assert_close(total(TEACHER, {}, labels, config).item(), 2 * math.log(2))


def test_eq22_passes_every_setting_on():
    labels, weight = torch.tensor([0, 1]), torch.tensor([1.0, 3.0])
    student, teacher = torch.cat([STUDENT, STUDENT]), torch.cat([TEACHER, STUDENT])
    config = LossConfig(task=2.0, ce=3.0, kl=5.0, tau=2.0, first="teacher", detach=False)
    got = total(teacher, {"text": student}, labels, config, weight)
    want = 2 * cross_entropy(teacher, labels, weight) + 3 * cross_entropy(student, labels, weight)
    want += 5 * distillation(student, teacher, 2.0, "teacher", False)
    assert_close(got, want)
    free = teacher.clone().requires_grad_()
    total(free, {"text": student}, labels, LossConfig(0.0, 0.0, 1.0, detach=False), weight).backward()
    assert free.grad.any()


def test_reading_r19_an_unlabelled_utterance_is_not_scored():
    labels = torch.tensor([0, -1])
    more = torch.cat([TEACHER, 9 * STUDENT]), {"text": torch.cat([STUDENT, 7 * STUDENT])}
    config = LossConfig()
    assert_close(total(*more, labels, config), total(TEACHER, {"text": STUDENT}, labels[:1], config))


def test_the_paper_s_weights():
    assert (LossConfig().task, LossConfig().ce, LossConfig().kl, LossConfig().tau) == (1.5, 1.0, 0.3, 1.0)
