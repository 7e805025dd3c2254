"""The report: one page, readable without a network, of what was found, built and simulated; the same in Markdown."""

from __future__ import annotations

from stem2sim.report.report import Report

__all__ = ["Report"]
