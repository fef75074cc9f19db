"""Prometheus' rules, and Grafana's dashboards as code: what each dashboard shows, a module each."""

from __future__ import annotations

from services.monitoring.learning import LEARNING
from services.monitoring.overview import OVERVIEW
from services.monitoring.pipeline import PIPELINE
from services.monitoring.serving import SERVING

DASHBOARDS = (OVERVIEW, PIPELINE, LEARNING, SERVING)
