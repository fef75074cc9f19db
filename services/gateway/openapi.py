"""Writes the OpenAPI document to standard output, from the protos as a file of descriptors with their comments.

    python -m services.gateway.openapi DESCRIPTORS > services/gateway/openapi.json

`make protos` does it; the document is committed, and a test compares the two.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.gateway.document import document

FILE = Path(__file__).parent / "openapi.json"


def text(descriptors: bytes) -> str:
    """The document as it is committed and served."""
    return json.dumps(document(FileDescriptorSet.FromString(descriptors)), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(Path(sys.argv[1]).read_bytes()))
