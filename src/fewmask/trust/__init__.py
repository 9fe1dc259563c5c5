"""Trust: how good a predicted mask probably is, told without a reference, with an interval and reasons."""

from fewmask.trust.appearance import appearance, descriptor
from fewmask.trust.calibration import WHOLE, Calibration, Point, read_calibration
from fewmask.trust.evidence import FOLDER as EVIDENCE
from fewmask.trust.evidence import Evidence, read_evidence
from fewmask.trust.members import LEVELS, Level, members
from fewmask.trust.verdict import FILE as TRUST
from fewmask.trust.verdict import Verdict, judge, read_trust, write_trust

__all__ = [
    "EVIDENCE",
    "LEVELS",
    "TRUST",
    "WHOLE",
    "Calibration",
    "Evidence",
    "Level",
    "Point",
    "Verdict",
    "appearance",
    "descriptor",
    "judge",
    "members",
    "read_calibration",
    "read_evidence",
    "read_trust",
    "write_trust",
]
