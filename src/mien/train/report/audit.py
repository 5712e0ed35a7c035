"""Writes an audit as one HTML file: counts, and the images that a person should look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.train.data.audit import PROBLEMS, Finding
from mien.train.data.dataset import Dataset
from mien.train.report.evaluation import page, picture

SHOWN = {"conflicting labels": 60, "near copy": 24, "no face found": 48, "doubtful label": 60, "blank": 1}  # most groups of pictures


def audit_html(data: Dataset, counts: dict[str, Any], findings: list[Finding]) -> str:
    """Return the report on an audit as HTML.

    Args:
        data: the data set of the pictures.
        counts: from :func:`mien.train.data.audit.summary`.
        findings: all findings of the audit.
    """
    sections = [
        {"problem": problem, "meaning": PROBLEMS[problem][1], "found": counts["found"][problem], "groups": _groups(data, findings, problem)}
        for problem in SHOWN
        if counts["found"][problem]
    ]
    return page(
        "audit.html.j2", title=f"audit of {data.root.name}", name=data.root.name, counts=counts, problems=PROBLEMS, sections=sections
    )


def _groups(data: Dataset, findings: list[Finding], problem: str) -> list[list[dict[str, str]]]:
    groups: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.problem == problem:
            groups.setdefault(finding.group, []).append(finding)
    picked = list(groups.values())[: SHOWN[problem]]
    if problem == "conflicting labels":  # all images of a group are the same picture
        picked = [group[:1] for group in picked]
    return [[_card(data, finding) for finding in group] for group in picked]


def _card(data: Dataset, finding: Finding) -> dict[str, str]:
    return {
        "picture": picture(np.asarray(data.images[finding.row])),
        "label": data.label_names[data.labels[finding.row]],
        "file": data.names[finding.row],
        "detail": finding.detail,
    }
