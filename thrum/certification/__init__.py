"""Puts a backend through its paces: situations, what must hold in each, and the course that it is taken through."""

from __future__ import annotations

from thrum.certification.course import LIMIT_S, SILENCE_S, Course, Result, Verdict
from thrum.certification.situations import SITUATIONS, Situation

__all__ = ["LIMIT_S", "SILENCE_S", "SITUATIONS", "Course", "Result", "Situation", "Verdict"]
