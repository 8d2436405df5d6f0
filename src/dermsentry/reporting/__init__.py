"""What every stage's report shares: one page style, one figure style, pages that stand alone."""

from dermsentry.reporting.html import data_uri, render, write_report

__all__ = ["data_uri", "render", "write_report"]
