"""What a service's /metrics says now."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

# `name` or `name{label="value",…}`, labels in alphabetical order → value.
Figures = dict[str, float]


def parse(text: str) -> Figures:
    """The samples of one exposition."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def scrape(url: str, *, seconds: float = 2.0) -> Figures:
    """The figures behind a URL; none while nobody answers there."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port, timeout=seconds)
    try:
        connection.request("GET", place.path)
        answer = connection.getresponse()
        return parse(answer.read().decode()) if answer.status == http.HTTPStatus.OK else {}
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
