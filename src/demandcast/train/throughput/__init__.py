"""How fast a training is, why it is not faster, and what to do about it."""

from demandcast.train.throughput.bare import Subject
from demandcast.train.throughput.diagnosis import Diagnosis
from demandcast.train.throughput.doctor import Doctor
from demandcast.train.throughput.explain import Finding, explain
from demandcast.train.throughput.facts import Facts
from demandcast.train.throughput.measure import Monitor, measure
from demandcast.train.throughput.profile import Operator, operators

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
