"""Measure how fast a training is, find what slows it, and suggest what to change."""

from demandcast.train.doctor.bare_loop import Subject
from demandcast.train.doctor.diagnosis import Diagnosis
from demandcast.train.doctor.doctor import Doctor
from demandcast.train.doctor.facts import Facts
from demandcast.train.doctor.findings import Finding, explain
from demandcast.train.doctor.measure import Monitor, measure
from demandcast.train.doctor.profile import Operator, operators

__all__ = [
    "Diagnosis",
    "Doctor",
    "Facts",
    "Finding",
    "Monitor",
    "Operator",
    "Subject",
    "explain",
    "measure",
    "operators",
]
