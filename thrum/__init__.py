"""Thrum: an orchestrator for coding agents whose work lands only through gates and a person."""

__version__ = "0.1.0"
