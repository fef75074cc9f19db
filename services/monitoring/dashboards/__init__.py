"""The dashboards, each in a module of its own."""

from __future__ import annotations

from services.monitoring.dashboards.learning import LEARNING
from services.monitoring.dashboards.overview import OVERVIEW
from services.monitoring.dashboards.pipeline import PIPELINE
from services.monitoring.dashboards.serving import SERVING

DASHBOARDS = (OVERVIEW, PIPELINE, LEARNING, SERVING)
